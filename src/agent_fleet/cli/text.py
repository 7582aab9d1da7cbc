"""Text of others, made harmless: on a terminal it is only ever text."""

from datetime import datetime, timedelta

from agent_fleet.core.text import clean

# They turn the direction of writing, so that what is read is not what stands there.
_BIDI = dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))


def visible(text: str) -> str:
    """The text without control characters and marks of direction; lines and tabs stay."""
    return clean(text).translate(_BIDI)


def line(text: str) -> str:
    """The same on one line."""
    return " ".join(visible(text).split())


def show_time(moment: datetime) -> str:
    """UTC, to the second."""
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def show_span(span: timedelta) -> str:
    """How long something takes, at a glance: `45s`, `12m`, `3h 05m`, `2d 4h`."""
    seconds = max(int(span.total_seconds()), 0)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m"
    if seconds < 86_400:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02}m"
    return f"{seconds // 86_400}d {seconds % 86_400 // 3600}h"

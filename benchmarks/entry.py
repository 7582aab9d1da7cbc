"""What a benchmark reports, and the file that keeps the latest report of each."""

from collections.abc import Sequence
from pathlib import Path

import msgspec


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A measured `value` beside a `baseline` of the same run, both in `unit`.

    `target` says in words what is aimed for; where it is None the numbers are only reported, and
    `holds` is None too. `note` is what the numbers alone do not tell: spread, runs, what bounds.
    """

    name: str
    value: float
    unit: str
    baseline: float
    ratio: float
    target: str | None = None
    holds: bool | None = None
    note: str = ""


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def read_entries(file: Path) -> list[Entry]:
    """The entries in the file; none if it is not there or cannot be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[Entry])
    except (FileNotFoundError, msgspec.MsgspecError):
        return []


def renew(file: Path, entry: Entry) -> list[Entry]:
    """Put the entry into the file, in the place of its former self; all that it holds now."""
    kept = [known for known in read_entries(file) if known.name != entry.name]
    entries = sorted([*kept, entry], key=lambda each: each.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(entries)) + b"\n")
    new.replace(file)
    return entries

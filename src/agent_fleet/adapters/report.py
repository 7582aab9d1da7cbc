"""What an agent CLI's output says, in one shape for all of them.

Output is untrusted and may end anywhere: every text here is valid, bounded and without control
characters, every number in range, so that it can be stored, sent and shown as it is.
"""

import re
from collections.abc import Iterator, Mapping
from typing import cast

import msgspec

from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Usage

SUMMARY_LIMIT = 20_000
MESSAGE_LIMIT = 2_000
DENIAL_LIMIT = 300
DENIALS_LIMIT = 20
NUMBER_LIMIT = 2**53 - 1
CUT = "\n[cut]\n"

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")


class Failure(msgspec.Struct, frozen=True):
    """Why an attempt did not succeed. `retry_after_s`: seconds until a usage limit resets."""

    reason: Reason
    message: str
    retry_after_s: float | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one run's output says.

    `summary` is the agent's final message, or as far as it came. `session` None: there is none to
    resume. `failure` is what the CLI itself says went wrong; `judge` decides what it means.
    `denials` are the tool calls that were refused. `usage.input_tokens` is all input, cached or
    not; Codex counts from the beginning of a resumed session, Claude from that of this run.
    """

    summary: str = ""
    session: str | None = None
    usage: Usage = Usage()
    failure: Failure | None = None
    denials: tuple[str, ...] = ()


def objects(output: bytes) -> Iterator[dict[str, object]]:
    """The JSON objects among the lines of `output`, or in one array on one; all else is noise."""
    for line in output.splitlines():
        text = line.strip()
        if text[:1] not in (b"{", b"["):
            continue
        try:
            value: object = msgspec.json.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
        for item in cast("list[object]", value) if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                yield cast("dict[str, object]", item)


def clean(value: object, limit: int) -> str:
    """`value` if it is text, else nothing; its start and its end where it is too long."""
    if not isinstance(value, str):
        return ""
    text = value.encode("utf-8", "replace").decode()
    text = _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n"))).strip()
    if len(text) <= limit:
        return text
    keep = (limit - len(CUT)) // 2
    return text[:keep] + CUT + text[-keep:]


def last_lines(output: bytes, *, lines: int = 20, limit: int = MESSAGE_LIMIT) -> str:
    """The last `lines` lines of `output` that are not blank, `limit` characters at most."""
    # A character takes four bytes at most, and escapes are dropped: far more than is kept.
    tail = output[-16 * limit :].decode("utf-8", "replace")
    kept = [line for line in clean(tail, len(tail)).split("\n") if line.strip()][-lines:]
    return "\n".join(kept)[-limit:].strip()


def table(value: object) -> Mapping[str, object]:
    """`value` if it is a JSON object, else an empty one."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def items(value: object) -> list[object]:
    """`value` if it is a JSON array, else an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def count(value: object) -> int:
    """`value` if it is a whole number that can be one of tokens, else 0."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= NUMBER_LIMIT:
        return value
    return 0


def micro_usd(value: object) -> int | None:
    """Dollars as millionths of one; None for what cannot be a price."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return round(value * 1_000_000) if 0 <= value <= NUMBER_LIMIT / 1_000_000 else None


def session_id(value: object) -> str | None:
    """`value` if it can be a session's id that is safe to hand back as an argument."""
    return value if isinstance(value, str) and SESSION_ID.fullmatch(value) else None

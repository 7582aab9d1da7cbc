"""The parsers, by the name that an adapter's `parser` says."""

from datetime import datetime
from typing import Protocol

from agent_fleet.adapters.claude_json import parse_claude
from agent_fleet.adapters.codex_json import parse_codex
from agent_fleet.adapters.raw import parse_raw
from agent_fleet.adapters.report import Report


class Parser(Protocol):
    """Reads the output of one run. Never raises, whatever the bytes."""

    def __call__(
        self, *, stdout: bytes, stderr: bytes, exit_code: int | None, now: datetime
    ) -> Report: ...


PARSERS: dict[str, Parser] = {
    "codex-json": parse_codex,
    "claude-json": parse_claude,
    "raw": parse_raw,
}


def parse(
    parser: str, *, stdout: bytes, stderr: bytes, exit_code: int | None, now: datetime
) -> Report:
    """The report of a run by the parser of that name, one of `PARSERS`.

    `exit_code` is negative, or None, where there was none; `now` (UTC-aware) is when the run
    ended: a limit's reset is told from there.
    """
    return PARSERS[parser](stdout=stdout, stderr=stderr, exit_code=exit_code, now=now)

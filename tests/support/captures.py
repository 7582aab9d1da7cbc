"""Output of real agent CLIs, run against `fake_model`: `tests/captures/<cli>/<case>.*`.

Taken from codex 0.169.0 and claude 2.1.330. `.rc` is the exit code; negative: died by that signal.
The usage limits were told at `LIMITED_AT`, with a reset three hours and two minutes later, or five
days.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent_fleet.adapters import Report, parse

ROOT = Path(__file__).resolve().parents[1] / "captures"
LIMITED_AT = datetime(2026, 11, 22, 14, 50, 0, tzinfo=UTC)
CLIS = ("codex", "claude")


@dataclass(frozen=True)
class Capture:
    """One run: which CLI, what it wrote, how it ended."""

    cli: str
    case: str
    stdout: bytes
    stderr: bytes
    exit_code: int

    def report(self, *, now: datetime = LIMITED_AT) -> Report:
        """What the CLI's own parser reads in it."""
        return parse(
            f"{self.cli}-json",
            stdout=self.stdout,
            stderr=self.stderr,
            exit_code=self.exit_code,
            now=now,
        )


def capture(cli: str, case: str) -> Capture:
    """The capture of that name."""
    stem = ROOT / cli / case
    return Capture(
        cli=cli,
        case=case,
        stdout=stem.with_suffix(".stdout").read_bytes(),
        stderr=stem.with_suffix(".stderr").read_bytes(),
        exit_code=int(stem.with_suffix(".rc").read_text()),
    )


def captures(cli: str) -> list[Capture]:
    """All captures of one CLI."""
    return [capture(cli, path.stem) for path in sorted((ROOT / cli).glob("*.rc"))]

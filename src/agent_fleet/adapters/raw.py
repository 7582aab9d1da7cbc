"""Any program: its exit code decides, and the end of what it wrote is the summary."""

from datetime import datetime

from agent_fleet.adapters.report import SUMMARY_LIMIT, Failure, Report, last_lines
from agent_fleet.core.faults import Reason


def parse_raw(
    *,
    stdout: bytes,
    stderr: bytes,
    exit_code: int | None,
    now: datetime,
) -> Report:
    """The report of any program: it failed if its exit code is not 0."""
    summary = last_lines(stdout, limit=SUMMARY_LIMIT // 5)
    if exit_code == 0:
        return Report(summary=summary)
    said = last_lines(stderr) or last_lines(stdout) or "no output"
    return Report(summary=summary, failure=Failure(Reason.AGENT_ERROR, f"exit {exit_code}: {said}"))

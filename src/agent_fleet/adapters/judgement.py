"""Whether an attempt succeeded: by Git first, then by the CLI's own error, then by its exit code.

An agent's final message proves nothing, and a CLI's exit code little: both say success after a
refused commit. The first row that fits decides:

    how it ended                                   judged
    we ended it (limit, silence, cancel)           as we meant it
    the CLI was not found                          cli_not_found
    vanished, or ended by a signal not ours        killed
    the CLI says that it failed                    its reason, with commits or without
    an exit code other than 0                      agent_error, with commits or without
    nothing is to be delivered                     success; output_unparsable if unreadable
    commits, and a difference from the base        success
    output that cannot be read                     output_unparsable
    calls were refused                             permission_denied
    none of these                                  no_changes

Commits of a run that did not finish are no success: what the agent had still to do, only the agent
knows. They stay in the workspace, and the next attempt builds on them.
"""

import signal

from agent_fleet.adapters.report import MESSAGE_LIMIT, Failure, Report, clean
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Deliverable

# The signals that end a process from outside or by its own fault. A shell reports one as 128 + n,
# which a CLI's own exit code can equal: only these are read so.
_DEADLY = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGILL,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGKILL,
        signal.SIGSEGV,
        signal.SIGPIPE,
        signal.SIGTERM,
    }
)


def judge(
    report: Report,
    *,
    exit_code: int | None,
    commits: int,
    changed: bool,
    not_found: bool = False,
    vanished: bool = False,
    ended_by_us: Reason | None = None,
    deliverable: Deliverable = "branch",
) -> Failure | None:
    """Why the attempt failed; None: it succeeded.

    `exit_code` is negative for a signal, or 128 + the signal, or None where the process vanished.
    `commits` counts those that the branch has beyond where the attempt began, what the runner
    committed for the agent included; `changed` says that the branch differs from its base.
    """
    cut_short = _cut_short(
        report,
        exit_code=exit_code,
        not_found=not_found,
        vanished=vanished,
        ended_by_us=ended_by_us,
    )
    if cut_short is not None:
        return cut_short
    failure = report.failure
    if failure is not None and failure.reason is not Reason.OUTPUT_UNPARSABLE:
        return failure
    if exit_code != 0:
        return Failure(Reason.AGENT_ERROR, _last_words(f"exit {exit_code}", report))
    if deliverable == "none":
        return failure
    if commits > 0 and changed:
        return None
    return failure or _undelivered(report, commits)


def _cut_short(
    report: Report,
    *,
    exit_code: int | None,
    not_found: bool,
    vanished: bool,
    ended_by_us: Reason | None,
) -> Failure | None:
    """The failure of a run that did not end by itself, or did not begin."""
    if ended_by_us is not None:
        return Failure(ended_by_us, _last_words(ended_by_us.value, report))
    if not_found:
        return Failure(Reason.CLI_NOT_FOUND, "the agent's CLI was not found on the host")
    if vanished or exit_code is None:
        return Failure(Reason.KILLED, _last_words("the process vanished", report))
    if (number := _signal(exit_code)) is not None:
        return Failure(Reason.KILLED, f"ended by signal {number}, not by us")
    return None


def _undelivered(report: Report, commits: int) -> Failure:
    if report.denials:
        refused = "\n".join(report.denials)
        return Failure(Reason.PERMISSION_DENIED, clean(f"refused: {refused}", MESSAGE_LIMIT))
    what = "no commit" if commits == 0 else "commits that change nothing"
    return Failure(Reason.NO_CHANGES, _last_words(what, report))


def _signal(exit_code: int) -> int | None:
    if exit_code < 0:
        return -exit_code
    return exit_code - 128 if exit_code - 128 in _DEADLY else None


def _last_words(what: str, report: Report) -> str:
    said = report.failure.message if report.failure is not None else report.summary
    return clean(f"{what}: {said}" if said else what, MESSAGE_LIMIT)

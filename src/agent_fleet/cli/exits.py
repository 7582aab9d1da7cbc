"""How a command ends: its exit code, and the two lines of an error."""

import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import NoReturn

from cyclopts import App, CycloptsError

from agent_fleet.cli.text import visible
from agent_fleet.core.errors import (
    Conflict,
    FleetError,
    Forbidden,
    InvalidInput,
    MergeConflict,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from agent_fleet.core.model import TaskStatus


class Exit(IntEnum):
    """Exit codes that scripts can rely on; the value's meaning stands beside it in `MEANINGS`."""

    OK = 0
    ERROR = 1
    INVALID = 2
    NOT_FOUND = 3
    CONFLICT = 4
    DENIED = 5
    UNAVAILABLE = 6
    NEEDS_HUMAN = 10
    REVIEW_PENDING = 11
    FAILED = 12
    CANCELLED = 13
    TIMEOUT = 14
    INTERRUPTED = 130
    BROKEN_PIPE = 141


MEANINGS: dict[Exit, str] = {
    Exit.OK: "done; with --wait or wait: the task is completed",
    Exit.ERROR: "an error that has no code of its own; doctor: a check failed",
    Exit.INVALID: "bad usage or invalid input; the flag, field or setting is named",
    Exit.NOT_FOUND: "no such task, repository, host, agent or token",
    Exit.CONFLICT: "the state does not admit it: a wrong status, a lost lease, a merge conflict",
    Exit.DENIED: "no valid token, or one of the wrong kind",
    Exit.UNAVAILABLE: "the server, its database or a remote does not answer",
    Exit.NEEDS_HUMAN: "wait: the task needs a human",
    Exit.REVIEW_PENDING: "wait: the task waits for a review",
    Exit.FAILED: "wait: the task has failed",
    Exit.CANCELLED: "wait: the task was cancelled",
    Exit.TIMEOUT: "wait: the time is up",
    Exit.INTERRUPTED: "interrupted (Ctrl-C)",
    Exit.BROKEN_PIPE: "whoever read the output stopped reading",
}

_OF_STATUS = {
    TaskStatus.COMPLETED: Exit.OK,
    TaskStatus.NEEDS_HUMAN: Exit.NEEDS_HUMAN,
    TaskStatus.REVIEW_PENDING: Exit.REVIEW_PENDING,
    TaskStatus.FAILED: Exit.FAILED,
    TaskStatus.CANCELLED: Exit.CANCELLED,
}

# The first that fits: a kind of error, its code, and its remedy where the error names none.
_OF_ERROR: tuple[tuple[type[FleetError], Exit, str], ...] = (
    (InvalidInput, Exit.INVALID, ""),
    (NotFound, Exit.NOT_FOUND, "check the number or the name: fleet task list, fleet host list"),
    (
        MergeConflict,
        Exit.CONFLICT,
        "merge the base into the branch by hand, or send it back: fleet task request-changes",
    ),
    (Conflict, Exit.CONFLICT, "see how things stand: fleet task show, fleet task list"),
    (
        Unauthenticated,
        Exit.DENIED,
        "set FLEET_TOKEN_FILE or FLEET_TOKEN to a valid one; an admin makes it: fleet token create",
    ),
    (Forbidden, Exit.DENIED, "use a token of another kind; an admin makes one: fleet token create"),
    (
        Unavailable,
        Exit.UNAVAILABLE,
        "check that it runs (fleet serve, for the server) and its address is right: fleet doctor",
    ),
    (FleetError, Exit.ERROR, "fleet doctor looks at everything around it"),
)


def of_status(status: TaskStatus) -> Exit:
    """What `wait` ends with, for a task that is no further than this."""
    return _OF_STATUS.get(status, Exit.TIMEOUT)


def guarded(app: App, tokens: Sequence[str]) -> int:
    """Run a command line; every way it may end is an exit code."""
    try:
        code = app(tokens, print_error=False, exit_on_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return _usage(error)
    except FleetError as error:
        return _fleet_error(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _close_stdout()
        return Exit.BROKEN_PIPE
    return code if isinstance(code, int) else Exit.OK


def fail(error: FleetError, *, flags: dict[str, str]) -> NoReturn:
    """Raise the error, with a field's path told as the flag that sets it."""
    if isinstance(error, InvalidInput):
        field = error.path.removeprefix("$.").partition("[")[0].partition(".")[0]
        if field in flags:
            said = error.message.removeprefix(f"{error.path}: ").removesuffix(f"; {error.remedy}")
            raise InvalidInput(flags[field], said, remedy=error.remedy) from None
    raise error


def _fleet_error(error: FleetError) -> Exit:
    code, remedy = next((c, r) for kind, c, r in _OF_ERROR if isinstance(error, kind))
    what = error.message
    if isinstance(error, InvalidInput):
        what, remedy = what.removesuffix(f"; {error.remedy}"), error.remedy
    _tell(what, remedy)
    for note in getattr(error, "__notes__", ()):
        print(f"also:   {visible(str(note))}", file=sys.stderr)
    return code


def _usage(error: CycloptsError) -> Exit:
    error.verbose = False
    chain = " ".join(("fleet", *(error.command_chain or ())))
    what = " ".join(str(error).split())
    _tell(what.removesuffix("."), f"{chain} --help shows what it takes")
    return Exit.INVALID


def _tell(what: str, remedy: str) -> None:
    print(f"error:  {visible(what)}\nremedy: {visible(remedy)}", file=sys.stderr)


def _close_stdout() -> None:
    """Nobody reads: what is still buffered goes nowhere, quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

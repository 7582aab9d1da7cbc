"""`codex exec --json`: one event per line. Read from 0.169.0.

    thread.started{thread_id}, turn.started
    item.started, item.updated, item.completed{item{type, ...}}   agent_message{text} and others
    turn.completed{usage}, turn.failed{error{message}}            the end of the turn
    error{message}                                                a retry, or what turn.failed says

A turn failed if the last of its ends says so, or if it has none. An item of type `error` is a
warning. A refused or sandboxed command is not always an item: nothing here tells of it. The usage
of a resumed thread counts from the thread's beginning; there is neither cost nor model.
"""

import re
from datetime import datetime

from agent_fleet.adapters.classify import classify
from agent_fleet.adapters.report import (
    MESSAGE_LIMIT,
    SUMMARY_LIMIT,
    Failure,
    Report,
    clean,
    count,
    last_lines,
    objects,
    session_id,
    table,
)
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Usage

# What it writes to stderr on good runs too, and its log.
_NOISE = re.compile(
    r"Reading additional input from stdin|WARNING: proceeding, even though|\d{4}-\d\d-\d\dT[^ ]+Z "
)


def parse_codex(*, stdout: bytes, stderr: bytes, exit_code: int | None, now: datetime) -> Report:
    """The report of one `codex exec --json`, whatever came of it."""
    session: str | None = None
    began = False
    summary = error = ""
    usage = Usage()
    end: dict[str, object] | None = None
    for event in objects(stdout):
        match event.get("type"):
            case "thread.started":
                session = session_id(event.get("thread_id")) or session
            case "turn.started":
                began, end, error = True, None, ""
            case "item.completed":
                item = table(event.get("item"))
                if item.get("type") == "agent_message":
                    summary = clean(item.get("text"), SUMMARY_LIMIT)
            case "error":
                error = str(event.get("message", ""))
            case "turn.completed":
                end = event
                usage = _usage(event)
            case "turn.failed":
                end = event
                error = str(table(event.get("error")).get("message", "")) or error
            case _:
                pass
    failure = None
    if end is None:
        failure = _unfinished(error, began=began, stderr=stderr, exit_code=exit_code, now=now)
    elif end.get("type") == "turn.failed":
        failure = classify(error or "the turn failed, without a word", now=now)
    return Report(summary=summary, session=session, usage=usage, failure=failure)


def _unfinished(
    error: str, *, began: bool, stderr: bytes, exit_code: int | None, now: datetime
) -> Failure:
    """The failure of a run whose turn has no end.

    What it said last tells most. stderr counts as its word only where it did not come to a turn:
    later it is a log, where a tool's server may say "unauthorized" too.
    """
    complaint = "" if exit_code == 0 else _complaint(stderr)
    if error or (complaint and not began):
        return classify(error or complaint, now=now)
    reason = Reason.OUTPUT_UNPARSABLE if exit_code == 0 else Reason.AGENT_ERROR
    message = f"the output of codex ends without turn.completed or turn.failed\n{complaint}"
    return Failure(reason, clean(message, MESSAGE_LIMIT))


def _complaint(stderr: bytes) -> str:
    lines = last_lines(stderr).split("\n")
    return "\n".join(line for line in lines if not _NOISE.match(line))


def _usage(event: dict[str, object]) -> Usage:
    counted = table(event.get("usage"))
    return Usage(
        input_tokens=count(counted.get("input_tokens")),
        output_tokens=count(counted.get("output_tokens")),
    )

"""Events and their replay: what a change wrote, so that folding the events gives the state.

A heartbeat is not an event: the fields it renews (`VOLATILE`) are left out of both the record and
the comparison.
"""

from collections.abc import Iterable

import msgspec

from agent_fleet.core.model import Attempt, Event, Task

VOLATILE = frozenset({"lease_expires_at", "phase", "progress"})


def difference(before: msgspec.Struct | None, after: msgspec.Struct) -> dict[str, object]:
    """The fields of `after` that differ from `before` (all of them if there was none), as builtins.

    Volatile fields are recorded once, when the value first appears.
    """
    new: dict[str, object] = msgspec.to_builtins(after)
    if before is None:
        return new
    old: dict[str, object] = msgspec.to_builtins(before)
    return {k: v for k, v in new.items() if old[k] != v and k not in VOLATILE}


def replay(events: Iterable[Event]) -> tuple[Task, dict[int, Attempt]]:
    """The task and its attempts by number, folded from the task's events in their order.

    Raises ValueError if the first event is not the one that created the task.
    """
    task: dict[str, object] = {}
    attempts: dict[int, dict[str, object]] = {}
    for event in events:
        if not task and event.verb != "submit":
            raise ValueError(f"the history begins with {event.verb}, not with submit")
        task.update(event.task_changes)
        if event.attempt is not None:
            attempts.setdefault(event.attempt, {}).update(event.attempt_changes)
    return (
        msgspec.convert(task, Task),
        {number: msgspec.convert(fields, Attempt) for number, fields in attempts.items()},
    )


def comparable(value: msgspec.Struct) -> dict[str, object]:
    """The value without its volatile fields: what a replay must reproduce."""
    fields: dict[str, object] = msgspec.to_builtins(value)
    return {k: v for k, v in fields.items() if k not in VOLATILE}

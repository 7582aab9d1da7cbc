"""A state, and a change of it: the new values with the one event that tells them."""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from agent_fleet.core.errors import LeaseLost
from agent_fleet.core.faults import Penalty
from agent_fleet.core.history import difference
from agent_fleet.core.lifecycle.transitions import OVER, Verb, attempt_moves, task_moves
from agent_fleet.core.model import Attempt, Effect, Event, Review, Task


class State(msgspec.Struct, frozen=True):
    """A task with its latest attempt; None before the first."""

    task: Task
    attempt: Attempt | None = None

    @property
    def unended(self) -> Attempt | None:
        """The attempt that has not ended, if there is one: it holds its slot."""
        return self.attempt if self.attempt and self.attempt.status is not OVER else None


class Change(msgspec.Struct, frozen=True):
    """The new values, the event that tells them, and what they ask of the outside.

    `attempt` is None where the verb changes no attempt. `penalty` falls on the attempt's host or
    account, for `retry_after_s` seconds where a usage limit said so.
    """

    before: State
    task: Task
    attempt: Attempt | None
    event: Event
    effects: tuple[Effect, ...] = ()
    penalty: Penalty = Penalty.NONE
    retry_after_s: float | None = None

    @property
    def state(self) -> State:
        """The state after this change."""
        return State(self.task, self.attempt or self.before.attempt)


class Backoff(msgspec.Struct, frozen=True):
    """How long a task waits before its next attempt: `first_s`, doubled each time, to `most_s`."""

    first_s: float = 10.0
    most_s: float = 600.0

    def after(self, now: datetime, failures: int) -> datetime:
        """`now` plus the delay after that many failures in a row; none after 0."""
        if failures <= 0:
            return now
        doublings = min(failures - 1, 30)
        return now + timedelta(seconds=min(self.first_s * 2**doublings, self.most_s))


def change(
    before: State,
    verb: Verb,
    task: Task,
    *,
    attempt: Attempt | None = None,
    now: datetime,
    actor: str,
    effects: tuple[Effect, ...] = (),
    penalty: Penalty = Penalty.NONE,
    retry_after_s: float | None = None,
) -> Change:
    """The change from `before` to `task` and `attempt`, looked up in the tables."""
    old = before.task
    task_moves(old.status, verb, task.status)
    previous = before.attempt
    if attempt is not None:
        if previous is not None and previous.number != attempt.number:
            previous = None
        attempt_moves(previous.status if previous else None, verb, attempt.status)
    task = replace(task, updated_at=now, revision=old.revision + 1)
    event = Event(
        task=task.id,
        verb=verb,
        at=now,
        actor=actor,
        attempt=attempt.number if attempt else None,
        before=old.status,
        after=task.status,
        task_changes=difference(old, task),
        attempt_changes=difference(previous, attempt) if attempt else {},
    )
    return Change(before, task, attempt, event, effects, penalty, retry_after_s)


def own(state: State, *, attempt: int, epoch: int) -> Attempt:
    """The unended attempt, if it is the one named; LeaseLost otherwise: the fence of every write."""
    current = state.unended
    if current is None or current.number != attempt or current.epoch != epoch:
        raise LeaseLost(
            f"attempt {attempt} (epoch {epoch}) of task {state.task.id} is not the current one",
            current_attempt=state.task.attempts or None,
        )
    return current


def pending_reviews(task: Task) -> tuple[Review, ...]:
    """The reviews of the present head that no attempt has been given yet."""
    view = task.view
    return tuple(r for r in view.reviews if r.id not in view.consumed and r.head == view.head)

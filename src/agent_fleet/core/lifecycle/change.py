"""A state, and a change of it: the new values with the one event that tells them."""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from agent_fleet.core.errors import LeaseLost
from agent_fleet.core.faults import Penalty
from agent_fleet.core.history import difference
from agent_fleet.core.lifecycle.transitions import OVER, Verb, attempt_moves, task_moves
from agent_fleet.core.model import Attempt, Effect, Event, Review, Task

OPERATOR_REVIEW = "operator:"
"""Reviews given to the fleet itself bear ids with this prefix; the forge does not know them."""

CHANGES_REQUESTED = "changes_requested"
REVIEW_LIMIT = "review_limit"
"""Why a task was sent back, or was not once more. They hold while a review stands behind them."""

GONE = frozenset({"closed", "branch_gone"})
"""Why a task was cancelled that its pull request, reopened, brings back."""


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
    """The unended attempt, if it is the one named; else LeaseLost: the fence of every write."""
    current = state.unended
    if current is None or current.number != attempt or current.epoch != epoch:
        raise LeaseLost(
            f"attempt {attempt} (epoch {epoch}) of task {state.task.id} is not the current one",
            current_attempt=state.task.attempts or None,
        )
    return current


def standing_reviews(task: Task) -> tuple[Review, ...]:
    """The reviews that ask for changes now, whether an attempt was given them or not.

    On the forge a review speaks of one head. What was asked of the fleet itself stands until an
    attempt has worked it off, for nobody would repeat it.
    """
    return tuple(r for r in task.view.reviews if r.head == task.view.head or is_ours(r))


def pending_reviews(task: Task) -> tuple[Review, ...]:
    """The standing reviews that have not been turned into a revision yet."""
    return tuple(r for r in standing_reviews(task) if r.id not in task.view.consumed)


def was_sent_back(task: Task) -> bool:
    """Whether the present head has led to a revision already."""
    return any(r.head == task.view.head and r.id in task.view.consumed for r in task.view.reviews)


def is_ours(review: Review) -> bool:
    """Whether the review was given to the fleet itself."""
    return review.id.startswith(OPERATOR_REVIEW)


def take_up(task: Task, feedback: list[str]) -> Task:
    """The task with all standing reviews consumed, and `feedback` for the next prompt."""
    known = task.view.consumed
    read = tuple(r.id for r in pending_reviews(task))
    return replace(
        task,
        feedback="\n\n".join(feedback),
        view=replace(task.view, consumed=known + read) if read else task.view,
    )

"""What people and their programs ask for: submit, cancel, retry, approve, request changes."""

from datetime import datetime

from msgspec.structs import replace

from agent_fleet.core.errors import Conflict
from agent_fleet.core.faults import Reason
from agent_fleet.core.history import difference
from agent_fleet.core.lifecycle.change import (
    CHANGES_REQUESTED,
    GONE,
    REVIEW_LIMIT,
    Change,
    State,
    change,
    standing_reviews,
    take_up,
)
from agent_fleet.core.lifecycle.ending import needs_human
from agent_fleet.core.lifecycle.losing import outcome_unknown
from agent_fleet.core.lifecycle.transitions import (
    CANCELLED,
    ENDED,
    HUMAN,
    LIVE,
    OVER,
    QUEUED,
    REVIEW,
    V,
    task_moves,
)
from agent_fleet.core.model import Effect, Event, Outcome, PullState, Review, Task


def submit(task: Task, *, actor: str) -> Change:
    """A new task, queued."""
    task_moves(None, V.SUBMIT, task.status)
    event = Event(
        task=task.id,
        verb=V.SUBMIT,
        at=task.created_at,
        actor=actor,
        after=task.status,
        task_changes=difference(None, task),
    )
    return Change(State(task), task, None, event)


def cancel(state: State, *, now: datetime, actor: str) -> Change | None:
    """Cancelled at once where no attempt is live; otherwise its executor is told.

    None if that was asked before; Conflict if the task has ended otherwise. A task that is
    cancelled because its pull request was closed is so for good: reopening brings it back no more.
    """
    task = state.task
    if task.cancel_requested or (task.status is CANCELLED and task.reason not in GONE):
        return None
    if task.status is CANCELLED:
        task = replace(task, reason=Reason.CANCELLED)
        return change(state, V.CANCEL, task, now=now, actor=actor)
    if task.status in ENDED:
        raise Conflict(f"task {task.id} has ended: it is {task.status}")
    current = state.unended
    if current and current.status is LIVE:
        return change(state, V.CANCEL, replace(task, cancel_requested=True), now=now, actor=actor)
    given_back = current and replace(
        current, status=OVER, outcome=Outcome.RELEASED, reason=Reason.CANCELLED, ended_at=now
    )
    task = replace(task, status=CANCELLED, reason=Reason.CANCELLED, held=False, not_before=None)
    return change(state, V.CANCEL, task, attempt=given_back, now=now, actor=actor)


def retry(state: State, *, now: datetime, actor: str) -> Change:
    """An operator sends the task round again: tries and rounds reset.

    After its branch or pull request was done away with, or an attempt was lost that may still push
    to it, it begins a new branch. Conflict while a cancel is carried out, or at `max_attempts`.
    """
    task = state.task
    if task.cancel_requested and state.unended:
        raise Conflict(f"task {task.id} is being cancelled")
    if task.attempts >= task.max_attempts:
        raise Conflict(
            f"task {task.id} has used its {task.max_attempts} attempts; submit a new task instead"
        )
    task = replace(
        task,
        status=QUEUED,
        tries=0,
        free_failures=0,
        review_count=0,
        not_before=None,
        cancel_requested=False,
        held=False,
        fresh=task.fresh
        or task.view.state is PullState.CLOSED
        or outcome_unknown(state.attempt, task.view),
        reason=None,
        message="",
    )
    return change(state, V.RETRY, task, now=now, actor=actor)


def approve(state: State, *, merge: bool, now: datetime, actor: str) -> Change:
    """Approved as it stands; with `merge`, the outbox merges exactly this head."""
    task = state.task
    effects: tuple[Effect, ...] = ()
    if merge:
        if task.view.head is None:
            raise Conflict(f"task {task.id} has no branch to merge")
        effect = Effect(
            key=f"merge:{task.id}:{task.view.head}",
            kind="merge",
            task=task.id,
            payload={"branch": task.branch_name, "head": task.view.head, "base": task.base},
            awaited=True,
        )
        effects = (effect,)
    return change(state, V.APPROVE, task, now=now, actor=actor, effects=effects)


def request_changes(state: State, *, review: Review, now: datetime) -> Change:
    """A revision is wanted. Of a task that needs a human, the limits are reset.

    While an attempt has not ended the review is recorded; `observing.due` applies it after. Of a
    task that is queued anyway, the next attempt is given it too.
    """
    task = state.task
    if review.id not in {r.id for r in task.view.reviews}:
        task = replace(task, view=replace(task.view, reviews=(*task.view.reviews, review)))
    if state.unended is None:
        task = _sent_back(task, review, now=now)
    return change(state, V.REQUEST_CHANGES, task, now=now, actor=review.author)


def _sent_back(task: Task, review: Review, *, now: datetime) -> Task:
    if task.status is HUMAN:
        if task.attempts >= task.max_attempts:
            raise Conflict(f"task {task.id} has used its {task.max_attempts} attempts")
        return _revision(without_limits(task), review, now=now)
    if task.status is REVIEW or task.reason == CHANGES_REQUESTED:
        return _revision(task, review, now=now)
    return task


def without_limits(task: Task) -> Task:
    """The task with its rounds, tries and failures forgotten: a person has looked at it."""
    return replace(task, review_count=0, tries=0, free_failures=0)


def limit_reached(task: Task) -> bool:
    """Whether a revision of the present head would be one too many."""
    return task.review_count >= task.review_limit and task.round_head != task.view.head


def _revision(task: Task, review: Review, *, now: datetime) -> Task:
    """Queued with the text of all that was asked, or a question once the limit is reached."""
    if limit_reached(task):
        count = task.review_count
        return needs_human(task, REVIEW_LIMIT, f"changes wanted again after {count} revisions")
    if task.attempts >= task.max_attempts:
        return needs_human(task, "max_attempts", f"{task.attempts} attempts were made")
    task = take_up(task, [r.text for r in standing_reviews(task)] or [review.text])
    return replace(
        task, status=QUEUED, tries=0, not_before=now, reason=CHANGES_REQUESTED, message=""
    )


def queue_limit(state: State, *, now: datetime, actor: str) -> Change:
    """Nothing took the task within its queue limit."""
    task = needs_human(state.task, "queue_limit", "no host or agent took the task in time")
    return change(state, V.QUEUE_LIMIT, task, now=now, actor=actor)


def withdraw(state: State, *, message: str, now: datetime, actor: str) -> Change:
    """The issue was closed or its trigger removed: cancelled, or a question once it had started."""
    task = state.task
    begun = task.started or task.generation > 1 or state.unended or task.status is REVIEW
    if begun:
        task = needs_human(task, "withdrawn", message)
    else:
        task = replace(task, status=CANCELLED, reason="withdrawn", message=message, not_before=None)
    return change(state, V.WITHDRAW, task, now=now, actor=actor)

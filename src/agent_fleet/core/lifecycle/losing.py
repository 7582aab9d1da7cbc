"""An attempt is lost: its executor fell silent, and what it left on the forge decides.

A lost executor may still be at work. So nothing is begun again on a branch that it may push to,
and what it hands in late counts for as long as nobody has taken its place.
"""

from datetime import datetime

from msgspec.structs import replace

from agent_fleet.core.errors import Conflict, LeaseLost, Superseded
from agent_fleet.core.faults import Reason
from agent_fleet.core.lifecycle.change import Backoff, Change, State, change, own, was_sent_back
from agent_fleet.core.lifecycle.ending import (
    delivered,
    needs_human,
    queued_again,
    unless_overruled,
    with_head,
    worked_off,
)
from agent_fleet.core.lifecycle.transitions import FAILED, OVER, QUEUED, REVIEW, RUNNING, V
from agent_fleet.core.model import Attempt, ForgeView, Outcome, PullState, Task


def lose(
    state: State,
    *,
    attempt: int,
    epoch: int,
    view: ForgeView | None,
    backoff: Backoff,
    now: datetime,
    actor: str,
) -> Change:
    """The executor fell silent and its lease is over. `view` is what the forge says now.

    None means that the forge did not answer: the slot is free, and the task is held until it does.
    """
    current = own(state, attempt=attempt, epoch=epoch)
    ended = replace(
        current,
        status=OVER,
        outcome=Outcome.LOST,
        reason=Reason.LOST,
        ended_at=now,
        message="the lease expired: no word from the executor",
    )
    task = replace(state.task, tries=state.task.tries + 1, free_failures=0)
    if view is not None:
        after = _after_loss(task, ended, view, backoff=backoff, now=now)
    elif task.status in {RUNNING, QUEUED}:
        after = replace(task, status=QUEUED, held=True, reason=Reason.LOST, message=ended.message)
    else:
        after = task
    after = unless_overruled(state.task, after)
    return change(state, V.LOSE, after, attempt=ended, now=now, actor=actor)


def settle(state: State, *, view: ForgeView, backoff: Backoff, now: datetime, actor: str) -> Change:
    """The forge has answered for a task that was held since its attempt was lost."""
    if not state.task.held or state.attempt is None:
        raise Conflict(f"task {state.task.id} is not held")
    task = replace(state.task, held=False)
    after = _after_loss(task, state.attempt, view, backoff=backoff, now=now)
    return change(state, V.SETTLE, after, now=now, actor=actor)


def late_receipt(
    state: State,
    *,
    attempt: int,
    head_sha: str | None,
    view: ForgeView,
    summary: str,
    receipt_id: str,
    now: datetime,
    actor: str,
) -> Change:
    """A lost attempt hands in after all; nobody succeeded it, and its head is on the forge.

    Superseded if there is a later attempt, LeaseLost if it ended otherwise than by being lost,
    Conflict if its head is not the branch's. A task that was sent back since stays as it is.
    """
    lost = state.attempt
    if attempt < state.task.attempts:
        raise Superseded(
            f"attempt {attempt} of task {state.task.id} has a successor",
            current_attempt=state.task.attempts,
        )
    if lost is None or lost.number != attempt or lost.outcome is not Outcome.LOST:
        raise LeaseLost(
            f"attempt {attempt} of task {state.task.id} is over",
            current_attempt=state.task.attempts or None,
        )
    if state.task.deliverable == "branch" and head_sha != view.head:
        raise Conflict(f"the branch of task {state.task.id} is not at {head_sha}")
    found = replace(
        lost,
        outcome=Outcome.SUCCEEDED,
        reason=None,
        head_sha=head_sha,
        receipt_id=receipt_id,
        message=summary,
    )
    task = replace(state.task, held=False, fresh=False)
    if not was_sent_back(with_head(task, view)):
        task = delivered(task, view=view, summary=summary, session=None, now=now)
    return change(state, V.LATE_RECEIPT, task, attempt=found, now=now, actor=actor)


def _after_loss(
    task: Task, lost: Attempt, view: ForgeView, *, backoff: Backoff, now: datetime
) -> Task:
    """What a lost attempt left behind decides: a delivery, a question, or another attempt.

    A pull request that was ready before a lost revision began is no delivery of that revision.
    """
    moved = view.head is not None and view.head != lost.start_head
    task = with_head(task, view)
    if task.status not in {RUNNING, QUEUED}:
        return task
    if view.state is PullState.OPEN and (moved or not task.feedback):
        task = worked_off(task)
        return replace(task, status=REVIEW, reason=None, message="", not_before=None)
    if moved and task.retry != "always":
        return needs_human(task, Reason.LOST, "unfinished? commits were pushed, then silence")
    if not moved and task.retry == "never":
        return needs_human(task, Reason.LOST, "nothing was pushed, and it is not to be retried")
    if task.tries >= task.max_tries:
        message = f"{task.tries} tries: the executor was lost"
        return replace(task, status=FAILED, reason=Reason.LOST, message=message)
    again = queued_again(
        task, reason=Reason.LOST, message="the executor was lost", backoff=backoff, now=now
    )
    return replace(again, fresh=again.status is QUEUED and outcome_unknown(lost, view))


def outcome_unknown(attempt: Attempt | None, view: ForgeView) -> bool:
    """Whether the latest attempt was lost and may still push to a branch that it began or moved.

    A revision that left its branch as it was is done again there: each push names the head that it
    expects.
    """
    if attempt is None or attempt.outcome is not Outcome.LOST:
        return False
    return view.head is None or view.head != attempt.start_head

"""What is seen on the forge: two readings of a branch in, verbs out, from their difference only.

Webhooks, the reconciler and our own calls all end in `apply_view`. Since a reading replaces the
last one whole, and what it leads to depends on the task and the present reading alone, neither the
order nor the number of deliveries can matter.
"""

from datetime import datetime

from msgspec.structs import replace

from agent_fleet.core.lifecycle.change import Change, State, change, pending_reviews
from agent_fleet.core.lifecycle.commands import request_changes
from agent_fleet.core.lifecycle.transitions import (
    ASSIGNED,
    CANCELLED,
    COMPLETED,
    GRANTED,
    HUMAN,
    OVER,
    QUEUED,
    REVIEW,
    RUNNING,
    V,
    Verb,
)
from agent_fleet.core.model import ForgeView, Outcome, PullState, Review, Task

OPERATOR_REVIEW = "operator:"
"""Reviews given to the fleet itself bear ids with this prefix; the forge does not know them."""


def observe(old: ForgeView, new: ForgeView) -> tuple[Verb, ...]:
    """The verbs that lie in the difference of two readings, in the order they must be applied."""
    if replace(new, version=old.version) == old:
        return ()
    verbs: list[Verb] = [V.OBSERVE]
    if new.state is PullState.MERGED and old.state is not PullState.MERGED:
        return (*verbs, V.MERGE)
    unready = {PullState.NONE, PullState.DRAFT}
    if old.state is PullState.CLOSED and new.state is not PullState.CLOSED:
        verbs.append(V.REOPEN)
    if new.pull is not None and old.state in unready and new.state not in unready:
        verbs.append(V.PULL_READY)
    if new.state is PullState.CLOSED:
        verbs.append(V.CLOSE)
    if {r.id for r in new.reviews} - {r.id for r in old.reviews}:
        verbs.append(V.REQUEST_CHANGES)
    return tuple(verbs)


def apply_view(state: State, seen: ForgeView, *, now: datetime, actor: str) -> tuple[Change, ...]:
    """The changes that a reading leads to; none if it is older than the last or says nothing new."""
    old = state.task.view
    if state.task.status is COMPLETED or seen.version < old.version:
        return ()
    ours = tuple(r for r in old.reviews if r.id.startswith(OPERATOR_REVIEW))
    view = replace(
        seen,
        head=seen.head or old.head,
        reviews=(*ours, *seen.reviews),
        consumed=old.consumed,
    )
    verbs = observe(old, view)
    if not verbs:
        return ()
    moved = view.head != old.head
    task = replace(
        state.task, view=view, last_activity_at=now if moved else state.task.last_activity_at
    )
    changes = [change(state, V.OBSERVE, task, now=now, actor=actor)]
    for verb in verbs[1:]:
        step = _apply(changes[-1].state, verb, now=now, actor=actor)
        if step:
            changes.append(step)
    follow_up = due(changes[-1].state, now=now, actor=actor)
    return (*changes, follow_up) if follow_up else tuple(changes)


def due(state: State, *, now: datetime, actor: str) -> Change | None:
    """What had to wait for the end of an attempt: a closed pull request, a requested change."""
    task = state.task
    if state.unended is not None:
        return None
    if task.view.state is PullState.CLOSED and task.attempts and not task.fresh:
        return _close(state, now=now, actor=actor)
    if task.status is not REVIEW:
        return None
    waiting = pending_reviews(task)
    if waiting:
        return request_changes(state, review=waiting[-1], now=now)
    if task.feedback and _asked(task):
        return request_changes(state, review=_asked(task)[-1], now=now)
    return None


def _asked(task: Task) -> tuple[Review, ...]:
    """The reviews of the present head, answered or not."""
    return tuple(r for r in task.view.reviews if r.head == task.view.head)


def _apply(state: State, verb: Verb, *, now: datetime, actor: str) -> Change | None:
    match verb:
        case V.MERGE:
            return _merge(state, now=now, actor=actor)
        case V.PULL_READY:
            return _pull_ready(state, now=now, actor=actor)
        case V.REOPEN:
            return _reopen(state, now=now, actor=actor)
        case _:
            return None


def _merge(state: State, *, now: datetime, actor: str) -> Change:
    """Completed, whoever merged. A live attempt is told to stop, a grant is taken back."""
    current = state.unended
    if current and current.status is GRANTED:
        current = replace(current, status=OVER, outcome=Outcome.RELEASED, ended_at=now)
    else:
        current = None
    task = replace(
        state.task,
        status=COMPLETED,
        reason=None,
        message=f"merged as {state.task.view.merged_sha or 'unknown'}",
        not_before=None,
        held=False,
        feedback="",
    )
    return change(state, V.MERGE, task, attempt=current, now=now, actor=actor)


def _pull_ready(state: State, *, now: datetime, actor: str) -> Change | None:
    """In review, unless this very head was already sent back."""
    task = state.task
    if task.status not in {QUEUED, ASSIGNED, RUNNING, HUMAN} or _asked(task):
        return None
    task = replace(task, status=REVIEW, reason=None, message="", not_before=None, held=False)
    return change(state, V.PULL_READY, task, now=now, actor=actor)


def _close(state: State, *, now: datetime, actor: str) -> Change | None:
    """Closed unmerged, or the branch deleted: cancelled."""
    task = state.task
    if task.status not in {QUEUED, REVIEW, HUMAN}:
        return None
    reason = "closed" if task.view.pull is not None else "branch_gone"
    task = replace(task, status=CANCELLED, reason=reason, not_before=None, held=False)
    return change(state, V.CLOSE, task, now=now, actor=actor)


def _reopen(state: State, *, now: datetime, actor: str) -> Change | None:
    task = state.task
    if task.status is not CANCELLED or task.reason not in {"closed", "branch_gone"}:
        return None
    task = replace(task, status=REVIEW, reason=None, message="")
    return change(state, V.REOPEN, task, now=now, actor=actor)

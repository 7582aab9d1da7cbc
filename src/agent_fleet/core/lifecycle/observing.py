"""What is seen on the forge: two readings of a branch in, verbs out, from their difference only.

Webhooks, the reconciler and our own calls all end in `apply_view`. Since a reading replaces the
last one whole, and what it leads to depends on the task and the present reading alone, neither the
order nor the number of deliveries can matter.
"""

from datetime import datetime

from msgspec.structs import replace

from agent_fleet.core.lifecycle.change import (
    CHANGES_REQUESTED,
    GONE,
    REVIEW_LIMIT,
    Change,
    State,
    change,
    is_ours,
    pending_reviews,
    standing_reviews,
    was_sent_back,
)
from agent_fleet.core.lifecycle.commands import limit_reached, request_changes, without_limits
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
from agent_fleet.core.model import ForgeView, Outcome, PullState, Review, Task, TaskStatus


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
        unready.add(PullState.CLOSED)
    if new.pull is not None and old.state in unready and new.state not in unready:
        verbs.append(V.PULL_READY)
    if new.state is PullState.CLOSED:
        verbs.append(V.CLOSE)
    if {r.id for r in new.reviews} - {r.id for r in old.reviews}:
        verbs.append(V.REQUEST_CHANGES)
    return tuple(verbs)


def apply_view(state: State, seen: ForgeView, *, now: datetime, actor: str) -> tuple[Change, ...]:
    """The changes that a reading leads to; none if it is older than the last or brings no news."""
    old = state.task.view
    if state.task.status is COMPLETED or seen.version < old.version:
        return ()
    ours = tuple(r for r in old.reviews if is_ours(r))
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
    """What the present reading still asks for. To be called after every end of an attempt.

    A closed pull request and a requested change wait for that end. A request that no longer stands
    (dismissed, or a newer head was pushed) before an attempt was given it is none.
    """
    task = state.task
    if state.unended is not None:
        return None
    if task.view.state is PullState.CLOSED and task.attempts and not task.fresh:
        return _close(state, now=now, actor=actor)
    asked = standing_reviews(task)
    if not asked and task.reason in {CHANGES_REQUESTED, REVIEW_LIMIT}:
        return _in_review(state, now=now, actor=actor)
    if asked and _is_due(task, asked):
        return request_changes(state, review=asked[-1], now=now)
    return None


def _is_due(task: Task, asked: tuple[Review, ...]) -> bool:
    pending = bool(pending_reviews(task))
    match task.status:
        case TaskStatus.REVIEW_PENDING:
            return pending or bool(task.feedback)
        case TaskStatus.NEEDS_HUMAN:
            # Beyond the limit the reviews are the question, not its answer.
            exhausted = task.attempts >= task.max_attempts
            return pending and task.reason != REVIEW_LIMIT and not exhausted
        case TaskStatus.QUEUED:
            given = "\n\n".join(r.text for r in asked)
            news = given != task.feedback or limit_reached(task)
            return task.reason == CHANGES_REQUESTED and news
        case _:
            return False


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
    if task.status not in {QUEUED, ASSIGNED, RUNNING, HUMAN} or was_sent_back(task):
        return None
    return _in_review(state, now=now, actor=actor)


def _in_review(state: State, *, now: datetime, actor: str) -> Change:
    task = state.task if state.task.status is not HUMAN else without_limits(state.task)
    if state.unended is None:
        task = replace(task, tries=0, feedback="")
    task = replace(
        task, status=REVIEW, reason=None, message="", not_before=None, held=False, fresh=False
    )
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
    if task.status is not CANCELLED or task.reason not in GONE:
        return None
    feedback = task.feedback if standing_reviews(task) else ""
    task = replace(task, status=REVIEW, reason=None, message="", feedback=feedback)
    return change(state, V.REOPEN, task, now=now, actor=actor)

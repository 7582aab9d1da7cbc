"""How an attempt ends, and what then becomes of its task.

Two things outrank an attempt's end: a task that has ended stays as it is, and a requested cancel
is carried out. After that the failure table decides, or for a lost attempt what it left behind.
"""

from datetime import datetime

from msgspec.structs import replace

from agent_fleet.core.faults import (
    CONSEQUENCES,
    FREE_FAILURES_IN_A_ROW,
    Next,
    Penalty,
    Reason,
)
from agent_fleet.core.lifecycle.change import (
    Backoff,
    Change,
    State,
    change,
    is_ours,
    own,
    standing_reviews,
    take_up,
)
from agent_fleet.core.lifecycle.transitions import (
    ASSIGNED,
    CANCELLED,
    COMPLETED,
    ENDED,
    FAILED,
    GRANTED,
    HUMAN,
    LIVE,
    OVER,
    QUEUED,
    REVIEW,
    V,
)
from agent_fleet.core.model import Attempt, ForgeView, Outcome, Session, Task

_BY_THE_CLI = frozenset({Reason.AGENT_ERROR, Reason.OUTPUT_UNPARSABLE})


def release(
    state: State,
    *,
    attempt: int,
    epoch: int,
    message: str,
    backoff: Backoff,
    now: datetime,
    actor: str,
) -> Change:
    """A grant is given back, or expired, before anything started: no try is charged."""
    current = own(state, attempt=attempt, epoch=epoch)
    ended = replace(current, status=OVER, outcome=Outcome.RELEASED, ended_at=now, message=message)
    task = state.task
    if task.status in {ASSIGNED, QUEUED}:
        task = replace(task, free_failures=task.free_failures + 1)
        task = queued_again(task, reason=None, message=message, backoff=backoff, now=now)
    task = unless_overruled(state.task, task)
    return change(state, V.RELEASE, task, attempt=ended, now=now, actor=actor)


def succeed(
    state: State,
    *,
    attempt: int,
    epoch: int,
    head_sha: str | None,
    view: ForgeView,
    summary: str,
    receipt_id: str,
    session: Session | None,
    now: datetime,
    actor: str,
) -> Change:
    """The attempt delivered, and its head was seen on the forge (`view`)."""
    current = own(state, attempt=attempt, epoch=epoch)
    ended = replace(
        current,
        status=OVER,
        outcome=Outcome.SUCCEEDED,
        ended_at=now,
        head_sha=head_sha,
        receipt_id=receipt_id,
        message=summary,
    )
    task = delivered(state.task, view=view, summary=summary, session=session, now=now)
    return change(state, V.SUCCEED, task, attempt=ended, now=now, actor=actor)


def fail(
    state: State,
    *,
    attempt: int,
    epoch: int,
    reason: Reason,
    message: str,
    alternatives: bool,
    backoff: Backoff,
    receipt_id: str | None = None,
    session: Session | None = None,
    retry_after_s: float | None = None,
    now: datetime,
    actor: str,
) -> Change:
    """The attempt ended with a typed reason; `faults.CONSEQUENCES` says what happens next.

    `alternatives`: another account or adapter could take the task, should this account be stopped.
    A CLI that failed by itself and names no `session` did not find the one that it was to resume:
    the next attempt begins a new one.
    """
    current = own(state, attempt=attempt, epoch=epoch)
    row = CONSEQUENCES[reason]
    ended = replace(
        current,
        status=OVER,
        outcome=_outcome(current, reason),
        reason=reason,
        ended_at=now,
        message=message,
        receipt_id=receipt_id,
    )
    charged = row.charged and current.status is LIVE
    task = replace(
        state.task,
        tries=state.task.tries + charged,
        free_failures=0 if charged else state.task.free_failures + 1,
        session=session or (None if reason in _BY_THE_CLI else state.task.session),
    )
    blocked = row.penalty is Penalty.ACCOUNT_STOP and not alternatives
    after = _after_failure(task, reason, blocked=blocked, message=message, backoff=backoff, now=now)
    return change(
        state,
        V.FAIL,
        unless_overruled(state.task, after),
        attempt=ended,
        now=now,
        actor=actor,
        penalty=row.penalty,
        retry_after_s=retry_after_s,
    )


def queued_again(
    task: Task, *, reason: Reason | None, message: str, backoff: Backoff, now: datetime
) -> Task:
    """Queued, after a delay that grows with the failures in a row; needs a human at a bound."""
    if task.attempts >= task.max_attempts:
        return needs_human(task, "max_attempts", f"{task.attempts} attempts were made: {message}")
    if task.free_failures > FREE_FAILURES_IN_A_ROW:
        return needs_human(task, reason, f"{task.free_failures} times in a row: {message}")
    wait = max(task.free_failures, task.tries)
    return replace(
        task, status=QUEUED, reason=reason, message=message, not_before=backoff.after(now, wait)
    )


def needs_human(task: Task, reason: str | None, message: str) -> Task:
    """The task with a question to a person: why, and about what."""
    return replace(task, status=HUMAN, reason=reason, message=message, not_before=None, held=False)


def with_head(task: Task, view: ForgeView) -> Task:
    """The task with the head that was read, unless a newer reading is known.

    The rest of `view` is left to `observing.apply_view`: the verbs lie in its differences.
    """
    known = task.view
    if view.version < known.version:
        return task
    return replace(task, view=replace(known, version=view.version, head=view.head or known.head))


def worked_off(task: Task) -> Task:
    """The task without what its attempt was asked; what was asked since remains."""
    view = task.view
    rest = tuple(r for r in view.reviews if not is_ours(r) or r.id not in view.consumed)
    return replace(task, feedback="", view=replace(view, reviews=rest))


def unless_overruled(before: Task, after: Task) -> Task:
    if before.status in ENDED:
        return replace(
            after,
            status=before.status,
            reason=before.reason,
            message=before.message,
            not_before=None,
            held=False,
        )
    if before.cancel_requested:
        return replace(
            after, status=CANCELLED, reason=Reason.CANCELLED, not_before=None, held=False
        )
    return after


def _outcome(attempt: Attempt, reason: Reason) -> Outcome:
    if attempt.status is GRANTED:
        return Outcome.RELEASED
    if reason is Reason.CANCELLED:
        return Outcome.CANCELLED
    return Outcome.TIMED_OUT if reason in {Reason.RUN_TIMEOUT, Reason.STALLED} else Outcome.FAILED


def _after_failure(
    task: Task, reason: Reason, *, blocked: bool, message: str, backoff: Backoff, now: datetime
) -> Task:
    row = CONSEQUENCES[reason]
    if task.status is HUMAN:
        return replace(task, reason=reason, message=message)
    if row.next is Next.CANCEL:
        return replace(task, status=CANCELLED, reason=reason, message=message)
    if row.next is Next.FAILED:
        return replace(task, status=FAILED, reason=reason, message=message)
    if blocked or row.next is not Next.AGAIN:
        return needs_human(task, reason, message)
    if row.charged and task.tries >= task.max_tries:
        return replace(task, status=FAILED, reason=reason, message=f"{task.tries} tries: {message}")
    if row.feedback:
        asked = [r.text for r in standing_reviews(task)]
        task = take_up(task, [*asked, f"The previous attempt ended with {reason}: {message}"])
    return queued_again(task, reason=reason, message=message, backoff=backoff, now=now)


def delivered(
    task: Task, *, view: ForgeView, summary: str, session: Session | None, now: datetime
) -> Task:
    after = replace(
        worked_off(with_head(task, view)),
        status=COMPLETED if task.deliverable == "none" else REVIEW,
        free_failures=0,
        tries=0,
        reason=None,
        message=summary,
        pr_title=task.pr_title or task.title,
        session=session or task.session,
        last_activity_at=now,
        not_before=None,
    )
    return unless_overruled(task, after)

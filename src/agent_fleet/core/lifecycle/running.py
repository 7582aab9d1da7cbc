"""What an executor says while it works: grant, start, renew, take over; and what it is told."""

from datetime import datetime, timedelta
from typing import Literal

from msgspec.structs import replace

from agent_fleet.core.errors import Conflict
from agent_fleet.core.lifecycle.change import (
    CHANGES_REQUESTED,
    Change,
    State,
    change,
    own,
    pending_reviews,
    take_up,
)
from agent_fleet.core.lifecycle.transitions import (
    ASSIGNED,
    COMPLETED,
    ENDED,
    GRANTED,
    LIVE,
    RUNNING,
    V,
)
from agent_fleet.core.model import Attempt, ForgeView, Task, Transport

Directive = Literal["continue", "cancel", "stop"]


def grant(
    state: State,
    *,
    transport: Transport,
    owner: str,
    host: str | None,
    adapter: str,
    incarnation: str = "",
    request_key: str | None = None,
    lease_ttl: timedelta,
    now: datetime,
) -> Change:
    """A new attempt, with the next number; Conflict while another has not ended or none may begin.

    A task that is `fresh` takes its next branch generation, of which nothing is known yet; it has
    another workspace, where no session of the former one can be resumed. The first attempt that
    answers the reviews of a head begins a revision.
    """
    task = state.task
    if state.unended:
        raise Conflict(f"attempt {task.attempts} of task {task.id} has not ended")
    if task.held:
        raise Conflict(f"task {task.id} is held until its forge has answered")
    if task.not_before is not None and task.not_before > now:
        raise Conflict(f"task {task.id} is not to start before {task.not_before.isoformat()}")
    task = _revision_begun(task)
    if task.fresh:
        task = _next_generation(task)
    attempt = Attempt(
        task=task.id,
        number=task.attempts + 1,
        status=GRANTED,
        transport=transport,
        owner=owner,
        incarnation=incarnation,
        host=host,
        adapter=adapter,
        request_key=request_key,
        branch=task.branch_name,
        generation=task.generation,
        start_head=task.view.head if task.started else None,
        granted_at=now,
        lease_expires_at=now + lease_ttl,
    )
    task = replace(
        task,
        status=ASSIGNED,
        attempts=attempt.number,
        not_before=None,
        assigned_host=host or owner,
        reason=None,
        message="",
    )
    return change(state, V.GRANT, task, attempt=attempt, now=now, actor=owner)


def _revision_begun(task: Task) -> Task:
    """The task with all that was asked in its prompt; a revision counts once for each head."""
    given = [task.feedback] if task.feedback else []
    asked = [r.text for r in pending_reviews(task)]
    if asked:
        task = take_up(task, given + asked)
    if task.reason != CHANGES_REQUESTED or task.round_head == task.view.head:
        return task
    return replace(task, review_count=task.review_count + 1, round_head=task.view.head)


def _next_generation(task: Task) -> Task:
    return replace(
        task,
        generation=task.generation + 1,
        fresh=False,
        started=False,
        base_sha=None,
        session=None,
        view=ForgeView(version=task.view.version),
    )


def start(
    state: State, *, attempt: int, epoch: int, base_sha: str | None, now: datetime, actor: str
) -> Change | None:
    """The agent's CLI runs; None if that was said before. `base_sha`: the base branch's head."""
    current = own(state, attempt=attempt, epoch=epoch)
    if current.status is LIVE:
        return None
    task = state.task
    task = replace(
        task,
        status=RUNNING if task.status is ASSIGNED else task.status,
        started=True,
        base_sha=task.base_sha or base_sha,
        last_activity_at=now,
    )
    current = replace(current, status=LIVE, started_at=now, base_sha=base_sha, phase="running")
    return change(state, V.START, task, attempt=current, now=now, actor=actor)


def renew(
    state: State,
    *,
    attempt: int,
    epoch: int,
    lease_ttl: timedelta,
    prepare_limit: timedelta,
    phase: str | None,
    progress: str | None,
    now: datetime,
) -> Attempt:
    """The attempt with its lease extended; a heartbeat is no event.

    Nothing is extended once a cancel is requested, nor past `prepare_limit` before the start.
    """
    current = own(state, attempt=attempt, epoch=epoch)
    expires = now + lease_ttl
    if current.status is GRANTED:
        expires = min(expires, current.granted_at + prepare_limit)
    if directive(state) != "continue":
        expires = current.lease_expires_at
    return replace(
        current,
        lease_expires_at=max(expires, current.lease_expires_at),
        phase=phase or current.phase,
        progress=current.progress if progress is None else progress,
    )


def directive(state: State) -> Directive:
    """What the executor of the unended attempt is told."""
    if state.task.status is COMPLETED:
        return "stop"
    if state.task.cancel_requested or state.task.status in ENDED:
        return "cancel"
    return "continue"


def take_over(
    state: State, *, attempt: int, epoch: int, owner: str, lease_ttl: timedelta, now: datetime
) -> Change:
    """A new owner of an ssh_cli run, which itself goes on. The old owner's writes match no more."""
    current = own(state, attempt=attempt, epoch=epoch)
    current = replace(
        current, owner=owner, epoch=current.epoch + 1, lease_expires_at=now + lease_ttl
    )
    return change(state, V.TAKE_OVER, state.task, attempt=current, now=now, actor=owner)

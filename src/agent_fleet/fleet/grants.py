"""Granting: an attempt for a task, and all that its executor needs to know, in one value."""

from datetime import datetime, timedelta

from agent_fleet.core import lifecycle
from agent_fleet.core.errors import FleetError, InvalidInput, NotFound
from agent_fleet.core.faults import Reason
from agent_fleet.core.lifecycle import State
from agent_fleet.core.model import Attempt, Grant, Limits, Task, Transport
from agent_fleet.core.prompt import render
from agent_fleet.fleet.context import Context
from agent_fleet.store.store import Transaction


async def grant(
    tx: Transaction,
    context: Context,
    task: int,
    *,
    transport: Transport,
    owner: str,
    host: str | None,
    adapter: str,
    incarnation: str = "",
    request_key: str | None = None,
    lease_ttl: timedelta,
    now: datetime,
) -> Grant | None:
    """The next attempt of the task. None if the task turns out to be invalid: it then failed."""
    state = await tx.work.state(task)
    change = lifecycle.grant(
        state,
        transport=transport,
        owner=owner,
        host=host,
        adapter=adapter,
        incarnation=incarnation,
        request_key=request_key,
        lease_ttl=lease_ttl,
        now=now,
    )
    await tx.work.save(change)
    assert change.attempt is not None
    try:
        return describe(context, change.task, change.attempt)
    except (InvalidInput, NotFound) as error:
        await refuse(tx, context, change.state, error, now=now)
        return None


def describe(context: Context, task: Task, attempt: Attempt) -> Grant:
    """What the executor of an attempt is told; the same, whenever it is asked again.

    Raises NotFound if the repository is no longer configured, InvalidInput if no prompt can be
    made.
    """
    rules = context.rules
    repo = rules.repo(task.repo)
    session = task.session
    resumable = session and session.adapter == attempt.adapter
    place = attempt.host or attempt.owner
    return Grant(
        task=task.id,
        attempt=attempt.number,
        epoch=attempt.epoch,
        fleet_epoch=context.fleet_epoch,
        lease=rules.lease,
        title=task.title,
        prompt=render(task),
        adapter=attempt.adapter,
        model=task.model or rules.model,
        repo=task.repo,
        url=repo.url,
        base=task.base,
        branch=attempt.branch,
        start_head=attempt.start_head,
        deliverable=task.deliverable,
        validation=task.validation,
        commit=repo.commit,
        identity=rules.identity,
        limits=Limits(
            run_s=task.run_limit_s,
            silence_s=task.silence_limit_s,
            prepare_s=rules.prepare_limit.total_seconds(),
        ),
        session=session.id if session and resumable and session.host == place else None,
    )


async def refuse(
    tx: Transaction, context: Context, state: State, error: FleetError, *, now: datetime
) -> None:
    """The attempt fails, because `describe` said that its task is invalid."""
    assert state.attempt is not None
    failed = lifecycle.fail(
        state,
        attempt=state.attempt.number,
        epoch=state.attempt.epoch,
        reason=Reason.INVALID_TASK,
        message=error.message,
        alternatives=False,
        backoff=context.rules.backoff,
        now=now,
        actor="fleet",
    )
    await tx.work.save(failed)

"""One transaction per step of a task's way, so that a test says only what it is about."""

from datetime import datetime, timedelta
from typing import Any

from agent_fleet.core import lifecycle
from agent_fleet.core.faults import Reason
from agent_fleet.core.history import comparable, replay
from agent_fleet.core.lifecycle import Backoff, Change, State
from agent_fleet.core.model import Attempt, Event, ForgeView, Task, Transport
from agent_fleet.store.store import Store
from tests.support.tasks import new_task

LEASE = timedelta(seconds=90)
HEAD = "a" * 40


async def submit(store: Store, **overrides: Any) -> Task:
    async with store.transaction() as tx:
        task = new_task(id=await tx.new_task_id(), **overrides)
        await tx.work.create(lifecycle.submit(task, actor=task.requester))
    return task


async def grant(
    store: Store,
    task: int,
    *,
    transport: Transport = Transport.HTTP_PULL,
    owner: str = "ada",
    host: str | None = None,
    request_key: str | None = None,
) -> Attempt:
    async with store.transaction() as tx:
        change = granting(
            await tx.work.state(task),
            now=await tx.now(),
            transport=transport,
            owner=owner,
            host=host,
            request_key=request_key,
        )
        await tx.work.save(change)
    assert change.attempt is not None
    return change.attempt


async def start(store: Store, task: int) -> Attempt:
    async with store.transaction() as tx:
        state = await tx.work.state(task)
        assert state.attempt is not None
        change = lifecycle.start(
            state,
            attempt=state.attempt.number,
            epoch=state.attempt.epoch,
            base_sha="b" * 40,
            now=await tx.now(),
            actor=state.attempt.owner,
        )
        assert change is not None
        await tx.work.save(change)
    assert change.attempt is not None
    return change.attempt


async def started(store: Store, **overrides: Any) -> Attempt:
    """A new task's first attempt, live."""
    task = await submit(store, **overrides)
    await grant(store, task.id)
    return await start(store, task.id)


async def take_over(store: Store, task: int, *, owner: str) -> Attempt:
    async with store.transaction() as tx:
        state = await tx.work.state(task)
        assert state.attempt is not None
        change = lifecycle.take_over(
            state,
            attempt=state.attempt.number,
            epoch=state.attempt.epoch,
            owner=owner,
            lease_ttl=LEASE,
            now=await tx.now(),
        )
        await tx.work.save(change)
    assert change.attempt is not None
    return change.attempt


async def seen(store: Store, task: int) -> State:
    """The task as somebody saw it who then went away: not locked."""
    async with store.reading() as tx:
        value = await tx.work.task(task)
        attempt = await tx.work.attempt(task, value.attempts) if value.attempts else None
    return State(value, attempt)


async def save(store: Store, change: Change, *, expired: bool = False) -> None:
    async with store.transaction() as tx:
        await tx.work.save(change, expired=expired)


async def history(store: Store, task: int) -> list[Event]:
    async with store.reading() as tx:
        return await tx.listing.events(task=task, limit=1000)


async def is_replayed(store: Store, task: int) -> bool:
    """Whether folding the stored events gives the stored task and attempts."""
    async with store.reading() as tx:
        value = await tx.work.task(task)
        attempts = await tx.work.attempts(task)
        events = await tx.listing.events(task=task, limit=1000)
    replayed, replayed_attempts = replay(events)
    return comparable(replayed) == comparable(value) and {
        number: comparable(attempt) for number, attempt in replayed_attempts.items()
    } == {attempt.number: comparable(attempt) for attempt in attempts}


def granting(
    state: State,
    *,
    now: datetime,
    transport: Transport = Transport.HTTP_PULL,
    owner: str = "ada",
    host: str | None = None,
    request_key: str | None = None,
) -> Change:
    return lifecycle.grant(
        state,
        transport=transport,
        owner=owner,
        host=host,
        adapter="raw",
        request_key=request_key,
        lease_ttl=LEASE,
        now=now,
    )


def succeeding(state: State, *, now: datetime, summary: str = "done") -> Change:
    assert state.attempt is not None
    return lifecycle.succeed(
        state,
        attempt=state.attempt.number,
        epoch=state.attempt.epoch,
        head_sha=HEAD,
        view=ForgeView(version=1, head=HEAD),
        summary=summary,
        receipt_id="receipt-1",
        session=None,
        now=now,
        actor=state.attempt.owner,
    )


def failing(state: State, *, now: datetime, message: str = "it broke") -> Change:
    assert state.attempt is not None
    return lifecycle.fail(
        state,
        attempt=state.attempt.number,
        epoch=state.attempt.epoch,
        reason=Reason.AGENT_ERROR,
        message=message,
        alternatives=False,
        backoff=Backoff(first_s=0),
        now=now,
        actor=state.attempt.owner,
    )


def losing(state: State, *, now: datetime) -> Change:
    assert state.attempt is not None
    return lifecycle.lose(
        state,
        attempt=state.attempt.number,
        epoch=state.attempt.epoch,
        view=None,
        backoff=Backoff(),
        now=now,
        actor="sweeper",
    )

"""Tasks and attempts, written: what a transaction may change, each write on a condition."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Select, Update, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent_fleet.core.errors import Conflict, LeaseLost, NotFound
from agent_fleet.core.lifecycle import Change, State, Verb
from agent_fleet.core.model import (
    Attempt,
    AttemptStatus,
    Event,
    Mode,
    Outcome,
    Task,
    TaskStatus,
    Transport,
)
from agent_fleet.store.database import Database
from agent_fleet.store.outbox import Outbox
from agent_fleet.store.schema import attempts, events, tasks


class Work:
    """Reads and writes tasks and attempts; collects events, which are inserted last."""

    def __init__(self, connection: AsyncConnection, database: Database, outbox: Outbox) -> None:
        self._connection = connection
        self._database = database
        self._outbox = outbox
        self._events: list[Event] = []

    # -- reading ---------------------------------------------------------------------------------

    async def state(self, task: int) -> State:
        """The task, locked until the transaction ends, with its latest attempt."""
        query = select(tasks.c.document).where(tasks.c.id == task).with_for_update()
        document = await self._connection.scalar(query)
        if document is None:
            raise NotFound(f"there is no task {task}")
        value = msgspec.convert(document, Task)
        return State(value, await self.attempt(task, value.attempts) if value.attempts else None)

    async def task(self, task: int) -> Task:
        """The task as it is, not locked."""
        document = await self._connection.scalar(select(tasks.c.document).where(tasks.c.id == task))
        if document is None:
            raise NotFound(f"there is no task {task}")
        return msgspec.convert(document, Task)

    async def attempt(self, task: int, number: int) -> Attempt:
        query = select(attempts).where(attempts.c.task == task, attempts.c.number == number)
        row = (await self._connection.execute(query)).first()
        if row is None:
            raise NotFound(f"task {task} has no attempt {number}")
        return msgspec.convert(row, Attempt, from_attributes=True)

    async def attempts(self, task: int) -> list[Attempt]:
        """All attempts of a task, the first one first."""
        return await self._attempts(
            select(attempts).where(attempts.c.task == task).order_by(attempts.c.number)
        )

    async def unended(self, *, transport: Transport) -> list[Attempt]:
        """The attempts of a transport that have not ended."""
        query = select(attempts).where(
            attempts.c.status != AttemptStatus.ENDED, attempts.c.transport == transport
        )
        return await self._attempts(query)

    async def expired(self, *, limit: int) -> list[Attempt]:
        """http_pull attempts whose lease is over by the database's clock, the oldest first."""
        query = (
            select(attempts)
            .where(
                attempts.c.status != AttemptStatus.ENDED,
                attempts.c.transport == Transport.HTTP_PULL,
                attempts.c.lease_expires_at < self._database.now(),
            )
            .order_by(attempts.c.lease_expires_at)
            .limit(limit)
        )
        return await self._attempts(query)

    async def granted_by_key(self, *, owner: str, request_key: str) -> list[Attempt]:
        """What an agent was granted by one request, as far as it has not ended."""
        query = select(attempts).where(
            attempts.c.owner == owner,
            attempts.c.request_key == request_key,
            attempts.c.status != AttemptStatus.ENDED,
        )
        return await self._attempts(query)

    async def used_slots(self) -> dict[tuple[Transport, str], int]:
        """Attempts that have not ended, by transport and host or agent."""
        place = func.coalesce(attempts.c.host, attempts.c.owner)
        query = (
            select(attempts.c.transport, place, func.count())
            .where(attempts.c.status != AttemptStatus.ENDED)
            .group_by(attempts.c.transport, place)
        )
        rows = (await self._connection.execute(query)).all()
        return {(Transport(row[0]), row[1]): row[2] for row in rows}

    async def with_unended(self, tasks_: Iterable[int]) -> frozenset[int]:
        """Those of the tasks that have an attempt which has not ended."""
        query = select(attempts.c.task).where(
            attempts.c.task.in_([*tasks_]), attempts.c.status != AttemptStatus.ENDED
        )
        return frozenset(await self._connection.scalars(query))

    async def claimable(self, *, modes: Iterable[Mode], limit: int) -> list[Task]:
        """Queued tasks that may start now, the most urgent first; those others hold left out."""
        query = (
            select(tasks.c.document)
            .where(
                tasks.c.status == TaskStatus.QUEUED,
                tasks.c.held.is_(False),
                tasks.c.execution_mode.in_([*modes]),
                or_(tasks.c.not_before.is_(None), tasks.c.not_before <= self._database.now()),
            )
            .order_by(tasks.c.priority.desc(), tasks.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return await self._tasks(query)

    async def next_start(self) -> datetime | None:
        """When the next delayed task may start."""
        query = select(func.min(tasks.c.not_before)).where(
            tasks.c.status == TaskStatus.QUEUED,
            tasks.c.held.is_(False),
            tasks.c.not_before > self._database.now(),
        )
        return await self._connection.scalar(query)

    # -- writing ---------------------------------------------------------------------------------

    async def create(self, change: Change) -> None:
        """A task that is not there yet."""
        await self._connection.execute(insert(tasks).values(**_task_row(change.task)))
        self._events.append(change.event)

    async def save(self, change: Change, *, expired: bool = False) -> None:
        """The change, its event and its effects; nothing at all if somebody was faster.

        Raises LeaseLost if the attempt has ended or changed its epoch meanwhile, Conflict if the
        task has changed. With `expired`, the statement itself demands that the lease be over.
        """
        statement = (
            update(tasks)
            .where(tasks.c.id == change.task.id, tasks.c.revision == change.before.task.revision)
            .values(**_task_row(change.task))
        )
        # The task first, as in `state`: whoever locks in one order never waits in a circle.
        unchanged = (await self._connection.execute(statement)).rowcount == 1
        if change.attempt is not None and not _is_new(change):
            await self._save_attempt(change, change.attempt, expired=expired)
        if not unchanged:
            raise Conflict(f"task {change.task.id} changed meanwhile")
        if change.attempt is not None and _is_new(change):
            row = msgspec.structs.asdict(change.attempt)
            await self._connection.execute(insert(attempts).values(**row))
        for effect in change.effects:
            await self._outbox.post(effect)
        self._events.append(change.event)

    async def _save_attempt(self, change: Change, attempt: Attempt, *, expired: bool) -> None:
        before = change.before.attempt
        assert before is not None
        late = change.event.verb == Verb.LATE_RECEIPT
        row = msgspec.structs.asdict(attempt)
        statement = (_lost(before) if late else _still(before)).values(**row)
        if expired:
            statement = statement.where(attempts.c.lease_expires_at < self._database.now())
        if (await self._connection.execute(statement)).rowcount != 1:
            raise LeaseLost(
                f"attempt {attempt.number} of task {attempt.task} is over",
                current_attempt=change.task.attempts,
            )

    async def renew(self, attempt: Attempt) -> None:
        """The attempt's lease, phase and progress; LeaseLost if it is over."""
        statement = _still(attempt).values(
            lease_expires_at=attempt.lease_expires_at,
            phase=attempt.phase,
            progress=attempt.progress,
        )
        if (await self._connection.execute(statement)).rowcount != 1:
            raise LeaseLost(f"attempt {attempt.number} of task {attempt.task} is over")

    async def flush(self) -> list[Event]:
        """Inserts the events that were collected, last of all; returns them with their ids."""
        if not self._events:
            return []
        await self._database.order_events(self._connection)
        inserted: list[Event] = []
        for event in self._events:
            row = msgspec.structs.asdict(event)
            del row["id"]
            number = await self._connection.scalar(
                insert(events).values(**row).returning(events.c.id)
            )
            inserted.append(msgspec.structs.replace(event, id=number))
        self._events.clear()
        return inserted

    async def _attempts(self, query: Select[Any]) -> list[Attempt]:
        rows = await self._connection.execute(query)
        return [msgspec.convert(row, Attempt, from_attributes=True) for row in rows]

    async def _tasks(self, query: Select[Any]) -> list[Task]:
        return [msgspec.convert(d, Task) for d in await self._connection.scalars(query)]


def _task_row(task: Task) -> dict[str, object]:
    return {
        "id": task.id,
        "status": task.status,
        "repo": task.repo,
        "execution_mode": task.execution_mode,
        "requester": task.requester,
        "priority": task.priority,
        "not_before": task.not_before,
        "held": task.held,
        "revision": task.revision,
        "updated_at": task.updated_at,
        "document": task,
    }


def _is_new(change: Change) -> bool:
    before = change.before.attempt
    return change.attempt is not None and (before is None or before.number != change.attempt.number)


def _still(attempt: Attempt) -> Update:
    """An update of this very attempt, while it has not ended and has kept its epoch."""
    return update(attempts).where(
        attempts.c.task == attempt.task,
        attempts.c.number == attempt.number,
        attempts.c.epoch == attempt.epoch,
        attempts.c.status != AttemptStatus.ENDED,
    )


def _lost(attempt: Attempt) -> Update:
    """An update of this very attempt, while it counts as lost."""
    return update(attempts).where(
        attempts.c.task == attempt.task,
        attempts.c.number == attempt.number,
        attempts.c.outcome == Outcome.LOST,
    )

"""Tasks and events, read: what lists, watchers and followers ask for. Nothing here is locked."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Select, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agent_fleet.core.lifecycle import ENDED
from agent_fleet.core.model import Event, Task, TaskStatus
from agent_fleet.store.schema import attempts, events, tasks


class Listing:
    """Lists of tasks and events, each with a bound."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def listed(
        self,
        *,
        statuses: Sequence[TaskStatus] = (),
        requester: str | None = None,
        repo: str | None = None,
        before: int | None = None,
        limit: int,
    ) -> list[Task]:
        """Tasks by number, the newest first; `before` is the cursor."""
        query = select(tasks.c.document).order_by(tasks.c.id.desc()).limit(limit)
        if statuses:
            query = query.where(tasks.c.status.in_(statuses))
        if requester is not None:
            query = query.where(tasks.c.requester == requester)
        if repo is not None:
            query = query.where(tasks.c.repo == repo)
        if before is not None:
            query = query.where(tasks.c.id < before)
        return await self._tasks(query)

    async def ended(self, numbers: Collection[int], *, before: datetime) -> frozenset[int]:
        """Those of the tasks that have ended, and not changed since `before`."""
        query = select(tasks.c.id).where(
            tasks.c.id.in_(numbers), tasks.c.status.in_(ENDED), tasks.c.updated_at < before
        )
        return frozenset(await self._connection.scalars(query))

    async def watched(self, *, ended_since: datetime, after: int = 0, limit: int) -> list[Task]:
        """Tasks whose branch is worth a look: begun, and not ended or only lately and unmerged.

        By number, from behind the cursor `after`.
        """
        query = (
            select(tasks.c.document)
            .where(
                or_(
                    tasks.c.status.not_in(ENDED),
                    and_(
                        tasks.c.status != TaskStatus.COMPLETED,
                        tasks.c.updated_at >= ended_since,
                    ),
                ),
                tasks.c.id > after,
                tasks.c.id.in_(select(attempts.c.task)),
            )
            .order_by(tasks.c.id)
            .limit(limit)
        )
        return await self._tasks(query)

    async def events(
        self,
        *,
        after: int = 0,
        task: int | None = None,
        requester: str | None = None,
        limit: int,
    ) -> list[Event]:
        """Events in the order of their commits, from behind the cursor `after`."""
        query = select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
        if task is not None:
            query = query.where(events.c.task == task)
        if requester is not None:
            query = query.where(
                events.c.task.in_(select(tasks.c.id).where(tasks.c.requester == requester))
            )
        rows = await self._connection.execute(query)
        return [msgspec.convert(row, Event, from_attributes=True) for row in rows]

    async def _tasks(self, query: Select[Any]) -> list[Task]:
        return [msgspec.convert(d, Task) for d in await self._connection.scalars(query)]

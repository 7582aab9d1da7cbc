"""Effects on the outside: committed with the change that wants them, carried out after.

A row is claimed by moving its `due_at` ahead, and kept by moving it again; who dies with it leaves
it to be claimed by others.
"""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import ColumnElement, Update, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent_fleet.core.model import Effect
from agent_fleet.store.database import Database
from agent_fleet.store.schema import EPOCH, outbox

CLAIM = timedelta(seconds=10)
"""So long an effect is left to the one who carries it out, unless that one holds it longer."""


class Outbox:
    """Rows are pending, then done or refused; a refused one can be wanted again."""

    def __init__(self, connection: AsyncConnection, database: Database) -> None:
        self._connection = connection
        self._database = database

    async def post(self, effect: Effect) -> None:
        """A new row; the same key again is the same row, unless it was refused.

        One that is awaited is claimed from the first, by whoever posts it.
        """
        fresh: dict[str, object] = {
            "status": "pending",
            "tries": 0,
            "due_at": self._claimed_until() if effect.awaited else EPOCH,
            "error": "",
        }
        statement = self._database.insert(outbox).values(
            key=effect.key, kind=effect.kind, task=effect.task, payload=effect.payload, **fresh
        )
        statement = statement.on_conflict_do_update(
            index_elements=["key"], set_=fresh, where=outbox.c.status == "refused"
        )
        await self._connection.execute(statement)

    async def claim(self, *, limit: int) -> list[tuple[Effect, int]]:
        """Effects that are due, with the number of times each was tried; ours for `CLAIM`."""
        now = self._database.now()
        due = (
            select(outbox.c.key)
            .where(outbox.c.status == "pending", outbox.c.due_at <= now)
            .order_by(outbox.c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        keys = (await self._connection.scalars(due)).all()
        if not keys:
            return []
        statement = (
            update(outbox)
            .where(outbox.c.key.in_(keys))
            .values(due_at=self._claimed_until(), tries=outbox.c.tries + 1)
            .returning(outbox.c.key, outbox.c.kind, outbox.c.task, outbox.c.payload, outbox.c.tries)
        )
        rows = (await self._connection.execute(statement)).all()
        return [
            (Effect(key=row.key, kind=row.kind, task=row.task, payload=row.payload), row.tries)
            for row in rows
        ]

    async def hold(self, keys: Collection[str]) -> None:
        """They are being carried out: for another `CLAIM` they are not due to others."""
        statement = update(outbox).where(outbox.c.key.in_(keys), outbox.c.status == "pending")
        await self._connection.execute(statement.values(due_at=self._claimed_until()))

    async def done(self, key: str) -> None:
        """The effect stands, whatever another who tried it may say."""
        await self._connection.execute(
            update(outbox).where(outbox.c.key == key).values(status="done", error="")
        )

    async def refused(self, key: str, error: str) -> None:
        """The effect cannot be had as things are; it is not tried again by itself."""
        await self._connection.execute(_pending(key).values(status="refused", error=error))

    async def again(self, key: str, *, after: timedelta, error: str) -> None:
        """Not now: due again after that time."""
        micros = after // timedelta(microseconds=1)
        due_at = self._database.now() + micros
        await self._connection.execute(_pending(key).values(due_at=due_at, error=error))

    def _claimed_until(self) -> ColumnElement[int]:
        return self._database.now() + CLAIM // timedelta(microseconds=1)


def _pending(key: str) -> Update:
    return update(outbox).where(outbox.c.key == key, outbox.c.status == "pending")

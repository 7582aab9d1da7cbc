"""SQLite, the default: one file, one writer, every commit on the disk before it is answered."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, ColumnElement, Connection, Table, event, func, select, update
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from agent_fleet.clock import Clock
from agent_fleet.store.database import connected
from agent_fleet.store.schema import meta, to_micros

BUSY_TIMEOUT_MS = 30_000


class SqliteDatabase:
    """Writers of this process take turns by a lock, those of others by SQLite's own."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.offset = timedelta()
        self._clock = clock
        self._turn = asyncio.Lock()
        self.engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(path)))
        event.listen(self.engine.sync_engine, "connect", self._configure)
        event.listen(self.engine.sync_engine, "begin", _begin)

    def _configure(self, connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        connection.create_function("fleet_now", 0, self._now_micros)

    def _now_micros(self) -> int:
        return to_micros(self._clock.now() + self.offset)

    def now(self) -> ColumnElement[int]:
        return func.fleet_now()

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[AsyncConnection]:
        async with self._turn, connected(self.engine) as connection:
            await connection.execution_options(fleet_begin="BEGIN IMMEDIATE")
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncConnection]:
        async with connected(self.engine) as connection, connection.begin():
            yield connection

    def insert(self, table: Table) -> Insert:
        return insert(table)

    async def new_task_id(self, connection: AsyncConnection) -> int:
        await connection.execute(
            insert(meta).values(key="last_task", value="0").on_conflict_do_nothing()
        )
        last = await connection.scalar(select(meta.c.value).where(meta.c.key == "last_task"))
        number = int(last or 0) + 1
        await connection.execute(
            update(meta).where(meta.c.key == "last_task").values(value=str(number))
        )
        return number

    async def order_events(self, connection: AsyncConnection) -> None:
        """The one writer orders them already."""

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """BEGIN IMMEDIATE holds it already."""


def _begin(connection: Connection) -> None:
    statement: str = connection.get_execution_options().get("fleet_begin", "BEGIN")
    connection.exec_driver_sql(statement)

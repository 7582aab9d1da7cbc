"""SQLite, the default: one file, one writer, every commit on the disk before it is answered."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, ColumnElement, Connection, Table, event, func, select
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from agent_fleet.clock import Clock
from agent_fleet.store.database import connected
from agent_fleet.store.schema import meta, to_micros

BUSY_TIMEOUT_MS = 30_000
LAST_TASK = "last_task"


class SqliteDatabase:
    """Writers of this process take turns by a lock, those of others by SQLite's own."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.offset = timedelta()
        self._clock = clock
        self._turn = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()
        # What is bound to statements has no place in a log: prompts and hashes are among it.
        self.engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(path)), hide_parameters=True
        )
        event.listen(self.engine.sync_engine, "connect", self._configure)
        event.listen(self.engine.sync_engine, "begin", _begin)
        event.listen(self.engine.sync_engine, "invalidate", self._let_go)

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

    def _let_go(self, connection: Any, _record: object, _error: object) -> None:
        """Ends the transaction of a connection that is given up because its user was cancelled.

        It is closed next, but SQLite keeps it, and its lock on the file, for as long as a cursor
        of it is not collected. The driver does one thing after the other: this comes before.
        """
        ending = asyncio.get_running_loop().create_task(_roll_back(connection.driver_connection))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

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
        number = await self.last_task_id(connection) + 1
        await self.go_on_from(connection, last_task=number)
        return number

    async def last_task_id(self, connection: AsyncConnection) -> int:
        last = await connection.scalar(select(meta.c.value).where(meta.c.key == LAST_TASK))
        return int(last or 0)

    async def go_on_from(self, connection: AsyncConnection, *, last_task: int) -> None:
        """SQLite itself looks after the numbers of events."""
        statement = insert(meta).values(key=LAST_TASK, value=str(last_task))
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["key"], set_={"value": statement.excluded.value}
            )
        )

    async def order_events(self, connection: AsyncConnection) -> None:
        """The one writer orders them already."""

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """BEGIN IMMEDIATE holds it already."""


async def _roll_back(driver_connection: Any) -> None:
    with contextlib.suppress(sqlite3.Error, ValueError):  # it is broken, or closed already
        await driver_connection.rollback()


def _begin(connection: Connection) -> None:
    statement: str = connection.get_execution_options().get("fleet_begin", "BEGIN")
    connection.exec_driver_sql(statement)

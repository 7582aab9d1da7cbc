"""PostgreSQL, for several orchestrators: row locks, and the server's time."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import URL, BigInteger, ColumnElement, Table, cast, func, select, text
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from agent_fleet.store.database import connected
from agent_fleet.store.schema import events, task_numbers

CONNECT_TIMEOUT_S = 10

# Any two numbers that nothing else in the database uses.
_EVENTS_LOCK = 0x666C6565
_SCHEMA_LOCK = 0x666C6566


class PostgresDatabase:
    """A pool of connections; a lost one is noticed before it is used."""

    def __init__(self, url: URL) -> None:
        self.offset = timedelta()
        self.engine = create_async_engine(
            url,
            pool_size=10,
            pool_pre_ping=True,
            pool_timeout=30,
            hide_parameters=True,
            connect_args={"timeout": CONNECT_TIMEOUT_S},
        )

    def now(self) -> ColumnElement[int]:
        seconds = func.extract("epoch", func.statement_timestamp())
        micros = cast(func.floor(seconds * 1_000_000), BigInteger)
        return micros + self.offset // timedelta(microseconds=1)

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[AsyncConnection]:
        async with connected(self.engine) as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncConnection]:
        async with connected(self.engine) as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            async with connection.begin():
                yield connection

    def insert(self, table: Table) -> Insert:
        return insert(table)

    async def new_task_id(self, connection: AsyncConnection) -> int:
        number = await connection.scalar(select(task_numbers.next_value()))
        assert isinstance(number, int)
        return number

    async def last_task_id(self, connection: AsyncConnection) -> int:
        last = await connection.scalar(
            text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM task_numbers")
        )
        return int(last or 0)

    async def go_on_from(self, connection: AsyncConnection, *, last_task: int) -> None:
        if last_task:
            await connection.execute(select(func.setval("task_numbers", last_task)))
        sequence = func.pg_get_serial_sequence("events", "id")
        last_event = await connection.scalar(select(func.max(events.c.id)))
        if last_event:
            await connection.execute(select(func.setval(sequence, last_event)))

    async def order_events(self, connection: AsyncConnection) -> None:
        await connection.execute(select(func.pg_advisory_xact_lock(_EVENTS_LOCK)))

    async def lock_schema(self, connection: AsyncConnection) -> None:
        await connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))

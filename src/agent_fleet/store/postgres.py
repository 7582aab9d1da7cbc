"""PostgreSQL, for several orchestrators: row locks, and the server's time."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import BigInteger, ColumnElement, Table, cast, func, select
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from agent_fleet.store.schema import task_numbers

# Any two numbers that nothing else in the database uses.
_EVENTS_LOCK = 0x666C6565
_SCHEMA_LOCK = 0x666C6566


class PostgresDatabase:
    """A pool of connections; a lost one is noticed before it is used."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.offset = timedelta()
        scheme, _, rest = url.partition("://")
        driver = "postgresql+asyncpg" if scheme in {"postgres", "postgresql"} else scheme
        self.engine = create_async_engine(
            f"{driver}://{rest}", pool_size=pool_size, pool_pre_ping=True, pool_timeout=30
        )

    def now(self) -> ColumnElement[int]:
        seconds = func.extract("epoch", func.statement_timestamp())
        micros = cast(func.floor(seconds * 1_000_000), BigInteger)
        return micros + self.offset // timedelta(microseconds=1)

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[AsyncConnection]:
        async with self.engine.connect() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncConnection]:
        async with self.engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            async with connection.begin():
                yield connection

    def insert(self, table: Table) -> Insert:
        return insert(table)

    async def new_task_id(self, connection: AsyncConnection) -> int:
        number = await connection.scalar(select(task_numbers.next_value()))
        assert isinstance(number, int)
        return number

    async def order_events(self, connection: AsyncConnection) -> None:
        await connection.execute(select(func.pg_advisory_xact_lock(_EVENTS_LOCK)))

    async def lock_schema(self, connection: AsyncConnection) -> None:
        await connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))

"""The store: opens a database, hands out transactions, and tells followers what was committed."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from agent_fleet.clock import Clock, new_id
from agent_fleet.core.model import Event
from agent_fleet.store.address import admitted, connect
from agent_fleet.store.database import Database, translated
from agent_fleet.store.evidence import Evidence
from agent_fleet.store.listing import Listing
from agent_fleet.store.migrate import migrate
from agent_fleet.store.outbox import Outbox
from agent_fleet.store.registry import Registry
from agent_fleet.store.schema import from_micros, meta
from agent_fleet.store.work import Work


class Transaction:
    """One transaction's view of everything: `work`, `listing`, `outbox`, `evidence`, `registry`."""

    def __init__(self, connection: AsyncConnection, database: Database) -> None:
        self._connection = connection
        self._database = database
        self.outbox = Outbox(connection, database)
        self.work = Work(connection, database, self.outbox)
        self.listing = Listing(connection)
        self.evidence = Evidence(connection, database)
        self.registry = Registry(connection, database)

    async def now(self) -> datetime:
        """The database's time."""
        micros = await self._connection.scalar(select(self._database.now()))
        return from_micros(int(micros or 0))

    async def new_task_id(self) -> int:
        """A number for a task, never given before or again."""
        return await self._database.new_task_id(self._connection)

    async def fact(self, key: str) -> str | None:
        """A fact about the fleet as a whole: `fleet_epoch`, `restored`."""
        return await self._connection.scalar(select(meta.c.value).where(meta.c.key == key))

    async def set_fact(self, key: str, value: str) -> None:
        statement = self._database.insert(meta).values(key=key, value=value)
        await self._connection.execute(
            statement.on_conflict_do_update(index_elements=["key"], set_={"value": value})
        )


class Store:
    """Open it with `Store.open`, close it with `close`.

    `on_commit` is called after every commit that brought events, with these.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.on_commit: Callable[[list[Event]], None] | None = None

    @classmethod
    async def open(cls, url: str, *, clock: Clock) -> "Store":
        """The database at `url` (see `address.connect`), its schema brought up to date.

        Raises InvalidInput for an address without a database that would let us in, Unavailable if
        it does not answer, Conflict if the schema is newer than this program.
        """
        store = cls(connect(url, clock=clock, create=True))
        try:
            async with admitted(), store._database.writing() as connection:
                await store._database.lock_schema(connection)
                await connection.run_sync(migrate)
                statement = store._database.insert(meta).values(key="fleet_epoch", value=new_id())
                await connection.execute(statement.on_conflict_do_nothing())
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        await self._database.engine.dispose()

    def shift_clock(self, offset: timedelta) -> None:
        """Adds an offset to the database's time. Only tests do that."""
        self._database.offset = offset

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction]:
        """A transaction that may write; events go in last, and are told after the commit."""
        async with translated():
            async with self._database.writing() as connection:
                transaction = Transaction(connection, self._database)
                yield transaction
                committed = await transaction.work.flush()
            if committed and self.on_commit:
                self.on_commit(committed)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Transaction]:
        """A transaction that only reads."""
        async with translated(), self._database.reading() as connection:
            yield Transaction(connection, self._database)

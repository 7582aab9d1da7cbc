"""What the two engines do differently, as one seam: connect, begin a write, tell the time."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Protocol

from sqlalchemy import ColumnElement, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agent_fleet.core.errors import Unavailable


class Database(Protocol):
    """One engine. `offset` is added to its time; only tests set it."""

    engine: AsyncEngine
    offset: timedelta

    def now(self) -> ColumnElement[int]:
        """The store's one expression for the present, in microseconds."""
        ...

    def writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that may write; committed on leaving, rolled back on an error."""
        ...

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that only reads, and sees one state of everything."""
        ...

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """An insert that can be told what to do on a conflict."""
        ...

    async def new_task_id(self, connection: AsyncConnection) -> int:
        """The next number for a task; never given twice."""
        ...

    async def last_task_id(self, connection: AsyncConnection) -> int:
        """The last number that was given; 0 before the first."""
        ...

    async def go_on_from(self, connection: AsyncConnection, *, last_task: int) -> None:
        """After rows were put in with their numbers: the next task and event take new ones."""
        ...

    async def order_events(self, connection: AsyncConnection) -> None:
        """Called last, before events are inserted: makes their ids follow the commits' order."""
        ...

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """Held until the transaction ends: only one process migrates."""
        ...


# What may be gone when the same request comes again, by the first two signs of its SQLSTATE:
# connection, authorisation, no such database, rolled back, resources, operator's intervention.
_PASSING = frozenset({"08", "28", "3D", "40", "53", "57"})


@asynccontextmanager
async def connected(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """A connection of the pool; `Unavailable` if none can be had."""
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(engine.connect())
        except (OSError, PoolTimeout) as error:
            raise Unavailable(f"the database does not answer: {error}") from error
        yield connection


@asynccontextmanager
async def translated() -> AsyncGenerator[None]:
    """Turns what the database cannot help just now into `Unavailable`; else it is a defect."""
    try:
        yield
    except DBAPIError as error:
        lost = error.connection_invalidated or isinstance(error, OperationalError)
        if lost or sqlstate(error)[:2] in _PASSING:
            raise Unavailable(f"the database does not answer: {error.orig}") from error
        raise
    except ConnectionError as error:
        raise Unavailable(f"the database does not answer: {error}") from error


def sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's five signs for what went wrong; nothing on SQLite."""
    return getattr(error.orig, "sqlstate", None) or ""

"""What the two engines do differently, as one seam: connect, begin a write, tell the time."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Protocol

from sqlalchemy import ColumnElement, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
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

    async def order_events(self, connection: AsyncConnection) -> None:
        """Called last, before events are inserted: makes their ids follow the commits' order."""
        ...

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """Held until the transaction ends: only one process migrates."""
        ...


@asynccontextmanager
async def translated() -> AsyncGenerator[None]:
    """Turns a lost or refused connection into `Unavailable`; anything else is a defect."""
    try:
        yield
    except (InterfaceError, OperationalError) as error:
        raise Unavailable(f"the database does not answer: {error.orig}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable(f"the database connection was lost: {error.orig}") from error
        raise
    except (ConnectionError, TimeoutError) as error:
        raise Unavailable(f"the database does not answer: {error}") from error

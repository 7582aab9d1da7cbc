"""Real databases of both engines, empty and gone after the test."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from agent_fleet.clock import Clock, SystemClock
from agent_fleet.store.store import Store
from tests.support import postgres

ENGINES = ("sqlite", "postgres")


@contextmanager
def database(engine: str, directory: Path) -> Iterator[str]:
    """The address of a new, empty database; a SQLite one lies in `directory`."""
    if engine == "sqlite":
        yield f"sqlite:///{directory / 'fleet.db'}"
        return
    url = postgres.fresh_database()
    try:
        yield url
    finally:
        postgres.drop_database(url)


@asynccontextmanager
async def opened(engine: str, tmp_path: Path, clock: Clock | None = None) -> AsyncGenerator[Store]:
    """A store on a new database, closed at the end; `clock` is SQLite's, the machine's if None."""
    with database(engine, tmp_path) as url:
        async with reopened(url, clock) as store:
            yield store


@asynccontextmanager
async def reopened(url: str, clock: Clock | None = None) -> AsyncGenerator[Store]:
    """A store on a database that is there: what another orchestrator sees."""
    store = await Store.open(url, clock=clock or SystemClock())
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def two_opened(engine: str, tmp_path: Path) -> AsyncGenerator[tuple[Store, Store]]:
    """Two stores on one new database: two orchestrators."""
    with database(engine, tmp_path) as url:
        async with reopened(url) as first, reopened(url) as second:
            yield first, second

"""Real databases of both engines, gone after the test.

Making one takes longer than most tests: `opened` copies a SQLite file that was migrated once, and
empties a PostgreSQL database that another test has left.
"""

import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from agent_fleet.clock import Clock, SystemClock
from agent_fleet.store.address import connect
from agent_fleet.store.migrate import migrate
from agent_fleet.store.schema import metadata
from agent_fleet.store.store import Store
from tests.support import postgres

ENGINES = ("sqlite", "postgres")

_migrated_file: bytes | None = None
_spare: list[str] = []


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
async def migrated(engine: str, directory: Path) -> AsyncGenerator[str]:
    """The address of a new database that has the schema, and no row yet."""
    if engine == "sqlite":
        file = directory / "fleet.db"
        file.write_bytes(await _file())
        yield f"sqlite:///{file}"
        return
    url = _spare.pop() if _spare else await _new()
    yield url
    await _empty(url)
    _spare.append(url)


@asynccontextmanager
async def opened(engine: str, tmp_path: Path, clock: Clock | None = None) -> AsyncGenerator[Store]:
    """A store on a new database, closed at the end; `clock` is SQLite's, the machine's if None."""
    async with migrated(engine, tmp_path) as url, reopened(url, clock) as store:
        yield store


@asynccontextmanager
async def two_opened(engine: str, tmp_path: Path) -> AsyncGenerator[tuple[Store, Store]]:
    """Two stores on one new database: two orchestrators."""
    async with (
        migrated(engine, tmp_path) as url,
        reopened(url) as first,
        reopened(url) as second,
    ):
        yield first, second


@asynccontextmanager
async def reopened(url: str, clock: Clock | None = None) -> AsyncGenerator[Store]:
    """A store on a database that is there: what another orchestrator sees."""
    store = await Store.open(url, clock=clock or SystemClock())
    try:
        yield store
    finally:
        await store.close()


async def _file() -> bytes:
    global _migrated_file  # noqa: PLW0603 - made once per process
    if _migrated_file is None:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "fleet.db"
            await _migrate(f"sqlite:///{file}")
            _migrated_file = file.read_bytes()
    return _migrated_file


async def _new() -> str:
    """A database that goes with the server."""
    url = postgres.fresh_database()
    await _migrate(url)
    return url


async def _empty(url: str) -> None:
    """As it was after it was migrated; who is still connected is ended."""
    connection = await asyncpg.connect(url, timeout=10, command_timeout=10)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        for table in reversed(metadata.sorted_tables):
            await connection.execute(f"DELETE FROM {table}")
        await connection.execute("ALTER SEQUENCE task_numbers RESTART")
        await connection.execute("ALTER SEQUENCE events_id_seq RESTART")
    finally:
        await connection.close()


async def _migrate(url: str) -> None:
    empty = connect(url, clock=SystemClock(), create=True)
    try:
        async with empty.writing() as connection:
            await connection.run_sync(migrate)
    finally:
        await empty.engine.dispose()

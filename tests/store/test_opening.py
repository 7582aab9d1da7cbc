import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from agent_fleet.clock import SystemClock
from agent_fleet.core.errors import Conflict, InvalidInput, Unavailable
from agent_fleet.store.address import connect
from agent_fleet.store.migrate import migrate, revision
from agent_fleet.store.schema import metadata
from agent_fleet.store.store import Store
from tests.store import steps
from tests.support import postgres
from tests.support.parts import ROOT
from tests.support.stores import database, opened, reopened

CLOCK = SystemClock()

OPENS_AND_SUBMITS = """
import asyncio, sys
from agent_fleet.clock import SystemClock
from agent_fleet.store.store import Store
from tests.store import steps

async def main():
    sys.stdin.readline()
    store = await Store.open(sys.argv[1], clock=SystemClock())
    try:
        async with store.reading() as tx:
            epoch = await tx.fact("fleet_epoch")
        print((await steps.submit(store)).id, epoch)
    finally:
        await store.close()

asyncio.run(main())
"""


async def test_the_migrated_schema_is_the_one_that_the_program_uses(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store, store._database.reading() as connection:
        differences = await connection.run_sync(_differences)

    assert differences == []


async def test_a_fleet_that_is_opened_again_is_the_same_fleet(engine: str, tmp_path: Path):
    with database(engine, tmp_path) as url:
        async with reopened(url) as store:
            task = await steps.submit(store)
            first = await _epoch(store)
        async with reopened(url) as store:
            again = await _epoch(store)
            state = await steps.seen(store, task.id)

    assert again == first
    assert state.task == task


def test_processes_that_open_an_empty_database_at_once_find_one_fleet(engine: str, tmp_path: Path):
    with database(engine, tmp_path) as url:
        processes = [_process(url) for _ in range(2)]
        try:
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("now\n")
                process.stdin.flush()
            answers = [process.communicate(timeout=30) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.communicate()

    assert [errors for _, errors in answers] == [""] * 2
    numbers, epochs = zip(*(output.split() for output, _ in answers), strict=True)
    assert sorted(numbers) == ["1", "2"]
    assert len(set(epochs)) == 1


async def test_a_schema_of_a_newer_program_is_refused_and_left_alone(engine: str, tmp_path: Path):
    with database(engine, tmp_path) as url:
        async with reopened(url) as store, store._database.writing() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

        with pytest.raises(Conflict, match="9999"):
            await Store.open(url, clock=CLOCK)
        with pytest.raises(Conflict, match="9999"):
            await Store.open(url, clock=CLOCK)


async def test_a_migration_that_fails_leaves_an_empty_database(engine: str, tmp_path: Path):
    def migrate_and_fail(connection: Connection) -> None:
        migrate(connection)
        raise ZeroDivisionError

    with database(engine, tmp_path) as url:
        empty = connect(url, clock=CLOCK, create=True)
        try:
            with pytest.raises(ZeroDivisionError):
                async with empty.writing() as connection:
                    await connection.run_sync(migrate_and_fail)

            async with empty.reading() as connection:
                assert await connection.run_sync(revision) is None
                assert await connection.run_sync(lambda c: inspect(c).get_table_names()) == []
        finally:
            await empty.engine.dispose()


async def test_a_relative_path_begins_where_the_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    async with reopened("sqlite:///fleet.db"):
        pass

    assert stat.S_IMODE((tmp_path / "fleet.db").stat().st_mode) == 0o600


async def test_a_file_in_a_missing_directory_is_named(tmp_path: Path):
    with pytest.raises(InvalidInput, match=r"server\.database: .*missing/fleet\.db"):
        await Store.open(f"sqlite:///{tmp_path}/missing/fleet.db", clock=CLOCK)


async def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path: Path):
    file = tmp_path / "notes.txt"
    file.write_text("not a database, however long this may be\n" * 100)

    with pytest.raises(InvalidInput, match=r"server\.database: .*not a database"):
        await Store.open(f"sqlite:///{file}", clock=CLOCK)

    assert file.read_text().startswith("not a database")


@pytest.mark.parametrize(
    "url",
    ["sqlite:///", "sqlite://fleet.db", "fleet.db", "mysql://a@b/c", "postgresql://a@b:port/c"]
    + ["postgresql://a:secret@@b:port/c", "postgresql://a@b/c?connect_timeout=3"],
)
async def test_an_address_that_cannot_be_meant_is_refused(url: str):
    with pytest.raises(InvalidInput, match=r"server\.database") as refusal:
        await Store.open(url, clock=CLOCK)

    assert "secret" not in str(refusal.value)


async def test_a_server_that_is_away_is_unavailable():
    with pytest.raises(Unavailable):
        await Store.open("postgresql://fleet@127.0.0.1:1/fleet", clock=CLOCK)


@pytest.mark.parametrize("wrong", ["password", "database"])
async def test_a_server_that_does_not_let_us_in_says_why(wrong: str):
    server = postgres.server()
    url = server.url("nothing")
    if wrong == "password":
        url = url.replace(server.password, "guessed")

    with pytest.raises(InvalidInput, match=wrong) as refusal:
        await Store.open(url, clock=CLOCK)

    assert server.password not in str(refusal.value)


async def test_the_options_of_libpq_that_matter_are_understood():
    url = postgres.fresh_database()
    try:
        async with reopened(f"{url}?sslmode=disable") as store:
            assert (await steps.submit(store)).id == 1
    finally:
        postgres.drop_database(url)


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


async def _epoch(store: Store) -> str | None:
    async with store.reading() as tx:
        return await tx.fact("fleet_epoch")


def _process(url: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", OPENS_AND_SUBMITS, url],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src:."},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

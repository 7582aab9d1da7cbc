import gzip
import hashlib
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from agent_fleet.clock import SystemClock
from agent_fleet.core.errors import Conflict, InvalidInput
from agent_fleet.core.model import Effect, Outcome, Receipt
from agent_fleet.core.registry import Account, Agent, Host, Token, TokenKind
from agent_fleet.store import archive
from agent_fleet.store.archive import Summary
from agent_fleet.store.schema import RESTORED, UNSETTLED, metadata
from agent_fleet.store.store import Store
from tests.store import steps
from tests.support.stores import ENGINES, database, reopened
from tests.support.tasks import SUBMITTED

CLOCK = SystemClock()


@pytest.mark.parametrize("target", ENGINES)
async def test_a_restored_fleet_has_every_row(engine: str, target: str, tmp_path: Path):
    with (
        database(engine, _made(tmp_path / "from")) as source,
        database(target, _made(tmp_path / "to")) as restored,
    ):
        async with reopened(source) as store:
            await _live_a_little(store)
        file = tmp_path / "fleet.backup"

        made = await archive.backup(source, file, clock=CLOCK)
        put_back = await archive.restore(file, restored, clock=CLOCK)

        rows = await _rows(source)
        assert await _rows(restored) == rows
        assert all(rows.values()), "every table has a row to be compared"
        assert put_back == made
        assert made.rows == {name: len(of) for name, of in rows.items()} | {"meta": 1}


async def test_a_restored_fleet_goes_on_with_new_numbers_and_a_new_epoch(
    engine: str, tmp_path: Path
):
    other = ENGINES[1 - ENGINES.index(engine)]
    with (
        database(other, _made(tmp_path / "from")) as source,
        database(engine, _made(tmp_path / "to")) as restored,
    ):
        async with reopened(source) as store:
            attempt = await steps.started(store)
            async with store.transaction() as tx:
                given = await tx.new_task_id()
                epoch = await tx.fact("fleet_epoch")
                await tx.set_fact("a fact", "then")
            events = await steps.history(store, attempt.task)
            live = await steps.seen(store, attempt.task)
        await archive.backup(source, tmp_path / "fleet.backup", clock=CLOCK)
        await archive.restore(tmp_path / "fleet.backup", restored, clock=CLOCK)

        async with reopened(restored) as store:
            task = await steps.submit(store)
            new_events = await steps.history(store, task.id)
            async with store.reading() as tx:
                new_epoch = await tx.fact("fleet_epoch")
                fact = await tx.fact("a fact")
                restored_fact = await tx.fact(RESTORED)
            still_live = await steps.seen(store, attempt.task)

    assert task.id == given + 1
    assert new_events[0].id > events[-1].id
    assert epoch != new_epoch is not None
    assert fact == "then"
    assert restored_fact == UNSETTLED
    assert still_live == live


async def test_a_fleet_without_any_task_can_be_restored(engine: str, tmp_path: Path):
    with (
        database(engine, _made(tmp_path / "from")) as source,
        database(engine, _made(tmp_path / "to")) as restored,
    ):
        async with reopened(source):
            pass
        await archive.backup(source, tmp_path / "fleet.backup", clock=CLOCK)

        await archive.restore(tmp_path / "fleet.backup", restored, clock=CLOCK)

        async with reopened(restored) as store:
            assert (await steps.submit(store)).id == 1


async def test_a_backup_is_one_moment_of_a_fleet_that_goes_on(engine: str, tmp_path: Path):
    with database(engine, tmp_path) as url:
        async with reopened(url) as store:
            await steps.started(store)
            async with store.transaction() as tx:
                await tx.set_fact("a fact", "not yet committed")
                made = await archive.backup(url, tmp_path / "fleet.backup", clock=CLOCK)

    assert made.rows == {"tasks": 1, "attempts": 1, "events": 3}


async def test_a_backup_is_its_owners_alone_and_leaves_nothing_beside_it(
    engine: str, tmp_path: Path
):
    with database(engine, _made(tmp_path / "db")) as url:
        async with reopened(url) as store:
            await steps.submit(store)
        directory = _made(tmp_path / "backups")
        file = directory / "fleet.backup"
        file.write_text("the one of yesterday")

        await archive.backup(url, file, clock=CLOCK)

    assert [path.name for path in directory.iterdir()] == ["fleet.backup"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_only_an_empty_database_is_restored_into(engine: str, tmp_path: Path):
    with database(engine, tmp_path) as url:
        async with reopened(url) as store:
            await steps.submit(store)
        await archive.backup(url, tmp_path / "fleet.backup", clock=CLOCK)
        rows = await _rows(url)

        with pytest.raises(Conflict, match="not empty"):
            await archive.restore(tmp_path / "fleet.backup", url, clock=CLOCK)

        assert await _rows(url) == rows


async def test_what_is_no_fleet_is_not_backed_up(engine: str, tmp_path: Path):
    with database(engine, _made(tmp_path / "db")) as url:
        (tmp_path / "db" / "fleet.db").touch()

        with pytest.raises(Conflict, match="no fleet"):
            await archive.backup(url, tmp_path / "fleet.backup", clock=CLOCK)

    assert not (tmp_path / "fleet.backup").exists()


async def test_a_database_that_is_not_there_is_not_made_by_a_backup(tmp_path: Path):
    missing = tmp_path / "missing.db"

    with pytest.raises(InvalidInput, match=r"missing\.db"):
        await archive.backup(f"sqlite:///{missing}", tmp_path / "fleet.backup", clock=CLOCK)

    assert list(tmp_path.iterdir()) == []


async def test_a_backup_to_a_missing_directory_names_it(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    async with reopened(url):
        pass

    with pytest.raises(InvalidInput, match=r"missing/fleet\.backup"):
        await archive.backup(url, tmp_path / "missing" / "fleet.backup", clock=CLOCK)


def _cut(lines: list[bytes]) -> list[bytes]:
    return lines[:-1]


def _without_a_row(lines: list[bytes]) -> list[bytes]:
    return [lines[0], *lines[2:]]


def _with_a_changed_row(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b"robin", b"mallory") for line in lines]


def _with_a_tail(lines: list[bytes]) -> list[bytes]:
    return [*lines, lines[1]]


def _of_another_kind(lines: list[bytes]) -> list[bytes]:
    return [b'{"hello": "world"}\n', *lines[1:]]


def _of_a_newer_format(lines: list[bytes]) -> list[bytes]:
    return [_with(lines[0], version=2), *lines[1:]]


def _empty(_: list[bytes]) -> list[bytes]:
    return []


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _without_a_row,
        _with_a_changed_row,
        _with_a_tail,
        _of_another_kind,
        _of_a_newer_format,
        _empty,
    ],
)
async def test_a_file_that_is_not_what_was_written_is_refused(
    damage: Callable[[list[bytes]], list[bytes]], tmp_path: Path
):
    file = await _backup(tmp_path)
    with gzip.open(file, "rb") as lines:
        damaged = damage(lines.readlines())
    with gzip.open(file, "wb") as out:
        out.writelines(damaged)

    with pytest.raises(InvalidInput, match=r"fleet\.backup"):
        await archive.restore(file, f"sqlite:///{tmp_path / 'new.db'}", clock=CLOCK)

    assert not (tmp_path / "new.db").exists()


async def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path):
    file = await _backup(tmp_path)
    whole = file.read_bytes()

    for size in range(0, len(whole) - 1, 37):
        file.write_bytes(whole[:size])
        with pytest.raises(InvalidInput, match=r"fleet\.backup"):
            await archive.restore(file, f"sqlite:///{tmp_path / 'new.db'}", clock=CLOCK)


async def test_a_file_that_is_missing_is_named(tmp_path: Path):
    with pytest.raises(InvalidInput, match=r"nothing\.here"):
        await archive.restore(
            tmp_path / "nothing.here", f"sqlite:///{tmp_path / 'new.db'}", clock=CLOCK
        )


async def test_a_backup_of_a_newer_schema_is_refused(tmp_path: Path):
    file = await _backup(tmp_path)
    with gzip.open(file, "rb") as lines:
        header, *rows, end = lines.readlines()
    header = _with(header, schema="9999")
    with gzip.open(file, "wb") as out:
        out.writelines([header, *rows, _with(end, sha256=_sha256(header, *rows))])

    with pytest.raises(Conflict, match="9999"):
        await archive.restore(file, f"sqlite:///{tmp_path / 'new.db'}", clock=CLOCK)

    assert not (tmp_path / "new.db").exists()


def _sha256(*lines: bytes) -> str:
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _with(line: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(line) | changes).encode() + b"\n"


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


async def _backup(tmp_path: Path) -> Path:
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    async with reopened(url) as store:
        await steps.started(store)
    file = tmp_path / "fleet.backup"
    summary: Summary = await archive.backup(url, file, clock=CLOCK)
    assert summary.rows == {"tasks": 1, "attempts": 1, "events": 3}
    return file


async def _live_a_little(store: Store) -> None:
    """At least a row in each table, and values that a careless copy would change."""
    attempt = await steps.started(store, title="naïve \x00 ☃ \U0001f600", held=False)
    taken = await steps.started(store, priority=-1)
    await steps.take_over(store, taken.task, owner="ben")
    async with store.transaction() as tx:
        now = await tx.now()
        await tx.set_fact("a fact", "then")
        for start in range(0, 40_000, 10_000):
            data = bytes(range(256)) * 40
            await tx.evidence.append_log(attempt.task, 1, start=start, data=data[:10_000])
        receipt = Receipt(
            receipt_id="receipt-1", task=attempt.task, attempt=1, outcome=Outcome.SUCCEEDED
        )
        await tx.evidence.keep_receipt(receipt, sha256="c" * 64, verdict="accepted")
        await tx.evidence.keep_key(actor="robin", key="k", sha256="d" * 64, task=attempt.task)
        await tx.outbox.post(Effect(key="merge:1", kind="merge", task=attempt.task))
        await tx.registry.put_agent(Agent(name="ada", slots=2, created_at=SUBMITTED, seen_at=now))
        await tx.registry.put_host(
            Host(name="ws", orchestrator="o1", slots=1, up=True, load_per_core=0.1)
        )
        await tx.registry.put_account(Account("ws", "raw", stopped=True))
        token = Token(prefix="aflt_a", kind=TokenKind.ADMIN, name="robin", created_at=SUBMITTED)
        await tx.registry.add_token(token, sha256="e" * 64)


async def _rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table but `meta`, through the program's own tables."""
    async with reopened(url) as store, store._database.reading() as connection:
        return {
            table.name: [
                tuple(row)
                for row in await connection.execute(select(table).order_by(*table.primary_key))
            ]
            for table in metadata.sorted_tables
            if table.name != "meta"
        }

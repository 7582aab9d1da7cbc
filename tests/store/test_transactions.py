import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agent_fleet.core import lifecycle
from agent_fleet.core.errors import Unavailable
from agent_fleet.core.model import Effect, Event
from agent_fleet.store.store import Store, Transaction
from tests.store import steps
from tests.support import postgres
from tests.support.parts import ROOT
from tests.support.stores import migrated, opened, reopened, two_opened
from tests.support.tasks import new_task

IS_KILLED_IN_THE_MIDDLE = """
import asyncio, sys
from agent_fleet.clock import SystemClock
from agent_fleet.store.store import Store
from tests.store.test_transactions import write_much

async def main():
    store = await Store.open(sys.argv[1], clock=SystemClock())
    async with store.transaction() as tx:
        await write_much(tx)
        await tx.work.flush()
        print("written, not committed", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


async def test_what_is_rolled_back_leaves_neither_state_nor_event_nor_effect(
    engine: str, tmp_path: Path
):
    async with opened(engine, tmp_path) as store:
        told: list[Event] = []
        store.on_commit = told.extend

        with pytest.raises(_GaveUp):
            await _give_up(store)

        assert await _left(store) == ([], [], [])
        assert told == []


async def test_what_is_committed_is_told_with_the_numbers_of_its_events(
    engine: str, tmp_path: Path
):
    async with opened(engine, tmp_path) as store:
        told: list[Event] = []
        store.on_commit = told.extend

        attempt = await steps.started(store)
        async with store.reading() as tx:
            await tx.work.task(attempt.task)

        stored = await steps.history(store, attempt.task)
        assert msgspec.json.encode(told) == msgspec.json.encode(stored)


async def test_a_killed_writer_leaves_nothing(engine: str, tmp_path: Path):
    async with migrated(engine, tmp_path) as url, reopened(url) as store:
        with subprocess.Popen(
            [sys.executable, "-c", IS_KILLED_IN_THE_MIDDLE, url],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": "src:."},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            line = writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)

        assert line == "written, not committed\n"
        assert await _left(store) == ([], [], [])
        await steps.started(store)


async def test_a_reader_sees_one_state_and_waits_for_no_writer(engine: str, tmp_path: Path):
    async with two_opened(engine, tmp_path) as (first, second):
        task = await steps.submit(first)

        async with second.reading() as reader:
            before = await reader.work.task(task.id)
            async with first.transaction() as writer:
                state = await writer.work.state(task.id)
                await writer.work.save(steps.granting(state, now=await writer.now()))
                await writer.work.flush()
                meanwhile = await reader.work.task(task.id)
            after = await reader.work.task(task.id)
            events = await reader.listing.events(limit=9)

        assert before == meanwhile == after == task
        assert [event.verb for event in events] == ["submit"]


@pytest.mark.parametrize("turns", [0, 1, 3, 8, 21, 55])
async def test_a_transaction_cancelled_anywhere_leaves_the_store_usable(
    engine: str, turns: int, tmp_path: Path
):
    async def write() -> None:
        async with store.transaction() as tx:
            await write_much(tx)
            await asyncio.Event().wait()

    async with opened(engine, tmp_path) as store:
        # More than the pool holds: a connection that is lost with each would be missed.
        for _ in range(25 if turns == 55 else 2):
            writer = asyncio.create_task(write())
            for _ in range(turns):
                await asyncio.sleep(0)
            writer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writer

        assert await _left(store) == ([], [], [])
        await steps.started(store)


async def test_a_lost_connection_is_unavailable_and_the_next_one_works(tmp_path: Path):
    async with opened("postgres", tmp_path) as store:
        with pytest.raises(Unavailable):
            await _lose_the_connection(store)

        assert await _left(store) == ([], [], [])
        await steps.started(store)


async def test_two_that_wait_for_each_other_are_told_to_come_again(tmp_path: Path):
    async def lock_both(store: Store, one: int, other: int, met: asyncio.Barrier) -> None:
        async with store.transaction() as tx:
            await tx.work.state(one)
            await met.wait()
            await tx.work.state(other)

    async with two_opened("postgres", tmp_path) as (first, second):
        a, b = (await steps.submit(first)).id, (await steps.submit(first)).id
        met = asyncio.Barrier(2)

        ends = await asyncio.gather(
            lock_both(first, a, b, met), lock_both(second, b, a, met), return_exceptions=True
        )

    assert [type(end) for end in ends if end is not None] == [Unavailable]


async def write_much(tx: Transaction) -> None:
    """A task, its event and an effect."""
    task = new_task(id=await tx.new_task_id())
    await tx.work.create(lifecycle.submit(task, actor="robin"))
    await tx.outbox.post(Effect(key="merge:1:a", kind="merge", task=task.id))


class _GaveUp(Exception):
    pass


async def _give_up(store: Store) -> None:
    async with store.transaction() as tx:
        await write_much(tx)
        await tx.work.flush()
        raise _GaveUp


async def _lose_the_connection(store: Store) -> None:
    async with store.transaction() as tx:
        await write_much(tx)
        postgres.server().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'fleet_%'"
        )


async def _left(store: Store) -> tuple[list[int], list[str], list[str]]:
    async with store.transaction() as tx:
        tasks = await tx.listing.listed(limit=99)
        events = await tx.listing.events(limit=99)
        effects = await tx.outbox.claim(limit=99)
    return (
        [task.id for task in tasks],
        [event.verb for event in events],
        [effect.key for effect, _ in effects],
    )

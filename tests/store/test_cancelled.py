"""Whoever is cancelled in a transaction (a client went away, a stop) leaves nothing behind."""

import asyncio
from pathlib import Path

from agent_fleet.store.store import Store
from tests.support.stores import opened

MOMENTS = 100
STEP_S = 0.0002
WRITES_S = 10.0


async def test_a_writer_that_is_cancelled_at_any_moment_keeps_no_lock(
    engine: str, tmp_path: Path
) -> None:
    async with opened(engine, tmp_path) as store:
        for moment in range(MOMENTS):
            writer = asyncio.create_task(_write(store, f"{moment}"))
            for _ in range(moment % 10):
                await asyncio.sleep(0)
            await asyncio.sleep(moment % 7 * STEP_S)

            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

            async with asyncio.timeout(WRITES_S):
                await _write(store, f"after {moment}")
            async with store.reading() as tx:
                both = await tx.fact(f"{moment}, first"), await tx.fact(f"{moment}, second")
                assert both in {("1", "1"), (None, None)}


async def _write(store: Store, name: str) -> None:
    async with store.transaction() as tx:
        await tx.set_fact(f"{name}, first", "1")
        await tx.now()
        await tx.set_fact(f"{name}, second", "1")

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_fleet.core.errors import Conflict, NotFound
from agent_fleet.store.evidence import LogGap
from agent_fleet.store.store import Store
from tests.store import steps
from tests.support.stores import opened, reopened, two_opened

WHOLE = bytes(range(256)) * 4


async def test_a_log_grows_by_what_is_appended(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        await steps.started(store)

        known = [
            await _append(store, start=start, data=WHOLE[start:end])
            for start, end in ((0, 10), (10, 11), (11, 11), (11, 600))
        ]

        assert known == [10, 11, 11, 600]
        assert await _read(store) == WHOLE[:600]


async def test_a_gap_is_refused_with_the_offset_to_send_from(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        await steps.started(store)
        await _append(store, start=0, data=WHOLE[:10])

        with pytest.raises(LogGap) as gap:
            await _append(store, start=11, data=b"later")

        assert gap.value.offset == 10
        assert await _read(store) == WHOLE[:10]


async def test_bytes_that_were_sent_before_are_kept_once(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        await steps.started(store)
        await _append(store, start=0, data=WHOLE[:100])

        inside = await _append(store, start=20, data=WHOLE[20:50])
        beyond = await _append(store, start=50, data=WHOLE[50:300])

        assert (inside, beyond) == (100, 300)
        assert await _read(store) == WHOLE[:300]


@pytest.mark.parametrize("start", [0, 40, 99])
async def test_bytes_that_contradict_what_is_known_are_refused(
    engine: str, start: int, tmp_path: Path
):
    async with opened(engine, tmp_path) as store:
        await steps.started(store)
        await _append(store, start=0, data=WHOLE[:100])

        with pytest.raises(Conflict):
            await _append(store, start=start, data=b"\xff" + WHOLE[start + 1 : 200])

        assert await _read(store) == WHOLE[:100]


async def test_a_log_belongs_to_one_attempt(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        await steps.started(store)
        await steps.started(store)
        await _append(store, start=0, data=b"first")

        with pytest.raises(NotFound):
            await _append(store, attempt=2, start=0, data=b"of nobody")

        async with store.reading() as tx:
            assert await tx.evidence.log_size(2, 1) == 0
            assert await tx.evidence.read_log(2, 1, start=0, limit=9) == b""


async def test_many_that_send_the_same_log_at_once_leave_it_once(engine: str, tmp_path: Path):
    async with two_opened(engine, tmp_path) as stores:
        await steps.started(stores[0])

        ends = await asyncio.gather(
            *(_append(stores[i % 2], start=0, data=WHOLE[: 100 + i]) for i in range(8))
        )

        assert max(ends) == 107
        assert await _read(stores[0]) == WHOLE[:107]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 400)), max_size=12),
    ranges=st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 1100)), min_size=1),
)
async def test_whatever_is_sent_again_or_out_of_order_the_log_is_a_prefix(
    url: str, pieces: list[tuple[int, int]], ranges: list[tuple[int, int]]
):
    async with reopened(url) as store:
        task = (await steps.started(store)).task
        known = 0
        for start, length in pieces:
            data = WHOLE[start : start + length]
            if start > known:
                with pytest.raises(LogGap):
                    await _append(store, task=task, start=start, data=data)
                continue
            known = max(known, start + len(data))

            assert await _append(store, task=task, start=start, data=data) == known

        async with store.reading() as tx:
            assert await tx.evidence.log_size(task, 1) == known
            for start, limit in ranges:
                part = await tx.evidence.read_log(task, 1, start=start, limit=limit)
                assert part == WHOLE[:known][start : start + limit]


async def _append(store: Store, *, task: int = 1, attempt: int = 1, start: int, data: bytes) -> int:
    async with store.transaction() as tx:
        return await tx.evidence.append_log(task, attempt, start=start, data=data)


async def _read(store: Store) -> bytes:
    async with store.reading() as tx:
        return await tx.evidence.read_log(1, 1, start=0, limit=len(WHOLE))

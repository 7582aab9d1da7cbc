import asyncio
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from agent_fleet.core import lifecycle
from agent_fleet.core.model import Effect
from agent_fleet.store.outbox import CLAIM
from agent_fleet.store.store import Store
from tests.store import steps
from tests.support.stores import opened, two_opened
from tests.support.tasks import SUBMITTED

EFFECT = Effect(key="merge:1:a", kind="merge", task=1, payload={"head": "a"})


async def test_an_effect_is_committed_with_the_change_that_wants_it(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        attempt = await steps.started(store)
        state = await steps.seen(store, attempt.task)
        await steps.save(store, steps.succeeding(state, now=SUBMITTED))
        state = await steps.seen(store, attempt.task)
        change = lifecycle.approve(state, merge=True, now=SUBMITTED, actor="robin")

        await steps.save(store, change)
        store.shift_clock(CLAIM + timedelta(seconds=1))

        claimed = await _claim(store)
        wanted = [replace(effect, awaited=False) for effect in change.effects]
        assert [effect for effect, _ in claimed] == wanted
        assert [tries for _, tries in claimed] == [1]


async def test_an_effect_that_nobody_carried_out_is_claimed_again(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        await _posted(store, EFFECT)
        first = await _claim(store)
        meanwhile = await _claim(store)
        store.shift_clock(CLAIM + timedelta(seconds=1))
        again = await _claim(store)

    assert first == [(EFFECT, 1)]
    assert meanwhile == []
    assert again == [(EFFECT, 2)]


async def test_an_effect_that_stands_is_never_claimed_again(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        await _posted(store, EFFECT)
        await _claim(store)
        async with store.transaction() as tx:
            await tx.outbox.done(EFFECT.key)
            await tx.outbox.refused(EFFECT.key, "by one that was slower")
            await tx.outbox.again(EFFECT.key, after=timedelta(0), error="likewise")
            await tx.outbox.post(EFFECT)
        store.shift_clock(timedelta(days=1))

        assert await _claim(store) == []


async def test_an_effect_put_off_is_due_after_that_time(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        await _posted(store, EFFECT)
        await _claim(store)
        async with store.transaction() as tx:
            await tx.outbox.again(EFFECT.key, after=timedelta(minutes=5), error="no answer")
        store.shift_clock(timedelta(minutes=4))
        early = await _claim(store)
        store.shift_clock(timedelta(minutes=6))
        due = await _claim(store)

    assert early == []
    assert due == [(EFFECT, 2)]


async def test_a_refused_effect_is_tried_once_it_is_wanted_again(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        await _posted(store, EFFECT)
        await _claim(store)
        async with store.transaction() as tx:
            await tx.outbox.refused(EFFECT.key, "it conflicts")
        store.shift_clock(timedelta(days=1))
        refused = await _claim(store)
        async with store.transaction() as tx:
            await tx.outbox.post(EFFECT)
        wanted = await _claim(store)

    assert refused == []
    assert wanted == [(EFFECT, 1)]


async def test_an_awaited_effect_is_taken_up_by_others_only_if_nobody_carried_it_out(
    engine: str, tmp_path: Path
):
    awaited = Effect(key="merge:1:b", kind="merge", task=1, awaited=True)
    async with opened(engine, tmp_path) as store:
        await _posted(store, awaited)

        meanwhile = await _claim(store)
        store.shift_clock(CLAIM + timedelta(seconds=1))
        later = await _claim(store)

    assert meanwhile == []
    assert [effect.key for effect, _ in later] == ["merge:1:b"]


async def test_an_effect_is_nobody_elses_for_as_long_as_it_is_held(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        await _posted(store, EFFECT)
        await _claim(store)
        store.shift_clock(CLAIM - timedelta(seconds=1))

        async with store.transaction() as tx:
            await tx.outbox.hold([EFFECT.key])
        store.shift_clock(2 * CLAIM - timedelta(seconds=2))
        held = await _claim(store)
        store.shift_clock(2 * CLAIM + timedelta(seconds=1))
        left = await _claim(store)

    assert held == []
    assert left == [(EFFECT, 2)]


async def test_an_effect_that_stands_is_not_made_due_by_holding_it(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        await _posted(store, EFFECT)
        await _claim(store)
        async with store.transaction() as tx:
            await tx.outbox.done(EFFECT.key)
            await tx.outbox.hold([EFFECT.key])
        store.shift_clock(timedelta(days=1))

        assert await _claim(store) == []


async def test_two_that_claim_at_once_never_get_the_same_effect(engine: str, tmp_path: Path):
    effects = [Effect(key=f"merge:1:{i}", kind="merge", task=1) for i in range(12)]
    async with two_opened(engine, tmp_path) as stores:
        await _posted(stores[0], *effects)

        claims = await asyncio.gather(*(_claim(stores[i % 2], limit=3) for i in range(6)))

        keys = [effect.key for claim in claims for effect, _ in claim]
        assert len(keys) == len(set(keys))


async def _posted(store: Store, *effects: Effect) -> None:
    await steps.submit(store)
    async with store.transaction() as tx:
        for effect in effects:
            await tx.outbox.post(effect)


async def _claim(store: Store, *, limit: int = 9) -> list[tuple[Effect, int]]:
    async with store.transaction() as tx:
        return await tx.outbox.claim(limit=limit)

import asyncio
from pathlib import Path

from agent_fleet.core import lifecycle
from agent_fleet.core.errors import Conflict, LeaseLost
from agent_fleet.core.model import Mode, Outcome
from agent_fleet.store.store import Store
from tests.store import steps
from tests.support import postgres
from tests.support.stores import two_opened
from tests.support.tasks import SUBMITTED, new_task
from tests.support.waiting import eventually_async

WRITERS = 20
ROUNDS = 5


async def test_of_two_that_finish_one_attempt_at_once_one_wins(engine: str, tmp_path: Path):
    async with two_opened(engine, tmp_path) as (first, second):
        attempt = await steps.started(first)
        state = await steps.seen(first, attempt.task)

        ends = await asyncio.gather(
            steps.save(first, steps.succeeding(state, now=SUBMITTED)),
            steps.save(second, steps.failing(state, now=SUBMITTED)),
            return_exceptions=True,
        )

        after = await steps.seen(first, attempt.task)
        verbs = [event.verb for event in await steps.history(first, attempt.task)]
        assert [type(end) for end in ends if end is not None] == [LeaseLost]
        assert after.attempt is not None
        won = "succeed" if after.attempt.outcome is Outcome.SUCCEEDED else "fail"
        assert verbs == ["submit", "grant", "start", won]


async def test_of_many_that_grant_one_task_at_once_one_wins(engine: str, tmp_path: Path):
    async with two_opened(engine, tmp_path) as stores:
        task = await steps.submit(stores[0])
        state = await steps.seen(stores[0], task.id)

        ends = await asyncio.gather(
            *(steps.save(stores[i % 2], steps.granting(state, now=SUBMITTED)) for i in range(8)),
            return_exceptions=True,
        )

        refused = [type(end) for end in ends if end is not None]
        assert refused == [Conflict] * 7
        assert await steps.is_replayed(stores[0], task.id)


async def test_changes_of_one_task_at_once_come_one_after_the_other(engine: str, tmp_path: Path):
    async with two_opened(engine, tmp_path) as stores:
        task = await steps.submit(stores[0])
        await steps.grant(stores[0], task.id)
        await steps.start(stores[0], task.id)

        await asyncio.gather(
            *(steps.take_over(stores[i % 2], task.id, owner=f"o{i}") for i in range(WRITERS))
        )

        after = await steps.seen(stores[0], task.id)
        assert after.attempt is not None
        assert after.attempt.epoch == 1 + WRITERS
        assert await steps.is_replayed(stores[0], task.id)


async def test_two_that_claim_at_once_never_get_the_same_task(engine: str, tmp_path: Path):
    async def claim(store: Store) -> list[int]:
        got: list[int] = []
        while True:
            async with store.transaction() as tx:
                claimed = await tx.work.claimable(modes=[Mode.EITHER], limit=3)
                for task in claimed:
                    change = steps.granting(lifecycle.State(task), now=await tx.now())
                    await tx.work.save(change)
            if not claimed:
                return got
            got += [task.id for task in claimed]

    async with two_opened(engine, tmp_path) as stores:
        tasks = [await steps.submit(stores[0]) for _ in range(12)]

        claims = await asyncio.gather(*(claim(stores[i % 2]) for i in range(4)))

        claimed = [number for numbers in claims for number in numbers]
        assert sorted(claimed) == [task.id for task in tasks]


async def test_a_claim_does_not_wait_for_what_another_holds(tmp_path: Path):
    async with two_opened("postgres", tmp_path) as (first, second):
        held = await steps.submit(first)
        free = await steps.submit(first)

        async with first.transaction() as mine, second.transaction() as others:
            got = await mine.work.claimable(modes=[Mode.EITHER], limit=1)
            rest = await others.work.claimable(modes=[Mode.EITHER], limit=9)

    assert [task.id for task in got] == [held.id]
    assert [task.id for task in rest] == [free.id]


async def test_a_cursor_sees_each_event_once_in_the_order_of_commits(engine: str, tmp_path: Path):
    async def write(store: Store) -> None:
        for _ in range(ROUNDS):
            async with store.transaction() as tx:
                for _ in range(3):
                    task = new_task(id=await tx.new_task_id())
                    await tx.work.create(lifecycle.submit(task, actor="robin"))
                # The ids are given, and the commit is yet to come: now another could be faster.
                await tx.work.flush()
                await tx.now()

    async def follow(store: Store, writers: "asyncio.Future[list[None]]") -> list[int]:
        seen: list[int] = []
        while True:
            last = writers.done()
            async with store.reading() as tx:
                events = await tx.listing.events(after=seen[-1] if seen else 0, limit=7)
            seen += [event.id for event in events]
            if last and not events:
                return seen

    async with two_opened(engine, tmp_path) as stores:
        writers = asyncio.gather(*(write(stores[i % 2]) for i in range(WRITERS)))
        seen = await follow(stores[0], writers)
        await writers
        async with stores[0].reading() as tx:
            events = await tx.listing.events(limit=WRITERS * ROUNDS * 9)

    assert len(events) == WRITERS * ROUNDS * 3
    assert seen == [event.id for event in events]


async def test_an_event_that_commits_later_never_comes_before_the_cursor(tmp_path: Path):
    async def another_waits_or_is_done() -> bool:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'"
        return other.done() or postgres.server().execute(waiting).strip() == "1"

    async with two_opened("postgres", tmp_path) as (first, second):
        async with first.transaction() as tx:
            slow = new_task(id=await tx.new_task_id())
            await tx.work.create(lifecycle.submit(slow, actor="robin"))
            await tx.work.flush()
            other = asyncio.create_task(steps.submit(second))
            await eventually_async(another_waits_or_is_done, 10, "the other's events")
            async with second.reading() as reader:
                seen = await reader.listing.events(limit=9)
        await other
        async with second.reading() as reader:
            rest = await reader.listing.events(after=seen[-1].id if seen else 0, limit=9)

    assert [event.task for event in seen + rest] == [slow.id, other.result().id]

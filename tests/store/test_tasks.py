from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_fleet.core import lifecycle
from agent_fleet.core.errors import NotFound
from agent_fleet.core.model import Mode, TaskStatus, Transport
from agent_fleet.store.store import Store
from tests.store import steps
from tests.support.stores import opened, reopened, two_opened
from tests.support.tasks import SUBMITTED

ANY = (Mode.SSH_CLI, Mode.HTTP_PULL, Mode.EITHER)


async def test_a_task_is_read_as_it_was_created(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        task = await steps.submit(
            store, capabilities=("gpu",), not_before=SUBMITTED + timedelta(microseconds=1)
        )

        state = await steps.seen(store, task.id)

    assert state.task == task
    assert state.attempt is None


async def test_the_stored_events_replay_to_the_stored_state(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        attempt = await steps.started(store)
        async with store.transaction() as tx:
            await tx.work.save(steps.failing(await tx.work.state(attempt.task), now=await tx.now()))
        await steps.grant(store, attempt.task)
        await steps.start(store, attempt.task)
        await steps.take_over(store, attempt.task, owner="ben")
        async with store.transaction() as tx:
            await tx.work.save(
                steps.succeeding(await tx.work.state(attempt.task), now=await tx.now())
            )

        replayed = await steps.is_replayed(store, attempt.task)
        events = await steps.history(store, attempt.task)

    assert replayed
    assert [event.verb for event in events] == [
        "submit", "grant", "start", "fail", "grant", "start", "take_over", "succeed"
    ]  # fmt: skip


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1))
async def test_any_text_survives(url: str, text: str):
    async with reopened(url) as store:
        attempt = await steps.started(store, title=text, goal=f"{text}\x00")
        async with store.transaction() as tx:
            state = await tx.work.state(attempt.task)
            change = steps.failing(state, now=await tx.now(), message=f"{text}\x00")
            await tx.work.save(change)

        after = await steps.seen(store, attempt.task)

    assert after == change.state


async def test_there_is_no_task_that_was_not_created(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store, store.transaction() as tx:
        with pytest.raises(NotFound):
            await tx.work.state(7)
        with pytest.raises(NotFound):
            await tx.work.task(7)
        with pytest.raises(NotFound):
            await tx.work.attempt(7, 1)


async def test_a_number_is_never_given_twice(engine: str, tmp_path: Path):
    async with two_opened(engine, tmp_path) as (first, second):
        numbers: list[int] = []
        for store in (first, second, first):
            async with store.transaction() as tx:
                numbers += [await tx.new_task_id(), await tx.new_task_id()]
        with pytest.raises(ZeroDivisionError):
            await _give_up_with_a_number(second)
        async with second.transaction() as tx:
            numbers.append(await tx.new_task_id())

    assert numbers == sorted(set(numbers))


async def test_the_most_urgent_task_is_claimed_first_then_the_oldest(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        for priority in (0, 5, 0, -1, 5):
            await steps.submit(store, priority=priority)

        async with store.transaction() as tx:
            claimed = await tx.work.claimable(modes=ANY, limit=4)

    assert [task.id for task in claimed] == [2, 5, 1, 3]


async def test_only_what_may_start_now_is_claimed(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        async with store.transaction() as tx:
            now = await tx.now()
        ready = await steps.submit(store, not_before=now)
        later = await steps.submit(store, not_before=now + timedelta(hours=1))
        await steps.submit(store, held=True)
        await steps.submit(store, execution_mode=Mode.SSH_CLI)
        busy = await steps.submit(store)
        await steps.grant(store, busy.id)

        async with store.transaction() as tx:
            claimed = await tx.work.claimable(modes=(Mode.HTTP_PULL, Mode.EITHER), limit=10)
            next_start = await tx.work.next_start()
        store.shift_clock(timedelta(hours=2))
        async with store.transaction() as tx:
            claimed_later = await tx.work.claimable(modes=(Mode.HTTP_PULL, Mode.EITHER), limit=10)
            no_next_start = await tx.work.next_start()

    assert [task.id for task in claimed] == [ready.id]
    assert next_start == later.not_before
    assert [task.id for task in claimed_later] == [ready.id, later.id]
    assert no_next_start is None


async def test_slots_in_use_are_those_of_attempts_that_have_not_ended(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        for owner, host in (("ada", None), ("ada", None), ("o1", "ws"), ("o2", "ws")):
            task = await steps.submit(store)
            transport = Transport.SSH_CLI if host else Transport.HTTP_PULL
            await steps.grant(store, task.id, transport=transport, owner=owner, host=host)
        over = await steps.started(store)
        state = await steps.seen(store, over.task)
        await steps.save(store, steps.succeeding(state, now=SUBMITTED))

        async with store.reading() as tx:
            used = await tx.work.used_slots()

    assert used == {(Transport.HTTP_PULL, "ada"): 2, (Transport.SSH_CLI, "ws"): 2}


async def test_lists_are_filtered_and_paged_from_the_newest(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        for requester, repo in (("robin", "a"), ("sam", "a"), ("robin", "b"), ("robin", "a")):
            await steps.submit(store, requester=requester, repo=repo)
        await steps.grant(store, 4)

        async with store.reading() as tx:
            page = await tx.listing.listed(limit=2)
            rest = await tx.listing.listed(before=page[-1].id, limit=2)
            mine = await tx.listing.listed(requester="robin", repo="a", limit=9)
            queued = await tx.listing.listed(statuses=[TaskStatus.QUEUED], limit=9)

    assert [task.id for task in page] == [4, 3]
    assert [task.id for task in rest] == [2, 1]
    assert [task.id for task in mine] == [4, 1]
    assert [task.id for task in queued] == [3, 2, 1]


async def test_a_branch_is_watched_once_begun_until_merged_or_long_over(
    engine: str, tmp_path: Path
):
    async with opened(engine, tmp_path) as store:
        await steps.submit(store)
        running = await steps.started(store)
        cancelled = await steps.submit(store)
        await steps.grant(store, cancelled.id)
        state = await steps.seen(store, cancelled.id)
        change = lifecycle.cancel(state, now=SUBMITTED + timedelta(hours=1), actor="robin")
        assert change is not None
        await steps.save(store, change)

        async with store.reading() as tx:
            lately = await tx.listing.watched(ended_since=SUBMITTED, limit=9)
            now = await tx.listing.watched(ended_since=SUBMITTED + timedelta(days=1), limit=9)
            first = await tx.listing.watched(ended_since=SUBMITTED, limit=1)
            rest = await tx.listing.watched(ended_since=SUBMITTED, after=first[0].id, limit=9)

    assert {task.id for task in lately} == {running.task, cancelled.id}
    assert first + rest == lately
    assert {task.id for task in now} == {running.task}


async def test_events_follow_the_cursor_and_are_filtered(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        first = await steps.submit(store, requester="robin")
        second = await steps.submit(store, requester="sam")
        await steps.grant(store, first.id)

        async with store.reading() as tx:
            everything = await tx.listing.events(limit=9)
            rest = await tx.listing.events(after=everything[0].id, limit=1)
            of_sam = await tx.listing.events(requester="sam", limit=9)

    assert [(event.task, event.verb) for event in everything] == [
        (first.id, "submit"), (second.id, "submit"), (first.id, "grant")
    ]  # fmt: skip
    assert [event.id for event in everything] == sorted({event.id for event in everything})
    assert rest == everything[1:2]
    assert of_sam == everything[1:2]


async def _give_up_with_a_number(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.new_task_id()
        raise ZeroDivisionError

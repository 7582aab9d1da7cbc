from datetime import timedelta
from pathlib import Path

import pytest

from agent_fleet.core import lifecycle
from agent_fleet.core.errors import Conflict, LeaseLost
from agent_fleet.core.model import Attempt, AttemptStatus, ForgeView, Outcome, Transport
from agent_fleet.store.store import Store
from tests.store import steps
from tests.support.stores import opened
from tests.support.tasks import SUBMITTED


async def test_a_write_with_a_stale_epoch_changes_nothing(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        attempt = await steps.started(store)
        stale = await steps.seen(store, attempt.task)
        await steps.take_over(store, attempt.task, owner="ben")
        before = await steps.seen(store, attempt.task)
        events = await steps.history(store, attempt.task)

        with pytest.raises(LeaseLost) as refusal:
            await steps.save(store, steps.succeeding(stale, now=SUBMITTED))

        assert refusal.value.current_attempt == 1
        assert await steps.seen(store, attempt.task) == before
        assert await steps.history(store, attempt.task) == events


async def test_a_write_about_an_ended_attempt_changes_nothing(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        attempt = await steps.started(store)
        live = await steps.seen(store, attempt.task)
        await steps.save(store, steps.failing(live, now=SUBMITTED))
        before = await steps.seen(store, attempt.task)
        events = await steps.history(store, attempt.task)

        with pytest.raises(LeaseLost):
            await steps.save(store, steps.succeeding(live, now=SUBMITTED))

        assert await steps.seen(store, attempt.task) == before
        assert await steps.history(store, attempt.task) == events


async def test_an_older_attempt_does_not_write_once_it_has_a_successor(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        first = await steps.started(store)
        live = await steps.seen(store, first.task)
        await steps.save(store, steps.failing(live, now=SUBMITTED))
        await steps.grant(store, first.task)
        before = await steps.seen(store, first.task)

        with pytest.raises(LeaseLost):
            await steps.save(store, steps.succeeding(live, now=SUBMITTED))

        assert await steps.seen(store, first.task) == before


async def test_a_change_of_a_task_that_has_changed_is_a_conflict(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        task = await steps.submit(store)
        state = await steps.seen(store, task.id)
        await steps.grant(store, task.id)

        with pytest.raises(Conflict) as refusal:
            await steps.save(store, steps.granting(state, now=SUBMITTED))
        attempts = await _attempts(store, task.id)

    assert not isinstance(refusal.value, LeaseLost)
    assert [attempt.number for attempt in attempts] == [1]


async def test_an_expiry_is_judged_by_the_databases_clock(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        attempt = await steps.started(store)
        state = await steps.seen(store, attempt.task)
        change = steps.losing(state, now=attempt.lease_expires_at)

        with pytest.raises(LeaseLost):
            await steps.save(store, change, expired=True)
        held = await steps.seen(store, attempt.task)
        store.shift_clock(steps.LEASE + timedelta(seconds=1))
        await steps.save(store, change, expired=True)

        assert held == state
        assert (await steps.seen(store, attempt.task)).attempt == change.attempt


async def test_the_expired_are_pulled_attempts_whose_lease_is_over(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        late = await steps.started(store)
        later = await steps.started(store)
        over = await steps.started(store)
        await steps.save(store, steps.succeeding(await steps.seen(store, over.task), now=SUBMITTED))
        own = await steps.submit(store)
        await steps.grant(store, own.id, transport=Transport.SSH_CLI, owner="o1", host="ws")

        async with store.reading() as tx:
            none_yet = await tx.work.expired(limit=9)
        store.shift_clock(steps.LEASE + timedelta(seconds=30))
        async with store.reading() as tx:
            expired = await tx.work.expired(limit=9)
            oldest = await tx.work.expired(limit=1)

    assert none_yet == []
    assert [attempt.task for attempt in expired] == [late.task, later.task]
    assert oldest == expired[:1]


async def test_a_renewal_is_kept_and_is_no_event(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        attempt = await steps.started(store)
        events = await steps.history(store, attempt.task)
        renewed = await _renewed(store, attempt.task)

        state = await steps.seen(store, attempt.task)

        assert state.attempt == renewed
        assert renewed.progress == "half-way"
        assert await steps.history(store, attempt.task) == events
        assert await steps.is_replayed(store, attempt.task)


async def test_a_renewal_of_what_is_over_or_taken_over_is_refused(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        taken = await steps.started(store)
        over = await steps.started(store)
        await steps.take_over(store, taken.task, owner="ben")
        await steps.save(store, steps.failing(await steps.seen(store, over.task), now=SUBMITTED))

        for attempt in (taken, over):
            before = await steps.seen(store, attempt.task)
            with pytest.raises(LeaseLost):
                async with store.transaction() as tx:
                    await tx.work.renew(attempt)
            assert await steps.seen(store, attempt.task) == before


async def test_a_late_receipt_is_taken_of_a_lost_attempt_only(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        attempt = await steps.started(store)
        await steps.save(store, steps.losing(await steps.seen(store, attempt.task), now=SUBMITTED))
        change = lifecycle.late_receipt(
            await steps.seen(store, attempt.task),
            attempt=1,
            head_sha=steps.HEAD,
            view=ForgeView(version=1, head=steps.HEAD),
            summary="done after all",
            receipt_id="receipt-1",
            now=SUBMITTED,
            actor="ada",
        )

        await steps.save(store, change)
        with pytest.raises(LeaseLost):
            await steps.save(store, change)

        found = (await steps.seen(store, attempt.task)).attempt
        assert found is not None
        assert found.outcome is Outcome.SUCCEEDED
        assert await steps.is_replayed(store, attempt.task)


async def test_what_one_request_was_granted_is_found_by_its_key(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        for owner, key in (("ada", "k1"), ("ada", "k2"), ("ben", "k1"), ("ada", "k1")):
            task = await steps.submit(store)
            await steps.grant(store, task.id, owner=owner, request_key=key)
        await steps.start(store, 1)
        await steps.save(store, steps.failing(await steps.seen(store, 1), now=SUBMITTED))

        async with store.reading() as tx:
            granted = await tx.work.granted_by_key(owner="ada", request_key="k1")

    assert [attempt.task for attempt in granted] == [4]


async def test_what_has_not_ended_is_found_by_transport(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        for owner in ("o1", "o2"):
            task = await steps.submit(store)
            await steps.grant(store, task.id, transport=Transport.SSH_CLI, owner=owner, host="ws")
        pulled = await steps.started(store)

        async with store.reading() as tx:
            runs = await tx.work.unended(transport=Transport.SSH_CLI)
            pulls = await tx.work.unended(transport=Transport.HTTP_PULL)

    assert sorted(attempt.task for attempt in runs) == [1, 2]
    assert [attempt.task for attempt in pulls] == [pulled.task]
    assert pulls[0].status is AttemptStatus.LIVE


async def _attempts(store: Store, task: int) -> list[Attempt]:
    async with store.reading() as tx:
        return await tx.work.attempts(task)


async def _renewed(store: Store, task: int) -> Attempt:
    async with store.transaction() as tx:
        state = await tx.work.state(task)
        assert state.attempt is not None
        attempt = lifecycle.renew(
            state,
            attempt=state.attempt.number,
            epoch=state.attempt.epoch,
            lease_ttl=steps.LEASE * 2,
            prepare_limit=timedelta(minutes=15),
            phase="testing",
            progress="half-way",
            now=await tx.now(),
        )
        await tx.work.renew(attempt)
    return attempt

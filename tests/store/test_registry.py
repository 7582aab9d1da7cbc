import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent_fleet.core.errors import NotFound
from agent_fleet.core.registry import Account, Agent, Host, Token, TokenKind
from agent_fleet.store.store import Store, Transaction
from tests.support import postgres
from tests.support.stores import opened, two_opened
from tests.support.tasks import SUBMITTED
from tests.support.waiting import eventually_async

ADA = Agent(name="ada", slots=2, capabilities=("gpu",), repos=("a",), created_at=SUBMITTED)
WS = Host(name="ws", orchestrator="o1", slots=3, adapters={"raw": "1.0"}, load_per_core=0.25)
TOKEN = Token(prefix="aflt_a", kind=TokenKind.OPERATOR, name="robin", created_at=SUBMITTED)


async def test_an_agent_is_registered_again_with_new_rights(engine: str, tmp_path: Path):
    async with two_opened(engine, tmp_path) as stores:
        await asyncio.gather(*(_add(stores[i % 2], ADA) for i in range(4)))
        await _add(stores[0], replace(ADA, slots=7, created_at=SUBMITTED + timedelta(days=1)))

        async with stores[0].reading() as tx:
            assert await tx.registry.agents() == [replace(ADA, slots=7)]
            with pytest.raises(NotFound):
                await tx.registry.agent("ben")


async def test_what_an_agent_says_of_itself_leaves_its_rights_alone(engine: str, tmp_path: Path):
    said = replace(ADA, slots=99, adapters=("raw",), incarnation="i2", seen_at=SUBMITTED)
    async with opened(engine, tmp_path) as store:
        await _add(store, ADA)
        async with store.transaction() as tx:
            await tx.registry.seen(said)

        async with store.reading() as tx:
            assert await tx.registry.agent("ada") == replace(said, slots=ADA.slots)


async def test_a_host_is_what_was_said_of_it_last(engine: str, tmp_path: Path):
    probed = replace(WS, up=True, message="fine\x00", probed_at=SUBMITTED, disk_free_bytes=2**50)
    async with opened(engine, tmp_path) as store:
        async with store.transaction() as tx:
            await tx.registry.put_host(WS)
            await tx.registry.put_host(probed)

        async with store.reading() as tx:
            assert await tx.registry.hosts() == [probed]
            assert await tx.registry.host("ws") == probed
            with pytest.raises(NotFound):
                await tx.registry.host("nowhere")


async def test_an_orchestrator_forgets_only_its_own_hosts(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store, store.transaction() as tx:
        for name, orchestrator in (("a", "o1"), ("b", "o1"), ("c", "o2")):
            await tx.registry.put_host(replace(WS, name=name, orchestrator=orchestrator))
        await tx.registry.forget_hosts(orchestrator="o1", but=["b"])
        kept = await tx.registry.hosts()
        await tx.registry.forget_hosts(orchestrator="o1", but=[])
        of_others = await tx.registry.hosts()

    assert [host.name for host in kept] == ["b", "c"]
    assert [host.name for host in of_others] == ["c"]


@pytest.mark.parametrize("row", ["agent", "host", "hosts"])
async def test_a_locked_row_makes_another_wait(row: str, tmp_path: Path):
    async with two_opened("postgres", tmp_path) as (first, second):
        await _add(first, ADA)
        async with first.transaction() as tx:
            await tx.registry.put_host(WS)

        async def lock_too() -> None:
            async with second.transaction() as tx:
                await _lock(tx, row)

        async def waits_or_is_done() -> bool:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            return other.done() or postgres.server().execute(waiting).strip() == "1"

        async with first.transaction() as tx:
            await _lock(tx, row)
            other = asyncio.create_task(lock_too())
            await eventually_async(waits_or_is_done, 10, "the other to wait")
            waited = not other.done()
        await other

    assert waited


async def test_an_account_is_clean_until_it_is_punished(engine: str, tmp_path: Path):
    punished = Account("ws", "raw", failures=2, cooldown_until=SUBMITTED, message="limit")
    async with opened(engine, tmp_path) as store:
        async with store.transaction() as tx:
            clean = await tx.registry.account("ws", "raw")
            await tx.registry.put_account(replace(punished, failures=1))
            await tx.registry.put_account(punished)

        async with store.reading() as tx:
            assert clean == Account("ws", "raw")
            assert await tx.registry.account("ws", "raw") == punished
            assert await tx.registry.accounts() == [punished]


async def test_a_token_is_known_by_its_hash_while_it_is_valid(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        async with store.transaction() as tx:
            short = replace(TOKEN, prefix="aflt_b", expires_at=await tx.now() + timedelta(hours=1))
            await tx.registry.add_token(TOKEN, sha256="a" * 64)
            await tx.registry.add_token(short, sha256="b" * 64)
        now = await _by_hash(store)
        store.shift_clock(timedelta(hours=2))
        later = await _by_hash(store)

    assert now == [TOKEN, short, None]
    assert later == [TOKEN, None, None]


async def test_a_revoked_token_is_known_no_more_but_listed(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        async with store.transaction() as tx:
            await tx.registry.add_token(TOKEN, sha256="a" * 64)
        for hours in (1, 2):
            async with store.transaction() as tx:
                await tx.registry.revoke_token("aflt_a", at=SUBMITTED + timedelta(hours=hours))

        known = await _by_hash(store)
        async with store.transaction() as tx:
            listed = await tx.registry.tokens()
            with pytest.raises(NotFound):
                await tx.registry.revoke_token("aflt_z", at=SUBMITTED)

    assert known == [None, None, None]
    assert listed == [replace(TOKEN, revoked_at=SUBMITTED + timedelta(hours=1))]


async def test_a_fact_is_what_was_said_last(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        async with store.transaction() as tx:
            unknown = await tx.fact("a fact")
            await tx.set_fact("a fact", "one")
            await tx.set_fact("a fact", "two")

        async with store.reading() as tx:
            assert await tx.fact("a fact") == "two"
            assert unknown is None
            assert await tx.fact("fleet_epoch")


async def _add(store: Store, agent: Agent) -> None:
    async with store.transaction() as tx:
        await tx.registry.put_agent(agent)


async def _lock(tx: Transaction, row: str) -> None:
    if row == "agent":
        await tx.registry.agent("ada", lock=True)
    elif row == "hosts":
        await tx.registry.hosts(lock=True)
    else:
        await tx.registry.host("ws", lock=True)


async def _by_hash(store: Store) -> list[Token | None]:
    async with store.reading() as tx:
        return [await tx.registry.token_by_hash(sign * 64) for sign in "abc"]

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from agent_fleet.core import lifecycle
from agent_fleet.core.errors import Conflict, IdempotencyMismatch, NotFound
from agent_fleet.core.model import Outcome, Receipt, Usage, ValidationResult
from agent_fleet.store.evidence import KeptReceipt
from agent_fleet.store.store import Store
from tests.store import steps
from tests.support.stores import opened, two_opened
from tests.support.tasks import new_task

RECEIPT = Receipt(
    receipt_id="receipt-1",
    task=1,
    attempt=1,
    outcome=Outcome.SUCCEEDED,
    head_sha=steps.HEAD,
    summary="done, with \x00 and ☃",
    validation=(ValidationResult("make test", 0, 1.5, "c" * 64),),
    usage=Usage(input_tokens=10, cost_micro_usd=2**40),
    timings={"run": 1.25},
)


async def test_a_receipt_is_read_as_it_was_handed_in(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        await steps.started(store)
        await _keep(store, RECEIPT)

        async with store.reading() as tx:
            kept = await tx.evidence.receipt("receipt-1")
            unknown = await tx.evidence.known_receipt("receipt-2")
            with pytest.raises(NotFound):
                await tx.evidence.receipt("receipt-2")

    assert kept == KeptReceipt(RECEIPT, "d" * 64, "accepted")
    assert unknown is None


async def test_receipts_of_a_task_come_in_the_order_of_arrival(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        await steps.started(store)
        for number in (2, 3, 1):
            await _keep(store, _receipt(f"receipt-{number}"))
            store.shift_clock(timedelta(seconds=number * 10))

        async with store.reading() as tx:
            receipts = await tx.evidence.receipts(1)

    assert [kept.receipt.receipt_id for kept in receipts] == ["receipt-2", "receipt-3", "receipt-1"]


async def test_a_receipt_is_kept_once(engine: str, tmp_path: Path):
    async with two_opened(engine, tmp_path) as stores:
        await steps.started(stores[0])

        ends = await asyncio.gather(
            *(_keep(stores[i % 2], RECEIPT) for i in range(4)), return_exceptions=True
        )

        assert [type(end) for end in ends if end is not None] == [Conflict] * 3


async def test_a_request_that_comes_again_finds_its_task(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        task = await _submit_once(store, "key", body="a" * 64)

        again = await _submit_once(store, "key", body="a" * 64)
        of_another = await _submit_once(store, "key", body="a" * 64, actor="sam")

        assert again == task
        assert of_another != task


async def test_a_key_with_another_body_is_refused(engine: str, tmp_path: Path):
    async with opened(engine, tmp_path) as store:
        await _submit_once(store, "key", body="a" * 64)

        with pytest.raises(IdempotencyMismatch):
            await _submit_once(store, "key", body="b" * 64)


async def test_of_many_equal_requests_at_once_one_makes_a_task(engine: str, tmp_path: Path):
    async with two_opened(engine, tmp_path) as stores:
        found = await asyncio.gather(
            *(_submit_once(stores[i % 2], "key", body="a" * 64) for i in range(8))
        )

        async with stores[0].reading() as tx:
            tasks = await tx.listing.listed(limit=9)
        assert [task.id for task in tasks] == [found[0]]
        assert set(found) == {found[0]}


class _SomebodyWasFaster(Exception):
    pass


async def _submit_once(store: Store, key: str, *, body: str, actor: str = "robin") -> int:
    try:
        async with store.transaction() as tx:
            known = await tx.evidence.task_of_key(actor=actor, key=key, sha256=body)
            if known is not None:
                return known
            task = new_task(id=await tx.new_task_id())
            await tx.work.create(lifecycle.submit(task, actor=actor))
            if not await tx.evidence.keep_key(actor=actor, key=key, sha256=body, task=task.id):
                raise _SomebodyWasFaster
            return task.id
    except _SomebodyWasFaster:
        return await _submit_once(store, key, body=body, actor=actor)


def _receipt(receipt_id: str) -> Receipt:
    return Receipt(receipt_id=receipt_id, task=1, attempt=1, outcome=Outcome.FAILED)


async def _keep(store: Store, receipt: Receipt) -> None:
    async with store.transaction() as tx:
        await tx.evidence.keep_receipt(receipt, sha256="d" * 64, verdict="accepted")

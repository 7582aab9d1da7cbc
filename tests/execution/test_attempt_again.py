"""An attempt carried out again, from wherever it was left, comes to the same end."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent_fleet.core.errors import LeaseLost, Unavailable
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Outcome
from agent_fleet.execution.records import recall
from tests.support.attempts import CANCEL, CONTINUE, WORK, Workshop
from tests.support.remotes import BRANCH
from tests.support.runs import bearers, written


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    shop = Workshop(tmp_path)
    yield shop
    asyncio.run(shop.clean())


async def leave(shop: Workshop, *, when: Path) -> None:
    """Carry the attempt out, and be stopped as soon as there is something in that file."""
    going = asyncio.ensure_future(shop.carry_out())
    await asyncio.to_thread(written, when)
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)


async def test_the_same_receipt_is_handed_in_twice(shop: Workshop) -> None:
    shop.grant = replace(shop.grant, validation=("echo fine",))
    first = await shop.carry_out("receipt-1")

    second = await shop.carry_out("receipt-2")

    assert second == first
    assert written(shop.starts) == "started\n"


async def test_a_log_that_the_receiver_lost_is_sent_again(shop: Workshop) -> None:
    shop.adapter = shop.agent(f"{WORK}\necho oops >&2")
    shop.grant = replace(shop.grant, validation=("echo fine",))
    await shop.receipt()
    whole = shop.recorder.log
    shop.recorder.lose(5)

    await shop.receipt()

    assert shop.recorder.log == whole


async def test_a_run_that_goes_on_is_followed(shop: Workshop) -> None:
    finish = shop.directory / "finish"
    shop.adapter = shop.agent(f"{WORK}\nuntil [ -e {finish} ]; do sleep 0.05; done; echo late")
    await leave(shop, when=shop.starts)
    finish.touch()

    receipt = await shop.receipt()

    assert receipt.outcome is Outcome.SUCCEEDED
    assert written(shop.starts) == "started\n"
    assert shop.recorder.log == b"working\nfinished\nlate\n"
    assert shop.bench.heads()[BRANCH] == receipt.head_sha


async def test_a_run_that_is_found_is_running_from_the_first_word(shop: Workshop) -> None:
    finish = shop.directory / "finish"
    shop.adapter = shop.agent(f"{WORK}\nuntil [ -e {finish} ]; do sleep 0.05; done")
    await leave(shop, when=shop.starts)
    finish.touch()
    before = len(shop.recorder.words)

    await shop.receipt()

    word = shop.recorder.words[before]
    assert (word["status"], word["base_sha"]) == ("running", shop.bench.heads()["main"])


async def test_a_run_that_was_cancelled_meanwhile_is_ended(shop: Workshop) -> None:
    shop.adapter = shop.agent(f"{WORK}\nexec sleep 600")
    await leave(shop, when=shop.starts)
    shop.recorder.answer = lambda _: CANCEL

    receipt = await shop.receipt()

    assert (receipt.outcome, receipt.reason) == (Outcome.CANCELLED, Reason.CANCELLED)
    assert bearers(shop.run.name) == []


async def test_a_validation_that_was_cancelled_meanwhile_is_ended(shop: Workshop) -> None:
    validating = shop.directory / "validating"
    shop.grant = replace(shop.grant, validation=(f"echo yes >{validating}; sleep 600",))
    await leave(shop, when=validating)
    shop.recorder.answer = lambda _: CANCEL

    receipt = await shop.receipt()

    assert receipt.reason is Reason.CANCELLED
    assert bearers(f"{shop.run.name}.v0") == []


@pytest.mark.parametrize("stage", ["run", "validate"])
async def test_what_was_lost_meanwhile_is_ended(shop: Workshop, stage: str) -> None:
    reached = shop.directory / "reached"
    command = f"echo yes >{reached}; sleep 600"
    if stage == "run":
        shop.adapter = shop.agent(command)
    shop.grant = replace(shop.grant, validation=(command,))
    await leave(shop, when=reached)
    shop.recorder.answer = lambda _: LeaseLost("expired")

    receipt = await shop.carry_out()

    assert receipt is None
    assert bearers(shop.run.name) + bearers(f"{shop.run.name}.v0") == []


async def test_validation_is_found_again_and_not_repeated(shop: Workshop) -> None:
    validated, finish = shop.directory / "validated", shop.directory / "finish"
    command = f"echo yes >>{validated}; until [ -e {finish} ]; do sleep 0.05; done; echo made >new"
    shop.grant = replace(shop.grant, validation=("true", command))
    await leave(shop, when=validated)
    finish.touch()

    receipt = await shop.receipt()

    assert receipt.outcome is Outcome.SUCCEEDED
    assert written(validated) == "yes\n"
    changed = shop.bench.git("diff", "--name-only", f"main..{BRANCH}", at=shop.bench.remote)
    assert changed == "done.txt"


async def test_why_a_run_was_ended_is_not_forgotten(shop: Workshop) -> None:
    stubborn = "trap 'echo INT >>\"$PIPE\"' INT; while :; do sleep 0.05; done"
    shop.adapter = shop.agent(stubborn, graces={"interrupt_s": 60, "terminate_s": 0.1, "kill_s": 5})
    shop.limit(run_s=0.5)
    await leave(shop, when=shop.pipe)
    shop.adapter = shop.agent(stubborn)

    receipt = await shop.receipt()

    assert (receipt.outcome, receipt.reason) == (Outcome.TIMED_OUT, Reason.RUN_TIMEOUT)


async def test_a_preparation_that_was_cut_off_is_begun_anew(shop: Workshop) -> None:
    going = asyncio.ensure_future(shop.carry_out())
    await asyncio.wait_for(shop.recorder.spoken.wait(), 20)
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)

    receipt = await shop.receipt()

    assert receipt.outcome is Outcome.SUCCEEDED
    assert written(shop.starts) == "started\n"


async def test_the_record_of_the_workspace_is_there_before_the_run(shop: Workshop) -> None:
    shop.adapter = shop.agent(f'cat "{shop.run}.prepared" >prepared.txt')

    receipt = await shop.receipt()

    prepared = (await recall(shop.machine, str(shop.run))).prepared
    assert prepared is not None
    said = shop.bench.git("show", f"{receipt.head_sha}:prepared.txt", at=shop.bench.remote)
    assert prepared.workspace.path in said


async def test_the_log_waits_for_a_receiver_that_is_away(shop: Workshop) -> None:
    refusals = [Unavailable("away")] * 5
    shop.recorder.refuse = lambda _start, _data: refusals.pop() if refusals else None

    receipt = await shop.receipt()

    assert shop.recorder.log == b"working\nfinished\n"
    assert receipt.log.bytes == len(shop.recorder.log)


async def test_a_receipt_does_not_wait_for_ever_for_the_log(shop: Workshop) -> None:
    shop.setting = replace(shop.setting, patience_s=0.5)
    shop.recorder.refuse = lambda _start, _data: Unavailable("away")
    first = await shop.receipt()
    shop.recorder.refuse = lambda _start, _data: None

    second = await shop.receipt()

    assert first == second
    assert first.log.bytes == len(b"working\nfinished\n")
    assert shop.recorder.log == b"working\nfinished\n"


async def test_nobody_answers_the_first_word(shop: Workshop) -> None:
    shop.setting = replace(shop.setting, self_stop=False)
    shop.grant = replace(shop.grant, lease=replace(CONTINUE.lease, ttl_s=0.3))
    shop.recorder.answer = lambda _: Unavailable("away")

    with pytest.raises(Unavailable):
        await shop.carry_out()

    assert not shop.starts.exists()

"""What the fleet says meanwhile is obeyed, at whatever stage the attempt is."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent_fleet.core.errors import FleetError, LeaseLost, NotFound, Unavailable
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Lease, Outcome
from agent_fleet.execution.local import LocalMachine
from tests.support.attempts import CANCEL, CONTINUE, STOP, WORK, Answer, Word, Workshop
from tests.support.runs import bearers, written


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    shop = Workshop(tmp_path)
    yield shop
    asyncio.run(shop.clean())


def once(reached: Callable[[], bool], answer: Answer) -> Callable[[Word], Answer]:
    """Continue, until that is reached; `answer` from then on."""
    return lambda _: answer if reached() else CONTINUE


def slow_git(shop: Workshop, subcommand: str) -> Path:
    """Make this subcommand of git hang, on the machine; the file that says that it does."""
    shims, marker = shop.directory / "shims", shop.directory / "hangs"
    shims.mkdir()
    (shims / "git").write_text(
        f"#!/bin/sh\n"
        f'case " $* " in *" {subcommand} "*) echo yes >{marker}; exec sleep 600 ;; esac\n'
        f'PATH={shop.environment["PATH"]} exec git "$@"\n'
    )
    (shims / "git").chmod(0o755)
    path = f"{shims}:{shop.environment['PATH']}"
    shop.machine = LocalMachine(environment={**shop.bench.environment, "PATH": path})
    return marker


async def test_cancelled_while_it_is_prepared_nothing_is_started(shop: Workshop) -> None:
    hangs = slow_git(shop, "ls-remote")
    shop.recorder.answer = once(hangs.exists, CANCEL)

    receipt = await shop.receipt()

    assert (receipt.outcome, receipt.reason) == (Outcome.CANCELLED, Reason.CANCELLED)
    assert not shop.starts.exists()
    assert not shop.run.exists()


@pytest.mark.parametrize("answer", [CANCEL, STOP])
async def test_cancelled_while_it_runs(shop: Workshop, answer: Answer) -> None:
    shop.adapter = shop.agent(
        'echo "tool" ; setsid sleep 600 & echo started >>"$STARTS"; exec sleep 600'
    )
    shop.recorder.answer = once(shop.starts.exists, answer)

    receipt = await shop.receipt()

    assert (receipt.outcome, receipt.reason) == (Outcome.CANCELLED, Reason.CANCELLED)
    assert bearers(shop.run.name) == []
    assert list(shop.bench.heads()) == ["main"]


async def test_cancelled_while_it_is_validated(shop: Workshop) -> None:
    validating = shop.directory / "validating"
    shop.grant = replace(shop.grant, validation=(f"echo yes >{validating}; sleep 600",))
    shop.recorder.answer = once(validating.exists, CANCEL)

    receipt = await shop.receipt()

    assert receipt.reason is Reason.CANCELLED
    assert bearers(f"{shop.run.name}.v0") == []
    assert list(shop.bench.heads()) == ["main"]


async def test_cancelled_before_the_push_nothing_is_pushed(shop: Workshop) -> None:
    hangs = slow_git(shop, "push")
    shop.recorder.answer = once(hangs.exists, CANCEL)

    receipt = await shop.receipt()

    assert receipt.reason is Reason.CANCELLED
    assert list(shop.bench.heads()) == ["main"]


@pytest.mark.parametrize("error", [LeaseLost("gone"), NotFound("no such task")])
async def test_an_attempt_lost_from_the_first_is_not_begun(
    shop: Workshop, error: FleetError
) -> None:
    shop.recorder.answer = lambda _: error

    receipt = await shop.carry_out()

    assert receipt is None
    assert not Path(shop.bench.root).exists()


async def test_lost_while_it_runs_the_run_is_ended_and_nothing_handed_in(shop: Workshop) -> None:
    shop.adapter = shop.agent(f"{WORK}\nexec sleep 600")
    shop.recorder.answer = once(shop.starts.exists, LeaseLost("gone"))

    receipt = await shop.carry_out()

    assert receipt is None
    assert bearers(shop.run.name) == []
    assert list(shop.bench.heads()) == ["main"]


async def test_lost_before_the_push_nothing_is_pushed(shop: Workshop) -> None:
    hangs = slow_git(shop, "push")
    shop.recorder.answer = once(hangs.exists, LeaseLost("gone"))

    receipt = await shop.carry_out()

    assert receipt is None
    assert list(shop.bench.heads()) == ["main"]


async def test_a_worker_cut_off_from_the_server_ends_its_run(shop: Workshop) -> None:
    shop.adapter = shop.agent(f"{WORK}\nexec sleep 600")
    short = replace(CONTINUE, lease=Lease(ttl_s=2, heartbeat_s=0.05))
    shop.recorder.answer = lambda _: Unavailable("away") if shop.starts.exists() else short

    receipt = await shop.carry_out()

    assert receipt is None
    assert bearers(shop.run.name) == []


async def test_a_run_that_a_self_stop_ended_was_killed_when_it_is_found_again(
    shop: Workshop,
) -> None:
    shop.adapter = shop.agent(f"{WORK}\nexec sleep 600")
    shop.recorder.answer = once(shop.starts.exists, LeaseLost("gone"))
    await shop.carry_out()
    shop.recorder.answer = lambda _: CONTINUE

    receipt = await shop.receipt()

    assert receipt.reason is Reason.KILLED
    assert "renew the lease" in receipt.summary


async def test_a_run_taken_over_by_another_orchestrator_goes_on(shop: Workshop) -> None:
    shop.setting = replace(shop.setting, self_stop=False)
    shop.adapter = shop.agent(f"{WORK}\nexec sleep 600")
    shop.recorder.answer = once(shop.starts.exists, LeaseLost("another's"))

    receipt = await shop.carry_out()

    assert receipt is None
    assert bearers(shop.run.name) != []


async def test_an_orchestrator_without_its_database_goes_on(shop: Workshop) -> None:
    shop.setting = replace(shop.setting, self_stop=False)
    finish = shop.directory / "finish"
    shop.adapter = shop.agent(f"{WORK}\nuntil [ -e {finish} ]; do sleep 0.05; done")
    short = replace(CONTINUE, lease=Lease(ttl_s=1, heartbeat_s=0.05))
    refused = 0

    def answer(word: Word) -> Answer:
        nonlocal refused
        if word["status"] == "running" and refused < 30:
            refused += 1
            if refused == 30:
                finish.touch()
            return Unavailable("the database is away")
        return short

    shop.recorder.answer = answer

    receipt = await shop.receipt()

    assert receipt.outcome is Outcome.SUCCEEDED


async def test_a_start_that_nobody_heard_of_is_left_to_the_receipt(shop: Workshop) -> None:
    shop.setting = replace(shop.setting, self_stop=False)
    short = replace(CONTINUE, lease=Lease(ttl_s=0.5, heartbeat_s=0.05))
    shop.recorder.answer = lambda word: (
        Unavailable("away") if word["status"] == "running" else short
    )

    receipt = await shop.receipt()

    assert receipt.outcome is Outcome.SUCCEEDED
    assert written(shop.starts) == "started\n"


async def test_a_stopped_orchestrator_leaves_the_run_alive(shop: Workshop) -> None:
    shop.adapter = shop.agent(f"{WORK}\nexec sleep 600")
    going = asyncio.ensure_future(shop.carry_out())
    await asyncio.to_thread(written, shop.starts)

    going.cancel()
    done, _ = await asyncio.wait({going}, timeout=5)

    assert done == {going}
    assert going.cancelled()
    assert bearers(shop.run.name) != []

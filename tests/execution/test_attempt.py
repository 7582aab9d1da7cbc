"""An attempt that nothing disturbs: what it does, and what its receipt says."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from agent_fleet.core.faults import Reason
from agent_fleet.core.model import LogDigest, Outcome, Receipt
from agent_fleet.execution.attempt import tidy
from agent_fleet.execution.git import Credentials
from tests.support.attempts import WORK, Workshop
from tests.support.remotes import BRANCH
from tests.support.runs import bearers


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    shop = Workshop(tmp_path)
    yield shop
    asyncio.run(shop.clean())


async def test_work_is_pushed_and_told(shop: Workshop) -> None:
    main = shop.bench.heads()["main"]

    receipt = await shop.receipt()

    head = shop.bench.heads()[BRANCH]
    log = b"working\nfinished\n"
    assert shop.bench.git("show", f"{head}:done.txt", at=shop.bench.remote) == "done"
    assert replace(receipt, timings={}) == Receipt(
        receipt_id="receipt-1",
        task=12,
        attempt=1,
        outcome=Outcome.SUCCEEDED,
        exit_code=0,
        summary="working\nfinished",
        branch=BRANCH,
        base_sha=main,
        head_sha=head,
        log=LogDigest(len(log), hashlib.sha256(log).hexdigest()),
    )
    assert sorted(receipt.timings) == ["prepare_s", "push_s", "run_s"]
    assert shop.recorder.log == log


async def test_a_receipt_is_one_that_the_wire_takes(shop: Workshop) -> None:
    shop.grant = replace(shop.grant, validation=("true",))

    receipt = await shop.receipt()

    assert msgspec.json.decode(msgspec.json.encode(receipt), type=Receipt) == receipt


async def test_the_fleet_hears_of_each_phase_and_of_the_start(shop: Workshop) -> None:
    await shop.receipt()

    words = shop.recorder.words
    assert (words[0]["status"], words[0]["phase"]) == ("preparing", "prepare")
    started = next(word for word in words if word["status"] == "running")
    assert started["base_sha"] == shop.bench.heads()["main"]


async def test_the_agent_reads_the_prompt(shop: Workshop) -> None:
    shop.adapter = shop.agent("cat; git commit -q --allow-empty -m x; echo >a")

    receipt = await shop.receipt()

    assert receipt.summary == "Fix it."


async def test_what_the_agent_left_uncommitted_is_committed(shop: Workshop) -> None:
    shop.adapter = shop.agent("echo left >left.txt")

    receipt = await shop.receipt()

    head = shop.bench.heads()[BRANCH]
    assert receipt.head_sha == head
    assert shop.bench.git("show", f"{head}:left.txt", at=shop.bench.remote) == "left"
    subject = shop.bench.git("log", "-1", "--format=%s by %an", head, at=shop.bench.remote)
    assert subject == "Fix the login by Agent"


async def test_where_nothing_is_to_be_delivered_nothing_is_pushed(shop: Workshop) -> None:
    shop.adapter = shop.agent("echo an answer")
    shop.grant = replace(shop.grant, deliverable="none", validation=("true",))

    receipt = await shop.receipt()

    assert (receipt.outcome, receipt.summary) == (Outcome.SUCCEEDED, "an answer")
    assert (receipt.branch, receipt.head_sha) == (None, None)
    assert list(shop.bench.heads()) == ["main"]


async def test_validation_is_evidence(shop: Workshop) -> None:
    shop.grant = replace(shop.grant, validation=("cat done.txt", "echo bad >&2"))

    receipt = await shop.receipt()

    first, second = receipt.validation
    assert (first.command, first.exit_code) == ("cat done.txt", 0)
    assert first.output_sha256 == hashlib.sha256(b"done\n").hexdigest()
    assert second.output_sha256 == hashlib.sha256(b"bad\n").hexdigest()
    assert receipt.timings["validate_s"] >= 0


async def test_the_log_has_everything_in_its_order(shop: Workshop) -> None:
    shop.adapter = shop.agent("echo oops >&2; echo out; echo >a")
    shop.grant = replace(shop.grant, validation=("echo one; echo two >&2", "true"))

    receipt = await shop.receipt()

    expected = (
        b"out\n"
        b"\n--- stderr ---\noops\n"
        b"\n--- validation 1: echo one; echo two >&2 ---\none\ntwo\n"
        b"\n--- validation 2: true ---\n"
    )
    assert shop.recorder.log == expected
    assert receipt.log == LogDigest(len(expected), hashlib.sha256(expected).hexdigest())


async def test_a_long_log_is_whole(shop: Workshop) -> None:
    script = "yes 0123456789 | head -c 3000000; echo >a"
    shop.adapter = shop.agent(script)

    receipt = await shop.receipt()

    assert receipt.log.bytes == 3_000_000
    assert shop.recorder.log == (b"0123456789\n" * 300_000)[:3_000_000]


async def test_the_agent_sees_the_base_environment_and_what_its_adapter_names(
    shop: Workshop,
) -> None:
    shop.setting = replace(
        shop.setting, passable={"MINE": "passed-on", "OTHER_KEY": "not for this one"}
    )
    shop.adapter = shop.agent(
        'echo "$MINE/${OTHER_KEY-unset}/$CONSTANT/${HOME:+home}"; echo >a',
        env=["MINE", "ABSENT"],
        set_env={"CONSTANT": "set"},
    )

    receipt = await shop.receipt()

    assert receipt.summary == "passed-on/unset/set/home"


async def test_a_validation_command_sees_no_variable_of_the_agent(shop: Workshop) -> None:
    shop.setting = replace(shop.setting, passable={"MINE": "x"})
    shop.adapter = shop.agent("echo >a", env=["MINE"], set_env={"CONSTANT": "y"})
    shop.grant = replace(shop.grant, validation=('test -z "${MINE-}${CONSTANT-}"',))

    receipt = await shop.receipt()

    assert receipt.outcome is Outcome.SUCCEEDED


async def test_no_secret_is_in_log_or_receipt(shop: Workshop) -> None:
    secret, token = "sk-very-secret", "forge-token-1"
    shop.setting = replace(
        shop.setting, passable={"API_KEY": secret}, credentials=Credentials("u", token)
    )
    script = f"echo $API_KEY {token}; echo $API_KEY >&2; echo $API_KEY >leak"
    shop.adapter = shop.agent(script, env=["API_KEY"])
    shop.grant = replace(shop.grant, validation=("cat leak; false",))

    receipt = await shop.receipt()

    told = shop.recorder.log + msgspec.json.encode(receipt)
    assert receipt.reason is Reason.VALIDATION_FAILED
    assert (secret.encode() in told, token.encode() in told) == (False, False)
    assert b"************** *************\n" in told


async def test_a_tool_that_outlives_the_agent_is_ended(shop: Workshop) -> None:
    shop.adapter = shop.agent("setsid sleep 600 >/dev/null 2>&1 </dev/null & echo >a")

    receipt = await shop.receipt()

    assert receipt.outcome is Outcome.SUCCEEDED
    assert bearers(shop.run.name) == []


async def test_a_revision_goes_on_from_the_pushed_head(shop: Workshop) -> None:
    first = await shop.receipt()
    shop.grant = replace(shop.grant, attempt=2, start_head=first.head_sha)
    shop.adapter = shop.agent("echo more >more.txt")

    second = await shop.receipt()

    assert second.head_sha == shop.bench.heads()[BRANCH]
    parent = shop.bench.git("rev-parse", f"{second.head_sha}^", at=shop.bench.remote)
    assert parent == first.head_sha


async def test_tidying_removes_the_runs_and_leaves_the_workspace(shop: Workshop) -> None:
    shop.grant = replace(shop.grant, validation=("true",))
    await shop.receipt()

    await tidy(shop.machine, shop.grant, shop.setting)

    assert list(shop.run.parent.iterdir()) == []
    assert len(list(Path(shop.bench.root, "work").iterdir())) == 1


async def test_tidying_leaves_a_run_that_is_alive(shop: Workshop) -> None:
    shop.adapter = shop.agent(f"{WORK}\nexec sleep 600")
    going = asyncio.ensure_future(shop.carry_out())
    while not any(word["status"] == "running" for word in shop.recorder.words):
        shop.recorder.spoken.clear()
        await asyncio.wait_for(shop.recorder.spoken.wait(), 20)
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)

    await tidy(shop.machine, shop.grant, shop.setting)

    assert bearers(shop.run.name) != []
    assert shop.run.exists()

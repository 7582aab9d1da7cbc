"""Each way in which an attempt fails: its reason, and that nothing is left alive or pushed."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent_fleet.core.errors import InvalidInput
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Outcome, Receipt
from agent_fleet.execution.attempt import tidy
from agent_fleet.execution.local import LocalMachine
from tests.support.attempts import WORK, Workshop
from tests.support.remotes import BRANCH
from tests.support.runs import bearers


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    shop = Workshop(tmp_path)
    yield shop
    asyncio.run(shop.clean())


async def failure(shop: Workshop) -> Receipt:
    """The receipt of an attempt of which nothing was pushed and nothing is left."""
    receipt = await shop.receipt()
    assert receipt.outcome is not Outcome.SUCCEEDED
    assert list(shop.bench.heads()) == ["main"]
    assert bearers(shop.run.name) == []
    return receipt


async def test_a_base_branch_that_is_not_there(shop: Workshop) -> None:
    shop.grant = replace(shop.grant, base="gone")

    receipt = await failure(shop)

    assert receipt.reason is Reason.INVALID_TASK
    assert "has no branch gone" in receipt.summary
    assert not shop.starts.exists()
    assert {word["status"] for word in shop.recorder.words} == {"preparing"}


async def test_a_model_that_could_be_an_option(shop: Workshop) -> None:
    shop.grant = replace(shop.grant, model="--yolo")

    receipt = await failure(shop)

    assert receipt.reason is Reason.INVALID_TASK


async def test_a_branch_that_somebody_else_made(shop: Workshop) -> None:
    shop.bench.push_as_somebody("a.txt", "a\n", branch=BRANCH)

    receipt = await shop.receipt()

    assert receipt.reason is Reason.FOREIGN_PUSH
    assert not shop.starts.exists()


async def test_a_preparation_that_takes_too_long(shop: Workshop) -> None:
    shims = shop.directory / "shims"
    shims.mkdir()
    (shims / "git").write_text("#!/bin/sh\nexec sleep 600\n")
    (shims / "git").chmod(0o755)
    path = f"{shims}:{shop.environment['PATH']}"
    shop.machine = LocalMachine(environment={**shop.bench.environment, "PATH": path})
    shop.limit(prepare_s=0.3)

    receipt = await failure(shop)

    assert receipt.reason is Reason.WORKSPACE_ERROR
    assert "within 0.3 s" in receipt.summary


async def test_a_root_that_cannot_be_written(shop: Workshop) -> None:
    Path(shop.bench.root).write_text("a file")

    receipt = await failure(shop)

    assert receipt.reason is Reason.WORKSPACE_ERROR


async def test_a_machine_that_can_start_nothing(shop: Workshop) -> None:
    Path(shop.bench.root).mkdir()
    shop.run.parent.mkdir()
    shop.run.write_text("a file where the run is to be")

    receipt = await failure(shop)

    assert receipt.reason is Reason.HOST_UNREACHABLE
    assert not shop.starts.exists()


async def test_a_process_that_never_shows_up(shop: Workshop) -> None:
    broken = shop.directory / "broken"
    broken.mkdir()
    # It says that it has detached the run, and has not.
    for name in ("setsid", "perl", "python3"):
        (broken / name).write_text("#!/bin/sh\nexit 0\n")
        (broken / name).chmod(0o755)
    path = f"{broken}:{shop.environment['PATH']}"
    shop.machine = LocalMachine(environment={**shop.bench.environment, "PATH": path})
    shop.setting = replace(shop.setting, start_s=0.3)

    receipt = await failure(shop)

    assert receipt.reason is Reason.START_TIMEOUT
    assert {word["status"] for word in shop.recorder.words} == {"preparing"}


async def test_a_cli_that_is_not_installed(shop: Workshop) -> None:
    shop.adapter = shop.agent("", command=["no-such-agent"])

    receipt = await failure(shop)

    assert receipt.reason is Reason.CLI_NOT_FOUND


async def test_an_exit_code_other_than_0(shop: Workshop) -> None:
    shop.adapter = shop.agent(f"{WORK}\necho broken >&2; exit 3")

    receipt = await failure(shop)

    assert (receipt.reason, receipt.exit_code) == (Reason.AGENT_ERROR, 3)
    assert "broken" in receipt.summary


async def test_work_of_a_run_that_failed_is_not_committed(shop: Workshop) -> None:
    shop.adapter = shop.agent("echo half >half.txt; exit 1")

    await failure(shop)

    (workspace,) = Path(shop.bench.root, "work").iterdir()
    assert shop.bench.git("status", "--porcelain", at=workspace) == "?? half.txt"


async def test_a_success_without_a_commit(shop: Workshop) -> None:
    shop.adapter = shop.agent("echo already fixed")

    receipt = await failure(shop)

    assert receipt.reason is Reason.NO_CHANGES
    assert "already fixed" in receipt.summary


async def test_uncommitted_work_that_is_to_stay_so(shop: Workshop) -> None:
    shop.adapter = shop.agent("echo left >left.txt")
    shop.grant = replace(shop.grant, commit="never")

    receipt = await failure(shop)

    assert receipt.reason is Reason.NO_CHANGES
    assert "uncommitted" in receipt.summary


async def test_a_conflict_that_was_left(shop: Workshop) -> None:
    shop.adapter = shop.agent(
        "echo a >README.md; git commit -qam a; git checkout -q -b other HEAD^\n"
        "echo b >README.md; git commit -qam b; git merge -q task/12-fix-login; exit 0"
    )

    receipt = await failure(shop)

    assert receipt.reason is Reason.AGENT_ERROR
    assert "conflicts" in receipt.summary


async def test_a_git_directory_that_was_removed(shop: Workshop) -> None:
    shop.adapter = shop.agent("rm -rf .git; echo >a")

    receipt = await failure(shop)

    assert receipt.reason is Reason.AGENT_ERROR


async def test_output_that_cannot_be_read(shop: Workshop) -> None:
    shop.adapter = shop.agent("echo no JSON", parser="codex-json")

    receipt = await failure(shop)

    assert receipt.reason is Reason.OUTPUT_UNPARSABLE


async def test_a_usage_limit_with_its_reset(shop: Workshop) -> None:
    said = '{"type":"turn.failed","error":{"message":"429 rate limit, try again in 20 s"}}'
    shop.adapter = shop.agent(f"echo '{said}'; exit 1", parser="codex-json")

    receipt = await failure(shop)

    assert receipt.reason is Reason.RATE_LIMITED
    assert receipt.retry_after_s == pytest.approx(20, abs=2)


async def test_the_run_limit(shop: Workshop) -> None:
    shop.adapter = shop.agent("trap '' INT TERM; setsid sleep 600 & sleep 600")
    shop.limit(run_s=0.5)

    receipt = await failure(shop)

    assert (receipt.outcome, receipt.reason) == (Outcome.TIMED_OUT, Reason.RUN_TIMEOUT)
    assert "0.5 s" in receipt.summary


async def test_the_silence_limit(shop: Workshop) -> None:
    shop.adapter = shop.agent("echo hello; exec sleep 600")
    shop.limit(silence_s=0.5)

    receipt = await failure(shop)

    assert (receipt.outcome, receipt.reason) == (Outcome.TIMED_OUT, Reason.STALLED)
    assert "hello" in receipt.summary
    assert any("no output" in word["message"] for word in shop.recorder.words)


async def test_output_keeps_a_run_from_being_silent(shop: Workshop) -> None:
    # Twenty lines, 0.1 s apart: far more than the limit in all.
    shop.adapter = shop.agent(
        "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20\n"
        "do echo $n >&2; sleep 0.1; done; echo >a"
    )
    shop.limit(silence_s=1)

    receipt = await shop.receipt()

    assert receipt.outcome is Outcome.SUCCEEDED


async def test_the_output_limit(shop: Workshop) -> None:
    shop.adapter = shop.agent("yes")
    shop.limit(output_bytes=100_000)

    receipt = await failure(shop)

    assert receipt.reason is Reason.AGENT_ERROR
    assert "output limit" in receipt.summary
    assert receipt.log.bytes == len(shop.recorder.log) == 100_000


async def test_a_signal_from_elsewhere(shop: Workshop) -> None:
    shop.adapter = shop.agent("kill -9 $$")

    receipt = await failure(shop)

    assert receipt.reason is Reason.KILLED


async def test_a_supervisor_that_was_killed(shop: Workshop) -> None:
    pids = shop.directory / "pids"
    shop.adapter = shop.agent(f"echo $PPID >{pids}; kill -9 $PPID; exec sleep 600")

    receipt = await failure(shop)

    assert receipt.reason is Reason.KILLED
    assert receipt.exit_code is None


async def test_a_validation_command_that_fails_is_the_last(shop: Workshop) -> None:
    commands = ("true", "echo because; exit 4", f"touch {shop.directory}/third")
    shop.grant = replace(shop.grant, validation=commands)

    receipt = await failure(shop)

    assert receipt.reason is Reason.VALIDATION_FAILED
    assert [result.exit_code for result in receipt.validation] == [0, 4]
    assert "because" in receipt.summary
    assert receipt.head_sha is not None
    assert not (shop.directory / "third").exists()


async def test_a_validation_command_without_end(shop: Workshop) -> None:
    shop.grant = replace(shop.grant, validation=("echo on; setsid sleep 600",))
    shop.limit(validation_s=0.5)

    receipt = await failure(shop)

    assert receipt.reason is Reason.VALIDATION_FAILED
    assert "0.5 s" in receipt.summary
    assert bearers(f"{shop.run.name}.v0") == []


async def test_a_validation_command_that_writes_without_end(shop: Workshop) -> None:
    shop.grant = replace(shop.grant, validation=("yes",))
    shop.limit(output_bytes=50_000)

    receipt = await failure(shop)

    assert receipt.reason is Reason.VALIDATION_FAILED
    assert "output limit" in receipt.summary


async def test_a_validation_command_that_is_killed(shop: Workshop) -> None:
    shop.grant = replace(shop.grant, validation=("kill -9 $PPID",))

    receipt = await failure(shop)

    assert receipt.reason is Reason.KILLED


async def test_validation_that_moves_the_head(shop: Workshop) -> None:
    shop.grant = replace(shop.grant, validation=("git commit -q --allow-empty -m more",))

    receipt = await failure(shop)

    assert receipt.reason is Reason.VALIDATION_FAILED
    assert "moved HEAD" in receipt.summary


async def test_a_remote_that_takes_no_push(shop: Workshop) -> None:
    hook = shop.bench.remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho not today; exit 1\n")
    hook.chmod(0o755)

    receipt = await failure(shop)

    assert receipt.reason is Reason.PUSH_FAILED
    assert "not today" in receipt.summary


async def test_somebody_pushed_meanwhile(shop: Workshop) -> None:
    shop.adapter = shop.agent(f"{WORK}\ngit push -q {shop.bench.remote} HEAD^:refs/heads/{BRANCH}")

    receipt = await shop.receipt()

    assert receipt.reason is Reason.FOREIGN_PUSH


async def test_a_fleet_epoch_that_would_lead_elsewhere(shop: Workshop) -> None:
    grant = replace(shop.grant, fleet_epoch="../../elsewhere")

    with pytest.raises(InvalidInput):
        await tidy(shop.machine, grant, shop.setting)

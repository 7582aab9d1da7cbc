"""The real codex and claude, on the local host and through `fleet agent run`, to each of the ends
that a task can come to.

The model is scripted and on loopback. What the tests share is the fleet; each has tasks of its own,
which it leaves cancelled.
"""

import os
import shutil
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent_fleet.client import FleetClient
from agent_fleet.core.lifecycle import ENDED
from agent_fleet.core.messages import Submission
from agent_fleet.core.model import (
    Attempt,
    AttemptStatus,
    Mode,
    Receipt,
    TaskStatus,
)
from agent_fleet.core.registry import Account
from agent_fleet.loops.prober import EVERY_S
from tests.support.deployment import REPO, Deployment, Process, environment, processes
from tests.support.fake_dialects import IN_TOKENS, OUT_TOKENS
from tests.support.real_clis import CLIS, KEY, RealClis, real_clis
from tests.support.waiting import eventually, eventually_async

pytestmark = [
    pytest.mark.parts,
    pytest.mark.full,
    pytest.mark.timeout(120),
    pytest.mark.parametrize("cli", CLIS),
    pytest.mark.parametrize("mode", [Mode.SSH_CLI, Mode.HTTP_PULL], ids=str),
]
LONG_S = 40.0


@pytest.fixture(scope="module")
def clis() -> Generator[RealClis]:
    with real_clis() as running:
        yield running


class Order:
    """One task, and what a person who looks after it sees."""

    def __init__(self, fleet: Deployment, client: FleetClient, task: int, mode: Mode) -> None:
        self.client = client
        self.number = task
        self._fleet = fleet
        self._mode = mode

    async def status(self) -> TaskStatus:
        return (await self.client.task(self.number)).task.status

    async def until(self, status: TaskStatus) -> None:
        """The task is so, within the time that two attempts take."""

        async def reached() -> bool:
            return await self.status() is status

        await eventually_async(reached, LONG_S, f"task {self.number} {status}")

    async def ended(self, number: int) -> Attempt:
        """The attempt of that number, once it has ended."""

        async def look() -> Attempt | None:
            attempts = (await self.client.task(self.number)).attempts
            if len(attempts) < number or attempts[number - 1].status is not AttemptStatus.ENDED:
                return None
            return attempts[number - 1]

        attempt = await eventually_async(look, LONG_S, f"the end of attempt {number}")
        assert attempt is not None
        return attempt

    async def after(self, attempt: Attempt) -> TaskStatus:
        """What the task was right after the end of the attempt."""
        events = (await self.client.event_page(task=self.number)).events
        return next(
            event.after
            for event in events
            if event.attempt == attempt.number and event.attempt_changes.get("outcome")
        )

    async def receipt(self, attempt: Attempt) -> Receipt:
        receipts = await self.client.receipts(self.number)
        return next(one.receipt for one in receipts if one.receipt.attempt == attempt.number)

    async def why(self) -> set[tuple[str, str]]:
        """What stands in the way: of whom, and what."""
        answer = await self.client.why(self.number)
        return {(why.subject, why.code) for why in answer.reasons}

    async def account(self, adapter: str) -> Account | None:
        """The account of the adapter where the task ran, unless it is well."""
        _, accounts = await self._place()
        return next((one for one in accounts if one.adapter == adapter), None)

    @property
    def place(self) -> str:
        return "local" if self._mode is Mode.SSH_CLI else "builder"

    @property
    def root(self) -> Path:
        fleet = self._fleet
        return fleet.host_root if self._mode is Mode.SSH_CLI else fleet.agent_root

    def processes(self, number: int = 1) -> list[Process]:
        """All that is left of the attempt, or at work in any workspace."""
        mark = f"{self._fleet.ready.fleet_epoch}-{self.number}-{number}"
        return processes(mark=mark, within=self.root / "work")

    def cli(self, number: int = 1) -> Process | None:
        """The process of the CLI itself: what the run's supervisor started."""
        mark = f"{self._fleet.ready.fleet_epoch}-{self.number}-{number}"
        recorded = self.root / "runs" / mark / "process"
        supervisor = int(recorded.read_text().split()[0]) if recorded.exists() else 0
        return next((one for one in self.processes(number) if one.parent == supervisor), None)

    def tool(self) -> Process | None:
        """The command that the model asked for, while it sleeps."""
        return next((one for one in self.processes() if one.argv[:1] == ("sleep",)), None)

    async def nothing_is_left(self, number: int = 1) -> None:
        """The slot is free, and no process remains."""

        async def free() -> bool:
            return (await self._place())[0] == 0

        await eventually_async(free, 5, "a free slot")
        eventually(lambda: not self.processes(number), 5, "the end of all processes")

    async def _place(self) -> tuple[int, tuple[Account, ...]]:
        if self._mode is Mode.SSH_CLI:
            host = (await self.client.hosts()).hosts[0]
            return host.used, host.accounts
        agent = (await self.client.agents()).agents[0]
        return agent.used, agent.accounts


@asynccontextmanager
async def ordered(
    clis: RealClis, adapter: str, mode: Mode, *, run_limit_s: float = 60
) -> AsyncGenerator[Order]:
    """A task that has been submitted; what is left of it is cancelled."""
    async with clis.fleet.client() as client:
        submission = Submission(
            repo=REPO,
            goal="Add a line to lines.txt.",
            mode=mode,
            adapter=adapter,
            run_limit_s=run_limit_s,
        )
        detail = await client.submit(submission)
        order = Order(clis.fleet, client, detail.task.id, mode)
        try:
            yield order
        finally:
            if await order.status() not in ENDED:
                await client.cancel(order.number)

                async def over() -> bool:
                    return await order.status() in ENDED

                await eventually_async(over, LONG_S, "the end of the test's task")


async def test_a_task_comes_to_its_end_by_a_commit_of_the_cli(clis: RealClis, cli: str, mode: Mode):
    async with ordered(clis, f"{cli}_ok", mode) as order:
        attempt = await order.ended(1)
        assert attempt.reason is None, attempt.message
        assert await order.status() is TaskStatus.REVIEW_PENDING

        merged = await order.client.approve(order.number, merge=True)

        assert merged.task.status is TaskStatus.COMPLETED
        assert attempt.head_sha in clis.fleet.git("log", "--format=%H", "main").split()
        await order.nothing_is_left()
        receipt = await order.receipt(attempt)
        assert receipt.exit_code == 0
        assert receipt.summary == "FAKE-DONE: one more line."
        assert receipt.usage.input_tokens == 2 * IN_TOKENS
        assert receipt.usage.output_tokens == 2 * OUT_TOKENS


async def test_a_revision_goes_on_with_the_session(clis: RealClis, cli: str, mode: Mode):
    async with ordered(clis, f"{cli}_ok", mode) as order:
        first = await order.receipt(await order.ended(1))

        await order.client.request_changes(order.number, "One more, please.")
        attempt = await order.ended(2)

        assert attempt.reason is None, attempt.message
        assert await order.status() is TaskStatus.REVIEW_PENDING
        second = await order.receipt(attempt)
        assert second.session == first.session is not None
        lines = clis.fleet.git("show", f"{attempt.head_sha}:lines.txt").count("one more line")
        assert lines == 1 + clis.fleet.git("show", f"{first.head_sha}:lines.txt").count("one more")
        # Codex counts from the beginning of the session, Claude from that of the run.
        turns = 2 if cli == "codex" else 1
        assert second.usage.input_tokens == turns * first.usage.input_tokens
        await order.nothing_is_left(2)


async def test_a_revision_whose_session_is_gone_begins_a_new_one(
    clis: RealClis, cli: str, mode: Mode
):
    async with ordered(clis, f"{cli}_ok", mode) as order:
        first = await order.receipt(await order.ended(1))
        shutil.rmtree(clis.fleet.home / f".{cli}")

        await order.client.request_changes(order.number, "One more, please.")

        assert (await order.ended(2)).reason == "agent_error"
        attempt = await order.ended(3)
        assert attempt.reason is None, attempt.message
        assert await order.status() is TaskStatus.REVIEW_PENDING
        assert (await order.receipt(attempt)).session not in {None, first.session}


async def test_a_success_without_a_commit_is_a_question_to_a_human(
    clis: RealClis, cli: str, mode: Mode
):
    async with ordered(clis, f"{cli}_text", mode) as order:
        attempt = await order.ended(1)

        assert (attempt.reason, await order.after(attempt)) == ("no_changes", "needs_human")
        assert "FAKE-DONE" in attempt.message
        assert (await order.receipt(attempt)).exit_code == 0
        await order.nothing_is_left()


async def test_a_cli_that_somebody_killed_is_started_again(clis: RealClis, cli: str, mode: Mode):
    async with ordered(clis, f"{cli}_gated", mode) as order:
        eventually(order.tool, LONG_S, "the tool")
        process = order.cli()
        assert process is not None

        os.kill(process.pid, signal.SIGKILL)

        killed = await order.ended(1)
        assert (killed.reason, await order.after(killed)) == ("killed", "queued")
        assert not order.processes(1)
        again = await order.ended(2)
        assert again.reason is None, again.message
        assert await order.status() is TaskStatus.REVIEW_PENDING
        assert (await order.client.task(order.number)).task.tries == 0
        await order.nothing_is_left(2)


async def test_a_run_past_its_time_limit_is_ended(clis: RealClis, cli: str, mode: Mode):
    # Unless the machine is very slow, the tool is at work by then.
    async with ordered(clis, f"{cli}_longtool-61", mode, run_limit_s=6) as order:
        attempt = await order.ended(1)

        assert (attempt.reason, attempt.outcome) == ("run_timeout", "timed_out")
        assert await order.after(attempt) is TaskStatus.QUEUED
        assert not order.processes(1)
        task = (await order.client.task(order.number)).task
        assert task.tries == 1
        assert "run_timeout" in task.feedback


async def test_a_cancel_in_the_middle_of_a_tool_call_ends_the_tool(
    clis: RealClis, cli: str, mode: Mode
):
    async with ordered(clis, f"{cli}_longtool-61", mode) as order:
        eventually(order.tool, LONG_S, "the tool")

        await order.client.cancel(order.number)

        attempt = await order.ended(1)
        assert (attempt.reason, attempt.outcome) == ("cancelled", "cancelled")
        assert await order.after(attempt) is TaskStatus.CANCELLED
        await order.nothing_is_left()
        # Interrupted, claude still tells what it cost.
        assert cli == "codex" or (await order.receipt(attempt)).usage.cost_micro_usd


async def test_a_cli_sees_what_its_adapter_names_and_no_other_secret(
    clis: RealClis, cli: str, mode: Mode
):
    async with ordered(clis, f"{cli}_longtool-61", mode) as order:
        eventually(order.tool, LONG_S, "the tool")
        process = order.cli()
        assert process is not None

        seen = environment(process)

        own, other = "OPENAI_API_KEY", "ANTHROPIC_API_KEY"
        if cli == "claude":
            own, other = other, own
        assert seen[own] == KEY
        assert seen["HOME"] == str(clis.fleet.home)
        assert not {other, "FLEET_URL", "FLEET_TOKEN_FILE", "PYTHONPATH"} & seen.keys()


async def test_a_refused_key_stops_the_account(clis: RealClis, cli: str, mode: Mode):
    adapter = f"{cli}_status-401"
    async with ordered(clis, adapter, mode) as order:
        attempt = await order.ended(1)

        assert (attempt.reason, await order.after(attempt)) == ("auth", "needs_human")
        account = await order.account(adapter)
        assert account is not None
        assert account.stopped
        assert not (await order.client.task(order.number)).task.tries
        await order.nothing_is_left()


async def test_a_rate_limit_cools_the_account_down(clis: RealClis, cli: str, mode: Mode):
    adapter = f"{cli}_status-429"
    async with ordered(clis, adapter, mode) as order:
        attempt = await order.ended(1)

        assert (attempt.reason, await order.after(attempt)) == ("rate_limited", "queued")
        assert (order.place, "account_cooldown") in await order.why()
        account = await order.account(adapter)
        assert account is not None
        assert account.cooldown_until is not None
        assert account.cooldown_until > datetime.now(UTC)
        assert not (await order.client.task(order.number)).task.tries
        await order.nothing_is_left()


async def test_a_broken_provider_is_tried_again_later(clis: RealClis, cli: str, mode: Mode):
    async with ordered(clis, f"{cli}_status-500", mode) as order:
        attempt = await order.ended(1)

        assert (attempt.reason, await order.after(attempt)) == ("provider_error", "queued")
        task = (await order.client.task(order.number)).task
        assert task.not_before is not None
        assert task.tries == 0
        assert (order.place, "account_cooldown") in await order.why()
        await order.nothing_is_left()


async def test_a_cli_that_may_not_commit_says_so_or_has_changed_nothing(
    clis: RealClis, cli: str, mode: Mode
):
    async with ordered(clis, f"{cli}_confined", mode) as order:
        attempt = await order.ended(1)

        # Codex does not tell that its sandbox refused a command.
        said = {
            "claude": ("permission_denied", TaskStatus.QUEUED),
            "codex": ("no_changes", TaskStatus.NEEDS_HUMAN),
        }[cli]
        assert (attempt.reason, await order.after(attempt)) == said
        assert (await order.client.task(order.number)).task.tries == 1
        if cli == "claude":
            assert "lines.txt" in attempt.message
            assert "lines.txt" in (await order.client.task(order.number)).task.feedback
        await order.nothing_is_left()


async def test_a_task_whose_cli_is_not_installed_waits_and_says_why(
    clis: RealClis, cli: str, mode: Mode
):
    async with ordered(clis, f"{cli}_absent", mode) as order:
        assert (order.place, "adapter") in await order.why()
        assert await order.status() is TaskStatus.QUEUED
        assert not (await order.client.task(order.number)).attempts


async def test_a_cli_that_was_never_probed_and_is_not_there_is_not_found(
    clis: RealClis, cli: str, mode: Mode
):
    async with ordered(clis, f"{cli}_unprobed", mode) as order:
        attempt = await order.ended(1)

        assert (attempt.reason, await order.after(attempt)) == ("cli_not_found", "queued")
        assert not (await order.client.task(order.number)).task.tries
        standing = await order.why()
        assert (order.place, "account_cooldown") in standing
        assert (order.place, "backoff") not in standing
        await order.nothing_is_left()


async def test_a_cli_that_was_removed_after_the_probe_is_not_found(
    clis: RealClis, cli: str, mode: Mode
):
    async with clis.fleet.client() as client:
        await _until_just_probed(client)
    (clis.movable[mode] / f"{cli}-movable").unlink()

    async with ordered(clis, f"{cli}_movable", mode) as order:
        attempt = await order.ended(1)

        assert (attempt.reason, await order.after(attempt)) == ("cli_not_found", "queued")
        await order.nothing_is_left()


async def _until_just_probed(client: FleetClient) -> None:
    """The next probe is some seconds away."""

    async def probed() -> bool:
        at = (await client.hosts()).hosts[0].host.probed_at
        return at is not None and datetime.now(UTC) - at < timedelta(seconds=EVERY_S - 5)

    await eventually_async(probed, EVERY_S, "a probe")

"""An agent that vanished comes back after its lease: what it brings counts, or changes nothing."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import msgspec
import pytest

from agent_fleet.client import AgentClient, FleetClient
from agent_fleet.core.errors import LeaseLost, Superseded
from agent_fleet.core.history import comparable
from agent_fleet.core.messages import DequeueRequest, StatusReport, TaskDetail
from agent_fleet.core.model import AttemptStatus, Grant, Mode, Outcome, Receipt, TaskStatus
from tests.e2e.reckoning import check_events, check_nothing_is_left
from tests.support.stage import Stage, all_events, page, staged, stop
from tests.support.tasks import base_of
from tests.support.waiting import eventually, eventually_async

TTL_S = 4.0
LONG_S = 30.0


async def test_a_late_receipt_of_an_attempt_with_a_successor_is_kept_and_changes_nothing(
    tmp_path: Path,
) -> None:
    async with _serving(tmp_path) as scene:
        stage, client, agent = scene.stage, scene.client, scene.agent
        lost = await _begun(client, agent)
        await _until_lost(client, lost)
        successor = await _granted(agent)
        async with _renewed(agent, successor):
            head = stage.push(lost.branch, text="late")
            await scene.looked_again()
            before = await _everything(client, lost.task)

            with pytest.raises(Superseded) as refused:
                await agent.hand_in(_receipt(lost, head=head))
            with pytest.raises(LeaseLost):
                await agent.append_log(lost.task, lost.attempt, start=0, data=b"late\n")
            with pytest.raises(LeaseLost):
                await agent.report(lost.task, _running(lost))
            await scene.looked_again()

            assert refused.value.current_attempt == successor.attempt == 2
            assert await _everything(client, lost.task) == before
            kept = await client.receipts(lost.task)
            assert [(one.receipt.attempt, one.verdict) for one in kept] == [(1, "superseded")]
            assert await _status_of(stage, _receipt(lost, head=head)) == 409
            assert await client.receipts(lost.task) == kept

            await agent.hand_in(_receipt(successor, head=stage.push(successor.branch, text="in")))

        detail = await client.approve(lost.task, merge=True)
        assert detail.task.status is TaskStatus.COMPLETED
        assert [attempt.outcome for attempt in detail.attempts] == [
            Outcome.LOST,
            Outcome.SUCCEEDED,
        ]
        check_events((await client.event_page(task=lost.task)).events, [detail])


async def test_a_late_receipt_without_a_successor_counts_if_its_head_is_on_the_remote(
    tmp_path: Path,
) -> None:
    async with _serving(tmp_path) as scene:
        stage, client, agent = scene.stage, scene.client, scene.agent
        lost = await _begun(client, agent)
        head = stage.push(lost.branch, text="late")
        asked = await _until_lost(client, lost)

        answer = await agent.hand_in(_receipt(lost, head=head))
        again = await agent.hand_in(_receipt(lost, head=head))
        detail = await client.task(lost.task)

        assert asked.task.status is TaskStatus.NEEDS_HUMAN
        assert answer.verdict == "late"
        assert again == answer
        assert detail.task.status is TaskStatus.REVIEW_PENDING
        assert detail.task.view.head == head
        assert [one.outcome for one in detail.attempts] == [Outcome.SUCCEEDED]
        merged = await client.approve(lost.task, merge=True)
        assert merged.task.status is TaskStatus.COMPLETED
        assert [one.verdict for one in await client.receipts(lost.task)] == ["late"]


@pytest.mark.parametrize("pushed", [False, True], ids=["nothing_is_pushed", "another_is_pushed"])
async def test_a_late_receipt_whose_head_is_not_on_the_remote_changes_nothing(
    tmp_path: Path, *, pushed: bool
) -> None:
    async with _serving(tmp_path) as scene:
        stage, client, agent = scene.stage, scene.client, scene.agent
        lost = await _begun(client, agent)
        if pushed:
            stage.push(lost.branch, text="something else")
        await _until_lost(client, lost)
        await scene.looked_again()
        before = await _everything(client, lost.task)

        with pytest.raises(LeaseLost):
            await agent.hand_in(_receipt(lost, head="f" * 40))
        await scene.looked_again()

        assert await _everything(client, lost.task) == before
        assert [one.verdict for one in await client.receipts(lost.task)] == ["kept"]


async def test_a_receipt_tells_a_start_that_could_not_be_told_before(tmp_path: Path) -> None:
    async with _serving(tmp_path) as scene:
        stage, client, agent = scene.stage, scene.client, scene.agent
        await client.submit(page(1, mode=Mode.HTTP_PULL))
        grant = await _granted(agent)

        answer = await agent.hand_in(_receipt(grant, head=stage.push(grant.branch, text="in")))
        detail = await client.task(grant.task)

        assert answer.verdict == "accepted"
        assert detail.task.status is TaskStatus.REVIEW_PENDING
        assert detail.attempts[0].started_at is not None
        assert detail.task.base_sha == base_of(grant)
        events = (await client.event_page(task=grant.task)).events
        assert [event.verb for event in events if event.attempt] == ["grant", "start", "succeed"]
        check_events(events, [detail])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("steps", [3, 60], ids=["its_cli_has_ended", "its_cli_still_runs"])
async def test_a_worker_that_wakes_after_its_lease_ends_its_run_and_pushes_nothing_more(
    tmp_path: Path, steps: int
) -> None:
    async with staged(tmp_path, lease_ttl=f"{TTL_S:g}s") as stage, stage.client() as client:
        await stage.orchestrator(client)
        worker = stage.agent()
        task = (await client.submit(page(1, steps=steps, mode=Mode.HTTP_PULL))).task.id
        mark = stage.mark(task, 1)
        eventually(stage.starts, LONG_S, "the CLI to start")
        await _live(client, task)

        os.kill(worker.pid, signal.SIGSTOP)
        await _attempt_ended(client, task)
        if steps == 3:
            eventually(lambda: not stage.bearers(mark), LONG_S, "the CLI to end")
        await client.cancel(task)
        alive_before = stage.bearers(mark)
        os.kill(worker.pid, signal.SIGCONT)
        eventually(lambda: not stage.bearers(), LONG_S, "the run to be ended")
        await stop(worker)
        detail = await client.wait(task, until="ended", timeout_s=LONG_S)

        assert bool(alive_before) == (steps == 60)
        assert detail.task.status is TaskStatus.CANCELLED
        assert (detail.attempts[0].outcome, detail.attempts[0].head_sha) == (Outcome.LOST, None)
        assert list(stage.heads()) == ["main"]
        assert await client.receipts(task) == ()
        assert stage.starts() == [mark]
        check_events(await all_events(client), [detail])
        check_nothing_is_left(stage)


async def test_a_worker_that_lost_a_task_while_it_slept_does_it_again_when_it_wakes(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, lease_ttl=f"{TTL_S:g}s") as stage, stage.client() as client:
        await stage.orchestrator(client)
        worker = stage.agent()
        task = (await client.submit(page(1, steps=3, mode=Mode.HTTP_PULL))).task.id
        await _live(client, task)

        os.kill(worker.pid, signal.SIGSTOP)
        await _attempt_ended(client, task)
        os.kill(worker.pid, signal.SIGCONT)
        detail = await client.wait(task, until="settled", timeout_s=LONG_S)

        assert detail.task.status is TaskStatus.REVIEW_PENDING
        assert detail.attempts[0].outcome is Outcome.LOST
        assert detail.attempts[0].branch != detail.branch_name
        assert sorted(stage.heads()) == ["main", detail.branch_name]
        assert len(set(stage.starts())) == len(stage.starts())
        check_events(await all_events(client), [detail])
        check_nothing_is_left(stage)


@dataclass(frozen=True)
class Scene:
    stage: Stage
    client: FleetClient
    agent: AgentClient
    canary: TaskDetail

    async def looked_again(self) -> None:
        """The server has looked at all branches: it has seen what was pushed before."""

        async def seen() -> bool:
            return (await self.client.task(self.canary.task.id)).task.view.head == head

        for sign in ("one", "two"):
            head = self.stage.push(self.canary.branch_name, text=f"{sign} more")
            await eventually_async(seen, LONG_S, "the branches to be looked at")


@asynccontextmanager
async def _serving(directory: Path) -> AsyncGenerator[Scene]:
    """A running server with one agent, which the test plays."""
    async with (
        staged(directory, lease_ttl=f"{TTL_S:g}s") as stage,
        stage.client() as client,
        AgentClient(stage.url, stage.agent_token) as agent,
    ):
        await stage.orchestrator(client)
        yield Scene(stage, client, agent, await _canary(client, agent))


async def _begun(client: FleetClient, agent: AgentClient) -> Grant:
    """A task whose first attempt was granted and started."""
    await client.submit(page(1, mode=Mode.HTTP_PULL))
    grant = await _granted(agent)
    await agent.report(grant.task, _running(grant))
    return grant


async def _granted(agent: AgentClient) -> Grant:
    answer = await agent.dequeue(DequeueRequest(incarnation="played-by-a-test", wait_s=LONG_S))
    return answer.grants[0]


def _running(grant: Grant) -> StatusReport:
    return StatusReport(
        attempt=grant.attempt, epoch=grant.epoch, status="running", base_sha=base_of(grant)
    )


def _receipt(grant: Grant, *, head: str) -> Receipt:
    return Receipt(
        receipt_id=f"receipt-of-{grant.task}-{grant.attempt}",
        task=grant.task,
        attempt=grant.attempt,
        outcome=Outcome.SUCCEEDED,
        branch=grant.branch,
        base_sha=base_of(grant),
        head_sha=head,
        summary="I did it after all.",
    )


@asynccontextmanager
async def _renewed(agent: AgentClient, grant: Grant) -> AsyncGenerator[None]:
    """While inside, the attempt is kept alive."""

    async def beat() -> None:
        while True:
            await agent.report(grant.task, _running(grant))
            await asyncio.sleep(TTL_S / 4)

    await agent.report(grant.task, _running(grant))
    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def _until_lost(client: FleetClient, grant: Grant) -> TaskDetail:
    """The agent says nothing any more, until its lease is over."""
    detail = await _attempt_ended(client, grant.task)
    assert detail.attempts[0].outcome is Outcome.LOST
    return detail


async def _attempt_ended(client: FleetClient, task: int) -> TaskDetail:
    async def ended() -> TaskDetail | None:
        detail = await client.task(task)
        return detail if detail.attempts[0].status is AttemptStatus.ENDED else None

    found = await eventually_async(ended, LONG_S, "the first attempt to be lost")
    assert found is not None
    return found


async def _live(client: FleetClient, task: int) -> None:
    async def live() -> bool:
        attempts = (await client.task(task)).attempts
        return bool(attempts) and attempts[0].status is AttemptStatus.LIVE

    await eventually_async(live, LONG_S, "the start to be known")


async def _canary(client: FleetClient, agent: AgentClient) -> TaskDetail:
    """A task that was begun and cancelled: its branch is still looked at, with all the others."""
    task = (await client.submit(page(1, mode=Mode.HTTP_PULL))).task.id
    grant = await _granted(agent)
    given_back = StatusReport(attempt=grant.attempt, epoch=grant.epoch, status="released")
    await agent.report(task, given_back)
    return await client.cancel(task)


async def _everything(client: FleetClient, task: int) -> tuple[object, ...]:
    """All that a late receipt might change."""
    detail = await client.task(task)
    attempts = [comparable(attempt) for attempt in detail.attempts]
    events = (await client.event_page(task=task)).events
    return comparable(detail.task), attempts, events, await client.read_log(task, 1)


async def _status_of(stage: Stage, receipt: Receipt) -> int:
    """What the receipt is answered with on the wire."""
    headers = {"Authorization": f"Bearer {stage.agent_token}", "Content-Type": "application/json"}
    async with httpx2.AsyncClient(base_url=stage.url, headers=headers, trust_env=False) as http:
        answer = await http.post("/api/v1/receipts", content=msgspec.json.encode(receipt))
    assert answer.json()["type"].endswith(":superseded")
    return answer.status_code

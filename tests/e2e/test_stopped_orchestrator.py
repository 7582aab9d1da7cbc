"""The orchestrator is stopped as one stops a service, and started again."""

import asyncio
import time
from pathlib import Path

import pytest

from agent_fleet.client import AgentClient, FleetClient
from agent_fleet.core.messages import DequeueAnswer, DequeueRequest, TaskDetail
from agent_fleet.core.model import Mode, TaskStatus
from tests.e2e.reckoning import check_events, check_nothing_is_left
from tests.support.runs import lives
from tests.support.stage import all_events, page, staged, stop
from tests.support.waiting import eventually, eventually_async

FEW_S = 5.0


@pytest.mark.timeout(120)
async def test_a_stopped_orchestrator_leaves_runs_alive_and_the_next_one_ends_them_well(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as stage, stage.client() as client:
        first = await stage.orchestrator(client)
        task = (await client.submit(page(1, steps=20, mode=Mode.SSH_CLI))).task.id
        eventually(stage.starts, 20, "the CLI to start")
        running = stage.bearers(stage.mark(task, 1))

        code = await stop(first, within_s=FEW_S)
        alive = [pid for pid in running if lives(pid)]
        await stage.orchestrator(client)
        detail = await _settled(client, task)

        assert code == 0
        assert alive
        assert stage.starts() == [stage.mark(task, 1)]
        assert detail.task.status is TaskStatus.REVIEW_PENDING
        assert await client.read_log(task, 1) == stage.expected_log(task, 1)
        check_events(await all_events(client), [detail])
        check_nothing_is_left(stage)


async def test_a_stop_ends_the_long_polls_of_agents_and_people_at_once(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage, stage.client() as client:
        process = await stage.orchestrator(client)
        task = (await client.submit(page(1, mode=Mode.HTTP_PULL, capabilities=("gpu",)))).task.id
        async with AgentClient(stage.url, stage.agent_token) as agent:
            polling = asyncio.create_task(
                agent.dequeue(DequeueRequest(incarnation="one-of-them", wait_s=50))
            )
            looking = asyncio.create_task(client.task(task, wait_s=50, until="ended"))
            await _agent_seen(client)

            began = time.monotonic()
            code = await stop(process, within_s=FEW_S)
            answer, detail = await asyncio.gather(polling, looking)

        assert code == 0
        assert time.monotonic() - began < FEW_S
        assert answer == DequeueAnswer(grants=())
        assert detail.task.status is TaskStatus.QUEUED


async def test_what_a_killed_orchestrator_had_not_tidied_is_removed_by_the_next(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as stage, stage.client() as client:
        process = await stage.orchestrator(client)
        task = (await client.submit(page(1, steps=1, mode=Mode.SSH_CLI))).task.id
        await _settled(client, task)
        check_nothing_is_left(stage)
        await stop(process)
        runs = stage.run_directories[0]
        mark = stage.mark(task, 1)
        for name in (mark, f"{mark}.v0", "another-epoch-1-1"):
            (runs / name).mkdir(parents=True)
        (runs / f"{mark}.receipt").write_text("{}\n")

        await stage.orchestrator(client)
        eventually(lambda: len(list(runs.iterdir())) == 1, 20, "the runs to be removed")

        assert [left.name for left in runs.iterdir()] == ["another-epoch-1-1"]


async def _settled(client: FleetClient, task: int) -> TaskDetail:
    detail = await client.wait(task, until="settled", timeout_s=40)
    assert detail.task.status is TaskStatus.REVIEW_PENDING, detail
    return detail


async def _agent_seen(client: FleetClient) -> None:
    async def seen() -> bool:
        return (await client.agents()).agents[0].agent.seen_at is not None

    await eventually_async(seen, 10, "the agent's poll to arrive")

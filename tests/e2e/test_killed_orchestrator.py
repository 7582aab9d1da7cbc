"""The orchestrator is killed at any moment, and started again: nothing is lost, nothing doubled."""

import asyncio
import os
import random
import secrets
from pathlib import Path

import pytest

from agent_fleet.client import FleetClient
from agent_fleet.core.errors import Unavailable
from agent_fleet.core.lifecycle import Verb
from agent_fleet.core.messages import Submission, TaskDetail
from agent_fleet.core.model import Mode, TaskStatus
from tests.e2e.reckoning import reckon
from tests.support.stage import Stage, page, staged
from tests.support.stores import ENGINES, database

SEED = "FLEET_TEST_SEED"
AT_LEAST = 9
UNDER_WAY = 6
AT_MOST = 60
STARTED_S = 60.0
KILL_S = 8.0

_UNWANTED = {TaskStatus.NEEDS_HUMAN, TaskStatus.FAILED, TaskStatus.CANCELLED}


@pytest.mark.timeout(120)
async def test_an_orchestrator_killed_four_times_loses_nothing_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    await _survives(tmp_path, "sqlite", kills=4)


@pytest.mark.full
@pytest.mark.timeout(400)
@pytest.mark.parametrize("engine", ENGINES)
async def test_an_orchestrator_killed_twenty_times_loses_nothing_and_doubles_nothing(
    engine: str, tmp_path: Path
) -> None:
    await _survives(tmp_path, engine, kills=20)


async def _survives(directory: Path, engine: str, *, kills: int) -> None:
    seed = int(os.environ.get(SEED) or secrets.randbits(32))
    with database(engine, directory) as url:
        async with staged(directory, database=url) as stage, stage.client() as client:
            try:
                await _kill_and_reckon(stage, client, random.Random(seed), kills=kills)
            except BaseException as error:
                error.add_note(f"to kill at the same moments: {SEED}={seed}")
                raise


async def _kill_and_reckon(
    stage: Stage, client: FleetClient, rng: random.Random, *, kills: int
) -> None:
    load = Load(client)
    async with asyncio.TaskGroup() as group:
        killing = group.create_task(_keep_killing(stage, client, rng, kills=kills))
        agent = stage.agent()
        async with asyncio.timeout(STARTED_S + KILL_S * kills):
            await load.play(until=killing)
    assert agent.poll() is None, "the agent did not outlive the orchestrators"
    await reckon(stage, client, load.tasks)


async def _keep_killing(
    stage: Stage, client: FleetClient, rng: random.Random, *, kills: int
) -> None:
    """Each time while it starts or while it works; in the end there is one that is left alone."""
    for _ in range(kills):
        process = stage.start_orchestrator()
        if rng.random() < 0.8:
            await stage.until_ready(process, client)
            moment = rng.uniform(0.0, 4.0)
        else:
            moment = rng.uniform(0.0, 2.0)
        await asyncio.sleep(moment)
        assert process.poll() is None
        process.kill()
        process.wait()
    await stage.orchestrator(client)


class Load:
    """People who file tasks as long as there is killing, and look after each until it has ended.

    Nobody of them knows whether the orchestrator is there.
    """

    def __init__(self, client: FleetClient) -> None:
        self.tasks: list[int] = []
        self._client = client

    async def play(self, *, until: asyncio.Task[None]) -> None:
        under_way: set[asyncio.Task[None]] = set()
        filed = 0
        while under_way or filed < AT_LEAST or not until.done():
            while filed < AT_MOST and len(under_way) < UNDER_WAY:
                if filed >= AT_LEAST and until.done():
                    break
                filed += 1
                under_way.add(asyncio.create_task(self._accompany(filed)))
            awaited = under_way or {until}
            done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            under_way -= done
            for task in done:
                task.result()

    async def _accompany(self, number: int) -> None:
        detail = await self._submit(_kind(number), key=f"task-{number}")
        task = detail.task.id
        self.tasks.append(task)
        while detail.task.status is not TaskStatus.COMPLETED:
            assert detail.task.status not in _UNWANTED, detail
            if detail.task.status is TaskStatus.REVIEW_PENDING:
                await self._review(task, sends_back=number % 5 == 2)
            detail = await self._look(task)

    async def _submit(self, submission: Submission, *, key: str) -> TaskDetail:
        while True:
            try:
                return await self._client.submit(submission, key=key)
            except Unavailable:
                await asyncio.sleep(0.2)

    async def _review(self, task: int, *, sends_back: bool) -> None:
        """Each thing is said once: the events tell what was heard, though its answer was lost."""
        try:
            said = {event.verb for event in (await self._client.event_page(task=task)).events}
            if sends_back and Verb.REQUEST_CHANGES not in said:
                await self._client.request_changes(task, "Write it once more.")
            elif Verb.APPROVE not in said:
                await self._client.approve(task, merge=True)
            else:
                await self._client.wait(task, until="ended", timeout_s=1.0)
        except Unavailable:
            return

    async def _look(self, task: int) -> TaskDetail:
        """How it is after what was done last: nobody acts on what was seen before that."""
        while True:
            try:
                return await self._client.wait(task, until="settled", timeout_s=2.0)
            except Unavailable:
                await asyncio.sleep(0.2)


def _kind(number: int) -> Submission:
    """Of every kind some: by each transport, committed by the CLI or not, without a branch."""
    modes = (Mode.SSH_CLI, Mode.HTTP_PULL, Mode.EITHER)
    return page(
        number,
        steps=2 + number % 4,
        commits=number % 4 != 0,
        mode=modes[number % 3],
        deliverable="none" if number % 7 == 3 else "branch",
        priority=number % 2,
    )

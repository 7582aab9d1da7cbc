"""What must hold when all work is done, whatever was killed meanwhile."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from agent_fleet.client import FleetClient
from agent_fleet.core.history import comparable, replay
from agent_fleet.core.lifecycle import Verb
from agent_fleet.core.messages import TaskDetail
from agent_fleet.core.model import Attempt, AttemptStatus, Event, Outcome, TaskStatus
from tests.support.stage import Stage, all_events
from tests.support.waiting import eventually

_ENDS = frozenset({Verb.SUCCEED, Verb.FAIL, Verb.LOSE, Verb.RELEASE})
_GONE_S = 30.0


async def reckon(stage: Stage, client: FleetClient, tasks: list[int]) -> None:
    """All of it, of all tasks of the fleet. `tasks` are those that the test knows of."""
    details = [await client.task(task) for task in tasks]
    every = (await client.list_tasks(limit=200)).tasks
    assert sorted(task.id for task in every) == sorted(tasks), "a task was made twice, or vanished"
    for detail in details:
        check_completed(stage, detail)
        await check_logs(stage, client, detail)
    check_starts(stage, details)
    events = await all_events(client)
    check_events(events, details)
    await check_slots(client)
    check_nothing_is_left(stage)


def check_completed(stage: Stage, detail: TaskDetail) -> None:
    task = detail.task
    assert task.status is TaskStatus.COMPLETED, task
    if task.deliverable == "branch":
        merged = task.view.merged_sha
        assert merged is not None
        assert "main" in stage.git("branch", "--contains", merged, "--list", "main")


def check_starts(stage: Stage, details: list[TaskDetail]) -> None:
    """No attempt was started twice, and what was started is what the fleet says was started."""
    starts = Counter(stage.starts())
    assert [mark for mark, count in starts.items() if count > 1] == []
    told = {
        stage.mark(detail.task.id, attempt.number)
        for detail in details
        for attempt in detail.attempts
        if attempt.started_at is not None
    }
    assert set(starts) == told


def check_events(events: Sequence[Event], details: list[TaskDetail]) -> None:
    """None is missing, none is there twice, and together they give the state."""
    ids = [event.id for event in events]
    assert all(one < other for one, other in pairwise(ids))
    assert sum(detail.task.revision for detail in details) == len(events)
    for detail in details:
        own = [event for event in events if event.task == detail.task.id]
        revisions = [event.task_changes["revision"] for event in own]
        assert revisions == list(range(1, detail.task.revision + 1))
        task, attempts = replay(own)
        assert comparable(task) == comparable(detail.task)
        assert {number: comparable(one) for number, one in attempts.items()} == {
            one.number: comparable(one) for one in detail.attempts
        }
        for attempt in detail.attempts:
            check_attempt(attempt, own)


def check_attempt(attempt: Attempt, events: Sequence[Event]) -> None:
    verbs = Counter(event.verb for event in events if event.attempt == attempt.number)
    assert attempt.status is AttemptStatus.ENDED, attempt
    assert verbs[Verb.GRANT] == 1, verbs
    assert verbs[Verb.START] == (attempt.started_at is not None), verbs
    assert sum(verbs[verb] for verb in _ENDS) == 1, verbs


async def check_logs(stage: Stage, client: FleetClient, detail: TaskDetail) -> None:
    """Of each attempt that came to its end the log is all that its CLI wrote, and each check."""
    receipts = {one.receipt.attempt: one for one in await client.receipts(detail.task.id)}
    for attempt in detail.attempts:
        if attempt.outcome is not Outcome.SUCCEEDED:
            continue
        log = await client.read_log(detail.task.id, attempt.number)
        assert log == stage.expected_log(detail.task.id, attempt.number)
        handed_in = receipts[attempt.number]
        assert handed_in.receipt.receipt_id == attempt.receipt_id
        assert handed_in.receipt.log.bytes == len(log)
        assert handed_in.receipt.log.sha256 == hashlib.sha256(log).hexdigest()


async def check_slots(client: FleetClient) -> None:
    hosts, agents = (await client.hosts()).hosts, (await client.agents()).agents
    assert [state.used for state in (*hosts, *agents)] == [0] * (len(hosts) + len(agents))


def check_nothing_is_left(stage: Stage) -> None:
    """No run, nothing that is remembered of one, no process of one."""

    def gone() -> bool:
        return not left()

    def left() -> list[str]:
        runs = [str(one) for root in stage.run_directories for one in root.glob("*")]
        return [*runs, *map(str, stage.bearers())]

    try:
        eventually(gone, _GONE_S, "runs to be gone")
    except AssertionError as error:
        error.add_note(f"left: {left()}")
        raise

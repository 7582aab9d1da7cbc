"""An agent that fell silent: what it left on the remote, and what the task says, decide."""

from datetime import timedelta
from pathlib import Path

import pytest

from agent_fleet.core.faults import Reason
from agent_fleet.core.messages import DequeueRequest, StatusReport, Submission
from agent_fleet.core.model import Grant, Mode, Task, TaskStatus, Transport
from agent_fleet.core.registry import Token, TokenKind
from agent_fleet.fleet.executor import Executor
from tests.support.servers import REPO, RunningServer, running_server
from tests.support.tasks import SUBMITTED, base_of

S = TaskStatus
AGENT = Executor("bot", Transport.HTTP_PULL)
PERSON = Token(prefix="p", kind=TokenKind.OPERATOR, name="ann", created_at=SUBMITTED)


@pytest.mark.parametrize(
    ("retry", "pushed", "status"),
    [
        ("never", False, S.NEEDS_HUMAN),
        ("never", True, S.NEEDS_HUMAN),
        ("unpushed", False, S.QUEUED),
        ("unpushed", True, S.NEEDS_HUMAN),
        ("always", False, S.QUEUED),
        ("always", True, S.QUEUED),
    ],
)
async def test_a_lost_attempt_is_repeated_as_the_task_says(
    tmp_path: Path, retry: str, *, pushed: bool, status: TaskStatus
) -> None:
    async with running_server(tmp_path) as server:
        grant = await _begin(server, retry=retry)
        head = server.push(grant.branch) if pushed else None

        task = await _lose(server, grant.task)

        assert task.status is status
        assert task.reason == Reason.LOST
        assert ("unfinished?" in task.message) == (pushed and status is S.NEEDS_HUMAN)
        assert task.view.head == head


async def test_the_next_attempt_leaves_the_lost_ones_branch_alone(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        grant = await _begin(server, retry="always")
        head = server.push(grant.branch)
        await _lose(server, grant.task)

        again = await _dequeue(server)

        assert (again.branch, again.start_head) == (f"{grant.branch}.2", None)
        assert server.git("ls-remote", "origin", grant.branch).split()[0] == head


async def test_a_person_may_send_an_unfinished_task_round_again(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        grant = await _begin(server, retry="unpushed")
        server.push(grant.branch)
        await _lose(server, grant.task)

        await server.fleet.tasks.retry(grant.task, by=PERSON)

        assert (await _dequeue(server)).branch == f"{grant.branch}.2"


async def test_a_task_is_held_while_the_remote_cannot_say_what_was_left(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        grant = await _begin(server, retry="unpushed")
        server.push(grant.branch)
        server.remote.rename(tmp_path / "away.git")

        held = await _lose(server, grant.task)
        reasons = (await server.fleet.tasks.why(grant.task)).reasons
        (tmp_path / "away.git").rename(server.remote)
        await server.fleet.watch.look()

        assert (held.status, held.held) == (S.QUEUED, True)
        assert "held" in {why.code for why in reasons}
        settled = (await server.fleet.tasks.show(grant.task)).task
        assert (settled.status, settled.held) == (S.NEEDS_HUMAN, False)
        assert "unfinished?" in settled.message


async def _begin(server: RunningServer, **fields: object) -> Grant:
    """A task that an agent works at."""
    await server.token(TokenKind.AGENT, "bot")
    submission = Submission(repo=REPO, goal="Write it", mode=Mode.HTTP_PULL, **fields)  # type: ignore[arg-type]
    await server.fleet.tasks.submit(submission, by=PERSON, key=None)
    grant = await _dequeue(server)
    start = StatusReport(
        attempt=grant.attempt, epoch=grant.epoch, status="running", base_sha=base_of(grant)
    )
    await server.fleet.attempts.report(AGENT, grant.task, start)
    return grant


async def _dequeue(server: RunningServer) -> Grant:
    request = DequeueRequest(incarnation="incarnation", wait_s=20)
    (grant,) = await server.fleet.claims.dequeue("bot", request, request_key=None)
    return grant


async def _lose(server: RunningServer, task: int) -> Task:
    """The agent is silent for longer than its lease."""
    server.store.shift_clock(timedelta(minutes=5))
    assert await server.fleet.watch.expire() == 1
    return (await server.fleet.tasks.show(task)).task

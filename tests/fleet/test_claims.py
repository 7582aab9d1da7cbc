from datetime import datetime, timedelta
from pathlib import Path

from agent_fleet.clock import SystemClock
from agent_fleet.core.lifecycle import Backoff
from agent_fleet.core.messages import DequeueRequest, StatusReport, Submission, TokenRequest
from agent_fleet.core.model import Identity, Mode, Transport
from agent_fleet.core.registry import TokenKind
from agent_fleet.fleet import Fleet
from agent_fleet.fleet.executor import Executor
from agent_fleet.fleet.rules import RepoRules, Rules
from tests.support.stores import opened

AGENT = Executor("ada", Transport.HTTP_PULL)
REQUEST = DequeueRequest(incarnation="one-of-them", wait_s=0)


class Hurried(SystemClock):
    """A clock on which a second passes whenever it is read."""

    def __init__(self) -> None:
        self._passed = timedelta()

    def now(self) -> datetime:
        self._passed += timedelta(seconds=1)
        return super().now() + self._passed


async def test_a_task_that_becomes_due_while_it_is_claimed_is_granted(tmp_path: Path):
    async with opened("sqlite", tmp_path, Hurried()) as store:
        fleet = await Fleet.open(store, rules=_rules(), forges={}, clock=SystemClock())
        issued = await fleet.registry.issue(TokenRequest(kind=TokenKind.ADMIN, name="robin"))
        await fleet.registry.issue(TokenRequest(kind=TokenKind.AGENT, name="ada"))
        goal = Submission(repo="local/demo", goal="Do it.", mode=Mode.HTTP_PULL)
        await fleet.tasks.submit(goal, by=issued.token, key=None)

        for number in range(1, 6):
            grants = await fleet.claims.dequeue("ada", REQUEST, request_key=None)
            while not grants:
                grants = await fleet.claims.dequeue("ada", REQUEST, request_key=None)
            given_back = StatusReport(attempt=number, epoch=grants[0].epoch, status="released")
            await fleet.attempts.report(AGENT, grants[0].task, given_back)

            assert grants[0].attempt == number


def _rules() -> Rules:
    return Rules(
        orchestrator="main",
        adapter="raw",
        adapters=frozenset({"raw"}),
        max_attempts=20,
        backoff=Backoff(first_s=1.5, most_s=7.5),
        identity=Identity(name="Fleet", email="fleet@example.org"),
        repos={"local/demo": RepoRules(name="local/demo", forge="local", url="/nowhere")},
    )

"""A server that is started again with less in its configuration than its tasks were given."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from agent_fleet.core.faults import Reason
from agent_fleet.core.messages import DequeueRequest, StatusReport, TokenRequest
from agent_fleet.core.model import Grant, Mode, Outcome, Receipt, TaskStatus, Transport
from agent_fleet.core.registry import TokenKind
from agent_fleet.fleet.executor import Executor
from tests.support.composed import COMMIT, REPO, Composed, Running, composed
from tests.support.tasks import base_of
from tests.support.waiting import eventually_async

S = TaskStatus
OTHER = "local/other"
FIRST = "task/1-write-the-answer"
ASKING = DequeueRequest(incarnation="incarnation-1", wait_s=0)
PULLER = Executor("puller", Transport.HTTP_PULL)


async def test_queued_tasks_of_a_repository_that_is_gone_fail_and_can_be_retried(
    tmp_path: Path,
) -> None:
    async with composed(tmp_path) as stage:
        async with stage.running() as fleet:
            task = await fleet.submit(capabilities=("none-has-it",))
            other = await fleet.submit(capabilities=("none-has-it",))
            assert (await fleet.fleet.tasks.show(task)).task.status is S.QUEUED
        stage.repos = {OTHER: "main"}
        stage.host = 'capabilities = ["none-has-it"]'
        async with stage.running() as fleet:
            detail = await fleet.until(task, S.FAILED)

            assert detail.task.reason == Reason.INVALID_TASK
            assert f"no repository '{REPO}' in the configuration" in detail.task.message
            await fleet.until(other, S.FAILED)
        stage.repos = {REPO: "main"}
        async with stage.running() as fleet:
            await fleet.retry(task)
            await fleet.becomes(task, S.REVIEW_PENDING)


async def test_a_run_of_a_repository_that_is_gone_is_ended_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    async with composed(tmp_path) as stage:
        stage.cli("echo half >half.txt; tell started; wait_for go")
        async with stage.running() as fleet:
            task = await fleet.submit()
            await fleet.until(task, S.RUNNING)
            await stage.told("started")
        assert stage.run_processes()
        async with without(stage, REPO) as fleet:
            detail = await fleet.until(task, S.FAILED)

            assert detail.task.reason == Reason.INVALID_TASK
            await eventually_async(_none_of(stage), 20, "the run to be ended")
        stage.cli(COMMIT)
        async with stage.running() as fleet:
            await fleet.retry(task)

            detail = await fleet.becomes(task, S.REVIEW_PENDING)
            assert len(detail.attempts) == 2
            workspace = next((tmp_path / "state/host/work").iterdir())
            kept = stage.git("for-each-ref", "--format=%(objectname)", "refs/kept", at=workspace)
            assert "half.txt" in stage.git("ls-tree", "--name-only", kept, at=workspace)


async def test_a_task_in_review_waits_for_its_repository_to_come_back(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage:
        async with stage.running() as fleet:
            task = await fleet.submit()
            await fleet.until(task, S.REVIEW_PENDING)
        async with without(stage, REPO) as fleet:
            other = await fleet.submit(repo=OTHER)
            await fleet.until(other, S.REVIEW_PENDING)

            assert (await fleet.fleet.tasks.show(task)).task.status is S.REVIEW_PENDING
            await fleet.fleet.tasks.why(task)
        async with stage.running() as fleet:
            await fleet.merge(task)
            await fleet.until(task, S.COMPLETED)


async def test_a_delivery_to_a_repository_that_is_gone_is_kept_and_told(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage:
        async with stage.running() as fleet:
            grant = await _granted(fleet)
            head = stage.push(grant.branch, name="answer.txt", text="42\n")
        async with without(stage, REPO) as fleet:
            receipt = _receipt(grant, head)

            await fleet.fleet.endings.hand_in(PULLER, receipt)

            detail = await fleet.until(grant.task, S.FAILED)
            assert detail.task.reason == Reason.INVALID_TASK
            assert [r.receipt for r in await fleet.fleet.tasks.receipts(grant.task)] == [receipt]
        async with stage.running() as fleet:
            await eventually_async(_head_is(fleet, grant.task, head), 10, "the head to be seen")
            await fleet.retry(grant.task)
            (again,) = await fleet.fleet.claims.dequeue("puller", ASKING, request_key=None)
            assert again.start_head == head


async def test_asking_again_for_a_grant_of_a_repository_that_is_gone_ends_it(
    tmp_path: Path,
) -> None:
    async with composed(tmp_path) as stage:
        async with stage.running() as fleet:
            grant = await _granted(fleet, key="key-1", start=False)
        async with without(stage, REPO) as fleet:
            grants = await fleet.fleet.claims.dequeue("puller", ASKING, request_key="key-1")

            assert grants == ()
            assert (await fleet.until(grant.task, S.FAILED)).task.reason == Reason.INVALID_TASK


async def test_a_run_of_an_adapter_that_is_gone_is_ended_and_the_task_waits_for_it(
    tmp_path: Path,
) -> None:
    async with composed(tmp_path) as stage:
        stage.cli("tell started; wait_for go")
        stage.adapters = ("raw", "mine")
        async with stage.running() as fleet:
            task = await fleet.submit(adapter="mine")
            await fleet.until(task, S.RUNNING)
            await stage.told("started")
        stage.adapters = ("raw",)
        stage.cli(COMMIT)
        async with stage.running() as fleet:
            detail = await fleet.until(task, S.QUEUED)

            assert detail.attempts[0].reason is Reason.CLI_NOT_FOUND
            assert "no adapter 'mine' in the configuration" in detail.attempts[0].message
            assert not stage.run_processes()
            reasons = (await fleet.fleet.tasks.why(task)).reasons
            assert any("mine" in why.text for why in reasons)
            other = await fleet.submit()
            await fleet.until(other, S.REVIEW_PENDING)
        stage.adapters = ("raw", "mine")
        async with stage.running() as fleet:
            await eventually_async(_only_cools_down(fleet, task), 10, "the adapter to be found")


async def test_a_run_goes_on_under_an_orchestrator_with_another_name(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage:
        stage.cli(f"tell started; wait_for go; {COMMIT}")
        async with stage.running() as fleet:
            task = await fleet.submit()
            await fleet.until(task, S.RUNNING)
            await stage.told("started")
        stage.name = "renamed"
        async with stage.running() as fleet:
            (stage.signals / "go").touch()

            detail = await fleet.until(task, S.REVIEW_PENDING)
            assert [attempt.owner for attempt in detail.attempts] == ["renamed"]


async def test_a_run_on_a_host_that_is_gone_is_a_question(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage:
        stage.cli("tell started; wait_for go")
        async with stage.running() as fleet:
            task = await fleet.submit()
            await fleet.until(task, S.RUNNING)
        stage.host = None
        async with stage.running() as fleet:
            detail = await fleet.until(task, S.NEEDS_HUMAN)

            assert detail.task.reason == Reason.HOST_LOST
            assert "local is no longer configured" in detail.task.message


@asynccontextmanager
async def without(stage: Composed, repo: str) -> AsyncGenerator[Running]:
    """The fleet, its configuration without `repo` and with another one in its place."""
    kept = stage.repos
    stage.repos = {name: base for name, base in kept.items() if name != repo} | {OTHER: "main"}
    try:
        async with stage.running() as fleet:
            yield fleet
    finally:
        stage.repos = kept


async def _granted(fleet: Running, *, key: str | None = None, start: bool = True) -> Grant:
    """A task that an agent of ours holds."""
    request = TokenRequest(kind=TokenKind.AGENT, name="puller")
    await fleet.fleet.registry.issue(request)
    await fleet.submit(mode=Mode.HTTP_PULL)
    (grant,) = await fleet.fleet.claims.dequeue("puller", ASKING, request_key=key)
    if start:
        report = StatusReport(
            attempt=grant.attempt, epoch=grant.epoch, status="running", base_sha=base_of(grant)
        )
        await fleet.fleet.attempts.report(PULLER, grant.task, report)
    return grant


def _receipt(grant: Grant, head: str) -> Receipt:
    return Receipt(
        receipt_id="receipt-1",
        task=grant.task,
        attempt=grant.attempt,
        outcome=Outcome.SUCCEEDED,
        branch=grant.branch,
        head_sha=head,
    )


def _none_of(stage: Composed) -> Callable[[], Awaitable[bool]]:
    async def gone() -> bool:
        return not stage.run_processes()

    return gone


def _only_cools_down(fleet: Running, task: int) -> Callable[[], Awaitable[bool]]:
    async def so() -> bool:
        reasons = (await fleet.fleet.tasks.why(task)).reasons
        return {why.code for why in reasons} == {"account_cooldown"}

    return so


def _head_is(fleet: Running, task: int, head: str) -> Callable[[], Awaitable[bool]]:
    async def there() -> bool:
        return (await fleet.fleet.tasks.show(task)).task.view.head == head

    return there

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent_fleet.client import AgentClient, FleetClient
from agent_fleet.core.errors import (
    Conflict,
    FleetError,
    Forbidden,
    IdempotencyMismatch,
    IllegalTransition,
    InvalidInput,
    LeaseLost,
    LogGap,
    NotFound,
    Unauthenticated,
)
from agent_fleet.core.messages import DequeueRequest, StatusReport, Submission, TokenRequest
from agent_fleet.core.model import Grant, Mode, Outcome, Receipt, TaskStatus
from agent_fleet.core.registry import TokenKind
from tests.support.servers import REPO, RunningServer, running_server

ANSWER = Submission(repo=REPO, goal="Answer")


@asynccontextmanager
async def clients(
    directory: Path,
) -> AsyncGenerator[tuple[RunningServer, FleetClient, AgentClient]]:
    async with running_server(directory) as server:
        token = await server.token(TokenKind.AGENT, "bot", slots=3)
        async with (
            FleetClient(server.url, server.admin) as people,
            AgentClient(server.url, token) as agent,
        ):
            yield server, people, agent


async def begin(server: RunningServer, agent: AgentClient) -> Grant:
    answer = await agent.dequeue(DequeueRequest(incarnation="incarnation", wait_s=0))
    grant = answer.grants[0]
    base_sha = server.git("rev-parse", "origin/main")
    report = StatusReport(attempt=grant.attempt, epoch=1, status="running", base_sha=base_sha)
    await agent.report(grant.task, report)
    return grant


def receipt(grant: Grant, *, head: str) -> Receipt:
    return Receipt(
        receipt_id=f"receipt-{grant.task}-{grant.attempt}",
        task=grant.task,
        attempt=grant.attempt,
        outcome=Outcome.SUCCEEDED,
        branch=grant.branch,
        head_sha=head,
    )


async def test_a_task_goes_from_submitted_to_merged(tmp_path: Path) -> None:
    async with clients(tmp_path) as (server, people, agent):
        submitted = await people.submit(ANSWER)
        grant = await begin(server, agent)
        head = server.push(grant.branch)
        handed_in = await agent.hand_in(receipt(grant, head=head))
        settled = await people.wait(grant.task, until="settled", timeout_s=0)
        merged = await people.approve(grant.task, merge=True, head=head)
        receipts = await people.receipts(grant.task)

        assert submitted.task.status is TaskStatus.QUEUED
        assert handed_in.verdict == "accepted"
        assert settled.task.status is TaskStatus.REVIEW_PENDING
        assert merged.task.status is TaskStatus.COMPLETED
        assert receipts == (await people.receipt(handed_in.receipt.receipt_id),)
        assert b"+42" in await people.diff(grant.task)
        assert (await agent.task(grant.task)).attempts[0].outcome is Outcome.SUCCEEDED


async def test_the_same_key_makes_one_task_and_one_grant(tmp_path: Path) -> None:
    async with clients(tmp_path) as (_, people, agent):
        first = await people.submit(ANSWER, key="k")
        second = await people.submit(ANSWER, key="k")
        request = DequeueRequest(incarnation="incarnation", wait_s=0)
        granted = [await agent.dequeue(request, key="d") for _ in range(2)]

        assert first.task.id == second.task.id
        assert granted[0] == granted[1]
        with pytest.raises(IdempotencyMismatch):
            await people.submit(Submission(repo=REPO, goal="Other"), key="k")


async def test_without_work_a_dequeue_ends_empty(tmp_path: Path) -> None:
    async with clients(tmp_path) as (_, _, agent):
        answer = await agent.dequeue(DequeueRequest(incarnation="incarnation", wait_s=0.1))

        assert answer.grants == ()


async def test_a_log_is_appended_by_offset_and_followed_to_its_end(tmp_path: Path) -> None:
    async with clients(tmp_path) as (server, people, agent):
        await people.submit(ANSWER)
        grant = await begin(server, agent)
        long = b"x" * 2_500_000
        followed = asyncio.create_task(_follow(people, grant))

        known = await agent.append_log(grant.task, 1, start=0, data=b"begin\n")
        known = await agent.append_log(grant.task, 1, start=known, data=long)
        again = await agent.append_log(grant.task, 1, start=0, data=b"begin\n")
        with pytest.raises(LogGap) as gap:
            await agent.append_log(grant.task, 1, start=known + 5, data=b"later")
        with pytest.raises(Conflict):
            await agent.append_log(grant.task, 1, start=0, data=b"other\n")
        head = server.push(grant.branch)
        await agent.hand_in(receipt(grant, head=head))

        assert known == again == gap.value.offset == len(long) + 6
        assert await followed == b"begin\n" + long
        assert await people.read_log(grant.task, 1, start=known) == b""


async def _follow(people: FleetClient, grant: Grant) -> bytes:
    return b"".join([data async for data in people.follow_log(grant.task, grant.attempt)])


async def test_events_come_once_and_in_order(tmp_path: Path) -> None:
    async with clients(tmp_path) as (_, people, _):
        for _ in range(3):
            await people.submit(ANSWER)

        page = await people.event_page(limit=2)
        seen: list[int] = []
        async for event in people.events():
            seen.append(event.task)
            if len(seen) == 3:
                await people.cancel(1)
            if event.verb == "cancel":
                break

        assert len(page.events) == 2
        assert seen == [1, 2, 3, 1]


async def test_a_wait_ends_when_the_task_does_or_the_time_is_up(tmp_path: Path) -> None:
    async with clients(tmp_path) as (_, people, _):
        await people.submit(ANSWER)
        late = await people.wait(1, until="ended", timeout_s=0.1)
        waiting = asyncio.create_task(people.wait(1, until="ended", timeout_s=30))
        changing = asyncio.create_task(people.wait(1, until="changed", timeout_s=30))
        await asyncio.wait({changing}, timeout=0.3)
        await people.cancel(1)

        assert late.task.status is TaskStatus.QUEUED
        assert (await waiting).task.status is TaskStatus.CANCELLED
        assert (await changing).task.status is TaskStatus.CANCELLED


async def test_a_task_is_sent_back_and_queued_again(tmp_path: Path) -> None:
    async with clients(tmp_path) as (server, people, agent):
        await people.submit(ANSWER)
        grant = await begin(server, agent)
        await agent.hand_in(receipt(grant, head=server.push(grant.branch)))

        back = await people.request_changes(1, "Say why.")
        why = await people.why(1)
        cancelled = await people.cancel(1)
        retried = await people.retry(1)

        assert back.task.feedback == "Say why."
        assert why.status is TaskStatus.QUEUED
        assert cancelled.task.status is TaskStatus.CANCELLED
        assert retried.task.status is TaskStatus.QUEUED


async def test_errors_come_back_as_they_were_raised(tmp_path: Path) -> None:
    async with clients(tmp_path) as (server, people, agent):
        await people.submit(ANSWER)
        with pytest.raises(NotFound, match="no task 9"):
            await people.task(9)
        with pytest.raises(IllegalTransition):
            await people.retry(1)
        with pytest.raises(InvalidInput) as invalid:
            await people.submit(Submission(repo=REPO))
        with pytest.raises(LeaseLost) as lost:
            await agent.report(1, StatusReport(attempt=4, epoch=1, status="running"))
        async with FleetClient(server.url, "aflt_admin_wrong") as stranger:
            with pytest.raises(Unauthenticated):
                await stranger.list_tasks()
        requester = await server.token(TokenKind.REQUESTER, "req")
        async with FleetClient(server.url, requester) as client:
            with pytest.raises(Forbidden):
                await client.tokens()
            with pytest.raises(NotFound):
                await client.task(1)

    assert invalid.value.path == "$.goal"
    assert invalid.value.remedy == "say what is to be done, in `goal` or in `body`"
    assert invalid.value.message.count("is missing") == 1
    assert lost.value.slug == "lease-lost"


async def test_who_takes_part_is_listed(tmp_path: Path) -> None:
    async with clients(tmp_path) as (_, people, _):
        issued = await people.issue_token(TokenRequest(kind=TokenKind.OPERATOR, name="ann"))
        await people.revoke_token(issued.token.prefix)

        tokens = {token.prefix: token for token in (await people.tokens()).tokens}
        agents = await people.agents()

        assert tokens[issued.token.prefix].revoked_at is not None
        assert [state.agent.name for state in agents.agents] == ["bot"]
        assert (await people.hosts()).hosts == ()
        assert (await people.ready()).orchestrator == "main"


async def test_lists_come_in_pages(tmp_path: Path) -> None:
    async with clients(tmp_path) as (_, people, _):
        for _ in range(3):
            await people.submit(Submission(repo=REPO, goal="Do", mode=Mode.HTTP_PULL))
        await people.cancel(1)

        first = await people.list_tasks(limit=2)
        second = await people.list_tasks(limit=2, before=first.next)
        queued = await people.list_tasks(statuses=[TaskStatus.QUEUED], repo=REPO)
        both = await people.list_tasks(statuses=[TaskStatus.QUEUED, TaskStatus.CANCELLED])

        assert [task.id for task in first.tasks] == [3, 2]
        assert [task.id for task in second.tasks] == [1]
        assert second.next is None
        assert len(queued.tasks) == 2
        assert len(both.tasks) == 3


def test_an_address_or_token_that_cannot_be_meant_is_refused() -> None:
    for url in ("", "127.0.0.1:8620", "ftp://host", "http://", "http://user:word@host", "http://["):
        with pytest.raises(InvalidInput) as error:
            FleetClient(url, "token")
        assert error.value.path == "url"
    for token in ("", "two words", "line\n", "ünicode"):
        with pytest.raises(InvalidInput) as error:
            AgentClient("http://127.0.0.1:1", token)
        assert token == "" or token not in str(error.value)


async def test_the_token_does_not_show(tmp_path: Path) -> None:
    secret = "aflt_admin_verysecret"
    async with FleetClient("http://127.0.0.1:9", secret) as client:
        with pytest.raises(FleetError) as error:
            await client.issue_token(TokenRequest(kind=TokenKind.ADMIN, name="x"))

        assert secret not in repr(client)
        assert secret not in f"{error.value!r} {error.value.__cause__!r}"

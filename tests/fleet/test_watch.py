from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from agent_fleet.clock import SystemClock
from agent_fleet.core.errors import InvalidInput, Unavailable
from agent_fleet.core.lifecycle import Backoff
from agent_fleet.core.messages import (
    Approval,
    DequeueRequest,
    StatusReport,
    Submission,
    TokenRequest,
)
from agent_fleet.core.model import (
    ForgeView,
    Grant,
    Identity,
    Mode,
    Outcome,
    Receipt,
    Task,
    TaskStatus,
    Transport,
)
from agent_fleet.core.registry import Token, TokenKind
from agent_fleet.fleet import Fleet
from agent_fleet.fleet.executor import Executor
from agent_fleet.fleet.rules import RepoRules, Rules
from agent_fleet.forges.git import GitForge
from agent_fleet.store.store import Store
from tests.forges.remote import Remote, clean_environ
from tests.support.stores import opened

ADA = Executor("ada", Transport.HTTP_PULL)
ASKING = DequeueRequest(incarnation="one-of-them", wait_s=0)
LATER = timedelta(minutes=10)


class Adjusted(SystemClock):
    """The machine's clock, as far from the time as somebody set it."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def now(self) -> datetime:
        return super().now() + self.offset


class Scene(msgspec.Struct, frozen=True):
    fleet: Fleet
    store: Store
    clock: Adjusted
    remote: Remote
    person: Token

    async def task(self, number: int) -> Task:
        return (await self.fleet.tasks.show(number)).task

    async def granted(self, *, start: bool = True) -> Grant:
        """A new task, of which the agent has told the start."""
        submission = Submission(repo="local/demo", goal="Do it.", mode=Mode.HTTP_PULL)
        await self.fleet.tasks.submit(submission, by=self.person, key=None)
        return await self.again(start=start)

    async def again(self, *, start: bool = True) -> Grant:
        (grant,) = await self.fleet.claims.dequeue("ada", ASKING, request_key=None)
        if not start:
            return grant
        report = StatusReport(
            attempt=grant.attempt,
            epoch=grant.epoch,
            status="running",
            base_sha=self.remote.git("rev-parse", "main"),
        )
        await self.fleet.attempts.report(ADA, grant.task, report)
        return grant

    async def deliver(self, grant: Grant) -> str:
        """Work on the branch, handed in; its head."""
        self.remote.git("checkout", "-q", "-b", grant.branch)
        head = self.remote.commit("answer.txt", f"{grant.branch}\n")
        self.remote.git("push", "-q", "origin", grant.branch)
        self.remote.git("checkout", "-q", "main")
        receipt = Receipt(
            receipt_id=f"receipt-{grant.task}-{grant.attempt}",
            task=grant.task,
            attempt=grant.attempt,
            outcome=Outcome.SUCCEEDED,
            branch=grant.branch,
            head_sha=head,
        )
        await self.fleet.endings.hand_in(ADA, receipt)
        return head


async def test_a_merge_is_seen_although_the_clock_was_set_back(tmp_path: Path) -> None:
    async with staged(tmp_path) as scene:
        scene.clock.offset = timedelta(days=1)
        grant = await scene.granted()
        await scene.deliver(grant)
        scene.clock.offset = timedelta()
        scene.remote.git("merge", "-q", "--no-ff", grant.branch)
        scene.remote.git("push", "-q", "origin", "main")

        await scene.fleet.watch.look()

        assert (await scene.task(grant.task)).status is TaskStatus.COMPLETED


async def test_a_reading_of_a_branch_says_nothing_of_the_next_one(tmp_path: Path) -> None:
    async with staged(tmp_path) as scene:
        first = await scene.granted()
        read = await scene.task(first.task)
        scene.store.shift_clock(LATER)
        await scene.fleet.watch.expire()
        second = await scene.again()
        known = await scene.task(second.task)
        late = ForgeView(version=known.view.version + 1, head="a" * 40)

        changes = await scene.fleet.watch.observe(read, late, actor="local")

        assert (read.generation, known.generation) == (1, 2)
        assert changes == 0
        assert await scene.task(second.task) == known


async def test_a_reading_from_before_a_loss_does_not_settle_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as scene:
        grant = await scene.granted()
        read = await scene.task(grant.task)
        with away(scene.remote):
            scene.store.shift_clock(LATER)
            await scene.fleet.watch.expire()
        early = ForgeView(version=read.view.version + 1)

        changes = await scene.fleet.watch.observe(read, early, actor="local")

        assert changes == 0
        assert (await scene.task(grant.task)).held


async def test_what_was_approved_is_not_merged_any_more_once_it_was_sent_back(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as scene:
        grant = await scene.granted()
        await scene.deliver(grant)
        before = scene.remote.git("rev-parse", "origin/main")
        with away(scene.remote), pytest.raises(Unavailable):
            await scene.fleet.tasks.approve(grant.task, Approval(merge=True), by=scene.person)
        await scene.fleet.tasks.request_changes(grant.task, "Not so.", by=scene.person)

        scene.store.shift_clock(LATER)
        tried = await scene.fleet.effects.carry_out_due()

        assert tried == 1
        assert (await scene.task(grant.task)).status is TaskStatus.QUEUED
        assert scene.remote.git("ls-remote", "origin", "main").startswith(before)


async def test_a_delivery_that_tells_no_start_is_not_accepted(tmp_path: Path) -> None:
    async with staged(tmp_path) as scene:
        grant = await scene.granted(start=False)

        with pytest.raises(InvalidInput, match="base_sha"):
            await scene.deliver(grant)

        assert (await scene.task(grant.task)).status is TaskStatus.ASSIGNED


def test_a_commit_is_named_without_a_line_end() -> None:
    told = {"attempt": 1, "epoch": 1, "status": "running", "base_sha": "a" * 40 + "\n"}

    with pytest.raises(msgspec.ValidationError, match="base_sha"):
        msgspec.convert(told, StatusReport)


@contextmanager
def away(remote: Remote) -> Generator[None]:
    """While inside, nothing answers at the repository's address."""
    elsewhere = remote.bare.with_suffix(".away")
    remote.bare.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(remote.bare)


@asynccontextmanager
async def staged(directory: Path) -> AsyncGenerator[Scene]:
    """A fleet without loops, an agent that asks it for work, and a repository."""
    remote, clock = Remote.make(directory), Adjusted()
    forge = GitForge(directory / "mirrors", environ=clean_environ(directory))
    rules = Rules(
        orchestrator="main",
        adapter="raw",
        adapters=frozenset({"raw"}),
        backoff=Backoff(first_s=0.0),
        identity=Identity(name="Fleet", email="fleet@example.org"),
        repos={"local/demo": RepoRules(name="local/demo", forge="local", url=str(remote.bare))},
    )
    async with opened("sqlite", directory) as store:
        fleet = await Fleet.open(store, rules=rules, forges={"local": forge}, clock=clock)
        issued = await fleet.registry.issue(TokenRequest(kind=TokenKind.ADMIN, name="robin"))
        await fleet.registry.issue(TokenRequest(kind=TokenKind.AGENT, name="ada"))
        yield Scene(fleet, store, clock, remote, issued.token)

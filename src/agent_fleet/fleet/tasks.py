"""What people and their programs ask of tasks: submit, look, cancel, retry, approve, send back."""

import hashlib
from datetime import timedelta

import msgspec

from agent_fleet.clock import new_id
from agent_fleet.core import lifecycle
from agent_fleet.core.errors import Conflict, Forbidden
from agent_fleet.core.messages import (
    Approval,
    EventPage,
    ReceiptAnswer,
    Submission,
    TaskDetail,
    TaskPage,
    WhyAnswer,
)
from agent_fleet.core.model import Mode, Review, TaskStatus
from agent_fleet.core.obstacles import Why
from agent_fleet.core.placement import explain
from agent_fleet.core.registry import Token, TokenKind
from agent_fleet.fleet.context import LOOK_AGAIN_S, Context
from agent_fleet.fleet.effects import Effects
from agent_fleet.fleet.penalties import reopen_account
from agent_fleet.fleet.snapshot import read_snapshot, waiting_tasks
from agent_fleet.fleet.submissions import find_missing_base, new_task, read_brief
from agent_fleet.store.evidence import KeptReceipt
from agent_fleet.store.store import Transaction

OPERATORS = frozenset({TokenKind.ADMIN, TokenKind.OPERATOR})
DIFF_LIMIT = 1_000_000
PAGE_LIMIT = 200


class Tasks:
    def __init__(self, context: Context, effects: Effects) -> None:
        self._context = context
        self._effects = effects

    async def submit(
        self, submission: Submission, *, by: Token, key: str | None
    ) -> tuple[TaskDetail, bool]:
        """A new task, and True; or the one that the same `key` made before, and False.

        Raises InvalidInput with the field's path, Forbidden for commands from a token that may
        not give any, IdempotencyMismatch for a known key with another body.
        """
        if submission.validation and by.kind not in OPERATORS:
            raise Forbidden("validation commands are run by the fleet: only an operator gives them")
        brief = await read_brief(submission)
        missing_base = await find_missing_base(self._context, submission)
        sha256 = hashlib.sha256(msgspec.json.encode(submission, order="deterministic")).hexdigest()
        async with self._context.store.transaction() as tx:
            if key is not None:
                known = await tx.evidence.task_of_key(actor=by.name, key=key, sha256=sha256)
                if known is not None:
                    return await _detail(tx, known), False
            if missing_base is not None:
                raise missing_base
            task = new_task(
                submission,
                brief,
                rules=self._context.rules,
                number=await tx.new_task_id(),
                requester=by.name,
                now=await tx.now(),
            )
            await tx.work.create(lifecycle.submit(task, actor=by.name))
            if key is not None and not await tx.evidence.keep_key(
                actor=by.name, key=key, sha256=sha256, task=task.id
            ):
                raise Conflict(f"the key {key!r} is being used by another request; ask again")
            return TaskDetail(task=task, branch_name=task.branch_name), True

    async def show(self, task: int) -> TaskDetail:
        async with self._context.store.reading() as tx:
            return await _detail(tx, task)

    async def wait(self, task: int, *, seconds: float, until: str) -> TaskDetail:
        """The task once it has changed, settled or ended, or after so many seconds."""
        context = self._context
        deadline = context.clock.elapsed() + seconds
        first: int | None = None
        while True:
            ticket = context.wakeups.ticket()
            detail = await self.show(task)
            first = detail.task.revision if first is None else first
            left = deadline - context.clock.elapsed()
            there = {
                "changed": detail.task.revision != first,
                "settled": detail.task.status in lifecycle.SETTLED,
                "ended": detail.task.status in lifecycle.ENDED,
            }[until]
            if there or left <= 0 or context.wakeups.closed:
                return detail
            await context.wakeups.wait(ticket, timeout_s=min(left, LOOK_AGAIN_S))

    async def list(
        self,
        *,
        statuses: tuple[TaskStatus, ...] = (),
        repo: str | None = None,
        requester: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> TaskPage:
        """One page, the newest first; `before` is the cursor that the last page gave."""
        limit = min(limit, PAGE_LIMIT)
        async with self._context.store.reading() as tx:
            tasks = await tx.listing.listed(
                statuses=statuses, requester=requester, repo=repo, before=before, limit=limit + 1
            )
        page = tuple(tasks[:limit])
        return TaskPage(tasks=page, next=page[-1].id if len(tasks) > limit else None)

    async def ended_before(self, tasks: frozenset[int], *, age: timedelta) -> frozenset[int]:
        """Those of the tasks that ended at least so long ago, with no attempt under way."""
        async with self._context.store.reading() as tx:
            since = await tx.now() - age
            ended = await tx.listing.ended(tasks, before=since)
            return ended - await tx.work.with_unended(ended)

    async def why(self, task: int) -> WhyAnswer:
        """Every reason that keeps the task from running."""
        async with self._context.store.transaction() as tx:
            asked = await tx.work.task(task)
            modes = (Mode.SSH_CLI, Mode.HTTP_PULL, Mode.EITHER)
            queue = await waiting_tasks(tx, modes=modes)
            if asked.id not in {t.id for t in queue}:
                queue = (*queue, asked)
            snapshot = await read_snapshot(tx, self._context.rules, tasks=queue, now=await tx.now())
        if asked.status in {TaskStatus.ASSIGNED, TaskStatus.RUNNING, TaskStatus.COMPLETED}:
            return WhyAnswer(status=asked.status)
        reasons = explain(asked, snapshot)
        if asked.message and asked.status is not TaskStatus.QUEUED:
            reasons = (*reasons, Why(asked.reason or "message", asked.message))
        return WhyAnswer(status=asked.status, reasons=reasons)

    async def cancel(self, task: int, *, by: Token) -> TaskDetail:
        """Cancelled now, or as soon as its executor has been told."""
        async with self._context.store.transaction() as tx:
            change = lifecycle.cancel(await tx.work.state(task), now=await tx.now(), actor=by.name)
            if change is not None:
                await tx.work.save(change)
            return await _detail(tx, task)

    async def retry(self, task: int, *, by: Token) -> TaskDetail:
        """Queued again, its limits reset; an account that was stopped under it is used again."""
        async with self._context.store.transaction() as tx:
            state = await tx.work.state(task)
            await tx.work.save(lifecycle.retry(state, now=await tx.now(), actor=by.name))
            if state.attempt is not None:
                await reopen_account(tx, state.attempt)
            return await _detail(tx, task)

    async def request_changes(self, task: int, text: str, *, by: Token) -> TaskDetail:
        """A revision with that text, or a question to a human once the limit is reached."""
        async with self._context.store.transaction() as tx:
            state = await tx.work.state(task)
            review = Review(
                id=f"{lifecycle.OPERATOR_REVIEW}{new_id()}",
                head=state.task.view.head or "",
                text=text,
                author=by.name,
            )
            await tx.work.save(lifecycle.request_changes(state, review=review, now=await tx.now()))
            return await _detail(tx, task)

    async def approve(self, task: int, approval: Approval, *, by: Token) -> TaskDetail:
        """Approved; with `merge`, merged by the fleet before this returns.

        Raises MergeConflict, with nothing changed but the approval, where Git cannot merge by
        itself; Conflict where the branch is no longer at `head`.
        """
        async with self._context.store.transaction() as tx:
            state = await tx.work.state(task)
            head = state.task.view.head
            if approval.head is not None and approval.head != head:
                raise Conflict(f"the branch of task {task} is at {head}, not at {approval.head}")
            change = lifecycle.approve(
                state, merge=approval.merge, now=await tx.now(), actor=by.name
            )
            await tx.work.save(change)
        for effect in change.effects:
            await self._effects.carry_out(effect)
        return await self.show(task)

    async def diff(self, task: int) -> bytes:
        """What the task's branch adds to its base: a summary and the patch, at most a megabyte."""
        async with self._context.store.reading() as tx:
            asked = await tx.work.task(task)
        if asked.view.head is None:
            raise Conflict(f"task {task} has pushed nothing yet")
        forge, repo, _ = self._context.forge_of(asked.repo)
        base = asked.base_sha or asked.base
        return await forge.diff(repo, base=base, head=asked.view.head, limit_bytes=DIFF_LIMIT)

    async def read_log(self, task: int, attempt: int, *, start: int, limit: int) -> bytes:
        """At most `limit` bytes of an attempt's log, from offset `start`."""
        async with self._context.store.reading() as tx:
            await tx.work.attempt(task, attempt)
            return await tx.evidence.read_log(task, attempt, start=start, limit=limit)

    async def log_size(self, task: int, attempt: int) -> int:
        """Bytes known of an attempt's log."""
        async with self._context.store.reading() as tx:
            await tx.work.attempt(task, attempt)
            return await tx.evidence.log_size(task, attempt)

    async def receipt(self, receipt_id: str) -> ReceiptAnswer:
        """One receipt, as it was handed in."""
        async with self._context.store.reading() as tx:
            return _answer(await tx.evidence.receipt(receipt_id))

    async def receipts(self, task: int) -> tuple[ReceiptAnswer, ...]:
        """All receipts that were handed in for the task."""
        async with self._context.store.reading() as tx:
            await tx.work.task(task)
            kept = await tx.evidence.receipts(task)
        return tuple(_answer(one) for one in kept)

    async def events(
        self, *, after: int, task: int | None = None, requester: str | None = None, limit: int = 200
    ) -> EventPage:
        """Events from behind the cursor `after`."""
        async with self._context.store.reading() as tx:
            found = await tx.listing.events(
                after=after, task=task, requester=requester, limit=min(limit, PAGE_LIMIT)
            )
        return EventPage(events=tuple(found))


def _answer(kept: KeptReceipt) -> ReceiptAnswer:
    return ReceiptAnswer(receipt=kept.receipt, sha256=kept.sha256, verdict=kept.verdict)


async def _detail(tx: Transaction, task: int) -> TaskDetail:
    found = await tx.work.task(task)
    attempts = tuple(await tx.work.attempts(task))
    return TaskDetail(task=found, branch_name=found.branch_name, attempts=attempts)

"""How attempts end: by a receipt that is checked against the forge, or for want of any word.

A receipt is evidence, never the only signal: a success counts once its head was seen on the forge.
"""

import hashlib

import msgspec
import rfc8785

from agent_fleet.core import lifecycle
from agent_fleet.core.errors import (
    Conflict,
    IdempotencyMismatch,
    InvalidInput,
    LeaseLost,
    NotFound,
    Superseded,
)
from agent_fleet.core.faults import Reason
from agent_fleet.core.lifecycle import State
from agent_fleet.core.messages import ReceiptAnswer
from agent_fleet.core.model import (
    Attempt,
    AttemptStatus,
    ForgeView,
    Grant,
    Outcome,
    Receipt,
    Session,
    Task,
)
from agent_fleet.fleet.context import Context, follow_up
from agent_fleet.fleet.executor import Executor, check_owner, check_start
from agent_fleet.fleet.penalties import has_alternative, pardon, place_of, punish
from agent_fleet.fleet.sight import read_view
from agent_fleet.store.evidence import Verdict
from agent_fleet.store.store import Transaction

DIFFERENCE = 1_000
"""Bytes of a difference that are read to see whether there is one."""


class Sighting(msgspec.Struct, frozen=True):
    """A delivery as the forge has it. `changed`: it differs from what the attempt began at."""

    view: ForgeView
    changed: bool


class Refusal(msgspec.Struct, frozen=True):
    """A delivery that is none, and what is wrong with it."""

    reason: Reason
    message: str


class Endings:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def hand_in(self, executor: Executor, receipt: Receipt) -> ReceiptAnswer:
        """The end of an attempt. The same receipt again gets the same answer.

        A success counts once the receipt's head was seen on the forge; otherwise it is the
        failure `unverified`, or `invalid_task` if its repository or base is gone. Raises
        Superseded or LeaseLost for an attempt that is over and changes nothing then, but the
        receipt is kept; Unavailable while the forge is away; IdempotencyMismatch for a known id
        with another body.
        """
        sha256 = hashlib.sha256(rfc8785.dumps(msgspec.to_builtins(receipt))).hexdigest()
        async with self._context.store.reading() as tx:
            task = await tx.work.task(receipt.task)
            attempt = await tx.work.attempt(receipt.task, receipt.attempt)
            known = await tx.evidence.known_receipt(receipt.receipt_id)
        check_owner(executor, attempt)
        _check_receipt(receipt)
        if known is not None:
            if known.sha256 != sha256:
                raise IdempotencyMismatch(
                    f"receipt {receipt.receipt_id} was handed in before with another body"
                )
            return _answer(receipt, sha256, known.verdict, task=task)
        try:
            seen = await self._confirm(task, attempt, receipt)
        except NotFound as error:
            seen = Refusal(Reason.INVALID_TASK, error.message)
        async with self._context.store.transaction() as tx:
            state = await _tell_start(tx, await tx.work.state(receipt.task), receipt)
            verdict = await self._end(tx, state, receipt, seen=seen, actor=executor.name)
            await tx.evidence.keep_receipt(receipt, sha256=sha256, verdict=verdict)
        return _answer(receipt, sha256, verdict, task=state.task)

    async def fail(self, executor: Executor, grant: Grant, *, reason: Reason, message: str) -> None:
        """An attempt that cannot even hand in a receipt: its host is gone, or its machine."""
        async with self._context.store.transaction() as tx:
            state = await tx.work.state(grant.task)
            current = lifecycle.own(state, attempt=grant.attempt, epoch=grant.epoch)
            check_owner(executor, current)
            await self._fail(tx, state, current, reason=reason, message=message)

    async def _confirm(
        self, task: Task, attempt: Attempt, receipt: Receipt
    ) -> Sighting | Refusal | None:
        """What the forge has of a delivery; None where none is claimed.

        Raises NotFound for a repository or a base that is no longer there, Unavailable.
        """
        if receipt.outcome is not Outcome.SUCCEEDED:
            return None
        if task.deliverable == "none":
            return Sighting(task.view, changed=True)
        view = await read_view(self._context, task)
        forge, repo, _ = self._context.forge_of(task.repo)
        head = view.head
        if attempt.branch != task.branch_name:
            head = await forge.branch_head(repo, attempt.branch)
        if head is None or head != receipt.head_sha:
            message = f"{attempt.branch} is not at {receipt.head_sha} on the forge"
            return Refusal(Reason.UNVERIFIED, message)
        start = attempt.start_head or attempt.base_sha
        if start is None:
            return Sighting(view, changed=True)
        try:
            difference = await forge.diff(repo, base=start, head=head, limit_bytes=DIFFERENCE)
        except NotFound:  # the base was rewritten meanwhile, and the work put on the new one
            difference = await forge.diff(repo, base=task.base, head=head, limit_bytes=DIFFERENCE)
        return Sighting(view, changed=bool(difference.strip()))

    async def _end(
        self,
        tx: Transaction,
        state: State,
        receipt: Receipt,
        *,
        seen: Sighting | Refusal | None,
        actor: str,
    ) -> Verdict:
        """Ends the attempt as its receipt says, if it is still there to be ended."""
        if state.task.attempts > receipt.attempt:
            return "superseded"
        current = state.unended
        if current is None:
            delivered = seen if isinstance(seen, Sighting) else None
            return await self._late(tx, state, receipt, seen=delivered, actor=actor)
        if seen is None:
            reason = receipt.reason or Reason.AGENT_ERROR
            await self._fail(tx, state, current, reason=reason, receipt=receipt)
        elif isinstance(seen, Refusal):
            await self._fail(
                tx, state, current, reason=seen.reason, message=seen.message, receipt=receipt
            )
        elif not seen.changed:
            await self._fail(tx, state, current, reason=Reason.NO_CHANGES, receipt=receipt)
        else:
            await self._succeed(tx, state, current, receipt=receipt, view=seen.view)
        return "accepted"

    async def _late(
        self,
        tx: Transaction,
        state: State,
        receipt: Receipt,
        *,
        seen: Sighting | None,
        actor: str,
    ) -> Verdict:
        """A lost attempt that delivered after all counts; another that is over changes nothing."""
        if seen is None or not seen.changed:
            return "kept"
        try:
            late = lifecycle.late_receipt(
                state,
                attempt=receipt.attempt,
                head_sha=receipt.head_sha,
                view=seen.view,
                summary=receipt.summary,
                receipt_id=receipt.receipt_id,
                now=await tx.now(),
                actor=actor,
            )
        except Conflict:
            return "kept"
        await tx.work.save(late)
        await follow_up(tx, late.state, seen=seen.view, actor=actor)
        return "late"

    async def _succeed(
        self, tx: Transaction, state: State, current: Attempt, *, receipt: Receipt, view: ForgeView
    ) -> None:
        change = lifecycle.succeed(
            state,
            attempt=current.number,
            epoch=current.epoch,
            head_sha=receipt.head_sha,
            view=view,
            summary=receipt.summary,
            receipt_id=receipt.receipt_id,
            session=_session(receipt, current),
            now=await tx.now(),
            actor=current.owner,
        )
        await tx.work.save(change)
        await pardon(tx, current)
        await follow_up(tx, change.state, seen=view, actor=current.owner)

    async def _fail(
        self,
        tx: Transaction,
        state: State,
        current: Attempt,
        *,
        reason: Reason,
        message: str = "",
        receipt: Receipt | None = None,
    ) -> None:
        now = await tx.now()
        backoff = self._context.rules.backoff
        change = lifecycle.fail(
            state,
            attempt=current.number,
            epoch=current.epoch,
            reason=reason,
            message=message or (receipt.summary if receipt else ""),
            alternatives=await has_alternative(tx, state.task, current),
            backoff=backoff,
            receipt_id=receipt.receipt_id if receipt else None,
            session=_session(receipt, current) if receipt else None,
            retry_after_s=receipt.retry_after_s if receipt else None,
            now=now,
            actor=current.owner,
        )
        await tx.work.save(change)
        await punish(tx, change, backoff=backoff, now=now)
        await follow_up(tx, change.state, seen=None, actor=current.owner)


async def _tell_start(tx: Transaction, state: State, receipt: Receipt) -> State:
    """A start that was never heard of, for the server was away: the receipt tells it as well."""
    current = state.unended
    ran = receipt.outcome is Outcome.SUCCEEDED or receipt.exit_code is not None
    if current is None or current.number != receipt.attempt or not ran:
        return state
    if receipt.outcome is Outcome.SUCCEEDED and current.status is AttemptStatus.GRANTED:
        check_start(state.task, receipt.base_sha)
    started = lifecycle.start(
        state,
        attempt=current.number,
        epoch=current.epoch,
        base_sha=receipt.base_sha,
        now=await tx.now(),
        actor=current.owner,
    )
    if started is None:
        return state
    await tx.work.save(started)
    return started.state


def _check_receipt(receipt: Receipt) -> None:
    if receipt.outcome in {Outcome.LOST, Outcome.RELEASED}:
        raise InvalidInput(
            "$.outcome",
            f"{receipt.outcome} is not for a receipt to say",
            remedy="hand in succeeded, failed, timed_out or cancelled",
        )
    if receipt.outcome is not Outcome.SUCCEEDED and receipt.reason is None:
        raise InvalidInput("$.reason", "is missing", remedy="say why the attempt did not succeed")


def _session(receipt: Receipt, attempt: Attempt) -> Session | None:
    if receipt.session is None:
        return None
    return Session(id=receipt.session, adapter=attempt.adapter, host=place_of(attempt))


def _answer(receipt: Receipt, sha256: str, verdict: Verdict, *, task: Task) -> ReceiptAnswer:
    if verdict == "superseded":
        raise Superseded(
            f"attempt {receipt.attempt} of task {task.id} has a successor; the receipt is kept",
            current_attempt=task.attempts,
        )
    if verdict == "kept":
        raise LeaseLost(
            f"attempt {receipt.attempt} of task {task.id} was over; the receipt is kept",
            current_attempt=task.attempts,
        )
    return ReceiptAnswer(receipt=receipt, sha256=sha256, verdict=verdict)

"""An executor's word about its attempt: it goes on, it gives back, it has ended.

The same for both transports. Who may say it is checked here: the attempt's owner, over the
transport by which it was granted, with its number and epoch.
"""

import hashlib

import msgspec
import rfc8785

from agent_fleet.core import lifecycle
from agent_fleet.core.errors import (
    Conflict,
    FleetError,
    Forbidden,
    IdempotencyMismatch,
    InvalidInput,
    LeaseLost,
    Superseded,
)
from agent_fleet.core.faults import Reason
from agent_fleet.core.lifecycle import State
from agent_fleet.core.messages import ReceiptAnswer, StatusAnswer, StatusReport
from agent_fleet.core.model import (
    Attempt,
    AttemptStatus,
    ForgeView,
    Grant,
    Outcome,
    Receipt,
    Session,
    Task,
    Transport,
)
from agent_fleet.fleet.context import Context, follow_up
from agent_fleet.fleet.grants import describe
from agent_fleet.fleet.penalties import has_alternative, pardon, place_of, punish
from agent_fleet.fleet.sight import read_view
from agent_fleet.store.evidence import Verdict
from agent_fleet.store.store import Transaction

LOG_LIMIT = 256 * 1024 * 1024
"""Bytes of log that are kept of one attempt."""
DIFFERENCE = 1_000
"""Bytes of a difference that are read to see whether there is one."""


class Executor(msgspec.Struct, frozen=True):
    """Who speaks: an agent or an orchestrator, by its name and transport."""

    name: str
    transport: Transport


class Sighting(msgspec.Struct, frozen=True):
    """A delivery as the forge has it. `changed`: it differs from what the attempt began at."""

    view: ForgeView
    changed: bool


class Attempts:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def report(self, executor: Executor, task: int, report: StatusReport) -> StatusAnswer:
        """A heartbeat, a start or a release; answers what to do now.

        Raises LeaseLost once the attempt is over or not the executor's.
        """
        rules = self._context.rules
        async with self._context.store.transaction() as tx:
            state = await tx.work.state(task)
            current = lifecycle.own(state, attempt=report.attempt, epoch=report.epoch)
            _check_owner(executor, current)
            now = await tx.now()
            if report.status == "released":
                change = lifecycle.release(
                    state,
                    attempt=report.attempt,
                    epoch=report.epoch,
                    message=report.message or "given back",
                    backoff=rules.backoff,
                    now=now,
                    actor=executor.name,
                )
                await tx.work.save(change)
                await follow_up(tx, change.state, seen=None, actor=executor.name)
                return StatusAnswer(directive="stop", lease=rules.lease)
            if report.status == "running" and current.status is AttemptStatus.GRANTED:
                started = lifecycle.start(
                    state,
                    attempt=report.attempt,
                    epoch=report.epoch,
                    base_sha=report.base_sha,
                    now=now,
                    actor=executor.name,
                )
                assert started is not None
                await tx.work.save(started)
                state = started.state
            renewed = lifecycle.renew(
                state,
                attempt=report.attempt,
                epoch=report.epoch,
                lease_ttl=rules.lease_ttl,
                prepare_limit=rules.prepare_limit,
                phase=report.phase,
                progress=report.message,
                now=now,
            )
            await tx.work.renew(renewed)
        return StatusAnswer(directive=lifecycle.directive(state), lease=rules.lease)

    async def append_log(
        self, executor: Executor, task: int, attempt: int, *, start: int, data: bytes
    ) -> int:
        """Bytes of the attempt's log, from offset `start`; returns the offset that is known now."""
        if start + len(data) > LOG_LIMIT:
            raise InvalidInput(
                "Content-Range", f"a log has at most {LOG_LIMIT} bytes", remedy="send no more"
            )
        async with self._context.store.transaction() as tx:
            state = await tx.work.state(task)
            current = state.unended
            if current is None or current.number != attempt:
                raise LeaseLost(
                    f"attempt {attempt} of task {task} is over",
                    current_attempt=state.task.attempts or None,
                )
            _check_owner(executor, current)
            return await tx.evidence.append_log(task, attempt, start=start, data=data)

    async def hand_in(self, executor: Executor, receipt: Receipt) -> ReceiptAnswer:
        """The end of an attempt. The same receipt again gets the same answer.

        A success counts once the receipt's head was seen on the forge; otherwise it is the
        failure `unverified`. Raises Superseded or LeaseLost for an attempt that is over and
        changes nothing then, but the receipt is kept; Unavailable while the forge is away;
        IdempotencyMismatch for a known id with another body.
        """
        sha256 = hashlib.sha256(rfc8785.dumps(msgspec.to_builtins(receipt))).hexdigest()
        async with self._context.store.reading() as tx:
            task = await tx.work.task(receipt.task)
            attempt = await tx.work.attempt(receipt.task, receipt.attempt)
            known = await tx.evidence.known_receipt(receipt.receipt_id)
        _check_owner(executor, attempt)
        _check_receipt(receipt)
        if known is not None:
            if known.sha256 != sha256:
                raise IdempotencyMismatch(
                    f"receipt {receipt.receipt_id} was handed in before with another body"
                )
            return _answer(receipt, sha256, known.verdict, task=task)
        seen = await self._confirm(task, attempt, receipt)
        async with self._context.store.transaction() as tx:
            state = await tx.work.state(receipt.task)
            verdict = await self._end(tx, state, receipt, seen=seen, actor=executor.name)
            await tx.evidence.keep_receipt(receipt, sha256=sha256, verdict=verdict)
        return _answer(receipt, sha256, verdict, task=state.task)

    async def fail(self, executor: Executor, grant: Grant, *, reason: Reason, message: str) -> None:
        """An attempt that cannot even hand in a receipt: its host is gone, or its machine."""
        async with self._context.store.transaction() as tx:
            state = await tx.work.state(grant.task)
            current = lifecycle.own(state, attempt=grant.attempt, epoch=grant.epoch)
            _check_owner(executor, current)
            await self._fail(tx, state, current, reason=reason, message=message)

    async def is_over(self, task: int, attempt: int) -> bool:
        """Whether the attempt has ended, rather than only changed its owner."""
        async with self._context.store.reading() as tx:
            return (await tx.work.attempt(task, attempt)).status is AttemptStatus.ENDED

    async def take_over(self, owner: str) -> list[tuple[str, Grant]]:
        """The runs that an orchestrator of this name left behind, now with a new epoch.

        Its former self is fenced off. Each comes with the name of its host.
        """
        taken: list[tuple[str, Grant]] = []
        rules = self._context.rules
        async with self._context.store.transaction() as tx:
            for attempt in await tx.work.unended(transport=Transport.SSH_CLI, owner=owner):
                state = await tx.work.state(attempt.task)
                change = lifecycle.take_over(
                    state,
                    attempt=attempt.number,
                    epoch=attempt.epoch,
                    owner=owner,
                    lease_ttl=rules.lease_ttl,
                    now=await tx.now(),
                )
                await tx.work.save(change)
                assert change.attempt is not None
                assert attempt.host is not None
                taken.append((attempt.host, describe(self._context, change.task, change.attempt)))
        return taken

    async def _confirm(self, task: Task, attempt: Attempt, receipt: Receipt) -> Sighting | None:
        """What the forge has of a delivery; None where the receipt's head is not there."""
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
            return None
        start = attempt.start_head or attempt.base_sha
        if start is None:
            return Sighting(view, changed=True)
        difference = await forge.diff(repo, base=start, head=head, limit_bytes=DIFFERENCE)
        return Sighting(view, changed=bool(difference.strip()))

    async def _end(
        self,
        tx: Transaction,
        state: State,
        receipt: Receipt,
        *,
        seen: Sighting | None,
        actor: str,
    ) -> Verdict:
        """Ends the attempt as its receipt says, if it is still there to be ended."""
        if state.task.attempts > receipt.attempt:
            return "superseded"
        current = state.unended
        if current is None:
            return await self._late(tx, state, receipt, seen=seen, actor=actor)
        if receipt.outcome is not Outcome.SUCCEEDED:
            reason = receipt.reason or Reason.AGENT_ERROR
            await self._fail(tx, state, current, reason=reason, receipt=receipt)
        elif seen is None:
            message = f"{current.branch} is not at {receipt.head_sha} on the forge"
            await self._fail(
                tx, state, current, reason=Reason.UNVERIFIED, message=message, receipt=receipt
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
        if receipt.outcome is not Outcome.SUCCEEDED or seen is None or not seen.changed:
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


def _check_owner(executor: Executor, attempt: Attempt) -> None:
    if attempt.transport is not executor.transport:
        raise Forbidden(
            f"attempt {attempt.number} of task {attempt.task} is of transport "
            f"{attempt.transport}; only its own executor reports it"
        )
    if attempt.owner != executor.name:
        raise Forbidden(f"attempt {attempt.number} of task {attempt.task} is somebody else's")


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
    refusal: FleetError | None = None
    if verdict == "superseded":
        refusal = Superseded(
            f"attempt {receipt.attempt} of task {task.id} has a successor; the receipt is kept",
            current_attempt=task.attempts,
        )
    elif verdict == "kept":
        refusal = LeaseLost(
            f"attempt {receipt.attempt} of task {task.id} was over; the receipt is kept",
            current_attempt=task.attempts,
        )
    if refusal is not None:
        raise refusal
    return ReceiptAnswer(receipt=receipt, sha256=sha256, verdict=verdict)

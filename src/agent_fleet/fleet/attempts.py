"""An executor's word while its attempt goes on: heartbeats, the start, the log; and take-overs.

The same for both transports. Every word names the attempt's number and epoch.
"""

from collections.abc import Collection
from datetime import timedelta

from agent_fleet.core import lifecycle
from agent_fleet.core.errors import InvalidInput, LeaseLost, NotFound
from agent_fleet.core.messages import StatusAnswer, StatusReport
from agent_fleet.core.model import AttemptStatus, Grant, Transport
from agent_fleet.fleet.context import Context, follow_up
from agent_fleet.fleet.executor import Executor, check_owner, check_start
from agent_fleet.fleet.grants import describe, refuse

LOG_LIMIT = 256 * 1024 * 1024
"""Bytes of log that are kept of one attempt."""


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
            check_owner(executor, current)
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
                check_start(state.task, report.base_sha)
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
            check_owner(executor, current)
            return await tx.evidence.append_log(task, attempt, start=start, data=data)

    async def is_over(self, task: int, attempt: int) -> bool:
        """Whether the attempt has ended, rather than only changed its owner."""
        async with self._context.store.reading() as tx:
            return (await tx.work.attempt(task, attempt)).status is AttemptStatus.ENDED

    async def take_over(
        self,
        owner: str,
        *,
        hosts: Collection[str],
        but: Collection[tuple[int, int]] = (),
        age: timedelta = timedelta(),
    ) -> list[tuple[str, Grant]]:
        """The runs that an orchestrator of this name left behind, now with a new epoch.

        And those on its `hosts`, whatever it was called then. Whoever followed them is fenced off.
        Left out are those that it follows (`but`: task and attempt), and those granted more
        recently than `age`. Each comes with its host's name. Those whose task has become invalid
        (its repository is no longer configured) fail.
        """
        taken: list[tuple[str, Grant]] = []
        rules = self._context.rules
        async with self._context.store.transaction() as tx:
            for attempt in await tx.work.unended(transport=Transport.SSH_CLI):
                if attempt.owner != owner and attempt.host not in hosts:
                    continue
                now = await tx.now()
                if (attempt.task, attempt.number) in but or now - attempt.granted_at < age:
                    continue
                state = await tx.work.state(attempt.task)
                change = lifecycle.take_over(
                    state,
                    attempt=attempt.number,
                    epoch=attempt.epoch,
                    owner=owner,
                    lease_ttl=rules.lease_ttl,
                    now=now,
                )
                await tx.work.save(change)
                assert change.attempt is not None
                assert attempt.host is not None
                try:
                    grant = describe(self._context, change.task, change.attempt)
                except (InvalidInput, NotFound) as error:
                    # Its run is one of an attempt that is over: the janitor ends it.
                    await refuse(tx, self._context, change.state, error, now=now)
                else:
                    taken.append((attempt.host, grant))
        return taken

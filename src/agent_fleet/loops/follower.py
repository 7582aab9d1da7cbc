"""Follower: carries out the attempts on this orchestrator's hosts, and finds them again.

One asyncio task for each attempt. When the orchestrator stops, the tasks are cancelled and the
runs go on; `adopt` takes them over at the next start. Nothing is started again here: whoever
follows looks at the run first.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import structlog
from msgspec.structs import replace

from agent_fleet.adapters import Adapter
from agent_fleet.clock import Clock, new_id
from agent_fleet.core.errors import FleetError, LeaseLost, Superseded, Unavailable
from agent_fleet.core.faults import Reason
from agent_fleet.core.messages import StatusAnswer, StatusReport
from agent_fleet.core.model import Credentials, Grant, Outcome, Receipt, Transport
from agent_fleet.execution.attempt import carry_out, tidy
from agent_fleet.execution.heartbeat import Status
from agent_fleet.execution.strays import discard
from agent_fleet.fleet import Fleet
from agent_fleet.fleet.executor import Executor
from agent_fleet.loops.places import Place

log = structlog.get_logger()

UNFOLLOWED = timedelta(seconds=60)
"""A grant that nobody has followed for so long was lost on its way here."""

FOLLOW_TRIES = 5
HAND_IN_TRIES = 200
LONGEST_PAUSE_S = 60.0


class OwnReporter:
    """Tells the fleet of an attempt of its own, without a detour over HTTP."""

    def __init__(self, fleet: Fleet, executor: Executor, grant: Grant) -> None:
        self._fleet = fleet
        self._executor = executor
        self._grant = grant

    async def report(
        self,
        *,
        status: Status,
        phase: str,
        message: str | None = None,
        base_sha: str | None = None,
    ) -> StatusAnswer:
        report = StatusReport(
            attempt=self._grant.attempt,
            epoch=self._grant.epoch,
            status=status,
            phase=phase,
            message=message,
            base_sha=base_sha,
        )
        return await self._fleet.attempts.report(self._executor, self._grant.task, report)

    async def append_log(self, *, start: int, data: bytes) -> int:
        return await self._fleet.attempts.append_log(
            self._executor, self._grant.task, self._grant.attempt, start=start, data=data
        )


class Follower:
    """As a loop it finds attempts that nobody follows, should a defect have lost one."""

    name = "follower"
    eager = False

    def __init__(
        self,
        fleet: Fleet,
        places: Mapping[str, Place],
        *,
        adapters: Mapping[str, Adapter],
        credentials: Mapping[str, Credentials],
        clock: Clock,
    ) -> None:
        self._fleet = fleet
        self._places = places
        self._adapters = adapters
        self._credentials = credentials
        self._clock = clock
        self._executor = Executor(fleet.rules.orchestrator, Transport.SSH_CLI)
        self._tasks: dict[tuple[int, int], asyncio.Task[None]] = {}

    async def adopt(self, *, age: timedelta = timedelta()) -> None:
        """Takes over the runs of this orchestrator that nobody follows."""
        left = await self._fleet.attempts.take_over(
            self._executor.name, hosts=self._places.keys(), but=self._tasks.keys(), age=age
        )
        for host, grant in left:
            log.info("run_adopted", task=grant.task, attempt=grant.attempt, host=host)
            self.follow(host, grant)

    async def poll(self) -> float:
        await self.adopt(age=UNFOLLOWED)
        return UNFOLLOWED.total_seconds()

    def follow(self, host: str, grant: Grant) -> None:
        """Carries out the attempt beside everything else."""
        key = (grant.task, grant.attempt)
        task = asyncio.create_task(self._follow(host, grant))
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._forget(key, done))

    async def close(self) -> None:
        """Follows no longer; the runs go on."""
        following = list(self._tasks.values())
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)

    def _forget(self, key: tuple[int, int], done: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is done:
            del self._tasks[key]
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("run_follower_broke", task=key[0], attempt=key[1], exc_info=error)

    async def _follow(self, host: str, grant: Grant) -> None:
        place, adapter = self._places.get(host), self._adapters.get(grant.adapter)
        if place is None:
            # Whether anything runs there nobody can tell, so it is not for us to start it again.
            await self._give_up(grant, Reason.HOST_LOST, f"{host} is no longer configured")
        elif adapter is None:
            await discard(place.machine, grant, place.setting)
            message = f"there is no adapter {grant.adapter!r} in the configuration"
            await self._give_up(grant, Reason.CLI_NOT_FOUND, message)
        else:
            await self._carry_out(place, adapter, grant)

    async def _carry_out(self, place: Place, adapter: Adapter, grant: Grant) -> None:
        """Insists for a while: what was begun is found again by the next try."""
        forge = grant.repo.partition("/")[0]
        setting = replace(place.setting, credentials=self._credentials.get(forge))
        trouble = ""
        for failures in range(1, FOLLOW_TRIES + 1):
            try:
                receipt = await carry_out(
                    place.machine,
                    grant,
                    adapter,
                    reporter=OwnReporter(self._fleet, self._executor, grant),
                    setting=setting,
                    clock=self._clock,
                    receipt_id=new_id(),
                )
            except FleetError as error:
                trouble = error.message
                log.warning("run_not_followed", task=grant.task, error=trouble, failures=failures)
            except Exception as error:
                trouble = f"{type(error).__name__}: {error}"
                log.exception("run_follower_broke", task=grant.task, failures=failures)
            else:
                if receipt is None:
                    if await self._fleet.attempts.is_over(grant.task, grant.attempt):
                        await discard(place.machine, grant, setting)
                    return
                await self._hand_in(grant, receipt)
                await tidy(place.machine, grant, setting)
                return
            await self._clock.sleep(_pause(failures))
        await self._give_up(grant, Reason.HOST_LOST, trouble)

    async def _hand_in(self, grant: Grant, receipt: Receipt) -> None:
        """Until it is accepted; the forge or the database may be away for a while.

        However it is answered the attempt is over then: it would be carried out again otherwise.
        """
        for failures in range(1, HAND_IN_TRIES + 1):
            try:
                await self._fleet.endings.hand_in(self._executor, receipt)
            except Unavailable as error:
                log.warning("receipt_not_accepted", task=receipt.task, error=error.message)
                await self._clock.sleep(_pause(failures))
            except (LeaseLost, Superseded) as error:
                log.warning("receipt_refused", task=receipt.task, error=error.message)
                return
            except FleetError as error:
                await self._give_up(grant, Reason.UNVERIFIED, error.message)
                return
            else:
                log.info(
                    "attempt_ended",
                    task=receipt.task,
                    attempt=receipt.attempt,
                    outcome=receipt.outcome,
                    reason=receipt.reason,
                )
                return
        unverified = replace(
            receipt,
            receipt_id=new_id(),
            outcome=Outcome.FAILED,
            reason=Reason.UNVERIFIED,
            summary="the forge did not answer for hours, so that the delivery was never seen",
        )
        await self._fleet.endings.hand_in(self._executor, unverified)

    async def _give_up(self, grant: Grant, reason: Reason, message: str) -> None:
        log.warning("attempt_given_up", task=grant.task, reason=reason, message=message)
        try:
            await self._fleet.endings.fail(self._executor, grant, reason=reason, message=message)
        except LeaseLost:
            log.info("attempt_was_over", task=grant.task, attempt=grant.attempt)


def _pause(failures: int) -> float:
    return min(2.0 ** min(failures, 10) / 2, LONGEST_PAUSE_S)

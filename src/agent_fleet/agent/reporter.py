"""What the worker says to the server of its attempts, through the SDK."""

import structlog

from agent_fleet.client import AgentClient
from agent_fleet.clock import Clock
from agent_fleet.core.errors import FleetError, Unavailable
from agent_fleet.core.messages import StatusAnswer, StatusReport
from agent_fleet.core.model import Grant, Receipt
from agent_fleet.execution.heartbeat import Status

log = structlog.get_logger()

HAND_IN_TRIES = 100
"""With the pauses between them, these last for about an hour and a half."""

LONGEST_PAUSE_S = 60.0


class RemoteReporter:
    def __init__(self, client: AgentClient, grant: Grant) -> None:
        self._client = client
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
        return await self._client.report(self._grant.task, report)

    async def append_log(self, *, start: int, data: bytes) -> int:
        return await self._client.append_log(
            self._grant.task, self._grant.attempt, start=start, data=data
        )

    async def release(self, why: str) -> None:
        """Gives the grant back before anything was started."""
        report = StatusReport(
            attempt=self._grant.attempt, epoch=self._grant.epoch, status="released", message=why
        )
        try:
            await self._client.report(self._grant.task, report)
        except FleetError as error:
            # Not answered in time, the grant goes back by itself.
            log.warning("release_failed", task=self._grant.task, error=error.message)


async def hand_in(client: AgentClient, receipt: Receipt, *, clock: Clock) -> None:
    """Until the server has the receipt, or says that it does not count."""
    for failures in range(1, HAND_IN_TRIES + 1):
        try:
            answer = await client.hand_in(receipt)
        except Unavailable as error:
            log.warning("receipt_not_accepted", task=receipt.task, error=error.message)
            await clock.sleep(min(2.0 ** min(failures, 10) / 4, LONGEST_PAUSE_S))
        except FleetError as error:
            log.warning("receipt_refused", task=receipt.task, error=error.message)
            return
        else:
            log.info(
                "attempt_ended",
                task=receipt.task,
                attempt=receipt.attempt,
                outcome=receipt.outcome,
                reason=receipt.reason,
                verdict=answer.verdict,
            )
            return
    log.error("receipt_given_up", task=receipt.task, attempt=receipt.attempt)

"""The worker's life: as many attempts at once as it has slots, until it is told to stop.

A stop (SIGTERM, SIGINT) asks for no more work and lets what is under way end and be handed in; a
second one cancels it. What a killed worker left running here is ended at the next start: its lease
is over, or will be, and the server gives the task to somebody again.
"""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from agent_fleet.adapters import Adapter
from agent_fleet.agent.reporter import RemoteReporter, hand_in
from agent_fleet.client import AgentClient
from agent_fleet.clock import Clock, SystemClock, new_id
from agent_fleet.core.errors import Conflict, FleetError, Unavailable
from agent_fleet.core.messages import DequeueRequest
from agent_fleet.core.model import Grant
from agent_fleet.execution.attempt import carry_out, tidy
from agent_fleet.execution.local import LocalMachine
from agent_fleet.execution.machine import Machine
from agent_fleet.execution.probe import find_versions
from agent_fleet.execution.setting import Setting
from agent_fleet.execution.strays import discard, end_strays

log = structlog.get_logger()

WAIT_S = 25.0
LONGEST_PAUSE_S = 60.0
FOLLOW_TRIES = 5


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker is told at its start.

    `adapters` are those that it offers where their CLI is found; `environment` is what all
    commands see, `passable` what an adapter may name for its CLI besides.
    """

    url: str
    token: str
    root: Path
    slots: int
    adapters: Mapping[str, Adapter]
    environment: Mapping[str, str]
    passable: Mapping[str, str]


def run(options: Options) -> None:
    """Works until SIGTERM or SIGINT. Raises Unauthenticated for a token that is not valid."""
    asyncio.run(_run(options))


async def _run(options: Options) -> None:
    machine = LocalMachine("agent", environment=options.environment)
    setting = Setting(
        root=str(options.root),
        environment=options.environment,
        passable=options.passable,
        self_stop=True,
    )
    commands = {name: adapter.version for name, adapter in options.adapters.items()}
    found = await find_versions(machine, commands)
    async with AgentClient(options.url, options.token) as client:
        worker = Worker(
            client,
            machine,
            setting,
            adapters={name: options.adapters[name] for name in found},
            slots=options.slots,
            clock=SystemClock(),
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        await worker.work()


class Worker:
    def __init__(
        self,
        client: AgentClient,
        machine: Machine,
        setting: Setting,
        *,
        adapters: Mapping[str, Adapter],
        slots: int,
        clock: Clock,
    ) -> None:
        self._client = client
        self._machine = machine
        self._setting = setting
        self._adapters = adapters
        self._slots = asyncio.Semaphore(slots)
        self._clock = clock
        self._incarnation = new_id()
        self._stopping = asyncio.Event()
        self._attempts: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """No more work; a second call cancels what is under way."""
        if self._stopping.is_set():
            for attempt in self._attempts:
                attempt.cancel()
        self._stopping.set()

    async def work(self) -> None:
        """Until stopped and done. Raises FleetError where asking again is of no use."""
        ended = await end_strays(self._machine, self._setting)
        if ended:
            log.info("strays_ended", runs=ended)
        asking = asyncio.create_task(self._ask())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                await asking
        finally:
            asking.cancel()
            stopping.cancel()
            await asyncio.gather(asking, stopping, *self._attempts, return_exceptions=True)

    async def _ask(self) -> None:
        """Waits for a free slot, then for work to fill it, for ever.

        Until a request is answered it keeps its key: what was granted by an answer that was lost
        is then granted again, and not left lying until it expires.
        """
        failures, key = 0, new_id()
        while True:
            await self._slots.acquire()
            request = DequeueRequest(
                incarnation=self._incarnation, wait_s=WAIT_S, adapters=tuple(self._adapters)
            )
            grants: tuple[Grant, ...] = ()
            try:
                grants = (await self._client.dequeue(request, key=key)).grants
                failures, key = 0, new_id()
            except (Conflict, Unavailable) as error:
                failures += 1
                log.warning("no_answer", error=error.message, failures=failures)
                await self._clock.sleep(min(2.0 ** min(failures, 10) / 4, LONGEST_PAUSE_S))
            if not grants:
                self._slots.release()
            for grant in grants:
                attempt = asyncio.create_task(self._attempt(grant))
                self._attempts.add(attempt)
                attempt.add_done_callback(self._attempts.discard)

    async def _attempt(self, grant: Grant) -> None:
        try:
            await self._carry_out(grant)
        finally:
            self._slots.release()

    async def _carry_out(self, grant: Grant) -> None:
        reporter = RemoteReporter(self._client, grant)
        adapter = self._adapters.get(grant.adapter)
        if adapter is None:
            await reporter.release(f"this agent has no adapter {grant.adapter!r}")
            return
        log.info("attempt_begun", task=grant.task, attempt=grant.attempt, adapter=grant.adapter)
        for failures in range(1, FOLLOW_TRIES + 1):
            try:
                receipt = await carry_out(
                    self._machine,
                    grant,
                    adapter,
                    reporter=reporter,
                    setting=self._setting,
                    clock=self._clock,
                    receipt_id=new_id(),
                )
            except FleetError as error:
                log.warning("attempt_interrupted", task=grant.task, error=error.message)
                await self._clock.sleep(min(2.0**failures / 4, LONGEST_PAUSE_S))
                continue
            except Exception:
                log.exception("attempt_broke", task=grant.task, failures=failures)
                await self._clock.sleep(min(2.0**failures / 4, LONGEST_PAUSE_S))
                continue
            if receipt is None:
                log.warning("lease_lost", task=grant.task, attempt=grant.attempt)
            else:
                await hand_in(self._client, receipt, clock=self._clock)
            await tidy(self._machine, grant, self._setting)
            return
        # The server hears no more of it, and takes it back when the lease is over.
        log.error("attempt_abandoned", task=grant.task, attempt=grant.attempt)
        await discard(self._machine, grant, self._setting)

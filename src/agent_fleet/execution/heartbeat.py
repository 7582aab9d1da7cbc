"""Beside the work: the lease is renewed, and what comes back is obeyed.

The law: counted from the sending of the last heartbeat that was acknowledged, on a clock that goes
on during suspend, a worker stops before its lease can have expired at the server. A run of an
orchestrator (`self_stop` false) goes on without its owner's database: nothing expires it there.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Coroutine
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeVar

from agent_fleet.clock import Clock
from agent_fleet.core.errors import Forbidden, LeaseLost, NotFound, Unauthenticated, Unavailable
from agent_fleet.core.messages import StatusAnswer
from agent_fleet.core.model import Lease
from agent_fleet.execution.waiting import dismiss, first_of

T = TypeVar("T")
Status = Literal["preparing", "running"]

GLANCE_S = 1.0
"""Seconds after which the clock is looked at again: a suspended machine's timers stand still."""


class Reporter(Protocol):
    """Who is told, and who tells: the fleet (ssh_cli), or a client of its API (http_pull)."""

    async def report(
        self,
        *,
        status: Status,
        phase: str,
        message: str | None = None,
        base_sha: str | None = None,
    ) -> StatusAnswer:
        """Renew the lease; the first `running` starts the attempt.

        Raises LeaseLost (stop, push nothing more) or Unavailable (try again).
        """
        ...

    async def append_log(self, *, start: int, data: bytes) -> int:
        """Bytes of the log from offset `start`; the offset up to which it is known now.

        Raises LogGap where bytes before them are missing, Conflict where they contradict those
        that are known, LeaseLost, or Unavailable.
        """
        ...


class Halt(StrEnum):
    """Why the work is to stop. CANCEL: it is no longer wanted. LOST: it is no longer ours."""

    CANCEL = "cancel"
    LOST = "lost"


class Halted(Exception):
    """The work was told to stop."""

    def __init__(self, halt: Halt) -> None:
        super().__init__(halt.value)
        self.halt = halt


class Heartbeat:
    """Says how the attempt is, at the pace that its lease demands, until the work is done."""

    def __init__(self, reporter: Reporter, *, lease: Lease, clock: Clock, self_stop: bool) -> None:
        self._reporter = reporter
        self._clock = clock
        self._lease = lease
        self._self_stop = self_stop
        self._renewed_at = clock.elapsed()
        self._status: Status = "preparing"
        self._phase = "prepare"
        self._base_sha: str | None = None
        self._remark = ""
        self._news = asyncio.Event()
        self._answered = asyncio.Event()
        self._started = asyncio.Event()
        self._halted = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self.halt: Halt | None = None

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncGenerator[None, None]:
        """While inside, the heart beats."""
        duties = (self._beat, self._watch) if self._self_stop else (self._beat,)
        self._tasks = tuple(asyncio.ensure_future(duty()) for duty in duties)
        for task in self._tasks:
            task.add_done_callback(lambda _: self._halted.set())
        try:
            yield
        finally:
            await dismiss(*self._tasks)

    def tell(
        self, phase: str, *, status: Status | None = None, base_sha: str | None = None
    ) -> None:
        """What the next heartbeats say; a new status is said at once."""
        self._phase = phase
        self._base_sha = base_sha or self._base_sha
        if status is not None and status != self._status:
            self._status = status
            self._news.set()

    def remark(self, text: str) -> None:
        """What the next heartbeats say besides: something that people should see."""
        self._remark = text

    def check(self) -> None:
        """Raise Halted if the work is to stop."""
        if self._self_stop and self._left_s() <= 0:
            self._stop(Halt.LOST)
        if self.halt is not None:
            raise Halted(self.halt)
        for task in self._tasks:
            if task.done():
                task.result()

    async def answered(self) -> None:
        """Wait for the first answer, for one lease at most.

        Raises Halted if it says so, Unavailable if there is none.
        """
        await first_of(
            self._answered.wait(), self._halted.wait(), self._clock.sleep(self._lease.ttl_s)
        )
        self.check()
        if not self._answered.is_set():
            raise Unavailable("nobody answered the first report of the attempt")

    async def started(self) -> None:
        """Wait until the start of the attempt is known, for one lease at most.

        If it is not known then, the receipt is what tells it.
        """
        if self._status == "running":
            await first_of(
                self._started.wait(), self._halted.wait(), self._clock.sleep(self._lease.ttl_s)
            )

    async def pause(self, seconds: float) -> None:
        """Sleep so long, or until the work is to stop."""
        await first_of(self._clock.sleep(seconds), self._halted.wait())

    async def obey(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; when told to stop, it is cancelled and Halted is raised."""
        task = asyncio.ensure_future(work)
        try:
            self.check()
            halted = asyncio.ensure_future(self._halted.wait())
            try:
                await asyncio.wait({task, halted}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await dismiss(halted)
            if not task.done():
                self.check()
            return await task
        finally:
            await dismiss(task)

    async def _beat(self) -> None:
        failures = 0
        while self.halt is not Halt.LOST:
            self._news.clear()
            sent_at, status = self._clock.elapsed(), self._status
            try:
                answer = await self._reporter.report(
                    status=status,
                    phase=self._phase,
                    message=self._remark,
                    base_sha=self._base_sha,
                )
            except (LeaseLost, NotFound, Forbidden, Unauthenticated):
                self._stop(Halt.LOST)
                break
            except Unavailable:
                failures += 1
                # Often enough that a server which comes and goes is met before the lease is over.
                sooner_s = self._lease.heartbeat_s * min(0.25, 2.0**failures / 16)
                pause_s = sooner_s * random.uniform(0.5, 1.0)
            else:
                failures = 0
                self._acknowledged(answer, status, sent_at=sent_at)
                pause_s = self._lease.heartbeat_s
            await first_of(self._clock.sleep(pause_s), self._news.wait())
        # Nothing is said any more; the task stays, for its end would be news to `check`.
        await asyncio.Event().wait()

    async def _watch(self) -> None:
        while (left_s := self._left_s()) > 0:
            await self._clock.sleep(min(GLANCE_S, left_s))
        self._stop(Halt.LOST)
        await asyncio.Event().wait()

    def _acknowledged(self, answer: StatusAnswer, status: Status, *, sent_at: float) -> None:
        self._lease = answer.lease
        self._renewed_at = sent_at
        self._answered.set()
        if status == "running":
            self._started.set()
        if answer.directive != "continue":
            self._stop(Halt.CANCEL)

    def _left_s(self) -> float:
        """Seconds until the work must have stopped for fear of the lease's end."""
        ttl_s = self._lease.ttl_s
        margin_s = min(max(ttl_s / 10, 1.0), ttl_s / 2)
        return self._renewed_at + ttl_s - margin_s - self._clock.elapsed()

    def _stop(self, halt: Halt) -> None:
        if self.halt is None:
            self.halt = halt
            self._halted.set()

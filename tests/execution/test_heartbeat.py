"""The heartbeat: its pace, what it obeys, and that it stops before the lease ends."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_fleet.core.errors import LeaseLost, Unavailable
from agent_fleet.core.messages import StatusAnswer
from agent_fleet.core.model import Lease
from agent_fleet.execution.heartbeat import Halt, Halted, Heartbeat, Status

LEASE = Lease(ttl_s=90, heartbeat_s=30)
CONTINUE = StatusAnswer(directive="continue", lease=LEASE)


class LoopClock:
    """Time as the event loop has it: with nothing else to do it jumps to the next timer."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        due = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + seconds, due))
        await due

    async def run_to(self, time: float) -> None:
        """Wake the sleepers in their order, each at its time, up to `time`."""
        while True:
            await settle()
            waiting = sorted(
                (pair for pair in self._sleepers if not pair[1].done()), key=lambda pair: pair[0]
            )
            self._sleepers = waiting
            if not waiting or waiting[0][0] > time:
                break
            self.time = max(self.time, waiting[0][0])
            waiting[0][1].set_result(None)
        self.time = max(self.time, time)


async def settle() -> None:
    """Let everything run that can run now."""
    for _ in range(20):
        await asyncio.sleep(0)


class Listener:
    """Answers after `delay_s` of the clock; keeps when each word was sent, and what it said."""

    def __init__(self, clock: LoopClock) -> None:
        self.clock = clock
        self.delay_s = 0.0
        self.answer: Callable[[], StatusAnswer | Exception] = lambda: CONTINUE
        self.sent: list[tuple[float, Status, str]] = []

    async def report(
        self,
        *,
        status: Status,
        phase: str,
        message: str | None = None,
        base_sha: str | None = None,
    ) -> StatusAnswer:
        self.sent.append((self.clock.time - 1000, status, phase))
        answer = self.answer()
        if self.delay_s:
            await self.clock.sleep(self.delay_s)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def append_log(self, *, start: int, data: bytes) -> int:
        raise NotImplementedError


def heart(listener: Listener, *, self_stop: bool = True) -> Heartbeat:
    return Heartbeat(listener, lease=LEASE, clock=listener.clock, self_stop=self_stop)


async def test_it_beats_at_the_pace_that_the_last_answer_told() -> None:
    listener = Listener(LoopClock())
    listener.answer = lambda: StatusAnswer(directive="continue", lease=Lease(60, 20))
    heartbeat = heart(listener)

    async with heartbeat.beating():
        await listener.clock.run_to(1065)

    assert [at for at, _, _ in listener.sent] == [0, 20, 40, 60]


async def test_a_new_status_is_said_at_once() -> None:
    listener = Listener(LoopClock())
    heartbeat = heart(listener)

    async with heartbeat.beating():
        await listener.clock.run_to(1005)
        heartbeat.tell("run", status="running")
        await listener.clock.run_to(1006)

    assert listener.sent == [(0, "preparing", "prepare"), (5, "running", "run")]


async def test_it_asks_again_sooner_while_nobody_answers() -> None:
    listener = Listener(LoopClock())
    listener.answer = lambda: Unavailable("away")
    heartbeat = heart(listener)

    async with heartbeat.beating():
        await listener.clock.run_to(1030)

    assert 4 <= len(listener.sent) <= 10


@pytest.mark.parametrize("directive", ["cancel", "stop"])
async def test_work_is_cut_short_by_an_order(directive: str) -> None:
    listener = Listener(LoopClock())
    heartbeat = heart(listener)
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with heartbeat.beating():
        obeying = asyncio.ensure_future(heartbeat.obey(work()))
        await listener.clock.run_to(1010)
        listener.answer = lambda: StatusAnswer(directive=directive, lease=LEASE)  # type: ignore[arg-type]
        await listener.clock.run_to(1031)
        with pytest.raises(Halted) as halted:
            await obeying

    assert halted.value.halt is Halt.CANCEL
    assert ended.is_set()


async def test_the_result_of_work_comes_through() -> None:
    heartbeat = heart(Listener(LoopClock()))

    async def work() -> int:
        await settle()
        return 7

    async with heartbeat.beating():
        assert await heartbeat.obey(work()) == 7


async def test_a_lost_lease_ends_it_and_nothing_is_said_any_more() -> None:
    listener = Listener(LoopClock())
    listener.answer = lambda: LeaseLost("gone")
    heartbeat = heart(listener, self_stop=False)

    async with heartbeat.beating():
        await listener.clock.run_to(1500)
        with pytest.raises(Halted) as halted:
            heartbeat.check()

    assert halted.value.halt is Halt.LOST
    assert len(listener.sent) == 1


async def test_without_an_answer_it_stops_before_the_lease_ends() -> None:
    listener = Listener(LoopClock())
    heartbeat = heart(listener)

    async with heartbeat.beating():
        await listener.clock.run_to(1010)
        listener.answer = lambda: Unavailable("away")
        await listener.clock.run_to(1080)
        heartbeat.check()
        await listener.clock.run_to(1081)
        with pytest.raises(Halted):
            heartbeat.check()


async def test_without_self_stop_it_goes_on_for_ever() -> None:
    listener = Listener(LoopClock())
    listener.answer = lambda: Unavailable("away")
    heartbeat = heart(listener, self_stop=False)

    async with heartbeat.beating():
        await listener.clock.run_to(3000)
        heartbeat.check()

    assert len(listener.sent) > 60


async def test_a_machine_that_slept_through_its_lease_pushes_nothing() -> None:
    listener = Listener(LoopClock())
    heartbeat = heart(listener)

    async def push() -> None:
        raise AssertionError("it pushed")

    async with heartbeat.beating():
        await settle()
        listener.clock.time += 3600  # no timer has fired yet
        with pytest.raises(Halted):
            await heartbeat.obey(push())


async def test_a_report_that_breaks_breaks_the_work() -> None:
    listener = Listener(LoopClock())
    listener.answer = lambda: ZeroDivisionError("a bug")
    heartbeat = heart(listener)

    async with heartbeat.beating():
        with pytest.raises(ZeroDivisionError):
            await heartbeat.obey(asyncio.Event().wait())


async def test_nobody_ever_answers() -> None:
    listener = Listener(LoopClock())
    listener.answer = lambda: Unavailable("away")
    heartbeat = heart(listener, self_stop=False)

    async with heartbeat.beating():
        waiting = asyncio.ensure_future(heartbeat.answered())
        await listener.clock.run_to(1091)
        with pytest.raises(Unavailable):
            await waiting


@given(
    delays=st.lists(st.floats(0, 120), min_size=1, max_size=12),
    silent_from=st.integers(0, 12),
    ttl_s=st.floats(2, 200),
)
def test_it_stops_before_any_server_could_have_expired_the_lease(
    delays: list[float], silent_from: int, ttl_s: float
) -> None:
    asyncio.run(_outlive(delays, silent_from=silent_from, ttl_s=ttl_s))


async def _outlive(delays: list[float], *, silent_from: int, ttl_s: float) -> None:
    """The server renews when a report arrives, at the earliest when it was sent."""
    clock = LoopClock()
    listener = Listener(clock)
    lease = Lease(ttl_s=ttl_s, heartbeat_s=ttl_s / 3)
    acknowledged = [clock.time]

    def answer() -> StatusAnswer | Exception:
        number = len(listener.sent) - 1
        listener.delay_s = delays[number % len(delays)]
        if number >= silent_from:
            return Unavailable("away")
        if listener.delay_s < ttl_s:
            acknowledged.append(clock.time)
        return StatusAnswer(directive="continue", lease=lease)

    listener.answer = answer
    heartbeat = Heartbeat(listener, lease=lease, clock=clock, self_stop=True)
    async with heartbeat.beating():
        while heartbeat.halt is None:
            await clock.run_to(clock.time + 0.1)
            assert clock.time < max(acknowledged) + ttl_s

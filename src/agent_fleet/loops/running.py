"""Drives loops: polls each in turn with its own delay, until all are told to stop."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from agent_fleet.core.errors import FleetError
from agent_fleet.fleet.wakeups import Wakeups

log = structlog.get_logger()

LONGEST_PAUSE_S = 30.0
"""After failures in a row a loop pauses longer each time, but never longer than this."""


class Loop(Protocol):
    """A duty. `eager`: a commit wakes it before its delay is over."""

    name: str
    eager: bool

    async def poll(self) -> float:
        """Do what is due; the seconds until the next look."""
        ...


async def run_loops(loops: Sequence[Loop], *, wakeups: Wakeups) -> None:
    """Polls all loops until cancelled; they end together."""
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(_drive(loop, wakeups), name=loop.name)


async def _drive(loop: Loop, wakeups: Wakeups) -> None:
    failures = 0
    while True:
        ticket = wakeups.ticket()
        try:
            delay = await loop.poll()
            failures = 0
        except FleetError as error:
            failures += 1
            delay = _pause(failures)
            log.warning("loop_failed", loop=loop.name, error=error.message, again_in_s=delay)
        except Exception:
            failures += 1
            delay = _pause(failures)
            log.exception("loop_broke", loop=loop.name, again_in_s=delay)
        if loop.eager and failures == 0:
            await wakeups.wait(ticket, timeout_s=delay)
        else:
            await asyncio.sleep(delay)


def _pause(failures: int) -> float:
    return min(0.5 * 2.0 ** min(failures, 10), LONGEST_PAUSE_S)

"""Where an attempt is carried out: its machine, its clock, its heartbeat, and how patient it is."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from agent_fleet.clock import Clock
from agent_fleet.core.errors import Unavailable
from agent_fleet.execution.heartbeat import Heartbeat
from agent_fleet.execution.machine import Machine

T = TypeVar("T")


class Site(Struct, frozen=True):
    """`poll_s`: the shortest pause between two looks at a run, a tenth of the longest.

    `patience_s`: for so long a machine that does not answer is asked again.
    """

    machine: Machine
    clock: Clock
    heartbeat: Heartbeat
    poll_s: float
    patience_s: float


async def insist(site: Site, call: Callable[[], Awaitable[T]]) -> T:
    """The result of a call that may be repeated, once the machine answers; or Unavailable."""
    until = site.clock.elapsed() + site.patience_s
    pause_s = site.poll_s
    while True:
        try:
            return await call()
        except Unavailable:
            if site.clock.elapsed() + pause_s > until:
                raise
        await site.clock.sleep(pause_s)
        pause_s = min(pause_s * 2, 10 * site.poll_s)

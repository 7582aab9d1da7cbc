"""Wake-ups: hints that something was committed. Who wakes looks again; nothing relies on one."""

import asyncio
from collections.abc import Sequence

from agent_fleet.core.model import Event


class Wakeups:
    """Waiters of this process, all woken by every commit that brought events."""

    def __init__(self) -> None:
        self._pulse = asyncio.Event()
        self._closed = False

    def publish(self, _events: Sequence[Event] = ()) -> None:
        """Wake everybody who waits now."""
        self._pulse.set()
        self._pulse = asyncio.Event()

    def ticket(self) -> asyncio.Event:
        """Taken before looking, so that what is committed meanwhile is not missed."""
        return self._pulse

    def close(self) -> None:
        """Wake everybody, for good: long polls end when the server does."""
        self._closed = True
        self.publish()

    @property
    def closed(self) -> bool:
        return self._closed

    async def wait(self, ticket: asyncio.Event, *, timeout_s: float) -> None:
        """Return at the next commit since the ticket was taken, or after the time."""
        if self._closed:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await ticket.wait()
        except TimeoutError:
            return

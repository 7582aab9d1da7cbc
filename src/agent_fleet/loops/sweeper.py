"""Sweeper: ends http_pull attempts whose lease is over, but never in a hold-off.

After a start, an outage of the database, or a gap of its own (a suspended machine) nobody could
have renewed in time, so for one full lease nothing expires.
"""

from agent_fleet.clock import Clock
from agent_fleet.core.errors import Unavailable
from agent_fleet.fleet import Fleet


class Sweeper:
    name = "sweeper"
    eager = False

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._ttl_s = fleet.rules.lease.ttl_s
        self._last_look = clock.elapsed()
        self._hold_off_until = self._last_look + self._ttl_s

    async def poll(self) -> float:
        """Ends what has expired, unless held off; looks several times within a lease."""
        delay = min(self._ttl_s / 10, 1.0)
        now = self._clock.elapsed()
        if now - self._last_look > max(self._ttl_s / 3, 2 * delay):
            self._hold_off(now)
        self._last_look = now
        if now < self._hold_off_until:
            return delay
        try:
            await self._fleet.watch.expire()
        except Unavailable:
            self._hold_off(self._clock.elapsed())
            raise
        # The forges that it asks may be slow; that is no gap in which nobody could renew.
        self._last_look = self._clock.elapsed()
        return delay

    def _hold_off(self, now: float) -> None:
        self._hold_off_until = now + self._ttl_s

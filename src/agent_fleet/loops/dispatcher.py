"""Dispatcher: queued tasks → placement → grants → runs on the hosts of this orchestrator."""

from agent_fleet.fleet import Fleet
from agent_fleet.loops.follower import Follower


class Dispatcher:
    name = "dispatcher"
    eager = True

    def __init__(self, fleet: Fleet, follower: Follower) -> None:
        self._fleet = fleet
        self._follower = follower

    async def poll(self) -> float:
        for host, grant in await self._fleet.claims.place():
            self._follower.follow(host, grant)
        return await self._fleet.claims.next_look()

"""Reconciler: asks the forges what became of the branches, whatever nobody told us."""

from agent_fleet.fleet import Fleet


class Reconciler:
    name = "reconciler"
    eager = False

    def __init__(self, fleet: Fleet, *, every_s: float) -> None:
        self._fleet = fleet
        self._every_s = every_s

    async def poll(self) -> float:
        await self._fleet.watch.look()
        return self._every_s

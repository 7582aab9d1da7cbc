"""Outbox: carries out the effects that were committed and that nobody has carried out yet."""

from agent_fleet.fleet import Fleet

IDLE_S = 5.0


class Outbox:
    name = "outbox"
    eager = True

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def poll(self) -> float:
        looked_at = await self._fleet.effects.carry_out_due()
        return 0.0 if looked_at else IDLE_S

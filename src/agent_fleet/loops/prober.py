"""Prober: how the hosts are, and which agent CLIs they have."""

import asyncio
from collections.abc import Mapping

import structlog
from msgspec.structs import replace

from agent_fleet.adapters import Adapter
from agent_fleet.clock import Clock
from agent_fleet.core.errors import Unavailable
from agent_fleet.core.registry import Host
from agent_fleet.execution.probe import find_versions, probe
from agent_fleet.fleet import Fleet
from agent_fleet.loops.places import Place

log = structlog.get_logger()

EVERY_S = 30.0


class Prober:
    name = "prober"
    eager = False

    def __init__(
        self,
        fleet: Fleet,
        places: Mapping[str, Place],
        *,
        adapters: Mapping[str, Adapter],
        clock: Clock,
    ) -> None:
        self._fleet = fleet
        self._places = places
        self._commands = {name: adapter.version for name, adapter in adapters.items()}
        self._clock = clock

    async def poll(self) -> float:
        for found in await asyncio.gather(*map(self._look_at, self._places.values())):
            await self._fleet.registry.record_probe(found)
        return EVERY_S

    async def _look_at(self, place: Place) -> Host:
        now = self._clock.now()
        try:
            seen, versions = await asyncio.gather(
                probe(place.machine, root=place.setting.root),
                find_versions(place.machine, self._commands),
            )
        except Unavailable as error:
            log.warning("host_unavailable", host=place.declared.name, error=error.message)
            return replace(place.declared, up=False, probed_at=now)
        return replace(
            place.declared,
            up=True,
            adapters=versions,
            cores=seen.cores,
            load_per_core=seen.load_per_core,
            disk_free_bytes=seen.disk_free_bytes,
            probed_at=now,
        )

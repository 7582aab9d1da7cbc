"""Janitor: removes the workspaces of tasks that have ended, after a grace; keeps unpushed work."""

from collections.abc import Mapping
from datetime import timedelta

import structlog

from agent_fleet.core.errors import AttemptFailed, Unavailable
from agent_fleet.execution.workspace import collect, list_workspaces
from agent_fleet.fleet import Fleet
from agent_fleet.loops.places import Place

log = structlog.get_logger()

EVERY_S = 300.0
GRACE = timedelta(hours=1)
"""So long a person may still want to look, or send the task round again."""


class Janitor:
    name = "janitor"
    eager = False

    def __init__(self, fleet: Fleet, places: Mapping[str, Place]) -> None:
        self._fleet = fleet
        self._places = places

    async def poll(self) -> float:
        for place in self._places.values():
            try:
                await self._tidy(place)
            except (AttemptFailed, Unavailable) as error:
                log.warning("host_not_tidied", host=place.declared.name, error=error.message)
        return EVERY_S

    async def _tidy(self, place: Place) -> None:
        root = place.setting.root
        found = await list_workspaces(place.machine, root=root)
        done = await self._fleet.tasks.ended_before(frozenset(found.values()), age=GRACE)
        for path, task in found.items():
            if task in done:
                kept = await collect(
                    place.machine, root=root, workspace_path=path, keep_dir=f"{root}/kept"
                )
                log.info("workspace_removed", task=task, host=place.declared.name, kept=kept)

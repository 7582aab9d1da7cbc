"""Janitor: removes what nobody needs any more from the hosts.

Workspaces of tasks that have ended, after a grace; unpushed work is kept. Runs of attempts that are
over: an orchestrator that was killed between the end of an attempt and its tidying left them.
"""

from collections.abc import Mapping
from datetime import timedelta

import structlog

from agent_fleet.core.errors import AttemptFailed, NotFound, Unavailable
from agent_fleet.execution.strays import discard_named, list_attempts
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
                await self._remove_runs(place)
                await self._remove_workspaces(place)
            except (AttemptFailed, Unavailable) as error:
                log.warning("host_not_tidied", host=place.declared.name, error=error.message)
        return EVERY_S

    async def _remove_runs(self, place: Place) -> None:
        for name in await list_attempts(place.machine, place.setting):
            if await self._is_over(name):
                await discard_named(place.machine, name, place.setting)
                log.info("run_removed", run=name, host=place.declared.name)

    async def _is_over(self, name: str) -> bool:
        epoch, _, numbers = name.partition("-")
        task, _, attempt = numbers.partition("-")
        if epoch != self._fleet.epoch or not (task.isdecimal() and attempt.isdecimal()):
            return False
        try:
            return await self._fleet.attempts.is_over(int(task), int(attempt))
        except NotFound:
            return False

    async def _remove_workspaces(self, place: Place) -> None:
        root = place.setting.root
        found = await list_workspaces(place.machine, root=root)
        for path, task in found.items():
            # Asked for each in turn: collecting takes a while, and a task may be sent round again.
            if await self._fleet.tasks.ended_before(frozenset({task}), age=GRACE):
                kept = await collect(
                    place.machine, root=root, workspace_path=path, keep_dir=f"{root}/kept"
                )
                log.info("workspace_removed", task=task, host=place.declared.name, kept=kept)

"""What a machine is and has: its load, its disk, and which programs answer there."""

import asyncio
from collections.abc import Mapping

from msgspec import Struct

from agent_fleet.core.errors import Unavailable
from agent_fleet.execution.git import git_script
from agent_fleet.execution.machine import Machine, run_script

PROBE_S = 30.0
VERSION_S = 10.0
"""Seconds that a CLI has to print its version."""

_NOT_EXECUTED = {126, 127}


class Probe(Struct, frozen=True):
    """A machine as it was just now."""

    cores: int
    load_per_core: float
    disk_free_bytes: int


async def probe(machine: Machine, *, root: str) -> Probe:
    """Look at a machine that keeps, or will keep, its workspaces in `root`.

    Raises Unavailable when it does not answer.
    """
    done = await run_script(machine, git_script("probe", settings={}), root, timeout_s=PROBE_S)
    if done.exit_code != 0:
        raise Unavailable(f"{machine.name}: {done.stderr.decode(errors='replace').strip()}")
    lines = done.stdout.decode(errors="replace").splitlines()
    facts = dict(line.split(" ", 1) for line in lines)
    cores = max(int(facts["cores"]), 1)
    return Probe(
        cores=cores,
        load_per_core=float(facts["load"]) / cores,
        disk_free_bytes=int(facts["disk_kib"]) * 1024,
    )


async def find_versions(
    machine: Machine, commands: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """The first line that each command prints; those that are not found are left out.

    An empty command is not run, and counts as found. One that fails or hangs is found, without a
    version: it is there, and what is wrong with it shows when it is used.
    """
    # Adapters that share a CLI ask it once.
    asked = list(dict.fromkeys(commands.values()))
    answers = await asyncio.gather(*(_version(machine, command) for command in asked))
    said = dict(zip(asked, answers, strict=True))
    return {
        name: version
        for name, command in commands.items()
        if (version := said[command]) is not None
    }


async def _version(machine: Machine, command: tuple[str, ...]) -> str | None:
    if not command:
        return ""
    try:
        done = await machine.run(command, timeout_s=VERSION_S)
    except Unavailable:
        return ""
    if done.exit_code in _NOT_EXECUTED:
        return None
    return done.stdout.decode(errors="replace").partition("\n")[0][:200]

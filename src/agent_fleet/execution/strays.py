"""Runs that nobody follows any more: of attempts that are over, or of a worker that was killed.

The law: whoever gave up an attempt, or finds a run that cannot be its own, ends its processes
before it forgets about it.
"""

from agent_fleet.core.errors import Unavailable
from agent_fleet.core.model import Grant
from agent_fleet.execution import run
from agent_fleet.execution.machine import Machine, run_script
from agent_fleet.execution.records import forget, recall
from agent_fleet.execution.run import SHORT_S, Graces
from agent_fleet.execution.setting import Setting, place_of

GRACES = Graces(interrupt_s=5.0, terminate_s=5.0, kill_s=5.0)

_LIST = """
cd "$1/runs" 2>/dev/null || exit 0
for name in *; do
    [ ! -d "$name" ] || printf '%s\\n' "$name"
done
"""


async def discard(machine: Machine, grant: Grant, setting: Setting) -> None:
    """End what may still run of an attempt that is over, and forget it.

    Raises Unavailable when the machine does not answer.
    """
    directory = place_of(grant, setting, workspace="").directory
    name = directory.rpartition("/")[2]
    for found in await _runs(machine, setting):
        if found == name or found.startswith(f"{name}."):
            await _end(machine, f"{setting.root}/runs/{found}", directory)
    await forget(machine, directory)


async def end_strays(machine: Machine, setting: Setting) -> int:
    """End and forget every run under the root; how many there were.

    For a worker that has just started, or a fleet just restored: none of them can be its own.
    """
    names = await _runs(machine, setting)
    for name in names:
        directory = f"{setting.root}/runs/{name}"
        await _end(machine, directory, f"{setting.root}/runs/{name.partition('.')[0]}")
    for name in names:
        await forget(machine, f"{setting.root}/runs/{name}")
    return len(names)


async def _end(machine: Machine, directory: str, attempt: str) -> None:
    """`attempt` is the directory of the attempt's first run, beside which its workspace is told."""
    prepared = (await recall(machine, attempt)).prepared
    # Before anything was prepared there is no workspace, and nobody can be at work in it.
    workspace = prepared.workspace.path if prepared is not None else directory
    mark = directory.rpartition("/")[2]
    await run.end(machine, directory, workspace=workspace, mark=mark, graces=GRACES)


async def _runs(machine: Machine, setting: Setting) -> list[str]:
    done = await run_script(machine, _LIST.encode(), setting.root, timeout_s=SHORT_S)
    if done.exit_code != 0:
        raise Unavailable(f"{machine.name}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace").splitlines()

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
    [ ! -e "$name" ] || printf '%s\\n' "$name"
done
"""


async def list_attempts(machine: Machine, setting: Setting) -> frozenset[str]:
    """The attempts that have runs under the root, or of which something is remembered there.

    By the names that `place_of` gives them. Raises Unavailable when the machine does not answer.
    """
    return frozenset(name.partition(".")[0] for name in await _names(machine, setting))


async def discard(machine: Machine, grant: Grant, setting: Setting) -> None:
    """End what may still run of an attempt that is over, and forget it.

    Raises Unavailable when the machine does not answer.
    """
    await discard_named(machine, place_of(grant, setting, workspace="").mark, setting)


async def discard_named(machine: Machine, attempt: str, setting: Setting) -> None:
    """The same for an attempt that `list_attempts` named.

    Its processes are known by their mark alone: whoever else is at work in its workspace may be
    its successor.
    """
    root = f"{setting.root}/runs"
    for name in await _names(machine, setting):
        if name == attempt or name.startswith(f"{attempt}."):
            place = f"{root}/{name}"
            await run.end(machine, place, workspace=place, mark=name, graces=GRACES)
    await forget(machine, f"{root}/{attempt}")


async def end_strays(machine: Machine, setting: Setting) -> int:
    """End and forget all runs under the root; of how many attempts they were.

    For a worker that has just started, or a fleet just restored: none of them can be its own.
    """
    attempts = await list_attempts(machine, setting)
    for attempt in sorted(attempts):
        directory = f"{setting.root}/runs/{attempt}"
        prepared = (await recall(machine, directory)).prepared
        if prepared is not None:
            workspace = prepared.workspace.path
            await run.end(machine, directory, workspace=workspace, mark=attempt, graces=GRACES)
        await discard_named(machine, attempt, setting)
    return len(attempts)


async def _names(machine: Machine, setting: Setting) -> list[str]:
    done = await run_script(machine, _LIST.encode(), setting.root, timeout_s=SHORT_S)
    if done.exit_code != 0:
        raise Unavailable(f"{machine.name}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace").splitlines()

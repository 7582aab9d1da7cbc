"""Reading a task's branch from its forge."""

from collections.abc import Mapping

import msgspec

from agent_fleet.core.model import ForgeView, Task
from agent_fleet.fleet.context import Context
from agent_fleet.store.schema import to_micros


class Heads(msgspec.Struct, frozen=True):
    """All branches of a repository, and the microsecond from which on they were read."""

    version: int
    commits: Mapping[str, str]


async def read_heads(context: Context, repo: str) -> Heads:
    """Raises Unavailable while the forge does not answer, NotFound for an unknown repository."""
    forge, ref, _ = context.forge_of(repo)
    version = to_micros(context.clock.now())
    return Heads(version, await forge.heads(ref))


async def read_view(context: Context, task: Task, *, heads: Heads | None = None) -> ForgeView:
    """The task's branch as the forge has it now. Raises Unavailable while that does not answer.

    `heads` saves a question where all branches were read since `task` was. What `task` knows of
    its branch is older than this reading, whatever became of the clock since.
    """
    if heads is None:
        heads = await read_heads(context, task.repo)
    forge, repo, _ = context.forge_of(task.repo)
    version = max(heads.version, task.view.version)
    return await forge.view(repo, task, heads=heads.commits, version=version)

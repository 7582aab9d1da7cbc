"""Reading a task's branch from its forge."""

from collections.abc import Mapping

from agent_fleet.core.model import ForgeView, Task
from agent_fleet.fleet.context import Context
from agent_fleet.store.schema import to_micros


async def read_view(
    context: Context, task: Task, *, heads: Mapping[str, str] | None = None
) -> ForgeView:
    """The task's branch as the forge has it now. Raises Unavailable while that does not answer.

    `heads` saves a question where all branches were just read.
    """
    forge, repo, _ = context.forge_of(task.repo)
    version = to_micros(context.clock.now())
    if heads is None:
        heads = await forge.heads(repo)
    return await forge.view(repo, task, heads=heads, version=version)

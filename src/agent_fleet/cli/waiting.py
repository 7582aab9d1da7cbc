"""Wait for a task, and say meanwhile how it is getting on."""

import sys
import time
from typing import TYPE_CHECKING, Literal

from agent_fleet.cli import output, taskview
from agent_fleet.cli.exits import Exit, of_status
from agent_fleet.core.lifecycle import ENDED, SETTLED
from agent_fleet.core.messages import TaskDetail

if TYPE_CHECKING:
    from agent_fleet.client import FleetClient

_GLANCE_S = 2.0
"""So often a live status is brought up to date."""


async def wait(
    client: "FleetClient",
    task: int,
    *,
    until: Literal["settled", "ended"],
    timeout_s: float | None,
    json: bool,
) -> Exit:
    """Print the task as it is in the end; the exit code says how that is."""
    if json or not sys.stderr.isatty():
        detail = await client.wait(task, until=until, timeout_s=timeout_s)
    else:
        detail = await _watch(client, task, until=until, timeout_s=timeout_s)
    there = SETTLED if until == "settled" else ENDED
    if json:
        output.print_json(detail)
    else:
        taskview.print_outcome(detail)
    if detail.task.status in there:
        return of_status(detail.task.status)
    print("the time is up", file=sys.stderr)
    return Exit.TIMEOUT


async def _watch(
    client: "FleetClient",
    task: int,
    *,
    until: Literal["settled", "ended"],
    timeout_s: float | None,
) -> TaskDetail:
    """The same with a line on the terminal that tells where the task is."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    there = SETTLED if until == "settled" else ENDED
    detail = await client.task(task)
    with output.console(stderr=True).status(taskview.glance(detail)) as status:
        while True:
            left = _GLANCE_S if deadline is None else deadline - time.monotonic()
            detail = await client.wait(task, until=until, timeout_s=max(min(left, _GLANCE_S), 0))
            if detail.task.status in there or left <= 0:
                return detail
            status.update(taskview.glance(detail))

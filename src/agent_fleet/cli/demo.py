"""`fleet demo`: the whole walk of a task on this machine."""

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agent_fleet.cli import output
from agent_fleet.cli.exits import Exit
from agent_fleet.cli.setup import needs_server


def demo(
    folder: Annotated[
        Path, Parameter(name="FOLDER", help="Where it plays; what it leaves can be looked at.")
    ] = Path("agent-fleet-demo"),
    /,
    *,
    adapter: Annotated[
        str | None,
        Parameter(help="An agent CLI of yours (codex, claude); a script plays it if left out."),
    ] = None,
) -> Exit:
    """A whole fleet on this machine: tasks, an agent that is killed, reviews, merges.

    For example:

      fleet demo
      fleet demo --adapter codex
    """
    with needs_server("fleet demo"):
        from agent_fleet.demo import run
    done = asyncio.run(run(folder.absolute(), adapter=adapter, console=output.console()))
    return Exit.OK if done else Exit.ERROR

"""The command: parse, one call of the client, print. One file for each group of commands.

- What is slow to import (HTTP, tables, the server) is imported by the command that needs it.
- Nothing that comes from a task reaches the terminal as markup or control sequence.
- An error is two lines on stderr, what and remedy, and an exit code (`exits`).
- Everything but `serve`, `init`, `backup`, `restore`, `demo` runs from the base package.
"""

import sys

from agent_fleet.cli.app import app
from agent_fleet.cli.exits import guarded


def main() -> None:
    """Run the command line of this process, and exit."""
    sys.exit(guarded(app, sys.argv[1:]))

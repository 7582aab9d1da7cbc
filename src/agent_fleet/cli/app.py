"""The tree of commands."""

from importlib.metadata import version

from cyclopts import App

from agent_fleet.cli.exits import MEANINGS

_HELP = (
    "Hands coding tasks to AI coding agents and lets Git tell how the work is going.\n\n"
    "Which server: FLEET_URL with FLEET_TOKEN_FILE (or FLEET_TOKEN), or else the fleet.toml here "
    "(or the one that FLEET_CONFIG names). A token is never an argument."
)


def exit_codes() -> str:
    """The table of exit codes, for `fleet --help`."""
    lines = (f"  {int(code):>3}  {meaning}" for code, meaning in MEANINGS.items())
    return "Exit codes:\n" + "\n".join(lines)


_EXAMPLES = """Examples:

  fleet init --repo ../api && fleet serve
  fleet task create "Fix the login" --repo local/api --wait
  fleet task list
  fleet task approve 3 --merge
"""

app = App(
    name="fleet",
    help=_HELP,
    help_format="plaintext",
    help_epilogue=f"{_EXAMPLES}\n{exit_codes()}",
    version=lambda: f"fleet {version('agent-fleet')}",
    suppress_keyboard_interrupt=False,
)
app.command("agent_fleet.cli.setup:init", name="init", help="Begin a fleet in this directory.")
app.command("agent_fleet.cli.setup:serve", name="serve", help="Run the orchestrator.")
app.command(
    "agent_fleet.cli.task:app",
    name="task",
    help="Submit tasks, look at them, and decide about them.",
)
app.command("agent_fleet.cli.agent:app", name="agent", help="Workers that ask the server for work.")
app.command("agent_fleet.cli.host:app", name="host", help="The machines that tasks run on.")
app.command("agent_fleet.cli.token:app", name="token", help="Who may talk to the server.")
app.command(
    "agent_fleet.cli.doctor:doctor",
    name="doctor",
    help="Look at everything that is needed, and say what to do.",
)
app.command("agent_fleet.cli.setup:backup", name="backup", help="Write the database into a file.")
app.command(
    "agent_fleet.cli.setup:restore", name="restore", help="Put a backup into an empty database."
)
app.command(
    "agent_fleet.cli.demo:demo",
    name="demo",
    help="A whole fleet on this machine, from nothing to merged.",
)
app.register_install_completion_command()  # pyright: ignore[reportUnknownMemberType]

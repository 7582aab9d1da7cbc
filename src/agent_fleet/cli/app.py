"""The tree of commands."""

from importlib.metadata import version

from cyclopts import App, Parameter

from agent_fleet.cli import agent, demo, doctor, host, setup, task, token
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


_EXAMPLES = """For example:

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
    default_parameter=Parameter(negative=(), show_default=False),
)
app.command(task.app)
app.command(agent.app)
app.command(host.app)
app.command(token.app)
for _command in (setup.init, setup.serve, doctor.doctor, setup.backup, setup.restore, demo.demo):
    app.command(_command, help_epilogue="")
app.register_install_completion_command()  # pyright: ignore[reportUnknownMemberType]

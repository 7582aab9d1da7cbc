"""`fleet agent`: workers that ask for work. Needs the base package alone."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from agent_fleet.cli import logs, output
from agent_fleet.cli.create import check_range
from agent_fleet.cli.numbers import whole
from agent_fleet.cli.text import show_time
from agent_fleet.core.errors import InvalidInput

if TYPE_CHECKING:
    from agent_fleet.config.tables import Table

app = App(name="agent", help="Workers that ask the server for work.", help_epilogue="")

_FILE = "fleet.toml"


@app.command
def run(
    *,
    root: Annotated[
        Path | None, Parameter(help="Where clones and runs are kept; else in XDG_STATE_HOME.")
    ] = None,
    slots: Annotated[
        int, Parameter(converter=whole, help="So many attempts at once: 1 to 100, 1 if left out.")
    ] = 1,
    adapter: Annotated[
        tuple[str, ...],
        Parameter(help="Offer only this agent CLI; may be repeated. All that are found, if none."),
    ] = (),
    config: Annotated[
        Path | None, Parameter(help="A file whose [adapters] are used; else FLEET_CONFIG.")
    ] = None,
) -> None:
    """Work for a fleet on this machine, until SIGTERM or Ctrl-C.

    The server is FLEET_URL; the token, of kind agent, comes from FLEET_TOKEN_FILE or FLEET_TOKEN.
    A first SIGTERM lets what is under way end, a second one cancels it.

    For example:

      FLEET_URL=https://fleet.example.net FLEET_TOKEN_FILE=builder.token fleet agent run --slots 2
    """
    from agent_fleet.adapters import merge
    from agent_fleet.agent import Options
    from agent_fleet.agent import run as work
    from agent_fleet.config import base_environment, client_settings, named_environment
    from agent_fleet.config.load import read_toml

    check_range("--slots", slots, least=1, most=100)
    settings = client_settings()
    file = config or (Path(os.environ["FLEET_CONFIG"]) if "FLEET_CONFIG" in os.environ else None)
    if file is None and Path(_FILE).exists():
        file = Path(_FILE)
    adapters = merge(_adapters(read_toml(file.absolute())) if file else {})
    for name in adapter:
        if name not in adapters:
            known = ", ".join(sorted(adapters))
            raise InvalidInput("--adapter", f"there is no adapter {name}", remedy=f"give {known}")
    chosen = {name: adapters[name] for name in adapter or adapters}
    place = (root or _default_root()).absolute()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            "--root", f"{place}: {error.strerror}", remedy="name a directory of yours"
        ) from None
    logs.configure()
    work(
        Options(
            url=settings.url,
            token=settings.token,
            root=place,
            slots=slots,
            adapters=chosen,
            environment=base_environment(),
            passable=named_environment(name for one in chosen.values() for name in one.env),
        )
    )


@app.command(name="list")
async def list_agents(
    *,
    json: Annotated[
        bool, Parameter(name="--json", negative=(), help="Print JSON for programs.")
    ] = False,
) -> None:
    """The registered agents, the slots that they use, and when they were last heard of."""
    async with output.connect() as client:
        answer = await client.agents()
    if json:
        output.print_json(answer)
        return
    if not answer.agents:
        print("no agents; make one: fleet token create NAME --kind agent")
        return
    table = output.table("agent", "slots", "seen", "adapters", "capabilities", "repos")
    for state in answer.agents:
        agent = state.agent
        table.add_row(
            output.cell(agent.name),
            f"{state.used}/{agent.slots}",
            show_time(agent.seen_at) if agent.seen_at else "never",
            output.cell(", ".join(agent.adapters) or "any"),
            output.cell(", ".join(agent.capabilities)),
            output.cell(", ".join(agent.repos) or "all"),
        )
    output.console().print(table)


def _adapters(table: "Table") -> dict[str, "Table"]:
    """Only these are read: the rest of a server's file is not a worker's."""
    from agent_fleet.config.tables import Problems, Tables
    from agent_fleet.config.values import Values

    problems = Problems()
    tables = Tables(Values(folder=Path.cwd(), environ={}), problems)
    found: dict[str, Table] = {}
    for name, one in (tables.entries(table.get("adapters", {}), path="adapters") or {}).items():
        found[name] = tables.entries(one, path=f"adapters.{name}") or {}
    problems.raise_any()
    return found


def _default_root() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "agent-fleet" / "agent"

"""`fleet host`: the machines that the orchestrator runs agents on."""

from typing import Annotated

from cyclopts import App, Parameter

from agent_fleet.cli import output
from agent_fleet.cli.text import show_time
from agent_fleet.core.messages import HostState

app = App(name="host", help="The machines that tasks run on.", help_epilogue="")


@app.command(name="list")
async def list_hosts(
    *,
    json: Annotated[
        bool, Parameter(name="--json", negative=(), help="Print JSON for programs.")
    ] = False,
) -> None:
    """The hosts: their slots, the agent CLIs found there, and what is wrong with them."""
    async with output.connect() as client:
        answer = await client.hosts()
    if json:
        output.print_json(answer)
        return
    if not answer.hosts:
        print("no hosts; add one to fleet.toml: [hosts.local]")
        return
    table = output.table("host", "slots", "load", "disk", "seen", "adapters", "state")
    for state in answer.hosts:
        host = state.host
        adapters = ", ".join(f"{name} {said}".strip() for name, said in host.adapters.items())
        table.add_row(
            output.cell(host.name),
            f"{state.used}/{host.slots}",
            f"{host.load_per_core:.2f}",
            f"{host.disk_free_bytes / 2**30:.0f} GiB",
            show_time(host.probed_at) if host.probed_at else "never",
            output.cell(adapters or "none"),
            output.cell(_state(state), "" if host.up else "red"),
        )
    output.console().print(table)


def _state(state: HostState) -> str:
    said = ["up" if state.host.up else "down"]
    if state.host.draining:
        said.append("draining")
    if state.host.backoff_until:
        said.append(f"again at {show_time(state.host.backoff_until)}")
    if state.host.message:
        said.append(state.host.message)
    said += (
        f"{account.adapter}: {account.message or 'its account is not well'}"
        for account in state.accounts
        if account.stopped or account.cooldown_until
    )
    return "; ".join(said)

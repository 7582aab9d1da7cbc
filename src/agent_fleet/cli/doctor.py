"""`fleet doctor`: is everything there, and as it should be? Each finding has its remedy."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agent_fleet.cli import output
from agent_fleet.cli.exits import Exit

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


async def doctor(
    *,
    config: Annotated[
        Path | None, Parameter(help="The configuration; else FLEET_CONFIG, else ./fleet.toml.")
    ] = None,
    json: Annotated[
        bool, Parameter(name="--json", negative=(), help="Print JSON for programs.")
    ] = False,
) -> Exit:
    """Look at Git, the configuration, the database, the agent CLIs, the disk and the server.

    Exit code 1 when a check fails. Without a configuration here it looks at what a worker needs.

    For example:

      fleet doctor
      fleet doctor --json
    """
    from agent_fleet.cli.checks import examine

    findings = await examine(config)
    if json:
        output.print_json({"findings": findings})
    else:
        table = output.table("", "check", "finding")
        for one in findings:
            said = f"{one.text}; {one.remedy}" if one.remedy else one.text
            table.add_row(
                output.cell(one.state, _STYLES[one.state]),
                output.cell(one.check),
                output.cell(said),
            )
        output.console().print(table)
    return Exit.ERROR if any(one.state == "fail" for one in findings) else Exit.OK

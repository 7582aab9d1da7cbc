"""`fleet init`, `serve`, `backup`, `restore`: what is done on the server's machine."""

import asyncio
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agent_fleet.cli import logs, output
from agent_fleet.core.errors import FleetError, InvalidInput

if TYPE_CHECKING:
    from agent_fleet.config import Config

FILE = "fleet.toml"

ConfigPath = Annotated[
    Path | None, Parameter(help="The configuration; else FLEET_CONFIG, else ./fleet.toml.")
]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON for programs.")]


@contextmanager
def needs_server(command: str) -> Generator[None]:
    """Around an import: what is missing is the server's extra, and said so."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("agent_fleet"):
            raise
        raise InvalidInput(
            command,
            f"needs the server's libraries, and {error.name} is not installed",
            remedy='pip install "agent-fleet[server]"',
        ) from None


def read_config(path: Path | None) -> "Config":
    """The configuration: as asked for, else FLEET_CONFIG, else ./fleet.toml."""
    from agent_fleet.config import load

    return load(path or Path(os.environ.get("FLEET_CONFIG") or FILE))


def serve(*, config: ConfigPath = None) -> None:
    """Run the orchestrator, until SIGTERM or Ctrl-C. Runs on the hosts go on meanwhile.

    For example:

      fleet serve
      fleet serve --config /etc/agent-fleet/fleet.toml
    """
    from agent_fleet.config import refuse_exposed

    settings = read_config(config)
    refuse_exposed(settings)
    with needs_server("fleet serve"):
        from agent_fleet import server
    logs.configure()
    server.run(settings)


async def init(
    *,
    repo: Annotated[
        str | None, Parameter(help="A Git repository to work on: an address or a path.")
    ] = None,
) -> None:
    """Begin a fleet in this directory: fleet.toml, the database, and an admin's token.

    What is there already is left as it is.

    For example:

      fleet init
      fleet init --repo ../api
      fleet init --repo git@git.example.net:acme/api.git
    """
    with needs_server("fleet init"):
        from agent_fleet.cli.beginning import begin
    for said in await begin(Path.cwd(), repo=repo):
        print(said)


def backup(
    file: Annotated[Path, Parameter(name="FILE", help="The new backup; it holds tokens' hashes.")],
    /,
    *,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """Write everything that the database holds into one file. The server may go on meanwhile.

    For example:

      fleet backup fleet-backup.jsonl
    """
    with needs_server("fleet backup"):
        from agent_fleet.store import archive
    from agent_fleet.clock import SystemClock

    settings = read_config(config)
    summary = asyncio.run(archive.backup(settings.database_url, file, clock=SystemClock()))
    if json:
        output.print_json(summary)
    else:
        print(f"{file}: {sum(summary.rows.values())} rows, SHA-256 {summary.sha256}")


def restore(
    file: Annotated[Path, Parameter(name="FILE", help="A backup.")],
    /,
    *,
    config: ConfigPath = None,
    json: Json = False,
) -> None:
    """Put a backup into an empty database. Workers of the time before are fenced off.

    Stop the server first. For example:

      fleet restore fleet-backup.jsonl
    """
    with needs_server("fleet restore"):
        from agent_fleet.store import archive
    from agent_fleet.clock import SystemClock

    settings = read_config(config)
    settings.server.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        summary = asyncio.run(archive.restore(file, settings.database_url, clock=SystemClock()))
    except InvalidInput:
        raise
    except FleetError as error:
        error.add_note(f"the database is {settings.server.database!r} of {settings.file}")
        raise
    if json:
        output.print_json(summary)
    else:
        print(f"{sum(summary.rows.values())} rows restored; start the server: fleet serve")

"""Where output goes: tables for people, JSON for programs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from agent_fleet.client import FleetClient

_FILE_BYTES = 200_000


def print_json(value: object) -> None:
    """One JSON document on one line; what others wrote is escaped by JSON itself."""
    print(msgspec.json.encode(value).decode(), flush=True)


def console(*, stderr: bool = False) -> "Console":
    """For people. Without colours and control sequences where it is no terminal."""
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 - called while it is handled: `exits` tells the code

    return Quiet(stderr=stderr, highlight=False, markup=False, emoji=False)


def cell(text: str, style: str = "") -> "Text":
    """What others wrote, on one line, with our style and none of theirs."""
    from rich.text import Text

    from agent_fleet.cli.text import line

    return Text(line(text), style=style)


def table(*columns: str, last_folds: bool = True) -> "Table":
    """A plain table; the last column takes what room is left."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    for name in columns[:-1]:
        made.add_column(name, no_wrap=True, overflow="ellipsis")
    made.add_column(
        columns[-1], overflow="fold" if last_folds else "ellipsis", ratio=1, min_width=16
    )
    return made


def connect() -> "FleetClient":
    """A client of the server that the environment or ./fleet.toml names."""
    from agent_fleet.client import FleetClient
    from agent_fleet.config import client_settings

    settings = client_settings()
    return FleetClient(settings.url, settings.token)


def read_text(file: str) -> str:
    """What `--file` names, "-" for stdin; bounded. Raises InvalidInput."""
    from agent_fleet.core.errors import InvalidInput

    try:
        if file == "-":
            content = sys.stdin.buffer.read(_FILE_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidInput(
            "--file", f"{file} cannot be read: {error.strerror}", remedy="name a file, or -"
        ) from None
    if len(content) > _FILE_BYTES:
        raise InvalidInput("--file", f"{file} has more than 200 kB", remedy="shorten it")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidInput("--file", f"{file} is not UTF-8", remedy="save it as UTF-8") from None

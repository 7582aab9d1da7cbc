"""`python -m benchmarks`: measures, prints a table, and renews `build/bench.json`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console
from rich.table import Column, Table

from agent_fleet.core.errors import FleetError
from benchmarks import submit_to_start_local
from benchmarks.entry import Entry, renew

BUILD = Path(__file__).resolve().parents[1] / "build"
LIMIT_S = 300.0
"""Seconds that an entry may take."""

ENTRIES: Mapping[str, Callable[[Path], Awaitable[Entry]]] = {
    "submit_to_start_local": submit_to_start_local.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """0: measured; 1: an entry could not be measured; 2: there is no such entry."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help="measure this entry and keep the others")
    only: str | None = parser.parse_args(arguments).only
    if only is not None and only not in ENTRIES:
        print(f"there is no benchmark {only!r}; there are: {', '.join(ENTRIES)}", file=sys.stderr)
        return 2
    failed = False
    for name in ENTRIES if only is None else (only,):
        print(f"measuring {name}, up to {LIMIT_S / 60:g} minutes", file=sys.stderr)
        try:
            entry = asyncio.run(_measure(name))
        except FleetError as error:
            print(f"{name} could not be measured: {error}", file=sys.stderr)
            failed = True
        else:
            show(renew(BUILD / "bench.json", entry))
    return 1 if failed else 0


async def _measure(name: str) -> Entry:
    folder = BUILD / "bench" / name
    before = os.getloadavg()[0]
    try:
        async with asyncio.timeout(LIMIT_S):
            entry = await ENTRIES[name](folder)
    except TimeoutError:
        raise FleetError(f"something did not happen in time; see {folder}") from None
    after = os.getloadavg()[0]
    machine = f"{os.cpu_count()} cores, load {before:.1f} before and {after:.1f} after"
    return replace(entry, note=f"{entry.note}; {machine}")


def show(entries: Sequence[Entry]) -> None:
    """The entries as a table, and their notes below it."""
    table = Table(Column("name", no_wrap=True), "value", "baseline", "ratio", "target", "holds")
    for entry in entries:
        holds = {True: "yes", False: "no", None: ""}[entry.holds]
        numbers = (f"{number:g} {entry.unit}" for number in (entry.value, entry.baseline))
        table.add_row(entry.name, *numbers, f"{entry.ratio:g}", entry.target or "", holds)
    console = Console()
    console.print(table)
    for entry in entries:
        console.print(f"{entry.name}: {entry.note}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())

"""What an attempt must remember if whoever carries it out is killed: files beside its runs.

    <run>.prepared   the workspace; written before the run starts, so without it nothing was started
    <run>.ending     why the run was ended by us; written before the first signal
    <run>.judged     what came of the agent's run; written before anything else may touch the work
    <run>.receipt    the receipt; what is handed in twice is the same

Each is one line of JSON, written whole or not at all. One that cannot be read is not there.
"""

import re
from typing import TypeVar

import msgspec
from msgspec import Struct

from agent_fleet.adapters import Failure, Report
from agent_fleet.core.errors import AttemptFailed, Unavailable
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Receipt
from agent_fleet.execution.machine import Machine, quote, run_script
from agent_fleet.execution.run import SHORT_S
from agent_fleet.execution.workspace import Workspace

T = TypeVar("T")


class Prepared(Struct, frozen=True, tag_field="record", tag="prepared"):
    workspace: Workspace
    seconds: float


class Ending(Struct, frozen=True, tag_field="record", tag="ending"):
    reason: Reason
    message: str


class Judged(Struct, frozen=True, tag_field="record", tag="judged"):
    """`report` is what the CLI's output says, `failure` what is wrong, `head_sha` the work."""

    report: Report
    failure: Failure | None
    head_sha: str | None
    exit_code: int | None
    seconds: float


class Concluded(Struct, frozen=True, tag_field="record", tag="receipt"):
    receipt: Receipt


Record = Prepared | Ending | Judged | Concluded


class Records(Struct, frozen=True):
    """What is remembered of a run; None where nothing is."""

    prepared: Prepared | None = None
    ending: Ending | None = None
    judged: Judged | None = None
    concluded: Concluded | None = None


_WRITE = """
umask 077
[ -d "${1%/*}" ] || mkdir -p "${1%/*}" || exit 1
printf '%s\\n' "$record" >"$1.$$" && mv -f "$1.$$" "$1"
"""
_READ = """
for name in prepared ending judged receipt; do
    [ ! -f "$1.$name" ] || cat "$1.$name"
done
"""
_REMOVE = 'rm -rf "$1" "$1".*'
_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_LARGEST = 4 * 1024 * 1024


async def remember(machine: Machine, directory: str, record: Record) -> None:
    """Keep `record` of the run in `directory`.

    Raises AttemptFailed as disk_full where there is no space for it, else Unavailable.
    """
    name = record.__struct_config__.tag
    text = quote([msgspec.json.encode(record).decode()])
    try:
        await _script(machine, f"record={text}{_WRITE}", f"{directory}.{name}")
    except Unavailable as error:
        if is_full(error):
            raise AttemptFailed(Reason.DISK_FULL, error.message) from error
        raise


def is_full(error: Unavailable) -> bool:
    """Whether a machine's complaint is about its disk."""
    return _FULL.search(error.message) is not None


async def recall(machine: Machine, directory: str) -> Records:
    """What is kept of the run in `directory`. Raises Unavailable when the machine is."""
    said = await _script(machine, _READ, directory)
    found = [record for line in said.splitlines() if (record := _decode(line)) is not None]
    return Records(
        prepared=_of(Prepared, found),
        ending=_of(Ending, found),
        judged=_of(Judged, found),
        concluded=_of(Concluded, found),
    )


async def forget(machine: Machine, directory: str) -> None:
    """Remove the run in `directory`, what is kept of it, and those named after it."""
    await _script(machine, _REMOVE, directory)


def _decode(line: bytes) -> Record | None:
    try:
        return msgspec.json.decode(line, type=Record)
    except msgspec.MsgspecError:
        return None


def _of(kind: type[T], records: list[Record]) -> T | None:
    return next((record for record in records if isinstance(record, kind)), None)


async def _script(machine: Machine, script: str, path: str) -> bytes:
    done = await run_script(
        machine, script.encode(), path, timeout_s=SHORT_S, output_limit=_LARGEST
    )
    if done.exit_code != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise Unavailable(f"{machine.name}: {path}: {said or f'exit code {done.exit_code}'}")
    return done.stdout

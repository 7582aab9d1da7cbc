"""The run wrapper: a CLI that outlives whoever started it.

A run is a directory on its machine, and making the directory is the start: so the same attempt
started twice starts once. A small supervisor, detached and in a group of its own, records who it
is, runs the CLI in the foreground and records its exit code; everything else is read from the
directory. Nothing is needed there but a POSIX shell and its usual tools.

Output is not bounded here: the follower sees `stdout_size` and ends a run that writes too much.
"""

import math
import re
from enum import StrEnum
from functools import cache
from importlib.resources import files

from msgspec import Struct

from agent_fleet.core.errors import InvalidInput, Unavailable
from agent_fleet.execution.machine import Completed, Machine, quote, run_script

MARK = "AGENT_FLEET_RUN"
"""The environment variable that every process of a run bears, with the run's mark as its value."""

SHORT_S = 30.0
"""Seconds for a command that takes milliseconds on a machine that is well."""

BLOCK = 4096
"""Bytes that inspect.sh seeks by."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MARK = re.compile(r"[A-Za-z0-9._-]{1,200}")
_READ_ONLY = frozenset({"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"})


class RunSpec(Struct, frozen=True):
    """What to run, and where.

    `directory` is the run's own, absolute, and does not exist yet. `env` is the whole environment
    of the CLI but for its mark. `stdin` is what the CLI reads; None is /dev/null.
    """

    directory: str
    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str]
    stdin: bytes | None
    mark: str


class RunState(StrEnum):
    """How a run is.

    ABSENT: there is no such directory. STARTING: no process has shown up yet; none ever will if
    the starter was killed. VANISHED: the supervisor is gone without an exit code (killed, or the
    machine was restarted); processes of the run may live on, until `end`.
    """

    ABSENT = "absent"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    VANISHED = "vanished"


class RunView(Struct, frozen=True):
    """A run as it was just now.

    `exit_code` is a shell's: 128 + n for a CLI that died by signal n. `not_found`: the CLI is not
    on the PATH of the run. `stdout` and `stderr` are chunks from the offsets asked for, `*_size`
    what there is in all. `pid` is the supervisor's and its group's. `age_s`: whole seconds since
    the directory was made, by the machine's clock.
    """

    state: RunState
    exit_code: int | None = None
    not_found: bool = False
    stdout_size: int = 0
    stderr_size: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    pid: int | None = None
    age_s: float = 0.0


class Graces(Struct, frozen=True):
    """Seconds that a run has to end after each signal, to a tenth."""

    interrupt_s: float
    terminate_s: float
    kill_s: float


class EndReport(Struct, frozen=True):
    """Which signals it took, of INT, TERM and KILL, and the pids that outlived them all."""

    signals: tuple[str, ...]
    survivors: tuple[int, ...]


async def start(machine: Machine, spec: RunSpec, *, timeout_s: float) -> bool:
    """Start a run. True: it was started now. False: its directory was there already.

    Raises InvalidInput for what no shell can pass on, and Unavailable when the machine does not
    answer within `timeout_s` (the run may then have started: inspect it) or cannot start a run
    (no disk space, no `cwd`, nothing to detach with; the message says which, nothing is left).
    """
    _check(spec)
    values = {
        "directory": spec.directory,
        "cwd": spec.cwd,
        "mark": spec.mark,
        "shell": machine.shell,
        "has_stdin": "" if spec.stdin is None else "1",
        "stdin": (spec.stdin or b"").decode("utf-8", "surrogateescape"),
        "environment": "\n".join(
            f"export {name}={quote([value])}"
            for name, value in (spec.env | {MARK: spec.mark}).items()
        ),
        "supervise": _text("processes", "supervise"),
    }
    prologue = "".join(f"{name}={quote([value])}\n" for name, value in values.items())
    script = f"{prologue}set -- {quote(spec.argv)}\n{_text('detach', 'start')}"
    done = await _script(machine, script, timeout_s=timeout_s)
    return done.stdout == b"started\n"


async def inspect(
    machine: Machine, directory: str, *, stdout_offset: int, stderr_offset: int, limit: int
) -> RunView:
    """Look at a run, and read up to `limit` bytes of each stream from its offset on.

    Raises Unavailable when the machine does not answer.
    """
    _check_path("directory", directory)
    done = await _script(
        machine,
        _text("processes", "inspect"),
        *(directory, str(stdout_offset), str(stderr_offset), str(limit)),
        timeout_s=SHORT_S,
        output_limit=2 * (limit + BLOCK) + BLOCK,
    )
    head, _, rest = done.stdout.partition(b"\n\n")
    if not head:
        return RunView(state=RunState.ABSENT)
    facts = dict(line.split("=", 1) for line in head.decode().splitlines())
    stdout, rest = _cut(rest, offset=stdout_offset, size=int(facts["stdout_left"]))
    stderr, _ = _cut(rest, offset=stderr_offset, size=int(facts["stderr_left"]))
    return RunView(
        state=_state(facts),
        exit_code=int(facts["exit_code"]) if facts["exit_code"] else None,
        not_found=facts["not_found"] == "1",
        stdout_size=int(facts["stdout_size"]),
        stderr_size=int(facts["stderr_size"]),
        stdout=stdout,
        stderr=stderr,
        pid=int(facts["pid"]) if facts["pid"] else None,
        age_s=float(facts["age"]),
    )


async def end(
    machine: Machine, directory: str, *, workspace: str, mark: str, graces: Graces
) -> EndReport:
    """End a run and prove it: SIGINT, SIGTERM, SIGKILL, each followed by its grace.

    They go to the run's group, to whoever bears the mark, to the descendants of both and the
    groups and sessions these lead, and to whoever has its working directory in `workspace`; SIGINT
    to the group first, as from a terminal, and to the others once it is gone. The supervisor is
    spared, so that the exit code is recorded. What has none of these marks (it left the group and
    the session, its parents are gone, it cleared its environment and changed its directory, all
    before it was first seen) is not found; nor is what another user runs, where this one may not
    look. Does no harm when the run has ended, or never was. Raises Unavailable
    when the machine does not answer.
    """
    _check_path("directory", directory)
    _check_path("workspace", workspace)
    _check_mark(mark)
    seconds = (graces.interrupt_s, graces.terminate_s, graces.kill_s)
    done = await _script(
        machine,
        _text("processes", "scan", "end"),
        *(directory, workspace, mark),
        *(str(max(1, math.ceil(grace * 10))) for grace in seconds),
        timeout_s=SHORT_S + 3 * sum(seconds),
    )
    facts = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
    survivors = tuple(sorted(map(int, facts["survivors"].split())))
    return EndReport(tuple(facts["signals"].split()), survivors)


async def remove(machine: Machine, directory: str) -> None:
    """Remove the directory of a run that has ended. Raises Unavailable when that fails."""
    _check_path("directory", directory)
    await _script(machine, 'rm -rf "$1"', directory, timeout_s=SHORT_S)


async def detacher(machine: Machine) -> str:
    """By which tool runs are detached on this machine: setsid, perl, python3 or bash.

    Raises Unavailable when there is none of them.
    """
    done = await _script(
        machine, _text("detach") + '\ndetacher "$1"', machine.shell, timeout_s=SHORT_S
    )
    return done.stdout.decode().strip()


async def _script(
    machine: Machine, script: str, *args: str, timeout_s: float, output_limit: int = 65_536
) -> Completed:
    done = await run_script(
        machine,
        script.encode("utf-8", "surrogateescape"),
        *args,
        timeout_s=timeout_s,
        output_limit=output_limit,
    )
    if done.exit_code != 0:
        message = done.stderr.decode(errors="replace").strip() or f"exit code {done.exit_code}"
        raise Unavailable(f"{machine.name}: {message}")
    return done


@cache
def _text(*names: str) -> str:
    folder = files("agent_fleet.execution") / "scripts" / "run"
    return "\n".join((folder / f"{name}.sh").read_text("utf-8") for name in names)


def _cut(output: bytes, *, offset: int, size: int) -> tuple[bytes, bytes]:
    """The chunk of `size` bytes that begins `offset % BLOCK` bytes into `output`, and the rest."""
    if size == 0:
        return b"", output
    begin = offset % BLOCK
    if len(output) < begin + size:
        raise Unavailable("the output of the run was cut while it was being read")
    return output[begin : begin + size], output[begin + size :]


def _state(facts: dict[str, str]) -> RunState:
    if facts["exit_code"]:
        return RunState.EXITED
    if not facts["pid"]:
        return RunState.STARTING
    return RunState.RUNNING if facts["alive"] else RunState.VANISHED


def _check(spec: RunSpec) -> None:
    _check_path("directory", spec.directory)
    _check_path("cwd", spec.cwd)
    _check_mark(spec.mark)
    if not spec.argv or not spec.argv[0]:
        raise InvalidInput("argv", "is empty", remedy="name the command to run")
    for name in spec.env:
        if not _NAME.fullmatch(name) or name in _READ_ONLY:
            raise InvalidInput(f"env.{name}", "no shell can set it", remedy="leave it out")
    texts = {"argv": "".join(spec.argv), "env": "".join(spec.env.values())}
    for path, text in texts.items():
        if "\0" in text:
            raise InvalidInput(path, "contains a NUL", remedy="remove it")
    if spec.stdin is not None and b"\0" in spec.stdin:
        raise InvalidInput("stdin", "contains a NUL", remedy="remove it")


def _check_path(field: str, path: str) -> None:
    parts = path.split("/")
    if parts[0] or not all(parts[1:]) or ".." in parts or re.search(r"[\0\n]", path):
        remedy = "give an absolute path other than /, without .. or a slash at its end"
        raise InvalidInput(field, f"{path!r} is not usable", remedy=remedy)


def _check_mark(mark: str) -> None:
    if not _MARK.fullmatch(mark):
        remedy = "use up to 200 letters, digits, dots, hyphens and underscores"
        raise InvalidInput("mark", f"{mark!r} is not usable", remedy=remedy)

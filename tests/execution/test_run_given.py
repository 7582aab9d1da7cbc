"""What a CLI is given: input, arguments, environment, signals; no more and no less."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agent_fleet.core.errors import InvalidInput
from agent_fleet.execution import run
from agent_fleet.execution.local import LocalMachine
from agent_fleet.execution.run import MARK, RunSpec, RunState
from tests.support.runs import PATH, Place, local_machine


async def test_the_prompt_arrives_byte_by_byte(place: Place):
    prompt = bytes(range(1, 256)) * 20 + b'it\'s \\n %s $(id) `id` "$HOME"\nEOF\n\n'
    spec = place.spec("cat", stdin=prompt)

    await place.start(spec)

    assert (await place.reach(spec, RunState.EXITED)).stdout == prompt


async def test_without_a_prompt_the_input_is_empty(place: Place):
    spec = place.spec("sh", "-c", "cat; readlink /proc/self/fd/0")

    await place.start(spec)

    assert (await place.reach(spec, RunState.EXITED)).stdout == b"/dev/null\n"


async def test_the_command_line_and_the_environment_arrive_as_they_are(place: Place):
    values = ["it's", "a  b", "$HOME", "line\nbreak\n", "ü", "", "-n"]
    show = 'import os, sys; print([sys.argv[1:], os.environ["VALUE"], os.environ["directory"]])'
    env = {"PATH": PATH, "VALUE": "it's\n$x", "directory": "/elsewhere", "PYTHONUTF8": "1"}
    spec = place.spec(sys.executable, "-c", show, *values, env=env)

    await place.start(spec)

    view = await place.reach(spec, RunState.EXITED)
    assert view.stdout.decode() == f"{[values, env['VALUE'], '/elsewhere']}\n"


async def test_the_environment_is_the_given_one_and_the_mark(place: Place):
    spec = place.spec("env", env={"PATH": PATH, "EXTRA": "1"})

    await place.start(spec)

    view = await place.reach(spec, RunState.EXITED)
    lines = dict(line.split("=", 1) for line in view.stdout.decode().splitlines())
    for of_the_shell in ("PWD", "SHLVL", "_"):
        lines.pop(of_the_shell, None)
    assert lines == {"PATH": PATH, "EXTRA": "1", MARK: spec.mark}


async def test_the_cli_runs_in_its_directory_with_the_machines_umask(place: Place):
    spec = place.spec("sh", "-c", "pwd -P; umask")

    await place.start(spec)

    view = await place.reach(spec, RunState.EXITED)
    mask = subprocess.check_output(["sh", "-c", "umask"])
    assert view.stdout == f"{place.workspace.resolve()}\n".encode() + mask


@pytest.mark.parametrize("disposition", [signal.SIG_DFL, signal.SIG_IGN])
async def test_the_cli_has_default_signals_whatever_its_starter_ignores(
    place: Place, disposition: signal.Handlers
):
    spec = place.spec("grep", "Sig", "/proc/self/status")
    before = signal.signal(signal.SIGINT, disposition)
    try:
        await place.start(spec)
    finally:
        signal.signal(signal.SIGINT, before)

    view = await place.reach(spec, RunState.EXITED)

    facts = dict(line.split(":\t") for line in view.stdout.decode().splitlines())
    of_interest = 1 << signal.SIGINT - 1 | 1 << signal.SIGQUIT - 1 | 1 << signal.SIGTERM - 1
    assert int(facts["SigIgn"], 16) & of_interest == 0
    assert int(facts["SigBlk"], 16) == 0


TOOLS = [
    "awk",
    "cat",
    "date",
    "dd",
    "env",
    "grep",
    "head",
    "ls",
    "mkdir",
    "mv",
    "rm",
    "sed",
    "sh",
    "sleep",
    "tr",
    "wc",
]


@pytest.mark.parametrize("way", ["setsid", "perl", "python3", "bash"])
async def test_each_way_to_detach_gives_a_group_and_default_signals(way: str, tmp_path: Path):
    tool = sys.executable if way == "python3" else shutil.which(way)
    if tool is None:
        pytest.skip(f"this machine lacks {way}")
    path = tmp_path / "bin"
    path.mkdir()
    for name in TOOLS:
        (path / name).symlink_to(str(shutil.which(name)))
    (path / way).symlink_to(tool)
    place = Place(LocalMachine(environment={"PATH": str(path)}), tmp_path)
    spec = place.spec("sh", "-c", "grep SigIgn /proc/$$/status; cat /proc/$$/stat")

    assert await run.detacher(place.machine) == way
    await place.start(spec)

    view = await place.reach(spec, RunState.EXITED)
    ignored, stat = view.stdout.decode().splitlines()
    assert int(ignored.split()[1], 16) & (1 << signal.SIGINT - 1) == 0
    assert int(stat.rpartition(") ")[2].split()[2]) == view.pid


async def test_the_cli_has_no_descriptor_but_its_three(place: Place):
    spec = place.spec("ls", "/proc/self/fd")

    await place.start(spec)

    # ls has one open on the directory it lists.
    assert (await place.reach(spec, RunState.EXITED)).stdout.split() == [b"0", b"1", b"2", b"3"]


async def test_no_secret_is_ever_in_a_command_line_or_left_in_a_file(place: Place):
    secret = f"hush-{os.urandom(8).hex()}"
    spec = place.spec(
        "sh",
        "-c",
        "echo $TOKEN >new; mv new in-use; sleep 300",
        env={"PATH": PATH, "TOKEN": secret},
    )

    starting = asyncio.create_task(place.start(spec))
    seen: set[bytes] = set()
    while not (place.workspace / "in-use").exists():
        seen.update(await asyncio.to_thread(command_lines))
    await starting

    assert (place.workspace / "in-use").read_text() == f"{secret}\n"
    assert len(seen) > 1
    assert not [line for line in seen if secret.encode() in line]
    assert not [p for p in Path(spec.directory).iterdir() if secret in p.read_text()]
    assert Path(spec.directory).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("stdin", {"stdin": b"a\0b"}),
        ("argv", {"argv": ()}),
        ("argv", {"argv": ("echo", "a\0b")}),
        ("env", {"env": {"A": "a\0b"}}),
        ("env.A-B", {"env": {"A-B": ""}}),
        ("env.UID", {"env": {"UID": "0"}}),
        ("mark", {"mark": "a b"}),
        ("directory", {"directory": "runs/1"}),
        ("directory", {"directory": "/"}),
        ("cwd", {"cwd": "/a/../b"}),
    ],
)
async def test_what_no_shell_can_pass_on_is_invalid(
    path: str, change: dict[str, object], tmp_path: Path
):
    good = RunSpec(
        directory=f"{tmp_path}/runs/1", argv=("true",), cwd="/tmp", env={}, stdin=None, mark="m"
    )

    with pytest.raises(InvalidInput) as caught:
        await run.start(local_machine(), msgspec.structs.replace(good, **change), timeout_s=30)

    assert caught.value.path == path
    assert not (tmp_path / "runs").exists()


def command_lines() -> set[bytes]:
    lines: set[bytes] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.add((process / "cmdline").read_bytes())
        except OSError:
            continue
    return lines

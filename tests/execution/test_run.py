"""The run wrapper: a run starts once, outlives its starter, and can be read from outside."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agent_fleet.core.errors import Unavailable
from agent_fleet.execution import run
from agent_fleet.execution.run import RunState
from tests.support.runs import PATH, Place, children, kill_all_of, lives
from tests.support.waiting import eventually

STARTER = """
import asyncio, sys, msgspec
from agent_fleet.execution import run
from tests.support.runs import local_machine
spec = msgspec.json.decode(sys.stdin.buffer.read(), type=run.RunSpec)
asyncio.run(run.start(local_machine(sys.argv[1]), spec, timeout_s=30))
print("started", flush=True)
sys.stdin.close()
asyncio.run(asyncio.sleep(300))
"""


async def test_ten_starts_at_once_start_it_once(place: Place):
    spec = place.spec("sh", "-c", f"echo started >>{place.root}/starts")

    answers = await asyncio.gather(*(place.start(spec) for _ in range(10)))

    assert sorted(answers) == [False] * 9 + [True]
    await place.reach(spec, RunState.EXITED)
    assert (place.root / "starts").read_text() == "started\n"


async def test_a_run_that_has_ended_is_not_started_again(place: Place):
    spec = place.spec("true")
    await place.start(spec)
    await place.reach(spec, RunState.EXITED)
    place.workspace.rmdir()

    assert await place.start(spec) is False


async def test_a_run_outlives_its_starter_and_is_found_again(place: Place):
    fifo = place.root / "go"
    os.mkfifo(fifo)
    spec = place.spec("sh", "-c", f"echo before; cat {fifo}; exit 7")
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, place.machine.shell],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": PATH, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    with starter:
        assert starter.stdin is not None
        assert starter.stdout is not None
        starter.stdin.write(msgspec.json.encode(spec))
        starter.stdin.close()
        assert starter.stdout.readline() == b"started\n"
        os.killpg(starter.pid, signal.SIGKILL)

    again = await place.start(spec)
    fifo.write_text("after\n")
    view = await place.reach(spec, RunState.EXITED)

    assert again is False
    assert (view.exit_code, view.stdout) == (7, b"before\nafter\n")


async def test_output_of_any_bytes_is_read_by_offset(place: Place):
    content = bytes(range(256)) * 100
    (place.workspace / "content").write_bytes(content)
    spec = place.spec("sh", "-c", "cat content; cat content >&2; printf end >&2")
    await place.start(spec)
    await place.reach(spec, RunState.EXITED)

    stdout, stderr, sizes = b"", b"", (0, 0)
    while len(stderr) < len(content) + 3:
        view = await run.inspect(
            place.machine,
            spec.directory,
            stdout_offset=len(stdout),
            stderr_offset=len(stderr),
            limit=7000,
        )
        assert 0 < len(view.stderr) <= 7000
        stdout += view.stdout
        stderr += view.stderr
        sizes = view.stdout_size, view.stderr_size

    assert (stdout, stderr) == (content, content + b"end")
    assert sizes == (len(content), len(content) + 3)


async def test_output_is_read_while_the_run_goes_on(place: Place):
    spec = place.spec("sh", "-c", "echo hello; exec sleep 300")
    await place.start(spec)

    def written_so_far() -> bool:
        return (Path(spec.directory) / "stdout").stat().st_size == 6

    eventually(written_so_far, 20, "the first line")
    view = await place.view(spec)

    assert (view.state, view.stdout, view.exit_code) == (RunState.RUNNING, b"hello\n", None)


async def test_an_offset_beyond_the_end_gives_nothing(place: Place):
    spec = place.spec("echo", "hello")
    await place.start(spec)
    await place.reach(spec, RunState.EXITED)

    view = await place.view(spec, offset=5000)

    assert (view.stdout, view.stdout_size) == (b"", 6)


@pytest.mark.parametrize("code", [0, 1, 126, 255])
async def test_the_exit_code_is_recorded(place: Place, code: int):
    spec = place.spec("sh", "-c", f"exit {code}")

    await place.start(spec)

    view = await place.reach(spec, RunState.EXITED)
    assert (view.exit_code, view.not_found) == (code, False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_to_the_group_ends_the_cli_and_its_exit_code_is_recorded(
    place: Place, number: signal.Signals
):
    spec = place.spec("sleep", "300")
    await place.start(spec)
    view = await place.reach(spec, RunState.RUNNING)
    assert view.pid is not None
    cli = the_cli(view.pid, "sleep")
    assert os.getpgid(cli) == view.pid

    os.killpg(view.pid, number)

    assert (await place.reach(spec, RunState.EXITED)).exit_code == 128 + number


async def test_a_cli_killed_from_outside_leaves_137(place: Place):
    spec = place.spec("sleep", "300")
    await place.start(spec)
    view = await place.reach(spec, RunState.RUNNING)
    assert view.pid is not None

    os.kill(the_cli(view.pid, "sleep"), signal.SIGKILL)

    assert (await place.reach(spec, RunState.EXITED)).exit_code == 137


async def test_a_run_killed_as_a_whole_has_vanished(place: Place):
    spec = place.spec("sleep", "300")
    await place.start(spec)
    view = await place.reach(spec, RunState.RUNNING)
    assert view.pid is not None

    kill_all_of(view.pid)

    view = await place.reach(spec, RunState.VANISHED)
    assert (view.exit_code, view.stdout_size) == (None, 0)


async def test_a_run_of_another_boot_has_vanished(place: Place):
    spec = place.spec("sleep", "300")
    await place.start(spec)
    await place.reach(spec, RunState.RUNNING)
    process = Path(spec.directory) / "process"

    pid, start, _ = process.read_text().splitlines()
    process.write_text(f"{pid}\n{start}\nanother-boot\n")

    assert (await place.view(spec)).state is RunState.VANISHED


async def test_a_command_that_is_not_on_the_runs_own_path_is_not_found(place: Place):
    spec = place.spec("env", env={"PATH": str(place.workspace)})

    await place.start(spec)

    view = await place.reach(spec, RunState.EXITED)
    assert (view.exit_code, view.not_found) == (127, True)
    assert view.stderr == b"env: not found\n"


async def test_a_cli_that_exits_with_127_was_found(place: Place):
    spec = place.spec("sh", "-c", "exit 127")

    await place.start(spec)

    view = await place.reach(spec, RunState.EXITED)
    assert (view.exit_code, view.not_found) == (127, False)


async def test_fifty_runs_at_once_all_end(place: Place):
    specs = [place.spec("sh", "-c", f"exit {n}") for n in range(50)]

    started = await asyncio.gather(*(place.start(spec) for spec in specs))
    views = await asyncio.gather(*(place.reach(spec, RunState.EXITED) for spec in specs))

    assert all(started)
    assert [view.exit_code for view in views] == list(range(50))


async def test_a_directory_without_a_process_is_starting_and_has_an_age(place: Place):
    spec = place.spec("true")
    Path(spec.directory).mkdir(parents=True)
    (Path(spec.directory) / "created").write_text("1000000000\n")

    view = await place.view(spec)

    assert (view.state, view.pid) == (RunState.STARTING, None)
    assert view.age_s > 1_000_000


async def test_no_directory_is_absent(place: Place):
    spec = place.spec("true")

    assert (await place.view(spec)).state is RunState.ABSENT


async def test_a_removed_run_is_absent(place: Place):
    spec = place.spec("true")
    await place.start(spec)
    await place.reach(spec, RunState.EXITED)

    await run.remove(place.machine, spec.directory)

    assert (await place.view(spec)).state is RunState.ABSENT


async def test_without_its_working_directory_nothing_is_started_or_left(place: Place):
    spec = place.spec("true", cwd="/no/such/directory")

    with pytest.raises(Unavailable, match="/no/such/directory: no such directory"):
        await place.start(spec)

    assert (await place.view(spec)).state is RunState.ABSENT


async def test_the_detacher_is_one_of_the_four(place: Place):
    assert await run.detacher(place.machine) in {"setsid", "perl", "python3", "bash"}


def the_cli(supervisor: int, name: str) -> int:
    """The pid of the supervisor's only child, once it has become the command `name`."""

    def found() -> int | None:
        for child in children(supervisor):
            if lives(child) and Path(f"/proc/{child}/comm").read_text() in (
                f"{name}\n",
                "busybox\n",
            ):
                return child
        return None

    pid = eventually(found, 20, f"{name} under {supervisor}")
    assert pid is not None
    return pid

"""Ending a run: all of it, nobody else, and proof of it."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent_fleet.execution.run import EndReport, Graces, RunState
from tests.support.runs import PATH, Place, bearers, lives, written

SHORT = Graces(interrupt_s=0.2, terminate_s=0.2, kill_s=10)
TOOL = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(300)"

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-c", sys.argv[1], sys.argv[2]], %s)
    os._exit(0)
os.wait()
time.sleep(300)
"""

TOOL_OF_ITS_OWN = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: open("interrupted", "w").close())
open("ready", "w").write("ready")
while True:
    time.sleep(0.1)
"""
TIDY = """
import signal, subprocess, sys, time
tool = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
def end(*_):
    time.sleep(0.5)
    tool.kill()
    sys.exit(9)
signal.signal(signal.SIGINT, end)
tool.wait()
"""


def start_time(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]


async def pid_in(path: Path) -> int:
    return int(await asyncio.to_thread(written, path))


async def test_a_cli_that_obeys_sigint_gets_nothing_more(place: Place):
    spec = place.spec("sh", "-c", "trap 'exit 9' INT; echo >ready; while :; do sleep 0.1; done")
    await place.start(spec)
    await asyncio.to_thread(written, place.workspace / "ready")

    report = await place.end(spec)

    assert report == EndReport(("INT",), ())
    view = await place.view(spec)
    assert (view.state, view.exit_code) == (RunState.EXITED, 9)


async def test_a_cli_that_ends_its_tools_itself_may_do_so(place: Place):
    spec = place.spec(sys.executable, "-c", TIDY, TOOL_OF_ITS_OWN)
    await place.start(spec)
    await asyncio.to_thread(written, place.workspace / "ready")

    report = await place.end(spec)

    assert report == EndReport(("INT",), ())
    assert (await place.view(spec)).exit_code == 9
    assert not (place.workspace / "interrupted").exists()


async def test_a_cli_that_catches_sigint_and_ignores_sigterm_is_killed(place: Place):
    script = "trap : INT; trap '' TERM; echo >ready; while :; do sleep 1; done"
    spec = place.spec("sh", "-c", script)
    await place.start(spec)
    await asyncio.to_thread(written, place.workspace / "ready")

    report = await place.end(spec, SHORT)

    assert report == EndReport(("INT", "TERM", "KILL"), ())
    view = await place.view(spec)
    assert (view.state, view.exit_code) == (RunState.EXITED, 137)


async def test_a_tool_in_a_session_of_its_own_dies_by_its_mark(place: Place):
    pid_file = place.root / "pid"
    spec = place.spec(
        sys.executable, "-c", DAEMON % "os.environ", TOOL, str(pid_file), cwd=str(place.root)
    )
    await place.start(spec)
    tool = await pid_in(pid_file)

    report = await place.end(spec)

    assert report.survivors == ()
    assert not lives(tool)


async def test_a_tool_without_its_environment_dies_for_sitting_in_the_workspace(place: Place):
    pid_file = place.root / "pid"
    (place.workspace / "deep in").mkdir()
    spec = place.spec(
        *(sys.executable, "-c", DAEMON % "{}", TOOL, str(pid_file)),
        cwd=str(place.workspace / "deep in"),
    )
    await place.start(spec)
    tool = await pid_in(pid_file)
    (place.workspace / "deep in").rmdir()

    report = await place.end(spec)

    assert report.survivors == ()
    assert not lives(tool)


async def test_a_child_without_environment_or_directory_dies_as_a_descendant(place: Place):
    pid_file = place.root / "pid"
    start_tool = (
        f'cd /; setsid env -i {sys.executable} -c "$1" {pid_file} & '
        "trap '' INT TERM; wait; sleep 300"
    )
    spec = place.spec("sh", "-c", start_tool, "-", TOOL)
    await place.start(spec)
    tool = await pid_in(pid_file)

    report = await place.end(spec, SHORT)

    assert report.survivors == ()
    assert not lives(tool)


async def test_what_is_forked_while_it_is_ended_dies_too(place: Place):
    script = (
        "trap 'setsid sleep 300 & setsid sleep 300 &' INT TERM; echo >ready; "
        "while :; do sleep 0.1; done"
    )
    spec = place.spec("sh", "-c", script)
    await place.start(spec)
    await asyncio.to_thread(written, place.workspace / "ready")

    report = await place.end(spec, SHORT)

    assert report.survivors == ()
    assert bearers(spec.mark) == []


async def test_what_is_left_of_a_vanished_run_dies(place: Place):
    spec = place.spec("sh", "-c", "echo $$ >pid; exec sleep 300")
    await place.start(spec)
    cli = await pid_in(place.workspace / "pid")
    view = await place.reach(spec, RunState.RUNNING)
    assert view.pid is not None
    os.kill(view.pid, 9)
    await place.reach(spec, RunState.VANISHED)

    report = await place.end(spec)

    assert report == EndReport(("INT",), ())
    assert not lives(cli)


async def test_a_stranger_with_the_supervisors_number_is_not_hit(place: Place):
    spec = place.spec("true")
    await place.start(spec)
    await place.reach(spec, RunState.EXITED)
    process = Path(spec.directory) / "process"
    _, _, boot = process.read_text().splitlines()
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as stranger:
        other = int(start_time(stranger.pid)) + 1
        process.write_text(f"{stranger.pid}\n{other}\n{boot}\n")

        report = await place.end(spec, SHORT)

        assert report == EndReport((), ())
        assert stranger.poll() is None
        stranger.kill()


async def test_a_stranger_in_a_group_of_that_number_is_not_hit(place: Place):
    spec = place.spec("true")
    await place.start(spec)
    await place.reach(spec, RunState.EXITED)
    process = Path(spec.directory) / "process"
    _, start, boot = process.read_text().splitlines()
    script = "sleep 300 </dev/null >/dev/null 2>&1 & echo $!"
    with subprocess.Popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        stranger = int(leader.stdout.readline())
    process.write_text(f"{leader.pid}\n{start}\n{boot}\n")
    try:
        report = await place.end(spec, SHORT)

        assert report == EndReport((), ())
        assert lives(stranger)
    finally:
        os.kill(stranger, 9)


async def test_a_run_whose_mark_begins_with_this_one_is_not_hit(place: Place):
    spec = place.spec("sh", "-c", "exec sleep 300", mark="fleet-1-1")
    other = place.spec("sleep", "300", mark="fleet-1-12", cwd=str(place.root))
    await place.start(spec)
    await place.start(other)
    await place.reach(spec, RunState.RUNNING)
    await place.reach(other, RunState.RUNNING)

    await place.end(spec)

    assert (await place.view(other)).state is RunState.RUNNING


async def test_a_neighbour_of_the_workspace_is_not_hit(place: Place):
    spec = place.spec("true")
    neighbour = place.root / "workspace-2"
    neighbour.mkdir()
    with subprocess.Popen(["sleep", "300"], cwd=neighbour, env={"PATH": PATH}) as process:
        report = await place.end(spec, SHORT)

        assert report == EndReport((), ())
        assert process.poll() is None
        process.kill()


async def test_whoever_ends_a_run_from_inside_its_workspace_lives_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    spec = place.spec("sh", "-c", "echo $$ >pid; exec sleep 300")
    await place.start(spec)
    await pid_in(place.workspace / "pid")
    monkeypatch.chdir(place.workspace)

    report = await place.end(spec)

    assert report == EndReport(("INT",), ())


async def test_ending_twice_or_what_never_was_does_no_harm(place: Place):
    spec, never = place.spec("sh", "-c", "echo $$ >pid; exec sleep 300"), place.spec("true")
    await place.start(spec)
    await pid_in(place.workspace / "pid")

    first, second = await asyncio.gather(place.end(spec), place.end(spec))
    third = await place.end(spec)
    fourth = await place.end(never)

    assert first.survivors == second.survivors == ()
    assert third == fourth == EndReport((), ())
    assert (await place.view(spec)).exit_code == 130

"""The local machine keeps the promises of `Machine.run`."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from agent_fleet.core.errors import Unavailable
from agent_fleet.execution.local import LocalMachine
from agent_fleet.execution.machine import Completed, quote, run_script
from tests.support.runs import lives, local_machine, written
from tests.support.waiting import eventually


def gone(pid: int) -> None:
    eventually(lambda: not lives(pid), 10, f"process {pid} to be gone")


async def test_a_command_gives_its_exit_code_and_both_outputs():
    machine = local_machine()

    done = await machine.run(["sh", "-c", "cat; echo bad >&2; exit 3"], stdin=b"a\0b", timeout_s=30)

    assert done == Completed(3, b"a\0b", b"bad\n")


async def test_a_command_sees_the_given_environment_and_nothing_of_ours(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("FLEET_TEST_SECRET", "hush")
    machine = LocalMachine(environment={"PATH": os.environ["PATH"], "LANG": "C"})

    done = await machine.run(["env"], env={"LANG": "C.UTF-8", "EXTRA": "1"}, timeout_s=30)

    lines = set(done.stdout.decode().splitlines())
    assert lines == {f"PATH={os.environ['PATH']}", "LANG=C.UTF-8", "EXTRA=1"}


@pytest.mark.parametrize(
    ("argv", "cwd", "code"),
    [
        (["no-such-command"], None, 127),
        (["/etc/passwd"], None, 126),
        (["true"], "/no/such/directory", 126),
    ],
)
async def test_what_cannot_be_started_completes_as_in_a_shell(
    argv: list[str], cwd: str | None, code: int
):
    machine = local_machine()

    done = await machine.run(argv, cwd=cwd, timeout_s=30)

    assert (done.exit_code, done.stdout) == (code, b"")
    assert done.stderr


async def test_a_death_by_signal_is_a_negative_exit_code():
    machine = local_machine()

    done = await machine.run(["sh", "-c", "kill -9 $$"], timeout_s=30)

    assert done.exit_code == -9


async def test_a_command_that_does_not_read_its_input_completes():
    machine = local_machine()

    done = await machine.run(["true"], stdin=b"x" * 1_000_000, timeout_s=30)

    assert done.exit_code == 0


async def test_a_command_past_its_time_is_unavailable_and_its_group_is_killed(tmp_path: Path):
    machine = local_machine()
    script = f"sleep 300 & echo $! >{tmp_path}/pid; wait"

    with pytest.raises(Unavailable, match=r"sh did not end within 0\.5 s"):
        await machine.run(["sh", "-c", script], timeout_s=0.5)

    gone(int(written(tmp_path / "pid")))


async def test_a_cancelled_caller_takes_the_commands_group_along(tmp_path: Path):
    machine = local_machine()
    script = f"sleep 300 & echo $! >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; wait"
    command = asyncio.create_task(machine.run(["sh", "-c", script], timeout_s=300))
    pid = int(await asyncio.to_thread(written, tmp_path / "pid"))

    command.cancel()
    with pytest.raises(asyncio.CancelledError):
        await command

    gone(pid)


@pytest.mark.parametrize("redirect", ["", ">&2"])
async def test_output_beyond_the_limit_is_unavailable_and_ends_the_command(redirect: str):
    machine = local_machine()

    with pytest.raises(Unavailable, match="wrote more than 100000 bytes"):
        await machine.run(["sh", "-c", f"yes {redirect}"], timeout_s=30, output_limit=100_000)


async def test_output_up_to_the_limit_is_given_whole():
    machine = local_machine()

    done = await machine.run(["cat"], stdin=b"x" * 100_000, timeout_s=30, output_limit=100_000)

    assert len(done.stdout) == 100_000


async def test_a_process_that_stays_behind_with_the_output_does_not_hold_the_command_up(
    tmp_path: Path,
):
    machine = local_machine()
    begun = time.monotonic()

    done = await machine.run(
        ["sh", "-c", f"sleep 300 & echo $! >{tmp_path}/pid; echo hi"], timeout_s=60
    )

    assert done == Completed(0, b"hi\n", b"")
    assert time.monotonic() - begun < 30
    gone(int((tmp_path / "pid").read_text()))


async def test_fifty_commands_at_once_leave_no_descriptor_open():
    machine = local_machine()
    await machine.run(["true"], timeout_s=30)
    before = len(list(Path("/proc/self/fd").iterdir()))

    done = await asyncio.gather(*(machine.run(["echo", str(n)], timeout_s=60) for n in range(50)))

    assert [int(each.stdout) for each in done] == list(range(50))
    # A transport closes its pipes in the next rounds of the loop.
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_a_script_gets_its_arguments_as_they_are():
    machine = local_machine()
    arguments = ("a b", "", "it's", "$HOME", "*", "-x", "line\nbreak")

    done = await run_script(machine, b"printf '<%s>' \"$@\"", *arguments, timeout_s=30)

    assert done.stdout.decode() == "".join(f"<{each}>" for each in arguments)


async def test_a_quoted_command_line_is_read_back_by_a_shell():
    machine = local_machine()
    argv = ["printf", "<%s>", "a b", "", "it's", "$HOME", "`id`", "\\", "line\nbreak", "ü"]

    done = await machine.run(["sh", "-c", quote(argv)], timeout_s=30)

    assert done.stdout.decode() == "".join(f"<{each}>" for each in argv[2:])

"""A start that is broken off leaves nothing, a run, or a directory that never gets a process."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from agent_fleet.execution import run
from agent_fleet.execution.machine import OUTPUT_LIMIT, Completed
from agent_fleet.execution.run import RunSpec, RunState
from tests.support.parts import require
from tests.support.runs import PATH, Place

SCRIPTS = Path(run.__file__).parent / "scripts" / "run"


class Recorder:
    """A machine that keeps what was sent to it, and does nothing."""

    def __init__(self, shell: str) -> None:
        self.name = "recorder"
        self.shell = shell
        self.argv: list[str] = []
        self.stdin = b""

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float,
        output_limit: int = OUTPUT_LIMIT,
    ) -> Completed:
        self.argv, self.stdin = list(argv), stdin
        return Completed(0, b"started\n", b"")


async def what_is_sent(place: Place, spec: RunSpec) -> Recorder:
    recorder = Recorder(place.machine.shell)
    await run.start(recorder, spec, timeout_s=30)
    return recorder


async def test_a_script_that_was_cut_off_does_nothing(place: Place):
    spec = place.spec("sh", "-c", "echo } >started\n}\n", stdin=b"a prompt\n}\nexit\n}\n")
    sent = await what_is_sent(place, spec)
    whole = sent.stdin
    cuts = [*range(0, len(whole) - 60, 50), *range(len(whole) - 60, len(whole) - 1)]

    for some in range(0, len(cuts), 8):
        await asyncio.gather(
            *(
                place.machine.run(sent.argv, stdin=whole[:cut], timeout_s=30)
                for cut in cuts[some : some + 8]
            )
        )

    assert not (place.root / "runs").exists()
    assert list(place.workspace.iterdir()) == []


async def test_a_starter_killed_at_any_moment_leaves_a_state_that_is_told(place: Place):
    for step in range(25):
        spec = place.spec("sh", "-c", "exit 5", stdin=b"prompt")
        sent = await what_is_sent(place, spec)
        with subprocess.Popen(
            sent.argv, stdin=subprocess.PIPE, env={"PATH": PATH}, start_new_session=True
        ) as starter:
            assert starter.stdin is not None
            starter.stdin.write(sent.stdin)
            starter.stdin.close()
            try:
                starter.wait(timeout=step * 0.0008)
            except subprocess.TimeoutExpired:
                os.killpg(starter.pid, signal.SIGKILL)

        view = await place.view(spec)
        if view.state is RunState.RUNNING:
            view = await place.reach(spec, RunState.EXITED)
        assert view.state in {RunState.ABSENT, RunState.STARTING, RunState.EXITED}
        assert view.exit_code == (5 if view.state is RunState.EXITED else None)
        assert await place.start(spec) is (view.state is RunState.ABSENT)


async def test_a_run_that_was_ended_before_its_supervisor_came_starts_nothing(place: Place):
    spec = place.spec("touch", "started")
    directory = Path(spec.directory)
    directory.mkdir(parents=True)
    (directory / "environment").write_text(f"export PATH='{PATH}'\n")
    await place.end(spec)
    # The secrets went with the end; here they come back, as from a starter that is slow.
    (directory / "environment").write_text(f"export PATH='{PATH}'\n")

    script = (SCRIPTS / "processes.sh").read_text() + (SCRIPTS / "supervise.sh").read_text()
    arguments = [str(directory), str(place.workspace), "022", *spec.argv]
    await place.machine.run([place.machine.shell, "-c", script, "-", *arguments], timeout_s=30)

    assert (await place.view(spec)).state is RunState.VANISHED
    assert list(place.workspace.iterdir()) == []
    assert not (directory / "environment").exists()


@pytest.mark.parts
@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda script: script.stem)
def test_shellcheck_finds_nothing(script: Path):
    shellcheck = require("shellcheck")

    found = subprocess.run([shellcheck, script], capture_output=True, text=True, check=False)

    assert found.stdout == ""

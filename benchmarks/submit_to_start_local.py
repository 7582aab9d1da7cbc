"""From a submit to the start of the agent CLI on the local host, against a bare spawn of it.

The CLI is a bash script whose first act is to write down the time: bash knows it without another
process, so nothing lies between the start and its record but bash's own start, the same on both
sides. Submits and spawns take turns; each submit finds the orchestrator idle.
"""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from agent_fleet.client import FleetClient
from agent_fleet.clock import SystemClock
from agent_fleet.core.errors import FleetError
from agent_fleet.core.messages import Submission
from agent_fleet.core.model import Mode, Outcome
from benchmarks.entry import Entry, percentile
from benchmarks.orchestrator import REPO, orchestrator

RUNS = 150
WARM_UP = 10
GLANCE_S = 0.005
"""Seconds between two looks of the benchmark at a file: too few to keep a core busy."""
START_S = 30.0
SETTLE_S = 0.1
"""Seconds after the last trace of a run, for what its end still sets off."""
REMAINDER_MS = 100
"""What a person does not notice yet."""

_CLI = """\
#!/usr/bin/env bash
echo "${EPOCHREALTIME//[!0-9]/}" >>"$1"
"""


class Start(Struct, frozen=True):
    """One task and one bare spawn; seconds. `prepare_s` is the workspace's part of `task_s`."""

    task_s: float
    prepare_s: float
    bare_s: float


async def measure(folder: Path) -> Entry:
    """The entry, of `RUNS` tasks one after another; all files go to `folder`."""
    bash = await _find_bash()
    script, times = folder / "bench-cli", folder / "starts"
    command = (bash, str(script), str(times))
    async with orchestrator(folder, command=command, slots=1) as client:
        script.write_text(_CLI, encoding="utf-8")
        times.touch()
        for _ in range(WARM_UP):
            await _measure_one(client, command, folder)
        starts = [await _measure_one(client, command, folder) for _ in range(RUNS)]
    return _report(starts)


async def _find_bash() -> str:
    """A bash that tells the time to the microsecond by itself."""
    bash = shutil.which("bash")
    if bash is not None:
        process = await asyncio.create_subprocess_exec(
            bash, "-c", '[ -n "$EPOCHREALTIME" ]', stdin=asyncio.subprocess.DEVNULL
        )
        if await process.wait() == 0:
            return bash
    raise FleetError("this benchmark needs bash 5 or later on the PATH, for EPOCHREALTIME")


async def _measure_one(client: FleetClient, command: tuple[str, ...], folder: Path) -> Start:
    bare_s = await _spawn(command)
    times, runs = folder / "starts", folder / "state" / "host" / "runs"
    before = _times(times)
    submission = Submission(
        repo=REPO, goal="Write down the time.", mode=Mode.SSH_CLI, deliverable="none"
    )
    sent = SystemClock().now().timestamp()
    task = (await client.submit(submission)).task.id
    # Without asking the orchestrator, which is to have nothing else to do.
    await _until(lambda: len(_times(times)) > len(before))
    task_s = _times(times)[-1] - sent
    await client.wait(task, until="ended", timeout_s=START_S)
    (answer,) = await client.receipts(task)
    receipt = answer.receipt
    if receipt.outcome is not Outcome.SUCCEEDED:
        raise FleetError(f"task {task} {receipt.outcome}: {receipt.summary}")
    await _until(lambda: not any(runs.iterdir()))
    await asyncio.sleep(SETTLE_S)
    return Start(task_s, receipt.timings["prepare_s"], bare_s)


async def _spawn(command: tuple[str, ...]) -> float:
    """Seconds from here to the start of `command`, with nothing in between."""
    sent = SystemClock().now().timestamp()
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.DEVNULL,
    )
    await process.wait()
    return _times(Path(command[-1]))[-1] - sent


def _times(file: Path) -> list[float]:
    """The starts that were written down, in seconds since 1970."""
    return [int(line) / 1e6 for line in file.read_text(encoding="ascii").splitlines()]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(START_S):
        while True:
            if condition():
                return
            await asyncio.sleep(GLANCE_S)


def _report(starts: list[Start]) -> Entry:
    value = _ms([start.task_s for start in starts], 50)
    baseline = _ms([start.bare_s for start in starts], 50)
    remainders = [start.task_s - start.prepare_s for start in starts]
    remainder = _ms(remainders, 50)
    note = (
        f"{len(starts)} tasks, one after another, warm cache; p50 / p99 in ms: "
        f"submit to start {value:.1f} / {_ms([s.task_s for s in starts], 99):.1f}, "
        f"of which workspace {_ms([s.prepare_s for s in starts], 50):.1f} / "
        f"{_ms([s.prepare_s for s in starts], 99):.1f} and the rest "
        f"{remainder:.1f} / {_ms(remainders, 99):.1f}; "
        f"bare spawn {baseline:.1f} / {_ms([s.bare_s for s in starts], 99):.1f}; "
        "bounded by some thirty short processes of git and sh in turn, and three commits"
    )
    return Entry(
        name="submit_to_start_local",
        value=round(value, 2),
        unit="ms",
        baseline=round(baseline, 2),
        ratio=round(value / baseline, 2),
        target=f"p50 without the workspace ≤ {REMAINDER_MS} ms",
        holds=remainder <= REMAINDER_MS,
        note=note,
    )


def _ms(seconds: list[float], percent: float) -> float:
    return percentile(seconds, percent) * 1000

"""Whatever is killed, at whatever moment, can be done again.

A stand-in for git counts its calls and kills the whole process group, by SIGKILL, before or after
a certain one: every step of a script is such a moment.
"""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent_fleet.core.errors import AttemptFailed
from agent_fleet.execution.local import LocalMachine
from agent_fleet.execution.workspace import collect, commit_leftovers, prepare, push
from tests.support.remotes import AGENT, BRANCH, Bench

MOST_CALLS = 40

# Calls in a pipeline run at once: appending counts them all.
SHIM = """#!/bin/sh
echo >>{counter}
count=$(wc -l <{counter})
if [ "$count" -ge "${{KILL_BEFORE-99}}" ]; then kill -KILL 0; fi
if [ "$count" -lt "${{KILL_AFTER-99}}" ]; then exec {git} "$@"; fi
{git} "$@"
kill -KILL 0
"""


class Killing:
    """Machines whose commands are killed at their nth call of git."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.counter = bench.directory / "counter"
        shim = bench.directory / "shim" / "git"
        shim.parent.mkdir()
        shim.write_text(SHIM.format(counter=self.counter, git=shutil.which("git")))
        shim.chmod(0o755)
        self.path = f"{shim.parent}:{bench.environment['PATH']}"

    def machine(self, when: str, call: int) -> LocalMachine:
        self.counter.write_text("")
        return LocalMachine(
            environment={**self.bench.environment, "PATH": self.path, when: str(call)}
        )

    def reached(self, call: int) -> bool:
        return len(self.counter.read_text()) >= call


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def kill_everywhere(
    bench: Bench,
    *,
    when: str,
    given: Callable[[int], Awaitable[None]],
    do: Callable[[LocalMachine, int], Awaitable[object]],
    then: Callable[[int], None],
) -> int:
    """For each call of git that `do` makes: given, do and be killed there, do again, then."""
    killing = Killing(bench)
    for call in range(1, MOST_CALLS):
        await given(call)
        with contextlib.suppress(AttemptFailed):
            await do(killing.machine(when, call), call)
        if not killing.reached(call):
            return call - 1
        await do(bench.machine, call)
        then(call)
    raise AssertionError(f"more than {MOST_CALLS} calls of git")


@pytest.mark.parametrize("when", ["KILL_BEFORE", "KILL_AFTER"])
async def test_a_first_preparation(bench: Bench, when: str) -> None:
    def root(call: int) -> Path:
        return bench.directory / f"root{call}"

    async def given(call: int) -> None: ...

    async def do(machine: LocalMachine, call: int) -> object:
        grant = bench.grant()
        return await prepare(
            machine, root=str(root(call)), grant=grant, credentials=None, timeout_s=20
        )

    def then(call: int) -> None:
        (work,) = root(call).glob("work/*")
        assert bench.git("status", "--porcelain", at=work) == ""
        assert bench.git("rev-parse", "HEAD", at=work) == bench.heads()["main"]
        assert list(root(call).glob("tmp/*")) == []

    calls = await kill_everywhere(bench, when=when, given=given, do=do, then=then)

    assert calls >= 5


@pytest.mark.parametrize("when", ["KILL_BEFORE", "KILL_AFTER"])
async def test_a_preparation_that_puts_work_aside(bench: Bench, when: str) -> None:
    made = await bench.prepare()
    heads = dict[int, str]()

    async def given(call: int) -> None:
        bench.push_as_somebody(f"base{call}.txt", "b\n", branch="main")
        heads[call] = bench.commit(made.path, f"done{call}.txt", "x\n")
        bench.git("checkout", "-q", "--detach", at=made.path)
        Path(made.path, f"left{call}.txt").write_text("x\n")

    async def do(machine: LocalMachine, call: int) -> object:
        grant = bench.grant(attempt=call)
        return await prepare(machine, root=bench.root, grant=grant, credentials=None, timeout_s=20)

    def then(call: int) -> None:
        assert bench.git("status", "--porcelain", at=made.path) == ""
        assert bench.git("rev-parse", BRANCH, at=made.path) == heads[call]
        held = (
            bench.git("ls-tree", "-r", "--name-only", kept, at=made.path)
            for kept in bench.kept(made)
        )
        assert any(f"left{call}.txt" in names for names in held)

    calls = await kill_everywhere(bench, when=when, given=given, do=do, then=then)

    assert calls >= 8


@pytest.mark.parametrize("when", ["KILL_BEFORE", "KILL_AFTER"])
async def test_committing_leftovers_and_pushing(bench: Bench, when: str) -> None:
    made = await bench.prepare()

    async def given(call: int) -> None:
        Path(made.path, f"left{call}.txt").write_text("x\n")

    async def do(machine: LocalMachine, call: int) -> object:
        await commit_leftovers(machine, made, identity=AGENT, message="Left over")
        return await push(machine, made, credentials=None, timeout_s=20)

    def then(call: int) -> None:
        head = bench.heads()[BRANCH]
        assert bench.git("rev-parse", "HEAD", at=made.path) == head
        assert bench.git("show", f"{head}:left{call}.txt", at=bench.remote) == "x"
        count = bench.git("rev-list", "--count", f"main..{BRANCH}", at=bench.remote)
        assert int(count) == call

    calls = await kill_everywhere(bench, when=when, given=given, do=do, then=then)

    assert calls >= 8


@pytest.mark.parametrize("when", ["KILL_BEFORE", "KILL_AFTER"])
async def test_collecting(bench: Bench, when: str) -> None:
    keep = bench.directory / "keep"
    paths = dict[int, str]()

    async def given(call: int) -> None:
        made = await bench.prepare(bench.grant(task=call, branch=f"task/{call}-x"))
        paths[call] = made.path
        bench.commit(made.path, "a.txt", "a\n")
        Path(made.path, "left.txt").write_text("x\n")

    async def do(machine: LocalMachine, call: int) -> object:
        path = paths[call]
        return await collect(machine, root=bench.root, workspace_path=path, keep_dir=str(keep))

    def then(call: int) -> None:
        assert len(list(keep.glob(f"{call}-*.bundle"))) == 1
        assert len(list(keep.glob(f"{call}-*.patch"))) == 1
        assert list(keep.glob("*.tmp")) == []
        assert list(Path(bench.root, "tmp").iterdir()) == []

    calls = await kill_everywhere(bench, when=when, given=given, do=do, then=then)

    assert calls >= 6


async def test_a_preparation_goes_on_beside_one_whose_starter_was_killed(bench: Bench) -> None:
    starters = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            STARTER,
            bench.root,
            str(bench.remote),
            stdout=asyncio.subprocess.PIPE,
            env={**bench.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(3)
    ]
    for starter in starters:
        assert starter.stdout is not None
        await starter.stdout.readline()
        starter.kill()
        await starter.wait()

    made = await bench.prepare()

    assert bench.git("status", "--porcelain", at=made.path) == ""
    bench.git("fsck", at=made.path)


STARTER = """
import asyncio, os, sys
from pathlib import Path
from agent_fleet.execution.local import LocalMachine
from agent_fleet.execution.workspace import prepare
from tests.support.remotes import Bench

bench = Bench.__new__(Bench)
bench.directory = Path(sys.argv[2]).parent

async def main():
    machine = LocalMachine(environment=dict(os.environ))
    task = asyncio.ensure_future(prepare(
        machine, root=sys.argv[1], grant=bench.grant(), credentials=None, timeout_s=20))
    for _ in range(8):
        await asyncio.sleep(0)
    print("started", flush=True)
    await task

asyncio.run(main())
"""

"""Runs on this machine for the tests of the run wrapper: made, looked at, and ended after."""

import os
import signal
from pathlib import Path

from agent_fleet.execution import run
from agent_fleet.execution.local import LocalMachine
from agent_fleet.execution.run import EndReport, Graces, RunSpec, RunState, RunView
from tests.support.waiting import eventually, eventually_async

PATH = os.environ["PATH"]
QUICK = Graces(interrupt_s=5, terminate_s=5, kill_s=5)


def local_machine(shell: str = "sh") -> LocalMachine:
    return LocalMachine(environment={"PATH": PATH, "LANG": "C.UTF-8"}, shell=shell)


class Place:
    """A workspace and a place for runs on a machine; `clean` ends whatever was specified here."""

    def __init__(self, machine: LocalMachine, root: Path) -> None:
        self.machine = machine
        self.root = root
        self.workspace = root / "workspace"
        self.workspace.mkdir()
        self._specs: list[RunSpec] = []

    def spec(
        self,
        *argv: str,
        env: dict[str, str] | None = None,
        stdin: bytes | None = None,
        cwd: str | None = None,
        mark: str | None = None,
    ) -> RunSpec:
        number = len(self._specs) + 1
        spec = RunSpec(
            directory=str(self.root / "runs" / f"epoch-1-{number}"),
            argv=argv,
            cwd=cwd or str(self.workspace),
            env={"PATH": PATH} if env is None else env,
            stdin=stdin,
            mark=mark or f"{self.root.name}-{number}",
        )
        self._specs.append(spec)
        return spec

    async def start(self, spec: RunSpec) -> bool:
        return await run.start(self.machine, spec, timeout_s=30)

    async def view(self, spec: RunSpec, *, offset: int = 0, limit: int = 1_000_000) -> RunView:
        return await run.inspect(
            self.machine, spec.directory, stdout_offset=offset, stderr_offset=offset, limit=limit
        )

    async def reach(self, spec: RunSpec, state: RunState) -> RunView:
        async def reached() -> RunView | None:
            view = await self.view(spec)
            return view if view.state is state else None

        view = await eventually_async(reached, 20, f"{spec.directory} to be {state}")
        assert view is not None
        return view

    async def end(self, spec: RunSpec, graces: Graces = QUICK) -> EndReport:
        return await run.end(
            self.machine,
            spec.directory,
            workspace=str(self.workspace),
            mark=spec.mark,
            graces=graces,
        )

    async def clean(self) -> None:
        quick = Graces(interrupt_s=0.1, terminate_s=0.1, kill_s=5)
        for spec in self._specs:
            await self.end(spec, quick)


def written(path: Path) -> str:
    """What is in `path`, as soon as there is anything."""

    def text() -> str:
        return path.read_text() if path.exists() else ""

    return eventually(text, 20, f"{path} to be written")


def lives(pid: int) -> bool:
    """Whether there is such a process; a zombie is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"


def bearers(mark: str) -> list[int]:
    """The processes that bear the mark of a run in their environment."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{run.MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def kill_all_of(group: int) -> None:
    os.killpg(group, signal.SIGKILL)

"""The orchestrator in this process, with its loops and its local host, but without its server.

The agent CLI is a script for sh, another one for each test. What it is told by the test and what
it tells lies in `signals`: it waits for a file there with `wait_for NAME`, and writes one by
`tell NAME`.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from agent_fleet.clock import SystemClock
from agent_fleet.config import load
from agent_fleet.core.lifecycle import SETTLED
from agent_fleet.core.messages import Approval, Submission, TaskDetail
from agent_fleet.core.model import Mode, TaskStatus
from agent_fleet.core.registry import Token, TokenKind
from agent_fleet.execution.run import MARK
from agent_fleet.fleet import Fleet
from agent_fleet.server import opened, working
from tests.support.waiting import eventually, eventually_async

REPO = "local/demo"
WITHIN_S = 25.0
PERSON = Token(prefix="test", kind=TokenKind.OPERATOR, name="ann", created_at=SystemClock().now())
COMMIT = 'echo "$AGENT_FLEET_RUN" >>answer.txt; git add . && git commit -q -m "Answer"'

_PRELUDE = """
signals=$1
wait_for() { while [ ! -e "$signals/$1" ]; do sleep 0.05; done; }
tell() { : >"$signals/$1"; }
prompt=$(cat)
printf '%s' "$prompt" >"$signals/prompt"
"""
_PEOPLE = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A Person"), ("EMAIL", "person@example.org"))
}


class Composed:
    """A directory with a repository and a configuration; `running` brings it to life."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.origin = directory / "origin.git"
        self.work = directory / "clone"
        self.signals = directory / "signals"
        self.name = "main"
        self.adapters: tuple[str, ...] = ("raw",)
        self.repos = {REPO: "main"}
        self.extra = ""
        self.host: str | None = ""
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory / "home"),
            "GIT_CONFIG_NOSYSTEM": "1",
            **_PEOPLE,
        }
        (directory / "home").mkdir()
        self.signals.mkdir()
        self.cli(COMMIT)
        self.git("init", "-q", "--bare", "-b", "main", str(self.origin), at=directory)
        self.git("clone", "-q", str(self.origin), str(self.work), at=directory)
        self.commit("README.md", "# A demonstration\n")
        self.git("push", "-q", "origin", "HEAD:main")

    # -- what a person does ----------------------------------------------------------------------

    def git(self, *arguments: str, at: Path | None = None) -> str:
        """Git as a person would use it, by default in their clone; its stdout."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=at or self.work,
            env=self._environ,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def commit(self, name: str, text: str) -> str:
        """A commit in the clone; its id."""
        (self.work / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", f"write {name}")
        return self.git("rev-parse", "HEAD")

    def push(self, branch: str, *, onto: str = "main", name: str, text: str) -> str:
        """A person's commit on top of the remote's `onto`, pushed to `branch`; its id."""
        self.git("fetch", "-q", "--prune", "origin")
        self.git("checkout", "-q", "--detach", f"origin/{onto}")
        head = self.commit(name, text)
        self.git("push", "-q", "origin", f"HEAD:refs/heads/{branch}")
        return head

    def heads(self) -> dict[str, str]:
        """The branches of the remote."""
        told = self.git(
            *("for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads"),
            at=self.origin,
        )
        return {line.split(" ")[0]: line.split(" ")[1] for line in told.splitlines()}

    def take_away(self) -> None:
        """The remote does not answer any more."""
        self.origin.rename(self.directory / "away.git")

    def bring_back(self) -> None:
        (self.directory / "away.git").rename(self.origin)

    # -- the fleet -------------------------------------------------------------------------------

    def cli(self, script: str) -> None:
        """What the agent CLI does from now on; the prompt is in `$prompt`."""
        (self.directory / "cli.new").write_text(_PRELUDE + script + "\n")
        (self.directory / "cli.new").rename(self.directory / "cli.sh")

    def tell(self, name: str) -> None:
        (self.signals / name).touch()

    async def told(self, name: str) -> None:
        """Until the CLI has told this; it is then as if it had not."""
        await asyncio.to_thread(
            eventually, (self.signals / name).exists, WITHIN_S, f"the CLI to tell {name}"
        )
        (self.signals / name).unlink()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Running"]:
        """An orchestrator with the present configuration, until the block is left."""
        file = self.directory / "fleet.toml"
        file.write_text(self._configuration())
        config = load(file)
        async with opened(config) as fleet, working(config, fleet):
            yield Running(fleet)

    def run_processes(self) -> list[int]:
        """The processes of runs that are alive."""
        mine, found = f"FLEET_TEST={self.directory}".encode(), list[int]()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                environ = (process / "environ").read_bytes()
                if f"{MARK}=".encode() in environ and mine in environ:
                    found.append(int(process.name))
        return found

    def end_runs(self) -> None:
        """No process of a run is left behind."""
        for pid in self.run_processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _configuration(self) -> str:
        command = json.dumps(["sh", str(self.directory / "cli.sh"), str(self.signals)])
        repos = "".join(
            f'[repos."{name}"]\nurl = {json.dumps(str(self.origin))}\nbase = "{base}"\n'
            for name, base in self.repos.items()
        )
        adapters = "".join(
            f'[adapters.{name}]\ncommand = {command}\nprompt = "stdin"\nparser = "raw"\n'
            f"graces = {{ interrupt_s = 0.2, terminate_s = 0.2, kill_s = 5 }}\n"
            f'set_env = {{ FLEET_TEST = "{self.directory}" }}\n'
            for name in self.adapters
        )
        host = "" if self.host is None else f"[hosts.local]\nslots = 2\n{self.host}\n"
        return f"""\
[server]
name = "{self.name}"
[defaults]
adapter = "raw"
backoff = "100ms"
[git]
poll = "150ms"
{host}{repos}{self.extra}{adapters}"""


class Running:
    """A fleet at work, asked as an operator."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    async def submit(self, goal: str = "Write the answer", **fields: Any) -> int:
        """A task for the local host; its number."""
        given = {"repo": REPO, "mode": Mode.SSH_CLI, **fields}
        detail, _ = await self.fleet.tasks.submit(
            Submission(goal=goal, **given), by=PERSON, key=None
        )
        return detail.task.id

    async def until(
        self, task: int, *statuses: TaskStatus, within_s: float = WITHIN_S
    ) -> TaskDetail:
        """The task once it has one of these statuses; no other settled one comes first."""
        seen: list[TaskDetail] = []

        async def there() -> bool:
            seen.append(await self.fleet.tasks.show(task))
            status = seen[-1].task.status
            assert status in statuses or status not in SETTLED, _told(seen[-1])
            return status in statuses

        wanted = " or ".join(statuses)
        await eventually_async(there, within_s, f"task {task} to be {wanted}")
        return seen[-1]

    async def becomes(self, task: int, *statuses: TaskStatus) -> TaskDetail:
        """The task once it has one of these statuses, whatever it is now."""

        async def there() -> TaskDetail | None:
            detail = await self.fleet.tasks.show(task)
            return detail if detail.task.status in statuses else None

        detail = await eventually_async(there, WITHIN_S, f"task {task} to be {statuses}")
        assert detail is not None
        return detail

    async def merge(self, task: int) -> TaskDetail:
        return await self.fleet.tasks.approve(task, Approval(merge=True), by=PERSON)

    async def retry(self, task: int) -> None:
        await self.fleet.tasks.retry(task, by=PERSON)

    async def send_back(self, task: int, text: str) -> TaskDetail:
        return await self.fleet.tasks.request_changes(task, text, by=PERSON)


def _told(detail: TaskDetail) -> str:
    task = detail.task
    attempts = [(a.outcome, a.reason, a.message) for a in detail.attempts]
    return f"task {task.id} is {task.status}: {task.reason}: {task.message}; {attempts}"


@asynccontextmanager
async def composed(directory: Path) -> AsyncGenerator[Composed]:
    """A repository and a configuration in `directory`; no run outlives this."""
    if shutil.which("git") is None:
        raise AssertionError("git is not there")
    made = Composed(directory)
    try:
        yield made
    finally:
        made.end_runs()

"""A whole fleet on this machine: the orchestrator and an http_pull agent as processes of their own.

The agent CLI is a script for sh that needs no model. Beside its work it bears witness, outside of
every workspace: each of its starts appends the run's mark to `starts`, and what it writes is kept
a second time under that mark.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent_fleet.client import FleetClient
from agent_fleet.config import load
from agent_fleet.core.errors import FleetError
from agent_fleet.core.messages import Submission, TokenRequest
from agent_fleet.core.model import Event
from agent_fleet.core.registry import TokenKind
from agent_fleet.execution.run import MARK
from agent_fleet.server import opened
from tests.support.waiting import eventually, eventually_async

REPO = "local/demo"
AGENT = "puller"
VALIDATION = ("sh check.sh", "sleep 0.2; echo counted")
CHECKED = ("every page begins with a heading\n", "counted\n")

_ROOT = Path(__file__).resolve().parents[2]
_READY_S = 30.0
_STOP_S = 20.0

_CLI = r"""
prompt=$(cat)
printf '%s\n' "$AGENT_FLEET_RUN" >>"$1/starts"
said=$1/$AGENT_FLEET_RUN
say() { printf '%s\n' "$1" | tee -a "$said.out"; }
file=$(printf '%s\n' "$prompt" | grep -o 'page-[0-9]*\.md' | head -n 1)
steps=$(printf '%s\n' "$prompt" | grep -o 'in [0-9]* steps' | head -n 1 | tr -dc 0-9)
step=0
while [ "$step" -lt "$steps" ]; do
    step=$((step + 1))
    say "$file: step $step of $steps"
    sleep 0.4
done
printf 'a warning about %s\n' "$file" | tee -a "$said.err" >&2
printf '# %s\nwritten by %s\n' "$file" "$AGENT_FLEET_RUN" >"$file"
case $prompt in
*'leave it uncommitted'*) ;;
*) git add -- "$file" && git commit --quiet -m "Write $file" || exit 1 ;;
esac
say "I wrote $file."
"""

_CHECK = """
for page in *.md; do
    head -n 1 "$page" | grep -q '^# ' || { echo "$page has no heading"; exit 1; }
done
echo "every page begins with a heading"
"""


@dataclass
class Stage:
    """Where everything of one fleet is; `build` makes it, `close` ends what is left of it."""

    directory: Path
    database: str = "sqlite"
    lease_ttl: str = "30s"
    slots: int = 3
    agent_slots: int = 2
    admin: str = field(default="", repr=False)
    agent_token: str = field(default="", repr=False)
    fleet_epoch: str = ""
    _port: int = 0
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def origin(self) -> Path:
        return self.directory / "origin.git"

    @property
    def config(self) -> Path:
        return self.directory / "fleet.toml"

    @property
    def witness(self) -> Path:
        return self.directory / "witness"

    @property
    def run_directories(self) -> tuple[Path, Path]:
        """Where the orchestrator's host and the agent keep their runs."""
        return self.directory / "state/host/runs", self.directory / "agent/runs"

    async def build(self) -> None:
        (self.directory / "home").mkdir()
        self.witness.mkdir()
        (self.directory / "cli.sh").write_text(_CLI)
        self._make_repository()
        self._port = _free_port()
        _keep(self.directory / "database.url", self.database)
        self.config.write_text(self._configuration())
        async with opened(load(self.config)) as fleet:
            self.admin = (await fleet.registry.issue(_token(TokenKind.ADMIN, "admin"))).secret
            agent = _token(TokenKind.AGENT, AGENT, slots=self.agent_slots)
            self.agent_token = (await fleet.registry.issue(agent)).secret
            self.fleet_epoch = (await fleet.ready("")).fleet_epoch
        _keep(self.directory / "agent.token", self.agent_token)

    def client(self) -> FleetClient:
        return FleetClient(self.url, self.admin)

    def start_orchestrator(self) -> subprocess.Popen[bytes]:
        return self._start("serve", "--config", str(self.config), log="orchestrator.log")

    async def orchestrator(self, client: FleetClient) -> subprocess.Popen[bytes]:
        """A new orchestrator that answers."""
        process = self.start_orchestrator()
        await self.until_ready(process, client)
        return process

    async def until_ready(self, process: subprocess.Popen[bytes], client: FleetClient) -> None:
        async def ready() -> bool:
            log = self.directory / "orchestrator.log"
            assert process.poll() is None, f"the orchestrator ended: {log.read_text()[-4000:]}"
            with contextlib.suppress(FleetError):
                await client.ready()
                return True
            return False

        await eventually_async(ready, _READY_S, "the orchestrator to be ready")

    def agent(self) -> subprocess.Popen[bytes]:
        """A new `fleet agent run`."""
        options = ("--root", str(self.directory / "agent"), "--slots", str(self.agent_slots))
        return self._start(
            *("agent", "run", "--config", str(self.config), *options),
            log="agent.log",
            FLEET_URL=self.url,
            FLEET_TOKEN_FILE=str(self.directory / "agent.token"),
        )

    def close(self) -> None:
        """End the processes, those of the runs too."""
        for process in self._processes:
            process.kill()
            process.wait()
        for pid in self.bearers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def starts(self) -> list[str]:
        """The mark of each start of an agent CLI, in their order."""
        file = self.witness / "starts"
        return file.read_text().splitlines() if file.exists() else []

    def mark(self, task: int, attempt: int) -> str:
        """What the processes of an attempt's run bear, and how its directory is named."""
        return f"{self.fleet_epoch}-{task}-{attempt}"

    def bearers(self, mark: str | None = None) -> list[int]:
        """The processes that bear this mark of a run, or any mark of this fleet."""
        named = f"{MARK}={mark}\0" if mark else f"{MARK}={self.fleet_epoch}-"
        found: list[int] = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if named.encode() in (process / "environ").read_bytes():
                    found.append(int(process.name))
        return found

    def expected_log(self, task: int, attempt: int) -> bytes:
        """The log of an attempt that came to its end, by what the CLI says that it wrote."""
        said = str(self.witness / self.mark(task, attempt))
        out, err = Path(f"{said}.out").read_text(), Path(f"{said}.err").read_text()
        checks = "".join(
            f"\n--- validation {number}: {command} ---\n{output}"
            for number, (command, output) in enumerate(
                zip(VALIDATION, CHECKED, strict=True), start=1
            )
        )
        return f"{out}\n--- stderr ---\n{err}{checks}".encode()

    def git(self, *args: str, at: Path | None = None) -> str:
        """Git as a person would use it, by default in the bare repository; its stdout."""
        people = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "A Person"), ("EMAIL", "person@example.org"))
        }
        done = subprocess.run(
            ["git", *args],
            cwd=at or self.origin,
            env=self._environment() | people,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def push(self, branch: str, *, text: str) -> str:
        """What an agent would deliver: a commit on top of `main`, pushed to `branch`; its id."""
        clone = self.directory / "clone"
        if not clone.exists():
            self.git("clone", "--quiet", str(self.origin), str(clone), at=self.directory)
        self.git("checkout", "--quiet", "--detach", "origin/main", at=clone)
        (clone / "answer.md").write_text(f"# Answer\n{text}\n{secrets.token_hex(4)}\n")
        self.git("add", "answer.md", at=clone)
        self.git("commit", "--quiet", "-m", text, at=clone)
        self.git("push", "--quiet", "origin", f"+HEAD:refs/heads/{branch}", at=clone)
        return self.git("rev-parse", "HEAD", at=clone)

    def heads(self) -> dict[str, str]:
        """The branches of the bare repository and their heads."""
        lines = self.git("for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads")
        return dict(line.rsplit(" ", 1) for line in lines.splitlines())

    def _start(self, *args: str, log: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.directory / log).open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "agent_fleet.cli", *args],
                cwd=self.directory,
                env=self._environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._processes.append(process)
        return process

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory / "home"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONPATH": str(_ROOT / "src"),
        }

    def _make_repository(self) -> None:
        seed = self.directory / "seed"
        self.git("init", "-q", "--bare", "-b", "main", str(self.origin), at=self.directory)
        self.git("clone", "-q", str(self.origin), str(seed), at=self.directory)
        (seed / "README.md").write_text("# Pages\n")
        (seed / "check.sh").write_text(_CHECK)
        self.git("add", ".", at=seed)
        self.git("commit", "-q", "-m", "begin", at=seed)
        self.git("push", "-q", "origin", "HEAD:refs/heads/main", at=seed)

    def _configuration(self) -> str:
        command = ["sh", str(self.directory / "cli.sh"), str(self.witness)]
        return f"""\
[server]
listen = "127.0.0.1:{self._port}"
database = {{ file = "database.url" }}

[lease]
ttl = "{self.lease_ttl}"

[defaults]
adapter = "raw"
backoff = "500ms"

[git]
poll = "500ms"

[repos."{REPO}"]
url = {json.dumps(str(self.origin))}
validation = {json.dumps(VALIDATION)}

[hosts.local]
slots = {self.slots}

[adapters.raw]
command = {json.dumps(command)}
prompt = "stdin"
graces = {{ interrupt_s = 0.2, terminate_s = 0.2, kill_s = 5 }}
"""


@asynccontextmanager
async def staged(
    directory: Path, *, database: str = "sqlite", lease_ttl: str = "30s"
) -> AsyncGenerator[Stage]:
    """A fleet of which nothing runs yet, and nothing any more afterwards."""
    stage = Stage(directory, database=database, lease_ttl=lease_ttl)
    await stage.build()
    try:
        yield stage
    finally:
        stage.close()


def page(number: int, *, steps: int = 4, commits: bool = True, **fields: object) -> Submission:
    """A task for the CLI: a page of its own, in steps of 0.4 s."""
    how = "" if commits else ", and leave it uncommitted"
    goal = f"Write the file page-{number}.md in {steps} steps{how}."
    return Submission(repo=REPO, title=f"Page {number}", goal=goal, **fields)  # type: ignore[arg-type]


async def all_events(client: FleetClient) -> list[Event]:
    """Everything that happened in the fleet so far."""
    events: list[Event] = []
    while found := (await client.event_page(after=events[-1].id if events else 0)).events:
        events += found
    return events


async def stop(process: subprocess.Popen[bytes], *, within_s: float = _STOP_S) -> int:
    """SIGTERM, and the exit code once the process has ended."""
    process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(
        eventually, lambda: process.poll() is not None, within_s, "the process to end"
    )
    return process.wait()


def _token(kind: TokenKind, name: str, *, slots: int = 1) -> TokenRequest:
    return TokenRequest(kind=kind, name=name, slots=slots)


def _keep(file: Path, secret: str) -> None:
    file.touch(mode=0o600)
    file.write_text(secret)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port

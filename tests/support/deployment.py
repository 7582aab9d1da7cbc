"""A fleet as one deploys it: the orchestrator and an http_pull agent, each a process of its own.

Both get a clean environment, so that what an agent CLI sees is what its adapter names.
"""

import asyncio
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent_fleet.client import FleetClient
from agent_fleet.config import load
from agent_fleet.core.errors import FleetError
from agent_fleet.core.messages import Ready, TokenRequest
from agent_fleet.core.registry import TokenKind
from agent_fleet.execution.run import MARK
from agent_fleet.server import opened
from tests.support.parts import ROOT
from tests.support.waiting import eventually

REPO = "local/demo"
AGENT = "builder"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_PEOPLE = ("-c", "user.name=A Person", "-c", "user.email=person@example.org")


@dataclass(frozen=True)
class Deployment:
    """A fleet that runs.

    `host_root` and `agent_root`: where each keeps workspaces and runs. `home`: of both.
    """

    url: str
    admin: str
    origin: Path
    home: Path
    host_root: Path
    agent_root: Path
    ready: Ready

    def client(self) -> FleetClient:
        """As the admin."""
        return FleetClient(self.url, self.admin)

    def git(self, *arguments: str) -> str:
        """What Git says in the bare repository behind `REPO`."""
        return _git(*arguments, at=self.origin)


@contextmanager
def deployed(
    directory: Path, config: str, *, environ: Mapping[str, str], agent_path: str, slots: int
) -> Generator[Deployment]:
    """A server by `config` with `REPO`, and an agent with the same adapters and that PATH.

    `config` has sections of its own besides [server], [repos] and [hosts.local]'s `root`.
    """
    origin, home = directory / "demo.git", directory / "home"
    home.mkdir(parents=True)
    _make_repository(directory, origin)
    file = directory / "fleet.toml"
    file.write_text(f'{config}\n[repos."{REPO}"]\nurl = "{origin}"\n')
    admin, agent = asyncio.run(_tokens(file, slots=slots))
    token = directory / "agent.token"
    token.touch(mode=0o600)
    token.write_text(agent)
    url = f"http://{load(file).server.listen}"
    clean = {
        "PATH": SYSTEM_PATH,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT / "src"),
        **environ,
    }
    agent_root = directory / "agent"
    worker = ("agent", "run", "--config", str(file), "--root", str(agent_root))
    with _process(directory / "server.log", "serve", "--config", str(file), environ=clean):
        ready = eventually(lambda: asyncio.run(_ready(url, admin)), 30, "a server that is ready")
        assert ready is not None
        with _process(
            directory / "agent.log",
            *worker,
            "--slots",
            str(slots),
            environ=clean | {"PATH": agent_path, "FLEET_URL": url, "FLEET_TOKEN_FILE": str(token)},
        ):
            eventually(lambda: asyncio.run(_has_met(url, admin)), 30, "a probe, and the agent")
            yield Deployment(
                url=url,
                admin=admin,
                origin=origin,
                home=home,
                host_root=directory / "state" / "host",
                agent_root=agent_root,
                ready=ready,
            )


@dataclass(frozen=True)
class Process:
    """A living process of this machine."""

    pid: int
    parent: int
    argv: tuple[str, ...]


def processes(*, mark: str, within: Path) -> list[Process]:
    """Who bears the run's mark, or sits below the directory `within` and bears no run's mark."""
    found: list[Process] = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environ = (directory / "environ").read_bytes().split(b"\0")
            sits = (directory / "cwd").readlink().is_relative_to(within)
            argv = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
            stat = (directory / "stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        marks = [entry for entry in environ if entry.startswith(f"{MARK}=".encode())]
        if stat[0] != "Z" and (f"{MARK}={mark}".encode() in marks or (sits and not marks)):
            found.append(Process(int(directory.name), int(stat[1]), tuple(argv[:-1])))
    return found


def environment(process: Process) -> dict[str, str]:
    """The variables with which it was started."""
    entries = Path(f"/proc/{process.pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


async def _tokens(file: Path, *, slots: int) -> tuple[str, str]:
    async with opened(load(file)) as fleet:
        admin = TokenRequest(kind=TokenKind.ADMIN, name="admin")
        agent = TokenRequest(kind=TokenKind.AGENT, name=AGENT, slots=slots)
        issue = fleet.registry.issue
        return (await issue(admin)).secret, (await issue(agent)).secret


async def _ready(url: str, token: str) -> Ready | None:
    async with FleetClient(url, token) as client:
        try:
            return await client.ready()
        except FleetError:
            return None


async def _has_met(url: str, token: str) -> bool:
    """Whether the server knows what its host has, and its agent."""
    async with FleetClient(url, token) as client:
        hosts, agents = (await client.hosts()).hosts, (await client.agents()).agents
    return all(one.host.probed_at for one in hosts) and all(one.agent.seen_at for one in agents)


@contextmanager
def _process(log: Path, *args: str, environ: Mapping[str, str]) -> Generator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent_fleet.cli", *args],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _make_repository(directory: Path, origin: Path) -> None:
    seed = directory / "seed"
    _git("init", "-q", "--bare", "-b", "main", str(origin), at=directory)
    _git("clone", "-q", str(origin), str(seed), at=directory)
    (seed / "README.md").write_text("# A demonstration\n")
    _git("add", "-A", at=seed)
    _git("commit", "-q", "-m", "begin", at=seed)
    _git("push", "-q", "origin", "HEAD:main", at=seed)


def _git(*arguments: str, at: Path) -> str:
    done = subprocess.run(
        ["git", *_PEOPLE, *arguments], cwd=at, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

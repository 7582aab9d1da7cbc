"""The stage: a folder with a repository, a configuration and tokens, and the processes on it."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from agent_fleet.client import FleetClient
from agent_fleet.config import load
from agent_fleet.core.errors import Conflict, FleetError
from agent_fleet.core.messages import TokenRequest
from agent_fleet.core.registry import TokenKind
from agent_fleet.demo.player import __file__ as player_script
from agent_fleet.server import opened

MARKER = ".agent-fleet-demo"
AGENT = "demo-agent"
REPO = "local/demo"
STOP_S = 10.0
READY_S = 30.0

_CHECK = """#!/bin/sh
# Every page begins with a heading.
for page in *.md; do
    head -n 1 "$page" | grep -q '^# ' || { echo "$page has no heading"; exit 1; }
done
"""


class Stage(msgspec.Struct, frozen=True):
    """Where everything is. `origin` is the bare repository that the fleet works on."""

    folder: Path
    origin: Path
    config: Path
    agent_token: Path
    url: str
    admin_token: str


async def build(folder: Path, *, adapter: str | None) -> Stage:
    """A new stage in `folder`, in the place of an old one; Conflict if it holds anything else."""
    await asyncio.to_thread(_clear, folder)
    origin = folder / "demo.git"
    await _make_repository(folder, origin)
    port = _free_port()
    config = folder / "fleet.toml"
    config.write_text(_config(port, origin, adapter=adapter), encoding="utf-8")
    async with opened(load(config)) as fleet:
        admin = await fleet.registry.issue(TokenRequest(kind=TokenKind.ADMIN, name="demo"))
        agent = await fleet.registry.issue(TokenRequest(kind=TokenKind.AGENT, name=AGENT, slots=2))
    agent_token = folder / "agent.token"
    agent_token.touch(mode=0o600)
    agent_token.write_text(agent.secret, encoding="utf-8")
    return Stage(
        folder=folder,
        origin=origin,
        config=config,
        agent_token=agent_token,
        url=f"http://127.0.0.1:{port}",
        admin_token=admin.secret,
    )


@asynccontextmanager
async def orchestrator(stage: Stage) -> AsyncGenerator[FleetClient, None]:
    """A running orchestrator, as a process of its own, and a client of it."""
    async with (
        _process(stage, "serve", "--config", str(stage.config), log="orchestrator.log") as process,
        FleetClient(stage.url, stage.admin_token) as client,
    ):
        await _until_ready(stage, process, client)
        yield client


@asynccontextmanager
async def agent(stage: Stage, number: int) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    """A running http_pull agent, as a process of its own."""
    root = stage.folder / "agent"
    command = ("agent", "run", "--config", str(stage.config), "--root", str(root), "--slots", "2")
    environment = {"FLEET_URL": stage.url, "FLEET_TOKEN_FILE": str(stage.agent_token)}
    log = f"agent-{number}.log"
    async with _process(stage, *command, log=log, environment=environment) as process:
        yield process


async def git(*args: str, cwd: Path) -> str:
    """What a git command prints; FleetError with its own words if it fails."""
    identity = ("-c", "user.name=Demo", "-c", "user.email=demo@localhost")
    process = await asyncio.create_subprocess_exec(
        "git",
        *identity,
        *args,
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise FleetError(f"git {args[0]} failed: {err.decode(errors='replace').strip()}")
    return out.decode(errors="replace").strip()


def _clear(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise Conflict(f"{folder} is not empty, and not of a former demo; name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()


async def _make_repository(folder: Path, origin: Path) -> None:
    await git("init", "--quiet", "--bare", "--initial-branch=main", str(origin), cwd=folder)
    seed = folder / "seed"
    await git("clone", "--quiet", str(origin), str(seed), cwd=folder)
    (seed / "README.md").write_text("# Demo\n\nPages written by agents.\n", encoding="utf-8")
    (seed / "check.sh").write_text(_CHECK, encoding="utf-8")
    await git("add", ".", cwd=seed)
    await git("commit", "--quiet", "-m", "Begin", cwd=seed)
    await git("push", "--quiet", "origin", "HEAD:main", cwd=seed)
    shutil.rmtree(seed)


def _config(port: int, origin: Path, *, adapter: str | None) -> str:
    # As a script: it needs nothing of the package, and starts at once.
    player = json.dumps([sys.executable, player_script])
    raw = f'[adapters.raw]\ncommand = {player}\nprompt = "stdin"\n' if adapter is None else ""
    return f"""\
[server]
listen = "127.0.0.1:{port}"

[lease]
ttl = "4s"

[defaults]
adapter = "{adapter or "raw"}"
backoff = "1s"

[git]
poll = "500ms"

[repos."{REPO}"]
url = {json.dumps(str(origin))}
validation = ["sh check.sh"]

[hosts.local]
slots = 2

{raw}"""


@asynccontextmanager
async def _process(
    stage: Stage, *args: str, log: str, environment: dict[str, str] | None = None
) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    with (stage.folder / log).open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agent_fleet.cli",
            *args,
            env={**os.environ, **(environment or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _until_ready(
    stage: Stage, process: asyncio.subprocess.Process, client: FleetClient
) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            if process.returncode is not None:
                raise FleetError(f"the orchestrator ended: see {stage.folder / 'orchestrator.log'}")
            with contextlib.suppress(FleetError):
                await client.ready()
                return
            await asyncio.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]

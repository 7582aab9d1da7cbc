"""An orchestrator to be measured: a process of its own, on SQLite, on the disk of its folder."""

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from agent_fleet.client import FleetClient
from agent_fleet.config import load
from agent_fleet.core.errors import FleetError
from agent_fleet.core.messages import TokenRequest
from agent_fleet.core.registry import TokenKind
from agent_fleet.server import opened

REPO = "local/bench"
READY_S = 30.0
STOP_S = 10.0


@asynccontextmanager
async def orchestrator(
    folder: Path, *, command: tuple[str, ...], slots: int
) -> AsyncGenerator[FleetClient, None]:
    """A client of a new orchestrator whose local host runs `command` as the agent CLI.

    `folder` is emptied first, and left for a look. All settings but these are the defaults.
    """
    await asyncio.to_thread(_empty, folder)
    origin = await _make_repository(folder)
    port = _free_port()
    file = folder / "fleet.toml"
    file.write_text(_config(port, origin, command=command, slots=slots), encoding="utf-8")
    async with opened(load(file)) as fleet:
        admin = await fleet.registry.issue(TokenRequest(kind=TokenKind.ADMIN, name="bench"))
    async with (
        _serving(file) as process,
        FleetClient(f"http://127.0.0.1:{port}", admin.secret) as client,
    ):
        await _until_ready(process, client, log=folder / "orchestrator.log")
        yield client


def _empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


async def _make_repository(folder: Path) -> Path:
    """A bare repository in `folder` with one commit on its branch `main`."""
    origin, seed = folder / "origin.git", folder / "seed"
    await _git("init", "--quiet", "--bare", "--initial-branch=main", str(origin), cwd=folder)
    await _git("init", "--quiet", str(seed), cwd=folder)
    (seed / "README.md").write_text("# Bench\n", encoding="utf-8")
    await _git("add", ".", cwd=seed)
    await _git("commit", "--quiet", "--message", "Begin", cwd=seed)
    await _git("push", "--quiet", str(origin), "HEAD:main", cwd=seed)
    shutil.rmtree(seed)
    return origin


async def _git(*args: str, cwd: Path) -> None:
    identity = ("-c", "user.name=Bench", "-c", "user.email=bench@localhost")
    process = await asyncio.create_subprocess_exec("git", *identity, *args, cwd=cwd)
    if await process.wait() != 0:
        raise FleetError(f"git {args[0]} failed")


def _config(port: int, origin: Path, *, command: tuple[str, ...], slots: int) -> str:
    return f"""\
[server]
listen = "127.0.0.1:{port}"

[defaults]
adapter = "raw"

[repos."{REPO}"]
url = {json.dumps(str(origin))}

[hosts.local]
slots = {slots}

[adapters.raw]
command = {json.dumps(command)}
prompt = "stdin"
"""


@asynccontextmanager
async def _serving(file: Path) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    with (file.parent / "orchestrator.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agent_fleet.cli",
            "serve",
            "--config",
            str(file),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
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
    process: asyncio.subprocess.Process, client: FleetClient, *, log: Path
) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            if process.returncode is not None:
                raise FleetError(f"the orchestrator ended: see {log}")
            with contextlib.suppress(FleetError):
                await client.ready()
                return
            await asyncio.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]

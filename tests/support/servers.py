"""The real API in this process: uvicorn on a loopback port, a real store, a real Git remote.

The server has no loops: nothing is dispatched to hosts and nothing expires by itself. Attempts are
those that agents dequeue; a test that wants news from the remote calls `fleet.watch` itself.
"""

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from msgspec.structs import replace

from agent_fleet.clock import SystemClock
from agent_fleet.core.messages import TokenRequest
from agent_fleet.core.model import Identity
from agent_fleet.core.registry import TokenKind
from agent_fleet.fleet import Fleet
from agent_fleet.fleet.rules import RepoRules, Rules
from agent_fleet.forges.git import GitForge
from agent_fleet.store.store import Store
from agent_fleet.web.app import create_app
from tests.support.stores import reopened

REPO = "local/demo"
_PEOPLE = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A Person"), ("EMAIL", "person@example.org"))
}


@dataclass
class RunningServer:
    """A server that answers at `url`. `admin` is an admin's secret; `token` makes others."""

    url: str
    admin: str
    fleet: Fleet
    store: Store
    directory: Path
    environ: dict[str, str] = field(repr=False)

    @property
    def remote(self) -> Path:
        """The bare repository behind `REPO`; its `main` has one commit."""
        return self.directory / "demo.git"

    async def token(self, kind: TokenKind, name: str = "somebody", **fields: Any) -> str:
        """The secret of a new token; for an agent, `fields` may give slots and so on."""
        issued = await self.fleet.registry.issue(TokenRequest(kind=kind, name=name, **fields))
        return issued.secret

    def git(self, *arguments: str, at: Path | None = None) -> str:
        """Git as a person would use it, by default in the work tree `work`; its stdout."""
        return _git(*arguments, at=at or self.directory / "work", environ=self.environ)

    def push(self, branch: str, name: str = "answer.txt", text: str = "42\n") -> str:
        """A commit on top of `main`, pushed to `branch`: what an agent would deliver; its id."""
        self.git("fetch", "-q", "origin")
        self.git("checkout", "-q", "--detach", "origin/main")
        (self.directory / "work" / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", f"write {name}")
        self.git("push", "-q", "origin", f"HEAD:refs/heads/{branch}")
        return self.git("rev-parse", "HEAD")


@asynccontextmanager
async def running_server(
    directory: Path, *, database: str | None = None, **rules: Any
) -> AsyncGenerator[RunningServer]:
    """A server with everything of its own below `directory`; `rules` replaces fields of Rules.

    `database` is the address of another database than its own SQLite file.
    """
    environ = _make_remote(directory)
    async with reopened(database or f"sqlite:///{directory / 'fleet.db'}") as store:
        fleet = await Fleet.open(
            store,
            rules=replace(_rules(directory), **rules),
            forges={"local": GitForge(directory / "mirrors", environ=environ)},
            clock=SystemClock(),
        )
        admin = (
            await fleet.registry.issue(TokenRequest(kind=TokenKind.ADMIN, name="admin"))
        ).secret
        async with _listening(fleet) as url:
            yield RunningServer(
                url=url, admin=admin, fleet=fleet, store=store, directory=directory, environ=environ
            )


@asynccontextmanager
async def _listening(fleet: Fleet) -> AsyncGenerator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        # From here on a connection is accepted, if only answered once the server has started.
        listener.listen(128)
        config = uvicorn.Config(create_app(fleet), log_config=None, access_log=False, lifespan="on")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            host, port = listener.getsockname()
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert b" 200 " in await reader.readline()
            await reader.read()
            writer.close()
            await writer.wait_closed()
            yield f"http://{host}:{port}"
        finally:
            fleet.wakeups.close()
            server.should_exit = True
            await serving


def _rules(directory: Path) -> Rules:
    repo = RepoRules(name=REPO, forge="local", url=str(directory / "demo.git"))
    return Rules(
        orchestrator="main",
        adapter="raw",
        adapters=frozenset({"raw"}),
        identity=Identity(name="Fleet", email="fleet@example.org"),
        repos={REPO: repo},
    )


def _make_remote(directory: Path) -> dict[str, str]:
    """A bare repository with a first commit and a work tree; the environment Git gets."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"}
    people = environ | _PEOPLE
    bare, work = directory / "demo.git", directory / "work"
    _git("init", "-q", "--bare", "-b", "main", str(bare), at=directory, environ=people)
    _git("clone", "-q", str(bare), str(work), at=directory, environ=people)
    _git("checkout", "-q", "-b", "main", at=work, environ=people)
    (work / "README.md").write_text("a demonstration\n")
    _git("add", "-A", at=work, environ=people)
    _git("commit", "-q", "-m", "begin", at=work, environ=people)
    _git("push", "-q", "origin", "main", at=work, environ=people)
    return people


def _git(*arguments: str, at: Path, environ: dict[str, str]) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=at, env=environ, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

"""What `fleet init` does: a configuration, a database, the first admin's token; each once."""

import asyncio
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from agent_fleet.config import Config, base_environment, load, template
from agent_fleet.config.client import ADMIN_TOKEN
from agent_fleet.config.values import RepoUrl, Values, Wrong
from agent_fleet.core.errors import InvalidInput
from agent_fleet.core.messages import TokenRequest
from agent_fleet.core.registry import TokenKind
from agent_fleet.server import opened

_FILE = "fleet.toml"
_ASK_S = 20.0


async def begin(folder: Path, *, repo: str | None) -> list[str]:
    """Make what is missing in the folder; returns what there is to say about it.

    Raises InvalidInput for a repository that cannot be meant, and for one that would have to be
    added to a configuration that is there: it is never rewritten.
    """
    file = folder / _FILE
    said: list[str] = []
    if repo is not None and file.exists():
        header, *lines = (await _section(folder, repo)).splitlines()
        raise InvalidInput(
            "--repo",
            f"{_FILE} is there already, and is never rewritten",
            remedy=f"write into it the section {header} with {' and '.join(lines)}",
        )
    if file.exists():
        said.append(f"{_FILE} is there already, and left as it is")
    else:
        section = "" if repo is None else "\n" + await _section(folder, repo)
        _write_new(file, template() + section, mode=0o644)
        said.append(f"{_FILE} is written: look it through")
    config = load(file)
    said += await _first_token(config)
    return [*said, *_steps(config)]


async def _first_token(config: Config) -> list[str]:
    state = config.server.state_dir
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = state / ADMIN_TOKEN
    if path.exists():
        return [f"{path} is there already, and left as it is"]
    async with opened(config) as fleet:
        issued = await fleet.registry.issue(TokenRequest(kind=TokenKind.ADMIN, name="admin"))
    _write_new(path, issued.secret + "\n", mode=0o600)
    return [f"{path} has the admin's token: keep it to yourself"]


def _steps(config: Config) -> Iterator[str]:
    name = next(iter(config.repos), None)
    yield "next:"
    if name is None:
        yield f'  add a [repos."local/NAME"] to {_FILE}'
    yield "  fleet doctor"
    yield "  fleet serve"
    yield f'  fleet task create "…" --repo {name or "local/NAME"}'


async def _section(folder: Path, repo: str) -> str:
    try:
        url = Values(folder=folder, environ={}).convert(RepoUrl, repo)
    except Wrong as wrong:
        raise InvalidInput("--repo", str(wrong), remedy=wrong.remedy) from None
    assert isinstance(url, str)
    last = re.split(r"[/:]", url.rstrip("/"))[-1].removesuffix(".git")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.") or "repo"
    base = await _default_branch(url)
    lines = [f'[repos."local/{name}"]', f"url = {json.dumps(url)}"]
    if base is None:
        lines.append('base = "main"                   # it could not be asked: is this right?')
    else:
        lines.append(f"base = {json.dumps(base)}")
    return "\n".join(lines) + "\n"


async def _default_branch(url: str) -> str | None:
    """The branch that the remote's HEAD names; None where it does not say, or not in time."""
    environ = base_environment() | {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=10",
    }
    try:
        process = await asyncio.create_subprocess_exec(
            "git",
            "ls-remote",
            "--symref",
            "--",
            url,
            "HEAD",
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(_ASK_S):
            told, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    found = re.match(rb"ref: refs/heads/([A-Za-z0-9._/-]{1,200})\tHEAD\n", told)
    return found[1].decode() if found else None


def _write_new(path: Path, text: str, *, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise InvalidInput(
            str(path), f"cannot be written: {error.strerror}", remedy="go to a directory of yours"
        ) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)

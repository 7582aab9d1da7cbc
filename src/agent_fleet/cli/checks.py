"""The checks of `fleet doctor`. One that cannot be made is a finding too, never an exception."""

import os
import re
import stat
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from agent_fleet.adapters import Adapter, merge
from agent_fleet.client import FleetClient
from agent_fleet.config import Config, base_environment, client_settings, load, refuse_exposed
from agent_fleet.config.client import ADMIN_TOKEN
from agent_fleet.core.errors import FleetError, InvalidInput
from agent_fleet.execution.local import LocalMachine
from agent_fleet.execution.machine import Machine
from agent_fleet.execution.probe import find_versions, probe
from agent_fleet.execution.run import detacher

LEAST_GIT = (2, 38)
DISK_FLOOR_BYTES = 1 << 30

State = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    check: str
    state: State
    text: str
    remedy: str = ""


async def examine(path: Path | None) -> list[Finding]:
    """All findings, in the order in which one thing needs the other."""
    file = path or Path(os.environ.get("FLEET_CONFIG") or "fleet.toml")
    config: Config | None = None
    findings: list[Finding] = []
    if path is not None or "FLEET_CONFIG" in os.environ or file.exists():
        try:
            config = load(file)
            refuse_exposed(config)
            findings.append(Finding("configuration", "ok", str(config.file)))
        except FleetError as error:
            findings.append(_failed("configuration", error))
    else:
        findings.append(
            Finding("configuration", "ok", "no fleet.toml here: looking at what a worker needs")
        )
    findings += [one async for one in _machine(config)]
    if config is not None:
        findings += [one async for one in _server_side(config)]
    findings.append(await _server())
    return findings


async def _machine(config: Config | None) -> AsyncGenerator[Finding]:
    local = config.local if config else None
    path = [str(one) for one in local.path] if local else []
    machine = LocalMachine(environment=base_environment(path=path))
    yield await _git(machine)
    try:
        yield Finding("detaching", "ok", f"runs are detached by {await detacher(machine)}")
    except FleetError as error:
        yield _failed("detaching", error, remedy="install util-linux (setsid), perl or bash")
    root = local.root if local else Path.cwd()
    while not root.exists():
        root = root.parent
    try:
        seen = await probe(machine, root=str(root))
        state: State = "ok" if seen.disk_free_bytes >= DISK_FLOOR_BYTES else "fail"
        free = f"{seen.disk_free_bytes / 2**30:.1f} GiB are free at {root}"
        yield Finding("disk", state, free, "" if state == "ok" else "1 GiB is the least: free some")
    except FleetError as error:
        yield _failed("disk", error)
    adapters = config.adapters if config else merge({})
    async for finding in _adapters(machine, adapters, wanted=_wanted(config)):
        yield finding


async def _git(machine: Machine) -> Finding:
    need = ".".join(map(str, LEAST_GIT))
    try:
        done = await machine.run(("git", "--version"), timeout_s=10)
    except FleetError as error:
        return _failed("git", error)
    said = done.stdout.decode(errors="replace").strip()
    found = re.search(r"(\d+)\.(\d+)", said)
    if done.exit_code != 0 or found is None:
        return Finding("git", "fail", "is not found", f"install Git {need} or later")
    if (int(found[1]), int(found[2])) < LEAST_GIT:
        return Finding("git", "fail", said, f"install Git {need} or later")
    return Finding("git", "ok", said)


async def _adapters(
    machine: Machine, adapters: Mapping[str, Adapter], *, wanted: frozenset[str]
) -> AsyncGenerator[Finding]:
    commands = {name: adapter.version for name, adapter in adapters.items()}
    found = await find_versions(machine, commands)
    for name in sorted(adapters):
        if name in found:
            yield Finding(f"adapter {name}", "ok", found[name] or "there; it tells no version")
        elif name in wanted:
            remedy = f"install {adapters[name].command[0]}, or name another adapter in [defaults]"
            yield Finding(f"adapter {name}", "fail", "tasks use it, and it is not found", remedy)
        else:
            yield Finding(f"adapter {name}", "ok", "not installed, and nothing uses it by default")


def _wanted(config: Config | None) -> frozenset[str]:
    """The adapters that tasks get without naming one, where this machine runs tasks."""
    if config is None or config.local is None:
        return frozenset()
    named = {repo.adapter for repo in config.repos.values() if repo.adapter}
    return frozenset({config.defaults.adapter, *named})


async def _server_side(config: Config) -> AsyncGenerator[Finding]:
    state = config.server.state_dir
    yield _mode("state directory", state, most=0o700)
    yield _mode("admin's token", state / ADMIN_TOKEN, most=0o600)
    yield await _database(config)
    if config.local is not None:
        yield Finding(
            "users",
            "warn",
            "agents on hosts.local run as the orchestrator's own user, and can read its files",
            "run agents elsewhere, or as another user by fleet agent run, where that matters",
        )
    if not config.repos:
        yield Finding(
            "repositories", "warn", "none is configured", 'add [repos."local/NAME"] to fleet.toml'
        )
    else:
        yield Finding(
            "repositories",
            "ok",
            f"{', '.join(config.repos)}; plain Git cannot say whether a base branch is protected",
        )


def _mode(check: str, path: Path, *, most: int) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return Finding(check, "warn", f"{path}: {error.strerror}", "fleet init makes it")
    if mode & ~most:
        return Finding(
            check, "fail", f"{path} is open to other users ({mode:o})", f"chmod {most:o} {path}"
        )
    return Finding(check, "ok", f"{path} ({mode:o})")


async def _database(config: Config) -> Finding:
    try:
        from agent_fleet.store.store import Store
    except ModuleNotFoundError as error:
        return Finding(
            "database",
            "fail",
            f"the server's libraries are not installed ({error.name})",
            'pip install "agent-fleet[server]"',
        )
    from agent_fleet.clock import SystemClock

    kind = config.database_url.partition(":")[0]
    if config.server.database == "sqlite" and not (config.server.state_dir / "fleet.db").exists():
        return Finding("database", "warn", "there is none yet", "fleet init makes it")
    try:
        store = await Store.open(config.database_url, clock=SystemClock())
    except FleetError as error:
        return _failed("database", error)
    await store.close()
    return Finding("database", "ok", f"{kind} answers, its schema is up to date")


async def _server() -> Finding:
    try:
        settings = client_settings()
        async with FleetClient(settings.url, settings.token) as client:
            ready = await client.ready()
            await client.list_tasks(limit=1)
    except InvalidInput as error:
        return _failed("server", error, state="warn")
    except FleetError as error:
        return _failed("server", error, remedy="start it: fleet serve", state="warn")
    return Finding(
        "server", "ok", f"{settings.url} answers, version {ready.version}, and knows the token"
    )


def _failed(check: str, error: FleetError, *, remedy: str = "", state: State = "fail") -> Finding:
    text = error.message
    if isinstance(error, InvalidInput):
        text, remedy = text.removesuffix(f"; {error.remedy}"), error.remedy
    return Finding(check, state, text, remedy)

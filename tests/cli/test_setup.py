import asyncio
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent_fleet.cli.exits import MEANINGS, Exit
from agent_fleet.client import FleetClient
from agent_fleet.core.errors import FleetError
from tests.cli.command import ROOT, clean_environ, fleet
from tests.support.waiting import eventually_async


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@asynccontextmanager
async def serving(directory: Path) -> AsyncGenerator[FleetClient]:
    """`fleet serve` as a process, with the fleet.toml in the directory, on a port of its own."""
    port = free_port()
    file = directory / "fleet.toml"
    file.write_text(file.read_text().replace("127.0.0.1:8620", f"127.0.0.1:{port}"))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent_fleet.cli", "serve"),
        cwd=directory,
        env=clean_environ(directory),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        token = (directory / "state" / "admin.token").read_text().strip()
        async with FleetClient(f"http://127.0.0.1:{port}", token) as client:

            async def is_ready() -> bool:
                try:
                    await client.ready()
                except FleetError:
                    return False
                return True

            await eventually_async(is_ready, 30, "the server")
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_init_makes_what_a_server_needs_and_serve_serves_it(tmp_path: Path) -> None:
    subprocess.run(
        ["git", "init", "-q", "--bare", "-b", "trunk", "api.git"], cwd=tmp_path, check=True
    )

    begun = await fleet("init", "--repo", "api.git", at=tmp_path)
    again = await fleet("init", at=tmp_path)
    async with serving(tmp_path):
        listed = await fleet("task", "list", at=tmp_path)
        hosts = await fleet("host", "list", "--json", at=tmp_path)

    assert begun.code == 0, begun.err
    assert again.code == 0
    assert "left as it is" in again.out
    assert mode(tmp_path / "state") == 0o700
    assert mode(tmp_path / "state" / "admin.token") == 0o600
    assert '[repos."local/api"]' in (tmp_path / "fleet.toml").read_text()
    assert listed.code == 0, listed.err
    assert [host["host"]["name"] for host in hosts.json()["hosts"]] == ["local"]  # type: ignore[index, union-attr]


async def test_init_rewrites_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("[server]\n")

    ended = await fleet("init", "--repo", "api.git", at=tmp_path)

    assert ended.code == 2
    assert "--repo" in ended.err
    assert (tmp_path / "fleet.toml").read_text() == "[server]\n"


async def test_a_repository_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    ended = await fleet("init", "--repo", "ext::sh -c true", at=tmp_path)

    assert ended.code == 2
    assert "--repo" in ended.err
    assert not (tmp_path / "fleet.toml").exists()


async def test_tokens_are_made_listed_and_revoked(tmp_path: Path) -> None:
    await fleet("init", at=tmp_path)
    async with serving(tmp_path):
        printed = await fleet("token", "create", "ci", "--kind", "requester", at=tmp_path)
        command = ("token", "create", "bot", "--kind", "agent", "--output", "bot.token")
        written = await fleet(*command, at=tmp_path)
        again = await fleet(*command, at=tmp_path)
        taken = await fleet(*command[:-1], "other.token", at=tmp_path)
        agents = await fleet("agent", "list", at=tmp_path)
        secret = printed.out.strip()
        prefix = secret[: secret.rindex("_") + 7]
        revoked = await fleet("token", "revoke", prefix, at=tmp_path)
        listed = await fleet("token", "list", at=tmp_path)
        refused = await fleet("task", "list", at=tmp_path, environ={"FLEET_TOKEN": secret})

    assert re.fullmatch(r"aflt_requester_\w{36}\n", printed.out)
    assert written.code == 0, written.err
    assert mode(tmp_path / "bot.token") == 0o600
    assert (again.code, "--output" in again.err) == (2, True)
    assert taken.code == 4
    assert not (tmp_path / "other.token").exists()
    assert "bot" in agents.out
    assert revoked.code == 0, revoked.err
    assert "revoked" in listed.out
    assert secret not in listed.out
    assert refused.code == 5
    assert secret not in refused.err


async def test_a_backup_goes_into_an_empty_database_only(tmp_path: Path) -> None:
    await fleet("init", at=tmp_path)

    saved = await fleet("backup", "saved.jsonl", at=tmp_path)
    refused = await fleet("restore", "saved.jsonl", at=tmp_path)
    (tmp_path / "state" / "fleet.db").unlink()
    restored = await fleet("restore", "saved.jsonl", "--json", at=tmp_path)
    absent = await fleet("restore", "nothing.jsonl", at=tmp_path)

    assert saved.code == 0, saved.err
    assert refused.code == 4
    assert restored.code == 0, restored.err
    assert str(restored.json()["sha256"]) in saved.out
    assert absent.code == 2


async def test_doctor_finds_what_is_wrong_and_says_what_to_do(tmp_path: Path) -> None:
    await fleet("init", at=tmp_path)
    (tmp_path / "state" / "admin.token").chmod(0o644)

    ended = await fleet("doctor", "--json", at=tmp_path)
    shown = await fleet("doctor", at=tmp_path)

    findings = {one["check"]: one for one in ended.json()["findings"]}  # type: ignore[attr-defined]
    assert ended.code == shown.code == 1
    assert findings["git"]["state"] == "ok"
    assert findings["database"]["state"] == "ok"
    assert findings["admin's token"]["state"] == "fail"
    assert findings["admin's token"]["remedy"].startswith("chmod 600")
    assert findings["server"]["state"] == "warn"


async def test_an_exposed_server_is_not_started(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text('[server]\nlisten = "0.0.0.0:8620"\n')

    ended = await fleet("serve", at=tmp_path)

    assert ended.code == 2
    assert "server.listen" in ended.err
    assert not (tmp_path / "state").exists()


async def test_all_errors_of_a_configuration_are_told(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text('[server]\nlisten = 1\n[lease]\nttl = "never"\n')

    ended = await fleet("serve", at=tmp_path)

    assert ended.code == 2
    assert "server.listen" in ended.err
    assert "lease.ttl" in ended.err


async def test_a_worker_needs_a_token_of_kind_agent(tmp_path: Path) -> None:
    await fleet("init", at=tmp_path)
    async with serving(tmp_path):
        ended = await fleet("agent", "run", "--root", str(tmp_path / "work"), at=tmp_path)

    assert ended.code == 5
    assert "takes one of: agent" in ended.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("agent", "run", "--slots", "0"), "--slots"),
        (("agent", "run", "--adapter", "none"), "--adapter"),
        (("token", "create", "x"), "--kind"),
        (("token", "create", "X Y", "--kind", "agent"), "NAME"),
        (("token", "create", "x", "--kind", "root"), "--kind"),
        (("token", "create", "x", "--kind", "agent", "--slots", "0"), "--slots"),
        (("token", "create", "x", "--kind", "admin", "--expires", "1s"), "--expires"),
        (("token", "revoke", "../tasks"), "PREFIX"),
        (("serve", "--config", "nowhere.toml"), "nowhere.toml"),
        (("task", "list", "--limit", "0"), "--limit"),
        (("task", "list", "--status", "lost"), "--status"),
    ],
)
async def test_a_wrong_flag_is_named(
    tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    environ = {"FLEET_URL": "http://127.0.0.1:9", "FLEET_TOKEN": "t"}

    ended = await fleet(*arguments, at=tmp_path, environ=environ)

    assert ended.code == 2, ended.err
    assert named in ended.err.splitlines()[0]


async def test_help_has_the_exit_codes_and_every_command_an_own_help(tmp_path: Path) -> None:
    top = await fleet("--help", at=tmp_path)
    version = await fleet("--version", at=tmp_path)

    assert top.code == version.code == 0
    assert version.out.startswith("fleet ")
    for code in Exit:
        assert re.search(rf"^ +{int(code)}  ", top.out, re.MULTILINE)
    assert set(MEANINGS) == set(Exit)


def test_what_a_worker_and_a_client_run_needs_nothing_of_the_server(tmp_path: Path) -> None:
    blocked = [
        "aiosqlite",
        "alembic",
        "asyncpg",
        "cryptography",
        "litestar",
        "rfc8785",
        "sqlalchemy",
        "uvicorn",
    ]
    program = f"""
import sys
for name in {blocked!r}:
    sys.modules[name] = None
from agent_fleet.cli.app import app
import agent_fleet.agent, agent_fleet.client
from agent_fleet.cli.app import app
from agent_fleet.cli.exits import guarded
sys.exit(guarded(app, ["serve"]))
"""
    (tmp_path / "fleet.toml").write_text("[server]\n")

    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**clean_environ(tmp_path), "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert 'pip install "agent-fleet[server]"' in ended.stderr

"""A server that cannot start as a whole does not start at all: it says why, and what to do."""

import fcntl
import socket
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent_fleet.config import load
from agent_fleet.server import make_state_dir, opened
from tests.cli.command import Ended, fleet

NOBODY = 1
"""A port on which nothing listens."""


async def test_all_errors_of_a_configuration_are_told_and_nothing_is_made(tmp_path: Path) -> None:
    ended = await serve(
        tmp_path,
        """
        [server]
        state_dir = "state"
        [lease]
        ttl = "1s"
        [defaults]
        adapter = "nope"
        [forges.home]
        kind = "git"
        credentials = { username = "u", token = { file = "secret" } }
        [repos."nowhere/x"]
        url = "/x"
        [hosts.local]
        slots = -1
        """,
    )

    assert ended.code == 2
    for path in (
        "lease.ttl",
        "defaults.adapter",
        "forges.home.credentials.token",
        'repos."nowhere/x"',
        "hosts.local.slots",
    ):
        assert f"{path}: " in ended.err
    assert [file.name for file in tmp_path.iterdir()] == ["fleet.toml"]


async def test_a_secret_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password")
    (tmp_path / "secret").chmod(0o644)

    ended = await serve(
        tmp_path,
        '[forges.home]\nkind = "git"\n'
        'credentials = { username = "u", token = { file = "secret" } }\n',
    )

    assert ended.code == 2
    assert "chmod 600" in ended.err
    assert "password" not in ended.err
    assert not (tmp_path / "state").exists()


async def test_without_a_configuration_there_is_a_remedy(tmp_path: Path) -> None:
    ended = await fleet("serve", at=tmp_path)

    assert ended.code == 2
    assert "remedy: make one with fleet init" in ended.err


@pytest.mark.parametrize(
    "database", [f"postgresql://x@127.0.0.1:{NOBODY}/none", "postgresql://x@nowhere.invalid/none"]
)
async def test_a_database_that_does_not_answer_is_told(tmp_path: Path, database: str) -> None:
    ended = await serve(tmp_path, f'[server]\ndatabase = "{database}"\n')

    assert ended.code == 6
    assert_told(ended, "the database does not answer")


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, only a long enough text " * 10)

    ended = await serve(tmp_path, '[server]\ndatabase = "sqlite:///notes.txt"\n')

    assert ended.code == 2
    assert_told(ended, "server.database: ")
    assert (tmp_path / "notes.txt").read_text().startswith("not a database")


async def test_a_database_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("")
    async with opened(load(tmp_path / "fleet.toml")):
        pass
    database = sqlite3.connect(tmp_path / "state/fleet.db")
    database.execute("UPDATE alembic_version SET version_num = 'v9999'")
    database.commit()
    database.close()

    ended = await serve(tmp_path, "")

    assert ended.code == 4
    assert_told(ended, "run the version that wrote it, or a newer one")


async def test_a_port_in_use_is_told_before_anything_begins(tmp_path: Path) -> None:
    with listener() as port:
        ended = await serve(tmp_path, f'[server]\nlisten = "127.0.0.1:{port}"\n')

    assert ended.code == 2
    assert_told(ended, f"server.listen: cannot listen on 127.0.0.1:{port}")
    assert not (tmp_path / "state").exists()


async def test_an_address_that_is_not_of_this_machine_is_told(tmp_path: Path) -> None:
    ended = await serve(tmp_path, '[server]\nlisten = "192.0.2.1:8620"\ntrusted_proxy = true\n')

    assert ended.code == 2
    assert_told(ended, "server.listen: cannot listen on 192.0.2.1:8620")


async def test_an_address_that_others_reach_needs_tls_or_a_proxy(tmp_path: Path) -> None:
    ended = await serve(tmp_path, '[server]\nlisten = "0.0.0.0:8620"\n')

    assert ended.code == 2
    assert_told(ended, "server.listen: ")
    assert not (tmp_path / "state").exists()


async def test_a_certificate_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "pem").write_text("nonsense")

    ended = await serve(tmp_path, '[server]\ntls_cert = "pem"\ntls_key = "pem"\n')

    assert ended.code == 2
    assert_told(ended, "server.tls_cert: ")
    assert not (tmp_path / "state").exists()


async def test_a_state_directory_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    for name in ("file", "file/below", "/proc/nowhere"):
        ended = await serve(tmp_path, f'[server]\nstate_dir = "{name}"\n')

        assert ended.code == 2
        assert_told(ended, "server.state_dir: ")


async def test_a_state_directory_that_is_missing_is_made_for_its_owner_alone(
    tmp_path: Path,
) -> None:
    (tmp_path / "fleet.toml").write_text('[server]\nstate_dir = "a/b"\n')

    async with opened(load(tmp_path / "fleet.toml")):
        pass

    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700


async def test_a_second_server_in_the_same_state_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("")
    make_state_dir(load(tmp_path / "fleet.toml"))
    with holding(tmp_path / "state" / "lock"):
        ended = await serve(tmp_path, "")

    assert ended.code == 2
    assert_told(ended, "another orchestrator is running with")


async def serve(directory: Path, config: str) -> Ended:
    """`fleet serve` with this configuration, which must end by itself."""
    text = "\n".join(line.strip() for line in config.splitlines()) + "\n"
    if "listen" not in text:
        with listener() as port:
            pass
        server = f'[server]\nlisten = "127.0.0.1:{port}"\n'
        text = server + text.replace("[server]\n", "")
    (directory / "fleet.toml").write_text(text)
    return await fleet("serve", at=directory)


def assert_told(ended: Ended, what: str) -> None:
    """One error and its remedy, and nothing of the program's inside."""
    assert what in ended.err, ended.err
    assert "\nremedy: " in ended.err
    assert "Traceback" not in ended.err + ended.out


@contextmanager
def listener() -> Generator[int]:
    """A port of this machine that is taken while this lasts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        yield port


@contextmanager
def holding(lock: Path) -> Generator[None]:
    """The lock, as another orchestrator holds it."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

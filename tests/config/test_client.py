"""Where a command finds its server and its token."""

from pathlib import Path

import pytest

from agent_fleet.config import client_settings
from agent_fleet.core.errors import InvalidInput
from tests.config.files import write, write_secret

TOKEN = "aflt_admin_x"


def test_the_environment_says_both(tmp_path: Path) -> None:
    environ = {"FLEET_URL": "https://fleet.example.org/", "FLEET_TOKEN": TOKEN}

    found = client_settings(environ=environ, folder=tmp_path)

    assert (found.url, found.token) == ("https://fleet.example.org", TOKEN)
    assert TOKEN not in repr(found)


def test_a_token_file_is_read(tmp_path: Path) -> None:
    write_secret(tmp_path / "token", f"{TOKEN}\n")

    found = client_settings(
        environ={"FLEET_URL": "http://127.0.0.1:1", "FLEET_TOKEN_FILE": "token"}, folder=tmp_path
    )

    assert found.token == TOKEN


def test_a_token_file_open_to_others_is_refused(tmp_path: Path) -> None:
    write_secret(tmp_path / "token", TOKEN, mode=0o644)

    with pytest.raises(InvalidInput, match=r"FLEET_TOKEN_FILE: .*open to other users; run chmod"):
        client_settings(
            environ={"FLEET_URL": "http://127.0.0.1:1", "FLEET_TOKEN_FILE": "token"},
            folder=tmp_path,
        )


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("", "http://127.0.0.1:8620"),
        ('listen = "0.0.0.0:99"', "http://127.0.0.1:99"),
        ('listen = "[::]:99"', "http://[::1]:99"),
        ('listen = "[::1]:99"\ntls_cert = "c.pem"', "https://[::1]:99"),
    ],
)
def test_the_file_of_a_server_here_says_both(tmp_path: Path, server: str, url: str) -> None:
    write(tmp_path, f'[server]\n{server}\nstate_dir = "s"\ndatabase = {{ env = "NOT_OURS" }}\n')
    (tmp_path / "s").mkdir()
    write_secret(tmp_path / "s" / "admin.token", TOKEN)

    found = client_settings(environ={}, folder=tmp_path)

    assert (found.url, found.token) == (url, TOKEN)


def test_a_file_elsewhere_is_named_by_a_variable(tmp_path: Path) -> None:
    (tmp_path / "there" / "state").mkdir(parents=True)
    file = write(tmp_path / "there", "")
    write_secret(tmp_path / "there" / "state" / "admin.token", TOKEN)

    found = client_settings(environ={"FLEET_CONFIG": str(file)}, folder=tmp_path)

    assert found.token == TOKEN


def test_the_token_of_this_server_is_not_sent_to_another(tmp_path: Path) -> None:
    write(tmp_path, "")
    (tmp_path / "state").mkdir()
    write_secret(tmp_path / "state" / "admin.token", TOKEN)

    with pytest.raises(InvalidInput, match="FLEET_TOKEN: not set; set it"):
        client_settings(environ={"FLEET_URL": "https://elsewhere.example.org"}, folder=tmp_path)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, r"FLEET_URL: not set, and there is no fleet\.toml here; set FLEET_URL and"),
        ({"FLEET_CONFIG": "none.toml"}, r"none\.toml: cannot be read"),
        ({"FLEET_URL": "fleet", "FLEET_TOKEN": TOKEN}, "FLEET_URL: not a server's address"),
        ({"FLEET_URL": "http://u:p@h", "FLEET_TOKEN": TOKEN}, "FLEET_URL: not a server's"),
        ({"FLEET_TOKEN_FILE": "none"}, "FLEET_TOKEN_FILE: .*No such file"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, environ: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        client_settings(environ=environ, folder=tmp_path)


def test_a_wrong_section_is_named(tmp_path: Path) -> None:
    write(tmp_path, "[server]\nlisten = 1\n")

    with pytest.raises(InvalidInput, match=r"server\.listen: 1 is not an address"):
        client_settings(environ={}, folder=tmp_path)

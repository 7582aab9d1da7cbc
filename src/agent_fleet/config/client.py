"""Which server a command talks to, and with which token: never from the command line.

The environment comes first. Without it, the `fleet.toml` of a server on this machine says where
it listens, and its state directory has the token that `fleet init` wrote.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from agent_fleet.config.load import read_toml
from agent_fleet.config.settings import ServerSettings
from agent_fleet.config.tables import Problems, Tables
from agent_fleet.config.values import Secret, Values, Wrong, read_secret
from agent_fleet.core.errors import InvalidInput

ADMIN_TOKEN = "admin.token"  # noqa: S105 - a file's name
_FILE = "fleet.toml"
_FOR_CLIENTS = ("listen", "state_dir", "tls_cert")
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - what is listened on, not where


class ClientSettings(msgspec.Struct, frozen=True):
    """The server's address without a path, and the token, which does not show itself."""

    url: str
    token: Secret


def client_settings(
    *, environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> ClientSettings:
    """Read FLEET_URL with FLEET_TOKEN or FLEET_TOKEN_FILE, or else the file that FLEET_CONFIG
    names, or `fleet.toml` in `folder` (by default the current one).

    The token beside the file is given only to the server that the file describes. Raises
    InvalidInput, with the variable or file as its path.
    """
    environ = os.environ if environ is None else environ
    folder = folder or Path.cwd()
    url, token = environ.get("FLEET_URL"), _token(environ, folder)
    if url:
        _check_url(url)
        if token is None:
            raise InvalidInput(
                "FLEET_TOKEN", "not set", remedy="set it, or FLEET_TOKEN_FILE, beside FLEET_URL"
            )
        return ClientSettings(url=url.rstrip("/"), token=token)
    server = _server(environ, folder)
    return ClientSettings(
        url=_url(server),
        token=token or _read("server.state_dir", server.state_dir / ADMIN_TOKEN),
    )


def _token(environ: Mapping[str, str], folder: Path) -> Secret | None:
    if environ.get("FLEET_TOKEN"):
        return Secret(environ["FLEET_TOKEN"].strip())
    if environ.get("FLEET_TOKEN_FILE"):
        return _read("FLEET_TOKEN_FILE", folder / environ["FLEET_TOKEN_FILE"])
    return None


def _read(name: str, path: Path) -> Secret:
    try:
        return Secret(read_secret(path))
    except Wrong as wrong:
        raise InvalidInput(name, str(wrong), remedy=wrong.remedy) from None


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise InvalidInput(
            "FLEET_URL", "not a server's address", remedy="write http://127.0.0.1:8620"
        )


def _server(environ: Mapping[str, str], folder: Path) -> ServerSettings:
    """Only what a client needs of the file: the server's secrets are not its own."""
    file = (folder / environ.get("FLEET_CONFIG", _FILE)).absolute()
    if "FLEET_CONFIG" not in environ and not file.exists():
        raise InvalidInput(
            "FLEET_URL",
            f"not set, and there is no {_FILE} here",
            remedy="set FLEET_URL and FLEET_TOKEN, or FLEET_CONFIG, or run fleet init",
        )
    problems = Problems()
    tables = Tables(Values(folder=file.parent, environ=environ), problems)
    section = tables.entries(read_toml(file).get("server", {}), path="server") or {}
    mine = {name: section[name] for name in _FOR_CLIENTS if name in section}
    server = tables.read(ServerSettings, mine, path="server")
    problems.raise_any()
    assert server is not None
    return msgspec.structs.replace(server, state_dir=file.parent / server.state_dir)


def _url(server: ServerSettings) -> str:
    scheme = "https" if server.tls_cert else "http"
    host = server.listen.rpartition(":")[0]
    return f"{scheme}://{_ANYWHERE.get(server.listen.host, host)}:{server.listen.port}"

"""From `fleet.toml` to a `Config`: all of it, or an error."""

import os
import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TypeVar, cast

import msgspec
from msgspec.structs import replace

from agent_fleet.adapters import Adapter
from agent_fleet.adapters import merge as merge_adapters
from agent_fleet.config.settings import (
    Config,
    Defaults,
    ForgeSettings,
    GitSettings,
    LeaseSettings,
    LocalHost,
    RepoSettings,
    ServerSettings,
)
from agent_fleet.config.tables import Problems, Table, Tables, quoted
from agent_fleet.config.values import Values
from agent_fleet.core.errors import InvalidInput

T = TypeVar("T", bound=msgspec.Struct)

_FILE_BYTES = 1024 * 1024
_SECTIONS = ("server", "lease", "defaults", "git", "forges", "repos", "hosts", "adapters")
_LATER_FORGES = ("forgejo", "gitea", "github", "gitlab")
_FORGE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_REPO_NAME = re.compile(r"([a-z0-9][a-z0-9-]{0,39})/[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")


def load(path: Path, *, environ: Mapping[str, str] | None = None) -> Config:
    """Read the file at `path` and what it refers to.

    Raises InvalidInput: the first error, with all others as its notes.
    """
    file = path.absolute()
    table = read_toml(file)
    problems = Problems()
    values = Values(folder=file.parent, environ=os.environ if environ is None else environ)
    reader = _Reader(table, Tables(values, problems), problems)
    config = reader.read(file)
    problems.raise_any()
    assert config is not None
    return config


def read_toml(file: Path) -> Table:
    """The file's tables as they stand. Raises InvalidInput where it is not there or not TOML."""
    try:
        with file.open("rb") as content:
            text = content.read(_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidInput(
            str(file), f"cannot be read: {error.strerror}", remedy="make one with fleet init"
        ) from None
    if len(text) > _FILE_BYTES:
        raise InvalidInput(str(file), "is larger than 1 MiB", remedy="is it the right file?")
    try:
        return tomllib.loads(text.decode())
    except UnicodeDecodeError as error:
        raise InvalidInput(
            str(file), f"byte {error.start} is not UTF-8", remedy="save it as UTF-8"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(
            str(file), f"is not TOML: {error}", remedy="correct the line that is named"
        ) from None


def refuse_exposed(config: Config) -> None:
    """Raise InvalidInput where tokens would cross a network in the clear."""
    server = config.server
    if server.listen.is_loopback or server.tls_cert or server.trusted_proxy:
        return
    raise InvalidInput(
        "server.listen",
        f"{server.listen} can be reached from other machines, without TLS",
        remedy="set tls_cert and tls_key, or trusted_proxy where a proxy in front does TLS, "
        "or listen on 127.0.0.1",
    )


def template() -> str:
    """The commented file that `fleet init` writes. It loads as it stands."""
    return files("agent_fleet.config").joinpath("fleet.toml").read_text("utf-8")


class _Reader:
    """Reads the sections of one file, and what must hold between them."""

    def __init__(self, table: Table, tables: Tables, problems: Problems) -> None:
        self._table = table
        self._tables = tables
        self._problems = problems

    def read(self, file: Path) -> Config | None:
        """None if there are problems."""
        self._tables.refuse_unknown(self._table, _SECTIONS, path="")
        server = self._server(file.parent)
        lease = self._section("lease", LeaseSettings)
        defaults = self._section("defaults", Defaults)
        git = self._section("git", GitSettings)
        forges = self._forges()
        repos = self._repos(forges)
        adapters = self._adapters()
        local = self._local(server)
        self._check_adapter("defaults", defaults.adapter if defaults else None, adapters)
        for name, repo in repos.items():
            self._check_adapter(f'repos."{name}"', repo.adapter, adapters)
        if self._problems.found or not (server and lease and defaults and git):
            return None
        return Config(
            file=file,
            server=server,
            lease=lease,
            defaults=defaults,
            git=git,
            forges=forges,
            repos=repos,
            local=local,
            adapters=adapters,
        )

    def _section(self, name: str, kind: type[T]) -> T | None:
        return self._tables.read(kind, self._table.get(name, {}), path=name)

    def _named(self, section: str) -> Table:
        return self._tables.entries(self._table.get(section, {}), path=section) or {}

    def _server(self, folder: Path) -> ServerSettings | None:
        server = self._section("server", ServerSettings)
        if server is None:
            return None
        if (server.tls_cert is None) != (server.tls_key is None):
            absent = "tls_key" if server.tls_cert else "tls_cert"
            self._problems.add(
                f"server.{absent}", "missing", remedy="set tls_cert and tls_key, or neither"
            )
        for name, path in (("tls_cert", server.tls_cert), ("tls_key", server.tls_key)):
            if path is not None and not path.is_file():
                self._problems.add(f"server.{name}", f"{path} is no file", remedy="put it there")
        return replace(server, state_dir=folder / server.state_dir)

    def _local(self, server: ServerSettings | None) -> LocalHost | None:
        local = None
        for name, table in self._named("hosts").items():
            path = f"hosts.{quoted(name)}"
            if "ssh" in _peek(table):
                self._problems.add(
                    f"{path}.ssh",
                    "hosts reached by ssh are not yet supported",
                    remedy="run `fleet agent run` on that machine instead",
                )
            elif name != "local":
                self._problems.add(
                    path, "only hosts.local is this machine", remedy="name it local, or remove it"
                )
            else:
                local = self._tables.read(LocalHost, table, path=path)
        if local and server:
            return replace(local, root=server.state_dir / local.root)
        return local

    def _forges(self) -> dict[str, ForgeSettings]:
        forges = {"local": ForgeSettings(kind="git")}
        for name, table in self._named("forges").items():
            path = f"forges.{quoted(name)}"
            kind = _peek(table).get("kind")
            if not _FORGE_NAME.fullmatch(name):
                self._problems.add(path, "not a forge's name", remedy="use a-z, 0-9 and -")
            elif kind in _LATER_FORGES:
                self._problems.add(
                    f"{path}.kind", f"{kind} is not yet supported", remedy='write kind = "git"'
                )
            else:
                forge = self._tables.read(ForgeSettings, table, path=path)
                forges |= {name: forge} if forge else {}
        return forges

    def _repos(self, forges: Mapping[str, ForgeSettings]) -> dict[str, RepoSettings]:
        repos: dict[str, RepoSettings] = {}
        declared = {"local", *self._named("forges")}
        for name, table in self._named("repos").items():
            path = f"repos.{quoted(name)}"
            named = _REPO_NAME.fullmatch(name)
            if named is None:
                remedy = 'name it "forge/name" or "forge/owner/name", in quotes'
                self._problems.add(path, "not a repository's name", remedy=remedy)
                continue
            if named[1] not in declared:
                remedy = f"declare [forges.{named[1]}], or use one of: {', '.join(sorted(forges))}"
                self._problems.add(path, f"there is no forge {named[1]}", remedy=remedy)
            repo = self._tables.read(RepoSettings, table, path=path)
            if repo:
                repos[name] = repo
        return repos

    def _adapters(self) -> dict[str, Adapter]:
        adapters = merge_adapters({})
        for name, table in self._named("adapters").items():
            entries = self._tables.entries(table, path=f"adapters.{quoted(name)}")
            if entries is None:
                continue
            try:
                adapters[name] = merge_adapters({name: entries})[name]
            except InvalidInput as error:
                self._problems.found.append(error)
        return adapters

    def _check_adapter(
        self, section: str, name: str | None, adapters: Mapping[str, Adapter]
    ) -> None:
        if name is None or name in adapters or name in self._named("adapters"):
            return
        remedy = f"use one of {', '.join(sorted(adapters))}, or declare [adapters.{name}]"
        self._problems.add(f"{section}.adapter", f"there is no adapter {name}", remedy=remedy)


def _peek(table: object) -> Table:
    """What a table says, before it is known to be one."""
    return cast("Table", table) if isinstance(table, dict) else {}

"""The settings: each with its kind, its range, its default, and what it means.

A description is the remedy in an error and the text of the settings reference.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agent_fleet.adapters import Adapter
from agent_fleet.config.values import (
    Between,
    Branch,
    DatabaseUrl,
    Duration,
    Listen,
    Network,
    RepoUrl,
    Secret,
)
from agent_fleet.core.model import Identity, Lease, Retry

_NAME = "^[a-z0-9][a-z0-9_-]{0,39}$"
_MINUTE_S = 60.0
_HOUR_S = 3600.0
_DAY_S = 24 * _HOUR_S

AdapterName = Annotated[str, Meta(pattern=_NAME)]
Capability = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
Shell = Annotated[str, Meta(min_length=1, max_length=4096)]


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    listen: Annotated[Listen, Meta(description="address and port, as 127.0.0.1:8620")] = Listen(
        "127.0.0.1:8620"
    )
    database: Annotated[
        DatabaseUrl,
        Meta(description="sqlite, sqlite:///PATH, postgresql://USER@HOST/NAME, or a reference"),
    ] = DatabaseUrl("sqlite")
    state_dir: Annotated[Path, Meta(description="where the fleet keeps its files")] = Path("state")
    name: Annotated[
        str,
        Meta(pattern=_NAME, description="this orchestrator: lower-case letters, digits, - and _"),
    ] = "main"
    tls_cert: Annotated[Path | None, Meta(description="the certificate chain, a PEM file")] = None
    tls_key: Annotated[Path | None, Meta(description="the certificate's key, a PEM file")] = None
    trusted_proxy: Annotated[
        bool | tuple[Network, ...],
        Meta(description="true, or a list of addresses, where a proxy in front does TLS"),
    ] = False


class LeaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    ttl: Annotated[
        Duration, Between(2, _HOUR_S), Meta(description="how long a silent worker keeps its task")
    ] = Duration(90)

    @property
    def lease(self) -> Lease:
        return Lease(ttl_s=float(self.ttl), heartbeat_s=self.ttl / 3)

    @property
    def hold_off_s(self) -> float:
        """So long nothing expires after a start or an outage: one full lease."""
        return float(self.ttl)


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    adapter: Annotated[AdapterName, Meta(description="the agent CLI of tasks that name none")] = (
        "codex"
    )
    model: Annotated[
        str | None, Meta(description="the model of tasks that name none; else the adapter's")
    ] = None
    review_limit: Annotated[
        int, Meta(ge=0, le=20, description="so many revisions, then a human: 0 to 20")
    ] = 3
    max_tries: Annotated[
        int, Meta(ge=1, le=20, description="charged tries in a round: 1 to 20")
    ] = 3
    max_attempts: Annotated[
        int, Meta(ge=1, le=1000, description="attempts of a task altogether: 1 to 1000")
    ] = 20
    run_limit: Annotated[
        Duration, Between(1, 7 * _DAY_S), Meta(description="how long an attempt may run")
    ] = Duration(2 * _HOUR_S)
    silence_limit: Annotated[
        Duration, Between(1, _DAY_S), Meta(description="how long an attempt may be silent")
    ] = Duration(15 * _MINUTE_S)
    backoff: Annotated[
        Duration, Between(0.1, _HOUR_S), Meta(description="the pause after a first failure")
    ] = Duration(10)
    retry: Annotated[Retry, Meta(description="after a lost attempt: never, unpushed or always")] = (
        "unpushed"
    )


class GitSettings(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[
        str, Meta(pattern=r"^[^<>\x00-\x1f]{1,100}$", description="who commits for the fleet")
    ] = "agent-fleet"
    email: Annotated[
        str, Meta(pattern=r"^[^\s<>]{1,200}$", description="the address in these commits")
    ] = "agent-fleet@localhost"
    poll: Annotated[
        Duration, Between(0.1, _HOUR_S), Meta(description="how often a plain remote is asked")
    ] = Duration(5)

    @property
    def identity(self) -> Identity:
        return Identity(name=self.name, email=self.email)


class CredentialSettings(msgspec.Struct, frozen=True, kw_only=True):
    username: Annotated[str, Meta(min_length=1, max_length=200, description="the account's name")]
    token: Annotated[Secret, Meta(description='{ env = "NAME" } or { file = "PATH" }')]


class ForgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    kind: Annotated[Literal["git"], Meta(description="git")]
    credentials: Annotated[
        CredentialSettings | None, Meta(description="username and token for https addresses")
    ] = None


class RepoSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: Annotated[RepoUrl, Meta(description="an https, ssh or file address, or a path")]
    base: Annotated[Branch, Meta(description="the branch that work is merged into")] = Branch(
        "main"
    )
    validation: Annotated[
        tuple[Shell, ...], Meta(description="a list of commands that check an attempt's work")
    ] = ()
    commit: Annotated[
        Literal["auto", "never"],
        Meta(description="whether what a CLI leaves uncommitted is committed: auto or never"),
    ] = "auto"
    adapter: Annotated[
        AdapterName | None, Meta(description="the agent CLI of this repository's tasks")
    ] = None


class LocalHost(msgspec.Struct, frozen=True, kw_only=True):
    slots: Annotated[int, Meta(ge=0, le=1000, description="so many runs at once: 0 to 1000")] = 1
    capabilities: Annotated[
        tuple[Capability, ...], Meta(description="a list of what tasks may require")
    ] = ()
    path: Annotated[
        tuple[Path, ...], Meta(description="a list of directories that come first in PATH")
    ] = ()
    root: Annotated[Path, Meta(description="where runs and workspaces are kept")] = Path("host")


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file, read. `local` is `[hosts.local]`, None where this machine runs nothing."""

    file: Path
    server: ServerSettings
    lease: LeaseSettings
    defaults: Defaults
    git: GitSettings
    forges: dict[str, ForgeSettings]
    repos: dict[str, RepoSettings]
    local: LocalHost | None
    adapters: dict[str, Adapter]

    @property
    def database_url(self) -> str:
        """The database's address; plain `sqlite` is a file in the state directory."""
        if self.server.database == "sqlite":
            return f"sqlite:///{self.server.state_dir / 'fleet.db'}"
        return str(self.server.database)

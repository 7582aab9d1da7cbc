"""Who takes part: agents, hosts, accounts and tokens, as the store keeps them."""

from datetime import datetime
from enum import StrEnum

import msgspec


class TokenKind(StrEnum):
    """What a token may do. An agent's token belongs to the agent of the same name."""

    ADMIN = "admin"
    OPERATOR = "operator"
    REQUESTER = "requester"
    READ_ONLY = "read_only"
    AGENT = "agent"


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret. `prefix` names it to people; only a hash is stored beside."""

    prefix: str
    kind: TokenKind
    name: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """A registered http_pull worker.

    `repos` empty means every repository. `adapters` is what it last said it can run, empty for
    anything; `seen_at` when it last asked for work.
    """

    name: str
    slots: int
    capabilities: tuple[str, ...] = ()
    repos: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    incarnation: str = ""
    seen_at: datetime | None = None
    created_at: datetime


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A machine for ssh_cli, as declared by its orchestrator and as last probed.

    `adapters` are those whose CLI the probe found, with their versions. `failures` counts those in
    a row, and `backoff_until` is what they led to.
    """

    name: str
    orchestrator: str
    slots: int
    capabilities: tuple[str, ...] = ()
    adapters: dict[str, str] = {}
    up: bool = False
    draining: bool = False
    cores: int = 1
    load_per_core: float = 0.0
    disk_free_bytes: int = 0
    failures: int = 0
    backoff_until: datetime | None = None
    message: str = ""
    probed_at: datetime | None = None


class Account(msgspec.Struct, frozen=True):
    """The subscription or key that an adapter uses at a place (a host or an agent)."""

    place: str
    adapter: str
    stopped: bool = False
    failures: int = 0
    cooldown_until: datetime | None = None
    message: str = ""

"""Who takes part: tokens and whom they stand for, agents, hosts."""

import hashlib
import re
import secrets
import zlib
from datetime import timedelta

from msgspec.structs import replace

from agent_fleet.core.errors import Conflict, NotFound, Unauthenticated
from agent_fleet.core.messages import (
    AgentList,
    AgentState,
    HostList,
    HostState,
    TokenIssued,
    TokenList,
    TokenRequest,
)
from agent_fleet.core.model import Transport
from agent_fleet.core.registry import Account, Agent, Host, Token, TokenKind
from agent_fleet.fleet.context import Context

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_LENGTH = 30
_CHECKSUM_LENGTH = 6
_PREFIX_LENGTH = 6
_SHAPE = re.compile(rf"aflt_[a-z_]+_[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECKSUM_LENGTH}}}")


class Registry:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def authenticate(self, secret: str) -> Token:
        """Whose token this is. Raises Unauthenticated for one that is not, or no longer, valid."""
        if not _SHAPE.fullmatch(secret) or not _is_whole(secret):
            raise Unauthenticated("this is not a token of this fleet, or not a whole one")
        async with self._context.store.reading() as tx:
            token = await tx.registry.token_by_hash(hash_token(secret))
        if token is None:
            raise Unauthenticated("the token is unknown, revoked or expired")
        return token

    async def issue(self, request: TokenRequest) -> TokenIssued:
        """A new token; for an agent, the agent too.

        Conflict if an agent of that name has a valid token: nobody takes over a live name.
        """
        secret = new_secret(request.kind)
        async with self._context.store.transaction() as tx:
            now = await tx.now()
            life = request.expires_in_s
            token = Token(
                prefix=secret[: -(_SECRET_LENGTH + _CHECKSUM_LENGTH) + _PREFIX_LENGTH],
                kind=request.kind,
                name=request.name,
                created_at=now,
                expires_at=now + timedelta(seconds=life) if life is not None else None,
            )
            if request.kind is TokenKind.AGENT:
                agent = Agent(
                    name=request.name,
                    slots=request.slots,
                    capabilities=request.capabilities,
                    repos=request.repos,
                    created_at=now,
                )
                if any(host.name == request.name for host in await tx.registry.hosts()):
                    raise Conflict(
                        f"there is a host {request.name!r}, and accounts are told apart by such "
                        "names; choose another one"
                    )
                await tx.registry.put_agent(agent)
                if await tx.registry.has_token(TokenKind.AGENT, request.name):
                    raise Conflict(
                        f"there is an agent {request.name!r} already; revoke its token first, or "
                        "choose another name"
                    )
            await tx.registry.add_token(token, sha256=hash_token(secret))
        return TokenIssued(secret=secret, token=token)

    async def tokens(self) -> TokenList:
        async with self._context.store.reading() as tx:
            return TokenList(tokens=tuple(await tx.registry.tokens()))

    async def revoke(self, prefix: str) -> None:
        """Holds from the next request."""
        async with self._context.store.transaction() as tx:
            await tx.registry.revoke_token(prefix, at=await tx.now())

    async def agents(self) -> AgentList:
        async with self._context.store.reading() as tx:
            used = await tx.work.used_slots()
            accounts = await tx.registry.accounts()
            return AgentList(
                agents=tuple(
                    AgentState(
                        agent=agent,
                        used=used.get((Transport.HTTP_PULL, agent.name), 0),
                        accounts=_of(agent.name, accounts),
                    )
                    for agent in await tx.registry.agents()
                )
            )

    async def hosts(self) -> HostList:
        async with self._context.store.reading() as tx:
            used = await tx.work.used_slots()
            accounts = await tx.registry.accounts()
            return HostList(
                hosts=tuple(
                    HostState(
                        host=host,
                        used=used.get((Transport.SSH_CLI, host.name), 0),
                        accounts=_of(host.name, accounts),
                    )
                    for host in await tx.registry.hosts()
                )
            )

    async def declare_hosts(self, hosts: tuple[Host, ...]) -> None:
        """The hosts of this orchestrator's configuration; what was known of them is kept."""
        async with self._context.store.transaction() as tx:
            names = [host.name for host in hosts]
            await tx.registry.forget_hosts(orchestrator=self._context.rules.orchestrator, but=names)
            for host in hosts:
                await tx.registry.put_host(host)

    async def record_probe(self, probed: Host) -> None:
        """What a probe found; how often the host failed is kept."""
        async with self._context.store.transaction() as tx:
            try:
                known = await tx.registry.host(probed.name, lock=True)
            except NotFound:
                return
            now_known = replace(
                known,
                adapters=probed.adapters,
                up=probed.up,
                cores=probed.cores,
                load_per_core=probed.load_per_core,
                disk_free_bytes=probed.disk_free_bytes,
                probed_at=probed.probed_at,
            )
            await tx.registry.put_host(now_known)
        if (known.up, known.adapters) != (now_known.up, now_known.adapters):
            self._context.wakeups.publish()


def new_secret(kind: TokenKind) -> str:
    """A token: `aflt_<kind>_`, 30 random characters of base 62 (178 bits), and a checksum."""
    random = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    body = f"aflt_{kind}_{random}"
    return body + _checksum(body)


def hash_token(secret: str) -> str:
    """What is stored of a token: its SHA-256, which is safe for a secret of so many bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits: list[str] = []
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _is_whole(secret: str) -> bool:
    body, checksum = secret[:-_CHECKSUM_LENGTH], secret[-_CHECKSUM_LENGTH:]
    return secrets.compare_digest(_checksum(body), checksum)


def _of(place: str, accounts: list[Account]) -> tuple[Account, ...]:
    return tuple(account for account in accounts if account.place == place)

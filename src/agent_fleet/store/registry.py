"""Who there is: agents, hosts, the accounts they use, and the tokens by which they are known."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent_fleet.core.errors import NotFound
from agent_fleet.core.registry import Account, Agent, Host, Token, TokenKind
from agent_fleet.store.database import Database
from agent_fleet.store.schema import accounts, agents, hosts, tokens


class Registry:
    def __init__(self, connection: AsyncConnection, database: Database) -> None:
        self._connection = connection
        self._database = database

    # -- agents ----------------------------------------------------------------------------------

    async def put_agent(self, agent: Agent) -> None:
        """A new agent, or the one of that name with what it is now allowed."""
        row = msgspec.structs.asdict(agent)
        allowed = {key: row[key] for key in ("slots", "capabilities", "repos")}
        statement = self._database.insert(agents).values(**row)
        await self._connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_=allowed)
        )

    async def agent(self, name: str, *, lock: bool = False) -> Agent:
        """`lock`: the row is held until the transaction ends, so that its slots can be counted."""
        query = select(agents).where(agents.c.name == name)
        row = (await self._connection.execute(query.with_for_update() if lock else query)).first()
        if row is None:
            raise NotFound(f"there is no agent {name!r}")
        return msgspec.convert(row, Agent, from_attributes=True)

    async def agents(self) -> list[Agent]:
        rows = await self._connection.execute(select(agents).order_by(agents.c.name))
        return [msgspec.convert(row, Agent, from_attributes=True) for row in rows]

    async def seen(self, agent: Agent) -> None:
        """What the agent said of itself when it last asked for work."""
        await self._connection.execute(
            update(agents)
            .where(agents.c.name == agent.name)
            .values(adapters=agent.adapters, incarnation=agent.incarnation, seen_at=agent.seen_at)
        )

    # -- hosts -----------------------------------------------------------------------------------

    async def put_host(self, host: Host) -> None:
        """The host as it was declared or last probed."""
        row = msgspec.structs.asdict(host)
        statement = self._database.insert(hosts).values(**row)
        await self._connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_=row)
        )

    async def host(self, name: str, *, lock: bool = False) -> Host:
        """`lock`: the row is held until the transaction ends, so that its slots can be counted."""
        query = select(hosts).where(hosts.c.name == name)
        row = (await self._connection.execute(query.with_for_update() if lock else query)).first()
        if row is None:
            raise NotFound(f"there is no host {name!r}")
        return msgspec.convert(row, Host, from_attributes=True)

    async def hosts(self, *, lock: bool = False) -> list[Host]:
        """By name. `lock`: as with one host; the rows are taken in the order of their names."""
        query = select(hosts).order_by(hosts.c.name)
        rows = await self._connection.execute(query.with_for_update() if lock else query)
        return [msgspec.convert(row, Host, from_attributes=True) for row in rows]

    async def forget_hosts(self, *, orchestrator: str, but: Sequence[str]) -> None:
        """Hosts that this orchestrator no longer declares."""
        await self._connection.execute(
            delete(hosts).where(hosts.c.orchestrator == orchestrator, hosts.c.name.not_in(but))
        )

    # -- accounts --------------------------------------------------------------------------------

    async def account(self, place: str, adapter: str) -> Account:
        """The account as it was last punished; one that never was is a clean one."""
        query = select(accounts).where(accounts.c.place == place, accounts.c.adapter == adapter)
        row = (await self._connection.execute(query)).first()
        return (
            msgspec.convert(row, Account, from_attributes=True) if row else Account(place, adapter)
        )

    async def accounts(self) -> list[Account]:
        rows = await self._connection.execute(select(accounts))
        return [msgspec.convert(row, Account, from_attributes=True) for row in rows]

    async def put_account(self, account: Account) -> None:
        row = msgspec.structs.asdict(account)
        statement = self._database.insert(accounts).values(**row)
        await self._connection.execute(
            statement.on_conflict_do_update(index_elements=["place", "adapter"], set_=row)
        )

    # -- tokens ----------------------------------------------------------------------------------

    async def add_token(self, token: Token, *, sha256: str) -> None:
        row = msgspec.structs.asdict(token) | {"sha256": sha256}
        await self._connection.execute(self._database.insert(tokens).values(**row))

    async def token_by_hash(self, sha256: str) -> Token | None:
        """The token that is valid now, by the database's clock."""
        query = select(tokens).where(tokens.c.sha256 == sha256, *self._valid())
        row = (await self._connection.execute(query)).first()
        return msgspec.convert(row, Token, from_attributes=True) if row else None

    async def has_token(self, kind: TokenKind, name: str) -> bool:
        """Whether any token of that kind and name is valid now."""
        query = select(tokens.c.prefix).where(
            tokens.c.kind == kind, tokens.c.name == name, *self._valid()
        )
        return await self._connection.scalar(query.limit(1)) is not None

    async def tokens(self) -> list[Token]:
        rows = await self._connection.execute(select(tokens).order_by(tokens.c.created_at))
        return [msgspec.convert(row, Token, from_attributes=True) for row in rows]

    async def revoke_token(self, prefix: str, *, at: datetime) -> None:
        """NotFound if there is none of that prefix; a second revocation changes nothing."""
        known = await self._connection.scalar(
            select(tokens.c.prefix).where(tokens.c.prefix == prefix)
        )
        if known is None:
            raise NotFound(f"there is no token {prefix!r}")
        await self._connection.execute(
            update(tokens)
            .where(tokens.c.prefix == prefix, tokens.c.revoked_at.is_(None))
            .values(revoked_at=at)
        )

    def _valid(self) -> tuple[ColumnElement[bool], ...]:
        unexpired = tokens.c.expires_at.is_(None) | (tokens.c.expires_at > self._database.now())
        return (tokens.c.revoked_at.is_(None), unexpired)

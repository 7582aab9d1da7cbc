"""From the address of a database to its engine; whatever is wrong with it is said in its words."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from agent_fleet.clock import Clock
from agent_fleet.core.errors import InvalidInput, Unavailable
from agent_fleet.store.database import Database, sqlstate, translated
from agent_fleet.store.postgres import PostgresDatabase
from agent_fleet.store.sqlite import SqliteDatabase

_FIELD = "server.database"


def connect(url: str, *, clock: Clock, create: bool) -> Database:
    """The engine for `sqlite:///PATH` (four slashes for an absolute one) or `postgresql://…`.

    PostgreSQL is asked nothing yet. A missing SQLite file is made, for its owner alone, if `create`
    says so. Raises InvalidInput for an address that cannot be meant.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/") and rest != "/":
        path = Path(rest.removeprefix("/"))
        _file(path, create=create)
        return SqliteDatabase(path, clock)
    if separator and scheme in {"postgresql", "postgres"}:
        return PostgresDatabase(_postgres(url))
    raise InvalidInput(
        _FIELD,
        f"{scheme!r} is no database that the fleet knows" if scheme != "sqlite" else "no path",
        remedy='use "sqlite", "sqlite:///PATH" or "postgresql://USER@HOST/NAME"',
    )


@asynccontextmanager
async def admitted() -> AsyncGenerator[None]:
    """At the first connection, what no second one would mend is InvalidInput."""
    try:
        async with translated():
            yield
    except (DBAPIError, Unavailable) as error:
        cause = error if isinstance(error, DBAPIError) else error.__cause__
        if isinstance(cause, DBAPIError) and _is_no_fleet(cause):
            raise InvalidInput(
                _FIELD, str(cause.orig), remedy="look at the name, the user and the password"
            ) from cause
        raise


def _is_no_fleet(error: DBAPIError) -> bool:
    """No such database, not admitted to it, or a file of another kind."""
    code: str = getattr(error.orig, "sqlite_errorname", "")
    return sqlstate(error)[:2] in {"28", "3D"} or code == "SQLITE_NOTADB"


def _file(path: Path, *, create: bool) -> None:
    """Makes sure of the file. SQLite gives the journals beside it the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600))
    except OSError as error:
        raise InvalidInput(
            _FIELD,
            f"the file {path} cannot be opened: {error.strerror}",
            remedy="name a file that this user may write, in a directory that exists",
        ) from error


def _postgres(url: str) -> URL:
    """The address as the driver takes it, which calls libpq's `sslmode` `ssl`."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Not chained: what could not be parsed may hold a password.
        raise InvalidInput(
            _FIELD,
            "this is not an address",
            remedy="use postgresql://USER:PASSWORD@HOST:PORT/NAME, with %40 for an @ in a password",
        ) from None
    query = dict(parsed.query)
    options = {"ssl": query.pop("sslmode")} if "sslmode" in query else {}
    if query:
        raise InvalidInput(
            _FIELD,
            f"the option {min(query)!r} is not known",
            remedy="sslmode=disable, prefer, require, verify-ca or verify-full is",
        )
    return parsed.set(drivername="postgresql+asyncpg", query=options)

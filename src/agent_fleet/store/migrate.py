"""Brings the schema up to date at start, inside the caller's transaction and under its lock."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from agent_fleet.core.errors import Conflict

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(connection: Connection, *, to: str = "head") -> None:
    """Applies what is missing; Conflict if the database is of a newer program."""
    revision(connection)
    command.upgrade(_config(connection), to)


def revision(connection: Connection) -> str | None:
    """The schema that the database has; None if it has none. Conflict if it is a newer one."""
    present = MigrationContext.configure(connection).get_current_revision()
    if present is not None and not is_known(present):
        raise Conflict(
            f"the database has the schema {present}, which this version does not know; "
            "run the version that wrote it, or a newer one"
        )
    return present


def is_known(schema: str) -> bool:
    """Whether this program has that revision, as its newest or an older one."""
    script = ScriptDirectory.from_config(_config(None))
    return schema in {known.revision for known in script.walk_revisions()}


def _config(connection: Connection | None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config

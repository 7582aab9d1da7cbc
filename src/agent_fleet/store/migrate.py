"""Brings the schema up to date at start, inside the caller's transaction and under its lock."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from agent_fleet.core.errors import Conflict

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(connection: Connection) -> None:
    """Applies what is missing; Conflict if the database is of a newer program."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    present = MigrationContext.configure(connection).get_current_heads()
    if unknown := set(present) - known:
        raise Conflict(
            f"the database has the schema {', '.join(sorted(unknown))}, which this version does "
            "not know; run the version that wrote it, or a newer one"
        )
    command.upgrade(config, "head")

"""Alembic's entry: runs the migrations on the connection that `migrate` hands in."""

from alembic import context

from agent_fleet.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()

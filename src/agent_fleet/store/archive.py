"""Backup and restore, from either engine to either: rows as they are stored, in one transaction.

A restored fleet has a new `fleet_epoch`: workers and runs of the time before are fenced off.
"""

import base64
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path

import msgspec
from sqlalchemy import Connection, LargeBinary, MetaData, Table, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agent_fleet.clock import Clock, new_id
from agent_fleet.core.errors import Conflict
from agent_fleet.store.address import admitted, connect
from agent_fleet.store.archivefile import End, Header, Reader, Row, Writer, written
from agent_fleet.store.database import Database
from agent_fleet.store.migrate import is_known, migrate, revision
from agent_fleet.store.schema import RESTORED, UNSETTLED, meta
from agent_fleet.store.sqlite import LAST_TASK

# What is a database's own and not the fleet's: it is made anew by a restore.
_OWN_FACTS = ("fleet_epoch", RESTORED, LAST_TASK)
_VERSION_TABLE = "alembic_version"

# Bounds of what is held in memory: rows fetched at once, and rows and bytes inserted at once.
_FETCHED_ROWS, _FETCHED_BLOBS = 500, 8
_BATCH_ROWS, _BATCH_BYTES = 500, 4 * 1024 * 1024


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds: the rows of each table that has any, and the SHA-256 of all lines."""

    schema: str
    made_at: datetime
    rows: dict[str, int]
    sha256: str


async def backup(store_url: str, path: Path, *, clock: Clock) -> Summary:
    """Writes the fleet, as it is at one moment, to `path`; a file that was there is replaced.

    The fleet goes on meanwhile. Raises InvalidInput for an address or a path that cannot be meant,
    Conflict if there is no fleet or one of a newer version, Unavailable if either end fails.
    """
    database = connect(store_url, clock=clock, create=False)
    try:
        with written(path) as file:
            async with admitted(), database.reading() as connection:
                schema, tables = await connection.run_sync(_found)
                header = Header(
                    schema=schema,
                    made_at=clock.now(),
                    last_task=await database.last_task_id(connection),
                )
                file.header(header)
                for table in tables:
                    await _write(file, connection, table)
            return _summary(header, file.end())
    finally:
        await database.engine.dispose()


async def restore(path: Path, store_url: str, *, clock: Clock) -> Summary:
    """Puts the backup into an empty database, brings its schema up to date, or changes nothing.

    Raises InvalidInput if the file is not a whole backup, Conflict if the database is not empty or
    the backup's schema is unknown here, Unavailable if the database fails.
    """
    file = Reader(path)
    header, end = file.checked()
    if not is_known(header.schema):
        raise Conflict(
            f"the backup has the schema {header.schema}, which this version does not know; "
            "restore it with the version that wrote it, or a newer one"
        )
    database = connect(store_url, clock=clock, create=True)
    try:
        async with admitted(), database.writing() as connection:
            await database.lock_schema(connection)
            tables = await connection.run_sync(_made, header.schema)
            await _insert(connection, tables, file.rows())
            await connection.run_sync(migrate)
            await database.go_on_from(connection, last_task=header.last_task)
            await _begin_epoch(connection, database)
    finally:
        await database.engine.dispose()
    return _summary(header, end)


def _found(connection: Connection) -> tuple[str, list[Table]]:
    """The schema's revision and its tables, none before one that it refers to."""
    schema = revision(connection)
    if schema is None:
        raise Conflict("there is no fleet in this database; name the one that the server uses")
    return schema, _tables(connection)


def _made(connection: Connection, schema: str) -> dict[str, Table]:
    """The tables of that revision, new."""
    if present := inspect(connection).get_table_names():
        raise Conflict(
            f"the database is not empty: it has a table {present[0]!r}; restore into a new file, "
            "or into a database made for it"
        )
    migrate(connection, to=schema)
    return {table.name: table for table in _tables(connection)}


def _tables(connection: Connection) -> list[Table]:
    # Read from the database: it may have an older revision than this program's tables.
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != _VERSION_TABLE]


async def _write(file: Writer, connection: AsyncConnection, table: Table) -> None:
    query = select(table).order_by(*table.primary_key)
    if table.name == meta.name:
        query = query.where(table.c.key.not_in(_OWN_FACTS))
    at_once = _FETCHED_BLOBS if _blobs(table) else _FETCHED_ROWS
    async with connection.stream(query, execution_options={"yield_per": at_once}) as result:
        async for row in result.mappings():
            file.row(Row(str(table.name), {str(name): value for name, value in row.items()}))


async def _insert(
    connection: AsyncConnection, tables: dict[str, Table], rows: Iterator[tuple[Row, int]]
) -> None:
    for batch in _batches(rows):
        table = tables[batch[0].table]
        blobs = _blobs(table)
        values = [
            row.row | {name: base64.b64decode(row.row[name]) for name in blobs} for row in batch
        ]
        await connection.execute(table.insert(), values)


async def _begin_epoch(connection: AsyncConnection, database: Database) -> None:
    facts = ({"key": "fleet_epoch", "value": new_id()}, {"key": RESTORED, "value": UNSETTLED})
    await connection.execute(database.insert(meta).values(facts))


def _batches(rows: Iterator[tuple[Row, int]]) -> Iterator[list[Row]]:
    """Rows of one table, of a bounded number and size."""
    for _, of_one_table in groupby(rows, key=lambda pair: pair[0].table):
        batch: list[Row] = []
        size = 0
        for row, length in of_one_table:
            batch.append(row)
            size += length
            if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def _blobs(table: Table) -> list[str]:
    return [column.name for column in table.columns if isinstance(column.type, LargeBinary)]


def _summary(header: Header, end: End) -> Summary:
    return Summary(schema=header.schema, made_at=header.made_at, rows=end.rows, sha256=end.sha256)

"""What attempts hand in, and what requests said: logs, receipts, idempotency keys. Append only."""

from typing import Literal

import msgspec
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agent_fleet.core.errors import Conflict, IdempotencyMismatch, LogGap, NotFound
from agent_fleet.core.model import Receipt
from agent_fleet.store.database import Database
from agent_fleet.store.schema import attempts, from_micros, idempotency, log_chunks, receipts

Verdict = Literal["accepted", "late", "superseded", "kept"]


class KeptReceipt(msgspec.Struct, frozen=True):
    """A receipt as it was handed in, the hash of its canonical form, and what came of it."""

    receipt: Receipt
    sha256: str
    verdict: Verdict


class Evidence:
    def __init__(self, connection: AsyncConnection, database: Database) -> None:
        self._connection = connection
        self._database = database

    # -- logs ------------------------------------------------------------------------------------

    async def log_size(self, task: int, attempt: int) -> int:
        """Bytes known of an attempt's log."""
        query = select(func.max(log_chunks.c.start + log_chunks.c.size)).where(
            log_chunks.c.task == task, log_chunks.c.attempt == attempt
        )
        return await self._connection.scalar(query) or 0

    async def append_log(self, task: int, attempt: int, *, start: int, data: bytes) -> int:
        """The bytes from offset `start`; returns the offset up to which the log is now known.

        Raises LogGap if bytes before them are missing, Conflict if they contradict what is known.
        """
        await self._one_writer(task, attempt)
        known = await self.log_size(task, attempt)
        if start > known:
            raise LogGap(known)
        overlap = data[: known - start]
        if overlap != await self.read_log(task, attempt, start=start, limit=len(overlap)):
            raise Conflict(f"the bytes from {start} differ from those that are known")
        fresh = data[len(overlap) :]
        if fresh:
            await self._connection.execute(
                insert(log_chunks).values(
                    task=task, attempt=attempt, start=known, size=len(fresh), data=fresh
                )
            )
        return known + len(fresh)

    async def read_log(self, task: int, attempt: int, *, start: int, limit: int) -> bytes:
        """At most `limit` bytes from offset `start`."""
        query = (
            select(log_chunks.c.start, log_chunks.c.data)
            .where(
                log_chunks.c.task == task,
                log_chunks.c.attempt == attempt,
                log_chunks.c.start + log_chunks.c.size > start,
                log_chunks.c.start < start + limit,
            )
            .order_by(log_chunks.c.start)
        )
        rows = (await self._connection.execute(query)).all()
        end = start + limit
        return b"".join(row.data[max(start - row.start, 0) : end - row.start] for row in rows)

    async def _one_writer(self, task: int, attempt: int) -> None:
        """Two that append to one log take turns; NotFound if there is no such attempt."""
        query = select(attempts.c.number).where(
            attempts.c.task == task, attempts.c.number == attempt
        )
        if await self._connection.scalar(query.with_for_update(key_share=True)) is None:
            raise NotFound(f"task {task} has no attempt {attempt}")

    # -- receipts --------------------------------------------------------------------------------

    async def receipt(self, receipt_id: str) -> KeptReceipt:
        kept = await self.known_receipt(receipt_id)
        if kept is None:
            raise NotFound(f"there is no receipt {receipt_id!r}")
        return kept

    async def known_receipt(self, receipt_id: str) -> KeptReceipt | None:
        query = select(receipts).where(receipts.c.receipt_id == receipt_id)
        row = (await self._connection.execute(query)).first()
        if row is None:
            return None
        return KeptReceipt(msgspec.convert(row.body, Receipt), row.sha256, row.verdict)

    async def receipts(self, task: int) -> list[KeptReceipt]:
        """All that was handed in for a task, in the order of arrival."""
        query = (
            select(receipts)
            .where(receipts.c.task == task)
            .order_by(receipts.c.received_at, receipts.c.attempt, receipts.c.receipt_id)
        )
        rows = (await self._connection.execute(query)).all()
        return [
            KeptReceipt(msgspec.convert(row.body, Receipt), row.sha256, row.verdict) for row in rows
        ]

    async def keep_receipt(self, receipt: Receipt, *, sha256: str, verdict: Verdict) -> None:
        """Conflict if a receipt of that id was kept meanwhile."""
        now = await self._connection.scalar(select(self._database.now()))
        statement = (
            self._database.insert(receipts)
            .values(
                receipt_id=receipt.receipt_id,
                task=receipt.task,
                attempt=receipt.attempt,
                body=receipt,
                sha256=sha256,
                verdict=verdict,
                received_at=from_micros(int(now or 0)),
            )
            .on_conflict_do_nothing()
        )
        if (await self._connection.execute(statement)).rowcount != 1:
            raise Conflict(f"there is a receipt {receipt.receipt_id!r} already")

    # -- idempotency keys ------------------------------------------------------------------------

    async def task_of_key(self, *, actor: str, key: str, sha256: str) -> int | None:
        """The task that this request made before; IdempotencyMismatch if it said something else."""
        query = select(idempotency.c.sha256, idempotency.c.task).where(
            idempotency.c.actor == actor, idempotency.c.key == key
        )
        row = (await self._connection.execute(query)).first()
        if row is None:
            return None
        if row.sha256 != sha256:
            raise IdempotencyMismatch(
                f"the key {key!r} was used before with another body; take a new key"
            )
        return row.task

    async def keep_key(self, *, actor: str, key: str, sha256: str, task: int) -> bool:
        """False if somebody else was faster with the same key."""
        now = await self._connection.scalar(select(self._database.now()))
        statement = (
            self._database.insert(idempotency)
            .values(actor=actor, key=key, sha256=sha256, task=task, at=from_micros(int(now or 0)))
            .on_conflict_do_nothing()
        )
        return (await self._connection.execute(statement)).rowcount == 1

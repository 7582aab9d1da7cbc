"""The client of http_pull workers: ask for work, keep the lease, hand in log and receipt.

Each call may be repeated, and is: with the same key a dequeue gets the same grants, a log's bytes
are placed by their offset, a receipt has an id.
"""

from types import TracebackType
from typing import Self
from uuid import uuid4

import msgspec

from agent_fleet.client.connection import Connection
from agent_fleet.core.errors import FleetError
from agent_fleet.core.messages import (
    DequeueAnswer,
    DequeueRequest,
    LogAnswer,
    ReceiptAnswer,
    StatusAnswer,
    StatusReport,
    TaskDetail,
)
from agent_fleet.core.model import Receipt

_API = "/api/v1"
_PIECE = 1024 * 1024
_GIT_S = 240.0
"""A receipt makes the server ask the forge; it may take so much longer."""


class AgentClient:
    """Every method raises what `core.errors` names; Unavailable where the server is away."""

    def __init__(self, url: str, token: str) -> None:
        self._connection = Connection(url, token)

    def __repr__(self) -> str:
        return f"AgentClient({self._connection.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._connection.close()

    async def dequeue(self, request: DequeueRequest, *, key: str | None = None) -> DequeueAnswer:
        """Grants, or none after `wait_s`. The same `key` gets the same grants while they live."""
        answer = await self._connection.send(
            "POST",
            f"{_API}/tasks/dequeue",
            content=msgspec.json.encode(request),
            headers={"Idempotency-Key": key or uuid4().hex},
            wait_s=request.wait_s,
        )
        if answer.status == 204:
            return DequeueAnswer(grants=())
        try:
            return msgspec.json.decode(answer.content, type=DequeueAnswer)
        except msgspec.DecodeError as error:
            raise FleetError(f"the server's grants cannot be read: {error}") from None

    async def report(self, task: int, report: StatusReport) -> StatusAnswer:
        """A heartbeat, a start or a release; the answer says what to do now.

        LeaseLost: the attempt is over, or somebody else's; stop, and push nothing more.
        """
        return await self._connection.ask(
            StatusAnswer, "POST", f"{_API}/tasks/{task}/status", body=report
        )

    async def append_log(self, task: int, attempt: int, *, start: int, data: bytes) -> int:
        """Bytes of the log, from offset `start`; returns the offset that is durable now.

        No bytes ask for it. LogGap names the offset to send again from; Conflict: other bytes are
        known there.
        """
        if not data:
            return await self.log_offset(task, attempt)
        offset = start
        for first in range(0, len(data), _PIECE):
            piece = data[first : first + _PIECE]
            at = start + first
            offset = await self._patch_log(
                task, attempt, piece, content_range=f"bytes {at}-{at + len(piece) - 1}/*"
            )
        return offset

    async def log_offset(self, task: int, attempt: int) -> int:
        """The offset up to which the log is known."""
        return await self._patch_log(task, attempt, b"", content_range="bytes */*")

    async def hand_in(self, receipt: Receipt) -> ReceiptAnswer:
        """The end of an attempt; the same receipt again gets the same answer.

        Superseded, LeaseLost: it was kept and changes nothing.
        """
        return await self._connection.ask(
            ReceiptAnswer, "POST", f"{_API}/receipts", body=receipt, wait_s=_GIT_S
        )

    async def task(self, task: int) -> TaskDetail:
        """A task of which the agent held an attempt."""
        return await self._connection.ask(TaskDetail, "GET", f"{_API}/tasks/{task}")

    async def _patch_log(self, task: int, attempt: int, data: bytes, *, content_range: str) -> int:
        answer = await self._connection.send(
            "PATCH",
            f"{_API}/tasks/{task}/attempts/{attempt}/log",
            content=data,
            headers={"Content-Range": content_range, "Content-Type": "application/octet-stream"},
        )
        try:
            return msgspec.json.decode(answer.content, type=LogAnswer).offset
        except msgspec.DecodeError as error:
            raise FleetError(f"the server's answer cannot be read: {error}") from None

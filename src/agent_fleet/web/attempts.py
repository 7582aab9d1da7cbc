"""Routes for agents: ask for work, keep the lease alive, hand in log and receipt."""

import re
from typing import Annotated

from litestar import Response, Router, get, patch, post
from litestar.params import HeaderParameter, JSONBody

from agent_fleet.core.errors import InvalidInput, LogGap
from agent_fleet.core.messages import (
    DequeueAnswer,
    DequeueRequest,
    LogAnswer,
    ReceiptAnswer,
    StatusAnswer,
    StatusReport,
)
from agent_fleet.core.model import Receipt, Transport
from agent_fleet.core.registry import Token, TokenKind
from agent_fleet.fleet.executor import Executor
from agent_fleet.web.access import AnyRequest, Caller, Number, TheFleet, allow, check_visible
from agent_fleet.web.waiting import while_connected

READERS = (TokenKind.OPERATOR, TokenKind.REQUESTER, TokenKind.READ_ONLY, TokenKind.AGENT)
CHUNK = 4 * 1024 * 1024
"""Bytes of log that one request may bring or take away."""

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,15})-(\d{1,15})|\*)/(?:\d+|\*)")
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{1,15})?")


@post("/tasks/dequeue", status_code=200, guards=[allow(TokenKind.AGENT)])
async def dequeue(
    request: AnyRequest,
    fleet: TheFleet,
    caller: Caller,
    data: JSONBody[DequeueRequest],
    key: Annotated[
        str | None, HeaderParameter(name="Idempotency-Key", min_length=1, max_length=200)
    ] = None,
) -> Response[DequeueAnswer | None]:
    """Grants for the agent (200), or nothing within the wait (204)."""
    asking = fleet.claims.dequeue(caller.name, data, request_key=key)
    grants = await while_connected(request, asking)
    if not grants:
        return Response(None, status_code=204)
    return Response(DequeueAnswer(grants=grants), status_code=200)


@post("/tasks/{task:int}/status", status_code=200, guards=[allow(TokenKind.AGENT)])
async def report(
    fleet: TheFleet, caller: Caller, task: Number, data: JSONBody[StatusReport]
) -> StatusAnswer:
    """A heartbeat, a start or a release; the answer carries the cancel."""
    return await fleet.attempts.report(_executor(caller), task, data)


@patch(
    "/tasks/{task:int}/attempts/{attempt:int}/log",
    status_code=202,
    guards=[allow(TokenKind.AGENT)],
    request_max_body_size=CHUNK,
)
async def append_log(
    request: AnyRequest,
    fleet: TheFleet,
    caller: Caller,
    task: Number,
    attempt: Number,
) -> LogAnswer:
    """Bytes of the log, placed by Content-Range; `bytes */*` without a body asks for the offset."""
    body = await request.body()
    start = _start_of(request.headers.get("content-range", ""), len(body))
    offset = await fleet.attempts.append_log(
        _executor(caller), task, attempt, start=start, data=body
    )
    return LogAnswer(offset=offset)


@get("/tasks/{task:int}/attempts/{attempt:int}/log", guards=[allow(*READERS)])
async def read_log(
    request: AnyRequest,
    fleet: TheFleet,
    caller: Caller,
    task: Number,
    attempt: Number,
) -> Response[bytes]:
    """The log, or the part that Range asks for; 4 MiB at most in one answer."""
    check_visible(await fleet.tasks.show(task), to=caller, attempt=attempt)
    wanted = _RANGE.fullmatch(request.headers.get("range", "bytes=0-"))
    if wanted is None:
        raise InvalidInput("Range", "is not one range of bytes", remedy="send Range: bytes=0-")
    start = int(wanted[1])
    limit = min(int(wanted[2]) - start + 1 if wanted[2] else CHUNK, CHUNK)
    size = await fleet.tasks.log_size(task, attempt)
    if start > size or limit <= 0:
        raise LogGap(size)
    data = await fleet.tasks.read_log(task, attempt, start=start, limit=limit)
    end = start + len(data) - 1
    headers = {"Content-Range": f"bytes {start}-{end}/{size}"} if data else {}
    return Response(
        data,
        status_code=206 if "range" in request.headers and data else 200,
        media_type="application/octet-stream",
        headers=headers,
    )


@post("/receipts", status_code=200, guards=[allow(TokenKind.AGENT)])
async def hand_in(fleet: TheFleet, caller: Caller, data: JSONBody[Receipt]) -> ReceiptAnswer:
    """The end of an attempt; the same receipt again gets the same answer."""
    return await fleet.endings.hand_in(_executor(caller), data)


def _executor(caller: Token) -> Executor:
    return Executor(caller.name, Transport.HTTP_PULL)


def _start_of(content_range: str, length: int) -> int:
    told = _CONTENT_RANGE.fullmatch(content_range)
    if told is None:
        raise InvalidInput(
            "Content-Range", "is missing or malformed", remedy="send: bytes FIRST-LAST/*"
        )
    if told[1] is None:
        if length:
            raise InvalidInput("Content-Range", "does not place the body", remedy="name its bytes")
        return 0
    if int(told[2]) - int(told[1]) + 1 != length:
        raise InvalidInput(
            "Content-Range", f"does not fit a body of {length} bytes", remedy="count both ends in"
        )
    return int(told[1])


routes = Router("/", route_handlers=[dequeue, report, append_log, read_log, hand_in])

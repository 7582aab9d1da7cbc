"""Long polls: work for a client is given up when the client has gone away."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from agent_fleet.core.errors import Unavailable
from agent_fleet.web.access import AnyRequest

T = TypeVar("T")


async def while_connected(request: AnyRequest, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled as soon as nobody waits for it any more.

    Call it after the body was read: what the connection says then can only be that it ended.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return await working
        raise Unavailable("the client has gone away")
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(request: AnyRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

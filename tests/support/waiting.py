"""Wait for what another process does: bounded, and a failure names what was awaited.

Only for the state of other processes. Inside one process wait on an event instead.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.1


class NeverHappened(AssertionError):
    """What was awaited did not come in time; the message names it and the last answer seen."""

    def __init__(self, what: str, timeout_s: float, last: object) -> None:
        super().__init__(f"waited {timeout_s:g} s for {what}; last seen: {last!r}")


def eventually(predicate: Callable[[], T], timeout_s: float, what: str) -> T:
    """Ask `predicate` until its answer is true and return that answer, or raise NeverHappened."""
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while not (answer := predicate()):
        if time.monotonic() >= deadline:
            raise NeverHappened(what, timeout_s, answer)
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
    return answer


async def eventually_async(predicate: Callable[[], Awaitable[T]], timeout_s: float, what: str) -> T:
    """Await `predicate` until its answer is true and return that answer, or raise NeverHappened.

    One question that never returns is cut off at the limit too.
    """
    answer: T | None = None
    pause_s = _FIRST_PAUSE_S
    try:
        async with asyncio.timeout(timeout_s):
            while not (answer := await predicate()):
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            return answer
    except TimeoutError:
        raise NeverHappened(what, timeout_s, answer) from None

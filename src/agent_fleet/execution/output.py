"""Reading what a run has written: a part, a stream to its end, or its two ends."""

from collections.abc import AsyncGenerator
from typing import Literal

from agent_fleet.execution import run
from agent_fleet.execution.machine import Machine
from agent_fleet.execution.site import Site, insist

Stream = Literal["stdout", "stderr"]

CHUNK = 256 * 1024
"""Bytes that are read, and sent, at once."""

_NOTHING = 2**53  # an offset behind any end


async def read_part(
    machine: Machine, directory: str, stream: Stream, *, start: int, limit: int
) -> bytes:
    """At most `limit` bytes of a run's stream, from offset `start`; Unavailable as `inspect`."""
    first = stream == "stdout"
    view = await run.inspect(
        machine,
        directory,
        stdout_offset=start if first else _NOTHING,
        stderr_offset=_NOTHING if first else start,
        limit=limit,
    )
    return view.stdout if first else view.stderr


async def read_range(
    site: Site, directory: str, stream: Stream, *, start: int, end: int
) -> AsyncGenerator[bytes, None]:
    """The bytes of a run's stream from `start` to `end`, in chunks; fewer if they are not there."""
    while start < end:
        limit = min(CHUNK, end - start)
        part = await insist(
            site,
            lambda start=start, limit=limit: read_part(
                site.machine, directory, stream, start=start, limit=limit
            ),
        )
        if not part:
            return
        yield part
        start += len(part)


async def read_ends(site: Site, directory: str, stream: Stream, *, size: int, limit: int) -> bytes:
    """A stream of `size` bytes; of one that is longer than `limit`, its first lines and its last.

    An eighth is given to the first: a CLI says there which session it is, and what came of it at
    the end.
    """
    if size <= limit:
        return await _read(site, directory, stream, start=0, end=size)
    head = await _read(site, directory, stream, start=0, end=limit // 8)
    tail = await _read(site, directory, stream, start=size - (limit - limit // 8), end=size)
    _, _, whole_lines = tail.partition(b"\n")
    return head[: head.rfind(b"\n") + 1] + (whole_lines or tail)


async def _read(site: Site, directory: str, stream: Stream, *, start: int, end: int) -> bytes:
    parts = read_range(site, directory, stream, start=start, end=end)
    return b"".join([part async for part in parts])

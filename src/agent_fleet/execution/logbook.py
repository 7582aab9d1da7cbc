"""The log of an attempt: one stream, sent as far as it can be while the work goes on.

The law: its bytes follow from the files of the attempt's runs and the secrets alone. So whoever
comes back after a kill makes the same bytes again, and sends on from where the receiver is.

    the agent's stdout
    --- stderr ---                      if there is any
    --- validation 1: make test ---     its stdout and stderr as one
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator

from agent_fleet.core.errors import FleetError, LogGap, Unavailable
from agent_fleet.core.model import LogDigest
from agent_fleet.execution.heartbeat import Reporter
from agent_fleet.execution.masking import Masker
from agent_fleet.execution.output import CHUNK, Stream, read_part
from agent_fleet.execution.site import Site
from agent_fleet.execution.waiting import dismiss

GAPS = 10
"""So often a receiver may have lost bytes that it had; then it is sent no more."""


class Section:
    """A part of the log: a header, then a stream of a run as far as it is known to reach."""

    def __init__(self, directory: str, stream: Stream, *, header: bytes, most: int) -> None:
        self.directory = directory
        self.stream: Stream = stream
        self.header = header
        self.size = 0
        self.ended = False
        self.changed = asyncio.Event()
        self._most = most

    def reach(self, size: int, *, ended: bool = False) -> None:
        """The stream has `size` bytes by now, and no more ever if it has `ended`."""
        self.size, self.ended = min(size, self._most), ended
        self.changed.set()


class Logbook:
    """Writes the log beside the work. `fresh`: nothing of it can have been sent before.

    `most` bytes of each stream are part of it.
    """

    def __init__(
        self, site: Site, reporter: Reporter, *, secrets: tuple[bytes, ...], most: int, fresh: bool
    ) -> None:
        self._site = site
        self._reporter = reporter
        self._secrets = secrets
        self._most = most
        self._sections: list[Section] = []
        self._more = asyncio.Event()
        self._closed = False
        self._mute = False
        self._known = 0 if fresh else None
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._writing: asyncio.Future[None] | None = None

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncGenerator[None, None]:
        """While inside, the log is written."""
        self._writing = asyncio.ensure_future(self._write())
        try:
            yield
        finally:
            await dismiss(self._writing)

    def add(self, directory: str, stream: Stream, *, header: str = "") -> Section:
        """The next section, of the run in `directory`; the one before it must have ended."""
        text = f"\n--- {header} ---\n".encode("utf-8", "replace") if header else b""
        section = Section(directory, stream, header=text, most=self._most)
        self._sections.append(section)
        self._more.set()
        return section

    async def close(self, *, within_s: float) -> LogDigest:
        """The digest of the whole log, of which no more comes.

        What could not be sent within that time is left unsent, but counted.
        """
        self._closed = True
        self._more.set()
        assert self._writing is not None
        await asyncio.wait({self._writing}, timeout=within_s)
        if not self._writing.done():
            await dismiss(self._writing)
            self._mute = True
            self._writing = asyncio.ensure_future(self._write())
            await asyncio.wait({self._writing}, timeout=within_s)
        if self._writing.done():
            self._writing.result()
        return LogDigest(self._size, self._sha256.hexdigest())

    async def _write(self) -> None:
        for _ in range(GAPS):
            try:
                await self._write_all()
                return
            except LogGap as gap:
                self._known = gap.offset
        self._mute = True
        await self._write_all()

    async def _write_all(self) -> None:
        """The log from its first byte on: what the receiver has is counted, and not sent."""
        self._size = 0
        self._sha256 = hashlib.sha256()
        masker = Masker(self._secrets)
        number = 0
        while (section := await self._section(number)) is not None:
            number += 1
            await self._put(masker.feed(section.header))
            async with contextlib.aclosing(self._read(section)) as parts:
                async for raw in parts:
                    await self._put(masker.feed(raw))
        await self._put(masker.feed(b"", last=True))

    async def _section(self, number: int) -> Section | None:
        while number >= len(self._sections):
            if self._closed:
                return None
            self._more.clear()
            await self._more.wait()
        return self._sections[number]

    async def _read(self, section: Section) -> AsyncGenerator[bytes, None]:
        at = 0
        while True:
            section.changed.clear()
            size, ended = section.size, section.ended
            part = await self._part(section, at, limit=size - at) if at < size else b""
            if part:
                at += len(part)
                yield part
            elif ended:
                return
            else:
                await section.changed.wait()

    async def _part(self, section: Section, start: int, *, limit: int) -> bytes:
        while True:
            try:
                return await read_part(
                    self._site.machine,
                    section.directory,
                    section.stream,
                    start=start,
                    limit=min(CHUNK, limit),
                )
            except Unavailable:
                await self._pause()

    async def _put(self, data: bytes) -> None:
        start = self._size
        self._size += len(data)
        self._sha256.update(data)
        while not self._mute:
            try:
                if self._known is None:
                    self._known = await self._reporter.append_log(start=0, data=b"")
                known = max(self._known, start)
                if known >= self._size:
                    return
                sent = await self._reporter.append_log(start=known, data=data[known - start :])
            except Unavailable:
                await self._pause()
            except LogGap:
                raise
            except FleetError:
                # The attempt is over, or the receiver has other bytes: it will never take these.
                self._mute = True
            else:
                if sent <= known:
                    await self._pause()
                self._known = sent

    async def _pause(self) -> None:
        await self._site.clock.sleep(10 * self._site.poll_s)

"""The machine that this process runs on.

A command sees the environment it is given and nothing of this process's own; it lives in a session
of its own, so that its whole group can be killed.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence

from agent_fleet.core.errors import Unavailable
from agent_fleet.execution.machine import OUTPUT_LIMIT, Completed

DRAIN_S = 2.0
"""Seconds for which output is still read after a command's end, where another process that it
left behind holds its stdout or stderr open."""


class LocalMachine:
    """The local host. `environment` is all that its commands see: an allow-list's choice."""

    def __init__(
        self, name: str = "local", *, environment: Mapping[str, str], shell: str = "sh"
    ) -> None:
        self.name = name
        self.shell = shell
        self._environment = dict(environment)

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float,
        output_limit: int = OUTPUT_LIMIT,
    ) -> Completed:
        """Run `argv` as `Machine.run` promises."""
        loop = asyncio.get_running_loop()
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        output = _Output(limit=output_limit)
        try:
            transport, _ = await loop.subprocess_exec(
                lambda: output,
                *argv,
                stdin=pipe if stdin else null,
                stdout=pipe,
                stderr=pipe,
                cwd=cwd,
                env=self._environment | dict(env or {}),
                start_new_session=True,
            )
        except OSError as error:
            return _not_started(argv[0], error, cwd=cwd)
        try:
            if stdin:
                _feed(transport, stdin)
            async with asyncio.timeout(timeout_s):
                await output.ended
        except TimeoutError:
            message = f"{self.name}: {argv[0]} did not end within {timeout_s:g} s"
            raise Unavailable(message) from None
        except _Overflow:
            message = f"{self.name}: {argv[0]} wrote more than {output_limit} bytes"
            raise Unavailable(message) from None
        finally:
            if not output.complete:
                await _kill(transport, output.exited)
            transport.close()
        code = transport.get_returncode()
        assert code is not None
        return Completed(code, bytes(output.stdout), bytes(output.stderr))


class _Overflow(Exception):
    """The command wrote more than it may."""


class _Output(asyncio.SubprocessProtocol):
    """Collects stdout and stderr; `ended` is done when both are closed and the command has exited.

    `complete` stays false where something of the command may still be alive.
    """

    def __init__(self, *, limit: int) -> None:
        loop = asyncio.get_running_loop()
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.complete = False
        self._limit = limit
        self._open = {1, 2}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        stream = self.stdout if fd == 1 else self.stderr
        if len(stream) + len(data) > self._limit:
            self._finish(_Overflow())
        else:
            stream.extend(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        self._check()

    def process_exited(self) -> None:
        self.exited.set_result(None)
        self._check()
        if self._open:
            self.ended.get_loop().call_later(DRAIN_S, self._finish)

    def _check(self) -> None:
        if self.exited.done() and not self._open:
            self.complete = True
            self._finish()

    def _finish(self, error: Exception | None = None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


def _feed(transport: asyncio.SubprocessTransport, stdin: bytes) -> None:
    pipe = transport.get_pipe_transport(0)
    assert isinstance(pipe, asyncio.WriteTransport)
    pipe.write(stdin)
    pipe.close()


async def _kill(transport: asyncio.SubprocessTransport, exited: asyncio.Future[None]) -> None:
    # A group outlives its leader, and its number is not given anew while it has a member.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(transport.get_pid(), signal.SIGKILL)
    # Closing the transport first would reap the child behind the event loop's back.
    await asyncio.wait({exited}, timeout=DRAIN_S)


def _not_started(command: str, error: OSError, *, cwd: str | None) -> Completed:
    message = f"{error.filename or command}: {error.strerror}\n".encode()
    if cwd is not None and error.filename == cwd:
        return Completed(126, b"", message)
    if isinstance(error, FileNotFoundError):
        return Completed(127, b"", message)
    if isinstance(error, PermissionError):
        return Completed(126, b"", message)
    raise Unavailable(f"{command} could not be started: {error}") from error

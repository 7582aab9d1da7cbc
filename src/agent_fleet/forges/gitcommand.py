"""Run one git command on this machine: bounded in time and output, and with nobody to ask.

Its environment is made here, not inherited. A command that talks to a remote sees the user's own
git configuration (credential helpers, address rewriting); one that works on our own repository
sees none. Nobody's hooks run, no terminal is asked, no address can name a program to start, and
credentials pass by the environment to a helper, never by argument or address.
"""

import asyncio
import os
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from agent_fleet.core.errors import Unavailable
from agent_fleet.core.model import Credentials

LOCAL_S = 120.0
ASK_S = 30.0
TRANSFER_S = 600.0
OUTPUT_BYTES = 64 * 1024 * 1024
_STDERR_BYTES = 16 * 1024
_CHUNK = 64 * 1024
_SAID_CHARS = 600

_PASSED_ON = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "SSH_AUTH_SOCK"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)

_ALWAYS = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("gc.autoDetach", "false"),  # nothing may go on in the background and outlive its caller
    ("maintenance.autoDetach", "false"),
)
_FIXED = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "SSH_ASKPASS": "true",
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",  # not ext::, which starts a program
    "GIT_SSH_COMMAND": "ssh -a -o BatchMode=yes -o ControlMaster=no -o ConnectTimeout=15",
}
_ISOLATED = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_ATTR_NOSYSTEM": "1"}

_HELPER = (
    '!f() { test "$1" = get && '
    'printf "username=%s\\npassword=%s\\n" "$FLEET_GIT_USERNAME" "$FLEET_GIT_TOKEN"; }; f'
)
_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+@")


class Output(msgspec.Struct, frozen=True):
    """How a command ended. `cut` means that it was ended because it wrote more than its limit."""

    code: int
    out: bytes
    err: str
    cut: bool = False

    @property
    def text(self) -> str:
        return self.out.decode(errors="replace").strip()


class Git:
    """Git as this process runs it, with the credentials of one forge.

    `environ` is the environment to choose from; of it, only the names listed above are passed on.
    """

    def __init__(
        self, *, environ: Mapping[str, str], credentials: Credentials | None = None
    ) -> None:
        self._credentials = credentials
        self._environ = {name: environ[name] for name in _PASSED_ON if name in environ}

    async def local(
        self,
        path: Path,
        *arguments: str,
        stdin: bytes = b"",
        limit_bytes: int = OUTPUT_BYTES,
        environ: Mapping[str, str] | None = None,
    ) -> Output:
        """Run a command on our own repository at `path`. Raises Unavailable past the time limit."""
        env = self._env(_ALWAYS) | _ISOLATED | {"GIT_DIR": str(path)} | dict(environ or {})
        return await _run(arguments, env, stdin=stdin, timeout_s=LOCAL_S, limit_bytes=limit_bytes)

    async def remote(
        self,
        url: str,
        *arguments: str,
        timeout_s: float,
        path: Path | None = None,
        holding: int | None = None,
    ) -> Output:
        """Run a command that talks to the remote at `url`, which is among its arguments.

        The child keeps the descriptor `holding` open. Raises Unavailable past the time limit.
        """
        env: dict[str, str] = {} if path is None else {"GIT_DIR": str(path)}
        config = _ALWAYS
        if self._credentials is not None and url.startswith(("http://", "https://")):
            # Bound to this host: a redirect elsewhere gets nothing. The empty one drops all others.
            place = "://".join(urlsplit(url)[:2]).replace(f"{urlsplit(url).username}@", "")
            config += (("credential.helper", ""), (f"credential.{place}.helper", _HELPER))
            env["FLEET_GIT_USERNAME"] = self._credentials.username
            env["FLEET_GIT_TOKEN"] = self._credentials.token
        env = self._env(config) | env
        return await _run(arguments, env, timeout_s=timeout_s, holding=holding)

    def said(self, output: Output) -> str:
        """What git complained about, in one line, without hints and without secrets."""
        lines = [line.strip() for line in output.err.splitlines() if line.strip()]
        told = [line for line in lines if not line.startswith(("hint:", "warning:"))]
        return self.masked("; ".join(told or lines))[:_SAID_CHARS] or f"exit code {output.code}"

    def masked(self, text: str) -> str:
        """The text without our token, and without a user or password in any address."""
        if self._credentials is not None and self._credentials.token:
            text = text.replace(self._credentials.token, "***")
        return _IN_ADDRESS.sub("***@", text)

    def _env(self, config: tuple[tuple[str, str], ...]) -> dict[str, str]:
        env = self._environ | _FIXED | {"GIT_CONFIG_COUNT": str(len(config))}
        for number, (key, value) in enumerate(config):
            env[f"GIT_CONFIG_KEY_{number}"] = key
            env[f"GIT_CONFIG_VALUE_{number}"] = value
        return env


async def _run(
    arguments: tuple[str, ...],
    env: dict[str, str],
    *,
    timeout_s: float,
    stdin: bytes = b"",
    limit_bytes: int = OUTPUT_BYTES,
    holding: int | None = None,
) -> Output:
    process = await _start(arguments, env, holding=holding)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(timeout_s):
            (out, cut), err, _ = await asyncio.gather(
                _read(process, process.stdout, limit_bytes),
                _read_tail(process.stderr),
                _feed(process, stdin),
            )
            code = await process.wait()
    except TimeoutError:
        _kill(process)
        raise Unavailable(f"git {arguments[0]} took longer than {timeout_s:g} s") from None
    except BaseException:
        _kill(process)
        raise
    finally:
        await _drain(process)
    return Output(code=code, out=out, err=err.decode(errors="replace"), cut=cut)


async def _start(
    arguments: tuple[str, ...], env: dict[str, str], *, holding: int | None
) -> asyncio.subprocess.Process:
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            "git",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            cwd="/",
            start_new_session=True,
            pass_fds=() if holding is None else (holding,),
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # asyncio itself would end the child only, and not what the child has started by now.
        process = await starting
        _kill(process)
        await _drain(process)
        raise


async def _read(
    process: asyncio.subprocess.Process, stream: asyncio.StreamReader, limit: int
) -> tuple[bytes, bool]:
    kept = bytearray()
    while chunk := await stream.read(_CHUNK):
        kept += chunk
        if len(kept) > limit:
            _kill(process)
            return bytes(kept[:limit]), True
    return bytes(kept), False


async def _read_tail(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while chunk := await stream.read(_CHUNK):
        kept = (kept + chunk)[-_STDERR_BYTES:]
    return kept


async def _feed(process: asyncio.subprocess.Process, content: bytes) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(content)
        await process.stdin.drain()
        process.stdin.close()
        await process.stdin.wait_closed()


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read away what is left: the loop does not notice the end of a pipe that nobody reads."""
    assert process.stdout is not None
    assert process.stderr is not None
    for stream in (process.stdout, process.stderr):
        while await stream.read(_CHUNK):
            pass
    await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    # The group is the child's own session: its number is not given away while a member lives, and
    # one that is left holds our pipes open.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)

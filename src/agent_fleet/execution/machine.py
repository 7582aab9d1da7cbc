"""The seam between agent-fleet and a host: one method, `Machine.run`.

Everything else in this package is built on it, by POSIX sh scripts sent on stdin. Secrets travel
on stdin, never in argv. A command ends by itself, by its time limit, or with its caller; its
output is bounded.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of stdout, and of stderr, that a short command may write."""


class Completed(Struct, frozen=True):
    """How a command ended. A negative `exit_code`: it died by that signal."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Machine(Protocol):
    """A place where commands run. `shell` is its POSIX shell: a path, or a name on its PATH."""

    @property
    def name(self) -> str: ...

    @property
    def shell(self) -> str: ...

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
        """Run `argv` to its end; give its exit code and output.

        `env` is laid over the machine's own clean environment, which alone holds when it is None.
        It carries settings, not secrets: other users of a remote host may see it.
        A command that is not found gives exit code 127; one that cannot be executed, or whose
        `cwd` cannot be entered, gives 126: as in a shell, with the message on stderr.
        Raises Unavailable when the machine does not answer, when `timeout_s` seconds have passed
        or when stdout or stderr has more than `output_limit` bytes. The command and its process
        group are then killed, as they are when the caller is cancelled.
        """
        ...


async def run_script(
    machine: Machine,
    script: bytes,
    *args: str,
    timeout_s: float,
    output_limit: int = OUTPUT_LIMIT,
) -> Completed:
    """Run a POSIX sh script on `machine`, sent on stdin, with `args` as its `$1`, `$2`, …

    A script that was cut off on its way does nothing: a shell reads a group to its closing brace
    before it runs any of it. Raises Unavailable as `Machine.run` does.
    """
    whole = b"{\n" + script + b"\nexit\n}\n"
    argv = (machine.shell, "-s", "--", *args)
    return await machine.run(argv, stdin=whole, timeout_s=timeout_s, output_limit=output_limit)


def quote(argv: Sequence[str]) -> str:
    """`argv` as one POSIX shell command line: the only place where arguments are quoted."""
    return shlex.join(argv)

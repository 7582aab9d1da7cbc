"""The command as people run it: a process of its own, with an environment of its own."""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.support.servers import RunningServer

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 45


@dataclass
class Ended:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.out, type=dict[str, object])


async def fleet(
    *arguments: str, at: Path, environ: Mapping[str, str] | None = None, stdin: bytes = b""
) -> Ended:
    """Run `fleet` in the directory `at`; its exit code and output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agent_fleet.cli",
        *arguments,
        cwd=at,
        env={**clean_environ(at), **(environ or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate(stdin)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


def clean_environ(home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(ROOT / "src"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "COLUMNS": "120",
    }


def environ_of(server: RunningServer, token: str | None = None) -> dict[str, str]:
    """Where the server is, and an admin's token, or the one given."""
    return {"FLEET_URL": server.url, "FLEET_TOKEN": token or server.admin}

"""A worker asks for work, of a server that comes and goes."""

import asyncio
import re
from pathlib import Path

from agent_fleet.agent.worker import Worker
from agent_fleet.client import AgentClient
from agent_fleet.client.connection import TRIES
from agent_fleet.clock import SystemClock
from agent_fleet.execution.local import LocalMachine
from agent_fleet.execution.setting import Setting

SECONDS = 20
KEY = re.compile(rb"(?i)^idempotency-key: (.+)\r$", re.MULTILINE)
PROBLEM = b'{"type": "urn:agent-fleet:problem:conflict", "title": "Conflict", "status": 409}'
CONFLICT = b"HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (
    len(PROBLEM),
    PROBLEM,
)
NO_WORK = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


async def test_a_request_for_work_keeps_its_key_until_it_is_answered(tmp_path: Path) -> None:
    lost = [b""] * (TRIES + 1)

    keys = await _keys_of_requests(tmp_path, *lost, NO_WORK, NO_WORK)

    assert len(set(keys[:-1])) == 1
    assert keys[-1] != keys[0]


async def test_a_worker_goes_on_asking_after_a_conflict(tmp_path: Path) -> None:
    keys = await _keys_of_requests(tmp_path, CONFLICT, NO_WORK)

    assert len(keys) == 2


async def _keys_of_requests(directory: Path, *answers: bytes) -> list[bytes]:
    """A worker asks until it has had all the answers, an empty one being none; its keys."""
    keys: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = KEY.search(await reader.readuntil(b"\r\n\r\n"))
        assert found is not None
        if len(keys) < len(answers):
            writer.write(answers[len(keys)])
            keys.append(found[1])
        if len(keys) == len(answers):
            worker.stop()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with AgentClient(f"http://127.0.0.1:{port}", "a-token") as client:
            worker = _worker(client, directory)
            async with asyncio.timeout(SECONDS):
                await worker.work()
    return keys


def _worker(client: AgentClient, directory: Path) -> Worker:
    setting = Setting(root=str(directory), environment={}, passable={}, self_stop=True)
    return Worker(
        client,
        LocalMachine(environment={"PATH": "/usr/bin:/bin"}),
        setting,
        adapters={},
        slots=1,
        clock=SystemClock(),
    )

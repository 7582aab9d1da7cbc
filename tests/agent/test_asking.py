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
NO_WORK = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


async def test_a_request_for_work_keeps_its_key_until_it_is_answered(tmp_path: Path) -> None:
    keys: asyncio.Queue[bytes] = asyncio.Queue()
    lost = TRIES + 1

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = KEY.search(await reader.readuntil(b"\r\n\r\n"))
        assert found is not None
        asked = keys.qsize()
        keys.put_nowait(found[1])
        if asked >= lost:
            writer.write(NO_WORK)
            await writer.drain()
        writer.close()
        if asked == lost + 1:
            worker.stop()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with AgentClient(f"http://127.0.0.1:{port}", "a-token") as client:
            worker = _worker(client, tmp_path)
            async with asyncio.timeout(SECONDS):
                await worker.work()

    seen = [keys.get_nowait() for _ in range(lost + 2)]
    assert len(set(seen[: lost + 1])) == 1
    assert seen[-1] != seen[0]


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

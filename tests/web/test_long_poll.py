"""A long poll is for somebody: when that one goes away, so does the poll."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from agent_fleet.client import AgentClient, FleetClient
from agent_fleet.core.messages import DequeueRequest, Submission
from agent_fleet.core.model import Mode
from agent_fleet.core.registry import TokenKind
from tests.support.servers import REPO, running_server
from tests.support.waiting import eventually_async


async def test_an_agent_that_went_away_while_waiting_is_granted_nothing(tmp_path: Path):
    async with running_server(tmp_path) as server:
        secret = await server.token(TokenKind.AGENT, "walker")
        async with FleetClient(server.url, server.admin) as people:
            await _ask_and_leave(server.url, secret, people)
            task = await people.submit(
                Submission(repo=REPO, goal="Write a page", mode=Mode.HTTP_PULL)
            )
        async with AgentClient(server.url, secret) as agent:
            answer = await agent.dequeue(
                DequeueRequest(incarnation="incarnation-2", wait_s=5.0), key="second"
            )

    assert [(grant.task, grant.attempt) for grant in answer.grants] == [(task.task.id, 1)]


async def _ask_and_leave(url: str, secret: str, people: FleetClient) -> None:
    """A dequeue whose connection is closed while the server holds the answer."""

    async def seen() -> bool:
        return (await people.agents()).agents[0].agent.seen_at is not None

    where = urlsplit(url)
    _, writer = await asyncio.open_connection(where.hostname, where.port)
    body = msgspec.json.encode(DequeueRequest(incarnation="incarnation-1", wait_s=30.0))
    head = (
        "POST /api/v1/tasks/dequeue HTTP/1.1\r\nHost: fleet\r\n"
        f"Authorization: Bearer {secret}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    await eventually_async(seen, 5.0, "the server to hold the poll")
    writer.close()
    await writer.wait_closed()
    await people.agents()

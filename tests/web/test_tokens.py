"""Tokens of agents: one that is valid at a time, and a new one after it."""

import asyncio
from pathlib import Path

import pytest

from agent_fleet.client import AgentClient, FleetClient
from agent_fleet.core.errors import Conflict, Unauthenticated
from agent_fleet.core.messages import DequeueRequest, Submission, TokenRequest
from agent_fleet.core.model import Mode
from agent_fleet.core.registry import TokenKind
from tests.support.servers import REPO, running_server
from tests.support.waiting import eventually_async

ASKING = DequeueRequest(incarnation="incarnation-1", wait_s=0.0)


async def test_nobody_takes_over_the_name_of_an_agent_whose_token_is_valid(tmp_path: Path):
    request = TokenRequest(kind=TokenKind.AGENT, name="builder")
    async with running_server(tmp_path) as server, FleetClient(server.url, server.admin) as people:
        await people.issue_token(request)

        with pytest.raises(Conflict, match="revoke its token first"):
            await people.issue_token(request)


async def test_an_agent_whose_token_was_revoked_gets_a_new_one_and_new_rights(tmp_path: Path):
    request = TokenRequest(kind=TokenKind.AGENT, name="builder")
    wider = TokenRequest(kind=TokenKind.AGENT, name="builder", slots=3)
    async with running_server(tmp_path) as server, FleetClient(server.url, server.admin) as people:
        old = await people.issue_token(request)
        await people.revoke_token(old.token.prefix)

        new = await people.issue_token(wider)

        (state,) = (await people.agents()).agents
        async with AgentClient(server.url, new.secret) as agent:
            assert (await agent.dequeue(ASKING)).grants == ()
        async with AgentClient(server.url, old.secret) as agent:
            with pytest.raises(Unauthenticated):
                await agent.dequeue(ASKING)
    assert state.agent.slots == 3


async def test_a_poll_that_waits_is_granted_nothing_once_its_token_is_revoked(tmp_path: Path):
    waiting = DequeueRequest(incarnation="incarnation-1", wait_s=20.0)
    async with running_server(tmp_path) as server, FleetClient(server.url, server.admin) as people:
        issued = await people.issue_token(TokenRequest(kind=TokenKind.AGENT, name="builder"))
        async with AgentClient(server.url, issued.secret) as agent:
            poll = asyncio.create_task(agent.dequeue(waiting))
            await eventually_async(lambda: _is_seen(people), 5.0, "the server to hold the poll")
            await people.revoke_token(issued.token.prefix)
            task = await people.submit(Submission(repo=REPO, goal="Write", mode=Mode.HTTP_PULL))

            with pytest.raises(Unauthenticated):
                await poll

        assert (await people.task(task.task.id)).attempts == ()


async def _is_seen(people: FleetClient) -> bool:
    return (await people.agents()).agents[0].agent.seen_at is not None

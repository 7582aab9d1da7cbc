"""Tokens of agents: one that is valid at a time, and a new one after it."""

from pathlib import Path

import pytest

from agent_fleet.client import AgentClient, FleetClient
from agent_fleet.core.errors import Conflict, Unauthenticated
from agent_fleet.core.messages import DequeueRequest, TokenRequest
from agent_fleet.core.registry import TokenKind
from tests.support.servers import running_server

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

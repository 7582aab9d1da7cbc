"""The SDK: one method for each endpoint, messages in, messages out, the domain's errors raised.

`FleetClient` is for people's programs, `AgentClient` for workers. Both are made with the server's
address and a token, and used as asynchronous context managers. Imports core only.
"""

from agent_fleet.client.agent import AgentClient
from agent_fleet.client.fleet import FleetClient, Until

__all__ = ["AgentClient", "FleetClient", "Until"]

"""The http_pull worker: asks for work, carries it out here, keeps the lease, hands in the receipt.

It needs the base package alone, and only outgoing requests. What runs is the same code that the
orchestrator uses on its hosts.
"""

from agent_fleet.agent.worker import Options, run

__all__ = ["Options", "run"]

"""The hosts of this orchestrator: what was declared of each, and the machine that it is."""

import msgspec

from agent_fleet.core.registry import Host
from agent_fleet.execution.machine import Machine


class Place(msgspec.Struct, frozen=True):
    """`root` is the directory on the machine that holds its runs and workspaces."""

    declared: Host
    machine: Machine
    root: str

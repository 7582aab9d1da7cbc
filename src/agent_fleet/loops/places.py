"""The hosts of this orchestrator: what was declared of each, and the machine that it is."""

import msgspec

from agent_fleet.core.registry import Host
from agent_fleet.execution.machine import Machine
from agent_fleet.execution.setting import Setting


class Place(msgspec.Struct, frozen=True):
    """`setting`: how attempts are carried out there."""

    declared: Host
    machine: Machine
    setting: Setting

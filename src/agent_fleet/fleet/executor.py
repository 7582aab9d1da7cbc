"""Who carries out an attempt, and whether it is the one that speaks."""

import msgspec

from agent_fleet.core.errors import Forbidden
from agent_fleet.core.model import Attempt, Transport


class Executor(msgspec.Struct, frozen=True):
    """Who speaks: an agent or an orchestrator, by its name and transport."""

    name: str
    transport: Transport


def check_owner(executor: Executor, attempt: Attempt) -> None:
    """Forbidden unless it is the attempt's owner, over the transport of its grant."""
    if attempt.transport is not executor.transport:
        raise Forbidden(
            f"attempt {attempt.number} of task {attempt.task} is of transport "
            f"{attempt.transport}; only its own executor reports it"
        )
    if attempt.owner != executor.name:
        raise Forbidden(f"attempt {attempt.number} of task {attempt.task} is somebody else's")

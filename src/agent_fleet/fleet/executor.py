"""Who carries out an attempt, and whether it is the one that speaks."""

import msgspec

from agent_fleet.core.errors import Forbidden, InvalidInput
from agent_fleet.core.model import Attempt, Task, Transport


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


def check_start(task: Task, base_sha: str | None) -> None:
    """Without the base that the work began from, nobody could tell later whether it was merged."""
    if base_sha is None and task.deliverable == "branch":
        raise InvalidInput(
            "$.base_sha",
            "is missing with the start",
            remedy="say at which commit of the base branch the work begins",
        )

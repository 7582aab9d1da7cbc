"""Validation: the fleet's own commands, each a run of its own, in the workspace, after the work.

They run what the agent wrote, so they see the base environment and none of the agent's secrets.
The first that fails is the last. Evidence is what they wrote, as the log has it: masked.
"""

import hashlib
from collections.abc import Mapping

from msgspec import Struct

from agent_fleet.adapters import Failure
from agent_fleet.adapters.report import last_lines
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import ValidationResult
from agent_fleet.core.text import shorten
from agent_fleet.execution import following
from agent_fleet.execution.following import Bounds, Followed, Place, follow
from agent_fleet.execution.heartbeat import Halt, Halted
from agent_fleet.execution.logbook import Logbook
from agent_fleet.execution.masking import Masker
from agent_fleet.execution.output import read_range
from agent_fleet.execution.records import recall
from agent_fleet.execution.run import Graces, RunSpec, RunState
from agent_fleet.execution.site import Site, insist

GRACES = Graces(interrupt_s=5.0, terminate_s=5.0, kill_s=5.0)
TAIL = 64 * 1024
"""Bytes of a command's output of which the last lines are shown."""


class Validated(Struct, frozen=True):
    """What the commands gave, in their order; `failure` is that of the last."""

    results: tuple[ValidationResult, ...] = ()
    failure: Failure | None = None
    survivors: tuple[int, ...] = ()


def place_of(agent: Place, number: int) -> Place:
    """Where the validation command of that number, from 0, runs."""
    suffix = f".v{number}"
    return Place(agent.directory + suffix, agent.mark + suffix, agent.workspace)


def title(number: int, command: str) -> str:
    return f"validation {number + 1}: {shorten(command)}"


async def validate(
    site: Site,
    agent: Place,
    commands: tuple[str, ...],
    *,
    environment: Mapping[str, str],
    bounds: Bounds,
    logbook: Logbook,
    secrets: tuple[bytes, ...],
) -> Validated:
    """Run the commands until one fails. Raises Halted when told to stop; its command is ended."""
    results: list[ValidationResult] = []
    survivors: list[int] = []
    for number, command in enumerate(commands):
        place = place_of(agent, number)
        followed = await _run(
            site,
            place,
            command,
            environment=environment,
            bounds=bounds,
            logbook=logbook,
            header=title(number, command),
        )
        survivors += followed.survivors
        sha256, tail = await _output(site, place, followed, bounds=bounds, secrets=secrets)
        if followed.view.exit_code is not None:
            result = ValidationResult(
                command, followed.view.exit_code, round(followed.seconds, 3), sha256
            )
            results.append(result)
        failure = _failure(command, followed, said=last_lines(tail))
        if failure is not None:
            return Validated(tuple(results), failure, tuple(survivors))
    return Validated(tuple(results), None, tuple(survivors))


async def _run(
    site: Site,
    place: Place,
    command: str,
    *,
    environment: Mapping[str, str],
    bounds: Bounds,
    logbook: Logbook,
    header: str,
) -> Followed:
    spec = RunSpec(
        directory=place.directory,
        # One stream, so that the output stands in the order in which it was written.
        argv=("sh", "-c", 'exec sh -c "$1" 2>&1', "sh", command),
        cwd=place.workspace,
        env=dict(environment),
        stdin=None,
        mark=place.mark,
    )
    ending, began = None, site.clock.elapsed()
    if not await following.start(site, spec):
        began = None
        ending = (await insist(site, lambda: recall(site.machine, place.directory))).ending
    section = logbook.add(place.directory, "stdout", header=header)
    followed = await follow(
        site, place, bounds=bounds, graces=GRACES, section=section, began=began, ending=ending
    )
    if followed.ending is not None and followed.ending.reason is Reason.CANCELLED:
        raise Halted(Halt.CANCEL)
    return followed


async def _output(
    site: Site, place: Place, followed: Followed, *, bounds: Bounds, secrets: tuple[bytes, ...]
) -> tuple[str, bytes]:
    """The SHA-256 of what a command wrote, and the end of it; both masked."""
    digest, tail, masker = hashlib.sha256(), b"", Masker(secrets)
    end = min(followed.view.stdout_size, bounds.output_bytes)
    async for part in read_range(site, place.directory, "stdout", start=0, end=end):
        masked = masker.feed(part)
        digest.update(masked)
        tail = (tail + masked)[-TAIL:]
    rest = masker.feed(b"", last=True)
    digest.update(rest)
    return digest.hexdigest(), (tail + rest)[-TAIL:]


def _failure(command: str, followed: Followed, *, said: str) -> Failure | None:
    name = shorten(command)
    ending, code = followed.ending, followed.view.exit_code
    if ending is not None and ending.reason in {Reason.START_TIMEOUT, Reason.KILLED}:
        return Failure(ending.reason, f"{name}: {ending.message}")
    if ending is not None:
        return Failure(Reason.VALIDATION_FAILED, f"{name}: {ending.message}\n{said}")
    if code is None or followed.view.state is RunState.VANISHED:
        return Failure(Reason.KILLED, f"{name}: its process vanished\n{said}")
    if code != 0:
        return Failure(Reason.VALIDATION_FAILED, f"{name}: exit {code}\n{said}")
    return None

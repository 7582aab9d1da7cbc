"""From a problem document back to the error that the server raised."""

import msgspec

from agent_fleet.core.errors import (
    Conflict,
    FleetError,
    Forbidden,
    IdempotencyMismatch,
    IllegalTransition,
    InvalidInput,
    LeaseLost,
    LogGap,
    MergeConflict,
    NotFound,
    Superseded,
    Unauthenticated,
    Unavailable,
)
from agent_fleet.core.messages import Problem

_PREFIX = "urn:agent-fleet:problem:"
_PLAIN: dict[str, type[FleetError]] = {
    kind.slug: kind
    for kind in (
        Conflict,
        Forbidden,
        IdempotencyMismatch,
        IllegalTransition,
        MergeConflict,
        NotFound,
        Unauthenticated,
    )
}


def read_error(status: int, content: bytes, *, retry_after: str | None = None) -> FleetError:
    """The error of an answer that is none of success.

    Whatever the server could not do (5xx) is Unavailable. A kind that this client does not know is
    a plain FleetError, and so is an answer that no fleet gives: a proxy's, another program's.
    """
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except msgspec.DecodeError:
        message = f"the server answered {status}, and not as a fleet does; is the address right?"
        return _unavailable(message, retry_after) if status >= 500 else FleetError(message)
    if status >= 500:
        told = problem.retry_after_s
        return _unavailable(problem.detail or problem.title, told if told else retry_after)
    return _rebuild(problem)


def _rebuild(problem: Problem) -> FleetError:
    message = problem.detail or problem.title
    match problem.type.removeprefix(_PREFIX):
        case InvalidInput.slug:
            path, remedy = problem.field or "$", problem.remedy or "see the API's description"
            said = message.removeprefix(f"{path}: ").removesuffix(f"; {remedy}")
            return InvalidInput(path, said, remedy=remedy)
        case LeaseLost.slug:
            return LeaseLost(message, current_attempt=problem.current_attempt)
        case Superseded.slug if problem.current_attempt is not None:
            return Superseded(message, current_attempt=problem.current_attempt)
        case LogGap.slug if problem.offset is not None:
            return LogGap(problem.offset)
        case slug:
            return _PLAIN.get(slug, FleetError)(message)


def _unavailable(message: str, retry_after: str | float | None) -> Unavailable:
    """`Retry-After` as a date is not read: the usual pause holds then."""
    try:
        seconds = float(retry_after) if retry_after is not None else None
    except ValueError:
        seconds = None
    if seconds is None or not 0 <= seconds < float("inf"):
        return Unavailable(message, retry_after_s=0.0)
    return Unavailable(message, retry_after_s=seconds)

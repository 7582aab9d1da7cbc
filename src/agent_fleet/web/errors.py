"""Errors as problem details (RFC 9457): one map, at the boundary, for ours and the framework's."""

import re
from http import HTTPStatus
from typing import cast

import msgspec
import structlog
from litestar import Response
from litestar.exceptions import HTTPException, ValidationException

from agent_fleet.core.errors import (
    FleetError,
    InvalidInput,
    LeaseLost,
    LogGap,
    Superseded,
    Unauthenticated,
    Unavailable,
)
from agent_fleet.core.messages import Problem
from agent_fleet.web.access import AnyRequest

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
BASE = "urn:agent-fleet:problem:"


_HEADERS = {"key": "Idempotency-Key"}
"""Parameters of handlers that come in a header, which the framework calls by their own names."""


def to_problem(error: FleetError) -> Problem:
    """What a client is told of an error of ours."""
    problem = Problem(
        type=BASE + error.slug,
        title=error.slug.replace("-", " "),
        status=error.status,
        detail=error.message,
        retryable=error.retryable,
    )
    replace = msgspec.structs.replace
    match error:
        case InvalidInput():
            return replace(problem, field=error.path, remedy=error.remedy)
        case LeaseLost() | Superseded():
            return replace(problem, current_attempt=error.current_attempt)
        case LogGap():
            return replace(problem, offset=error.offset)
        case Unavailable():
            return replace(problem, retry_after_s=error.retry_after_s)
        case _:
            return problem


def answer_fleet_error(_request: AnyRequest, error: FleetError) -> Response[bytes]:
    return _answer(to_problem(error), authenticate=isinstance(error, Unauthenticated))


def answer_http_error(_request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """The framework's own refusals: no such route, a wrong method or field, too large a body."""
    if isinstance(error, ValidationException):
        return _answer(to_problem(_invalid(error)))
    if error.status_code == HTTPStatus.BAD_REQUEST:
        invalid = InvalidInput("$", error.detail, remedy="send one JSON object of UTF-8 text")
        return _answer(to_problem(invalid))
    status = HTTPStatus(error.status_code)
    slug = status.phrase.lower().replace(" ", "-")
    return _answer(
        Problem(type=BASE + slug, title=status.phrase, status=status, detail=error.detail)
    )


def answer_too_deep(_request: AnyRequest, _error: RecursionError) -> Response[bytes]:
    """A body of thousands of brackets: nothing else here recurses."""
    return _answer(to_problem(InvalidInput("$", "is nested too deeply", remedy="send it flat")))


def answer_encoding(request: AnyRequest, error: UnicodeDecodeError) -> Response[bytes]:
    """A body with a text that is not UTF-8: the framework lets it through, and msgspec raises."""
    log.warning("request_not_utf8", method=request.method, path=request.url.path)
    said = f"is not UTF-8: {error.reason}"
    return _answer(to_problem(InvalidInput("$", said, remedy="send UTF-8 text")))


def answer_defect(request: AnyRequest, error: Exception) -> Response[bytes]:
    """A defect of ours: logged whole, told without detail."""
    log.error("request_failed", method=request.method, path=request.url.path, exc_info=error)
    return _answer(
        Problem(
            type=BASE + "internal",
            title="internal error",
            status=500,
            detail="the server failed; its log says why",
            retryable=True,
        )
    )


def _answer(problem: Problem, *, authenticate: bool = False) -> Response[bytes]:
    headers: dict[str, str] = {}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(problem.retry_after_s)))
    if authenticate:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        msgspec.json.encode(problem),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def _invalid(error: ValidationException) -> InvalidInput:
    """The framework's finding with the field's path: `$.priority` in a body, `limit` in a query."""
    found = cast("list[dict[str, object]]", error.extra or [{}])[0]
    message = str(found.get("message", error.detail))
    key = str(found.get("key", ""))
    path = key
    if found.get("source") == "body":
        path = "$" if key == "data" else f"$.{key}"
    elif found.get("source") == "header":
        path = _HEADERS.get(key, key)
    if told := re.search(r"(?:unknown|required) field `([^`]+)`", message):
        path = f"{path}.{told[1]}"
    message, remedy = _explain(message)
    return InvalidInput(path or "$", message, remedy=remedy)


def _explain(message: str) -> tuple[str, str]:
    """The framework's words for what is wrong, as ours: what it is, and what would be right."""
    plain = message.replace("`", "")
    if "unknown field" in plain:
        return "is not known", "leave it out"
    if "missing required" in plain:
        return "is missing", "send it"
    if plain == "'data'":
        return "the body is missing", "send one JSON object"
    if told := re.fullmatch(r"Expected (.+?), got (.+)", plain):
        return f"is of type {told[2]}", f"send {told[1]}"
    if told := re.fullmatch(r"Expected (.+)", plain):
        return "is out of range", f"send {told[1]}"
    return plain[:1].lower() + plain[1:], "see the API's description at /schema/openapi.json"

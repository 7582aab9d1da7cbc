"""Who may call what: a guard for each route, by the kind of the bearer's token.

Tokens come in the Authorization header only; one in a query string is refused, since addresses
end up in logs.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from litestar.connection import ASGIConnection, Request
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import PathParameter

from agent_fleet.core.errors import Forbidden, InvalidInput, NotFound, Unauthenticated
from agent_fleet.core.messages import TaskDetail
from agent_fleet.core.model import Transport
from agent_fleet.core.registry import Token, TokenKind
from agent_fleet.fleet import Fleet

Connection = ASGIConnection[Any, Any, Any, Any]
AnyRequest = Request[Any, Any, Any]
TheFleet = NamedDependency[Fleet]
Caller = NamedDependency[Token]
Number = Annotated[int, PathParameter(ge=1, le=2**31 - 1)]
"""Of a task or an attempt; both engines take any of these."""

Guard = Callable[[Connection, BaseRouteHandler], Awaitable[None]]

_QUERY_NAMES = frozenset({"token", "access_token", "authorization", "api_key"})


def allow(*kinds: TokenKind) -> Guard:
    """A guard that lets these kinds of token pass, and admins wherever people may.

    What agents alone do, nobody does for them: an attempt belongs to the agent of the token's name.
    """
    people = kinds != (TokenKind.AGENT,)
    allowed = frozenset({*kinds, TokenKind.ADMIN} if people else kinds)

    async def guard(connection: Connection, handler: BaseRouteHandler) -> None:
        token = await _authenticate(connection)
        if token.kind not in allowed:
            needed = ", ".join(sorted(allowed))
            raise Forbidden(
                f"a token of kind {token.kind} may not do this; it takes one of: {needed}"
            )
        _check_address(connection, handler)
        connection.state.token = token

    return guard


def caller(request: AnyRequest) -> Token:
    """The token that the guard let pass."""
    token = request.state.token
    assert isinstance(token, Token)
    return token


def check_visible(detail: TaskDetail, *, to: Token, attempt: int | None = None) -> TaskDetail:
    """NotFound for a task, or what came of an `attempt`, that is none of the caller's business."""
    task = detail.task
    if to.kind is TokenKind.REQUESTER and task.requester != to.name:
        raise NotFound(f"there is no task {task.id}")
    if to.kind is TokenKind.AGENT:
        held = {
            a.number
            for a in detail.attempts
            if a.owner == to.name and a.transport is Transport.HTTP_PULL
        }
        if not held:
            raise NotFound(f"there is no task {task.id}")
        if attempt is not None and attempt not in held:
            raise NotFound(f"task {task.id} has no attempt {attempt} of {to.name}")
    return detail


def _check_address(connection: Connection, handler: BaseRouteHandler) -> None:
    """A misspelt parameter would be a filter that nobody notices to be missing."""
    known = {*handler.parsed_fn_signature.parameters} - {*connection.path_params}
    for name in connection.query_params:
        if name not in known:
            raise InvalidInput(name, "is not known here", remedy="leave it out of the address")
    given = {**connection.path_params, **dict(connection.query_params.multi_items())}
    for name, value in given.items():
        if isinstance(value, str) and "\0" in value:
            raise InvalidInput(name, "holds a NUL", remedy="leave that out")


async def _authenticate(connection: Connection) -> Token:
    if _QUERY_NAMES & {name.lower() for name in connection.query_params}:
        raise InvalidInput(
            "query",
            "carries a token",
            remedy="send it as Authorization: Bearer, and revoke this one",
        )
    scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise Unauthenticated("send a token: Authorization: Bearer aflt_…")
    fleet: Fleet = connection.app.state.fleet
    return await fleet.registry.authenticate(secret.strip())

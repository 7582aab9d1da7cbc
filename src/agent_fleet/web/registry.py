"""Routes for administration: tokens, agents, hosts."""

from litestar import Router, delete, get, post
from litestar.params import FromPath, JSONBody

from agent_fleet.core.messages import AgentList, HostList, TokenIssued, TokenList, TokenRequest
from agent_fleet.core.registry import TokenKind
from agent_fleet.web.access import TheFleet, allow


@get("/agents", guards=[allow(TokenKind.OPERATOR, TokenKind.READ_ONLY)])
async def list_agents(fleet: TheFleet) -> AgentList:
    """The registered agents, and the slots that they use."""
    return await fleet.registry.agents()


@get("/hosts", guards=[allow(TokenKind.OPERATOR, TokenKind.READ_ONLY)])
async def list_hosts(fleet: TheFleet) -> HostList:
    """The hosts as declared and last probed, and the slots that they use."""
    return await fleet.registry.hosts()


@post("/tokens", guards=[allow()])
async def issue_token(fleet: TheFleet, data: JSONBody[TokenRequest]) -> TokenIssued:
    """A new token; the only time that its secret is told."""
    return await fleet.registry.issue(data)


@get("/tokens", guards=[allow()])
async def list_tokens(fleet: TheFleet) -> TokenList:
    """All tokens, without their secrets."""
    return await fleet.registry.tokens()


@delete("/tokens/{prefix:str}", guards=[allow()])
async def revoke_token(fleet: TheFleet, prefix: FromPath[str]) -> None:
    """Holds from the next request."""
    await fleet.registry.revoke(prefix)


routes = Router(
    "/", route_handlers=[list_agents, list_hosts, issue_token, list_tokens, revoke_token]
)

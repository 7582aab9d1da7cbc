"""The application: all routes, one error map."""

from importlib.metadata import version

from litestar import Litestar, Router, get
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig

from agent_fleet.core.errors import FleetError
from agent_fleet.core.messages import Ready
from agent_fleet.fleet import Fleet
from agent_fleet.web import attempts, registry, tasks
from agent_fleet.web.access import TheFleet, caller
from agent_fleet.web.errors import (
    answer_defect,
    answer_encoding,
    answer_fleet_error,
    answer_http_error,
    answer_too_deep,
)

BODY_LIMIT = 1_000_000
"""Bytes of a request's body; it is refused before it is parsed."""


@get("/healthz", sync_to_thread=False)
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@get("/readyz")
async def readyz(fleet: TheFleet) -> Ready:
    """The process answers, and so does its database."""
    return await fleet.ready(version("agent-fleet"))


def create_app(fleet: Fleet) -> Litestar:
    """The application over a fleet that is open."""
    api = Router("/api/v1", route_handlers=[tasks.routes, attempts.routes, registry.routes])
    app = Litestar(
        [api, healthz, readyz],
        dependencies={
            "fleet": Provide(lambda: fleet, sync_to_thread=False, use_cache=True),
            "caller": Provide(caller, sync_to_thread=False),
        },
        exception_handlers={
            FleetError: answer_fleet_error,
            HTTPException: answer_http_error,
            UnicodeDecodeError: answer_encoding,
            RecursionError: answer_too_deep,
            Exception: answer_defect,
        },
        openapi_config=OpenAPIConfig(title="agent-fleet", version=version("agent-fleet")),
        request_max_body_size=BODY_LIMIT,
        logging_config=None,
    )
    app.state.fleet = fleet
    return app

"""The generated blocks of the reference: settings, calls and errors of the API, imports.

Each is made from what the program itself goes by: the settings' descriptions, the routes with
their guards, the error tree, import-linter's contracts.
"""

import inspect
import re
import tomllib
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from msgspec import NODEFAULT, Meta

from agent_fleet.config import settings
from agent_fleet.config.tables import show_duration
from agent_fleet.config.values import Between, Duration
from agent_fleet.core import errors
from agent_fleet.core.errors import AttemptFailed, FleetError
from agent_fleet.web import attempts, registry, tasks

_API = "/api/v1"
_ROOT = Path(__file__).resolve().parents[1]


def settings_of(kind: type[msgspec.Struct]) -> str:
    """The settings of one section, in the file's order."""
    rows = [
        f"| `{field.name}` | {_default(field)} | {_meaning(field.type)} |"
        for field in msgspec.structs.fields(kind)
    ]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def calls() -> str:
    """Every call of the API: what it does, in its handler's words, and whose token may."""
    routers = (tasks.routes, attempts.routes, registry.routes)
    rows = [
        f"| `{method} {route.path_format}` | {_first_line(handler)} | {_who(handler)} |"
        for router in routers
        for route in router.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"})
    ]
    head = f"All below `{_API}`.\n\n| call | what it does | token of kind |"
    return "\n".join([head, "|---|---|---|", *rows])


def problems() -> str:
    """The errors by the last part of their `type`."""
    rows = [
        f"| `{kind.slug}` | {kind.status} | {'yes' if kind.retryable else ''} | {_told(kind)} |"
        for kind in _kinds(FleetError)
        if kind is not AttemptFailed
    ]
    return "\n".join(["| `type` ends in | status | retryable | when |", "|---|---|---|---|", *rows])


def import_law() -> str:
    """The contracts that import-linter enforces: of each, who may import whom."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    return "\n".join(_contract(one) for one in project["tool"]["importlinter"]["contracts"]).strip()


BLOCKS: dict[str, Callable[[], str]] = {
    "settings-server": lambda: settings_of(settings.ServerSettings),
    "settings-lease": lambda: settings_of(settings.LeaseSettings),
    "settings-defaults": lambda: settings_of(settings.Defaults),
    "settings-git": lambda: settings_of(settings.GitSettings),
    "settings-forge": lambda: settings_of(settings.ForgeSettings),
    "settings-credentials": lambda: settings_of(settings.CredentialSettings),
    "settings-repo": lambda: settings_of(settings.RepoSettings),
    "settings-local": lambda: settings_of(settings.LocalHost),
    "api-calls": calls,
    "import-law": import_law,
    "api-problems": problems,
}


def _contract(contract: dict[str, Any]) -> str:
    if contract["type"] == "layers":
        lines = [_short(layer) for layer in contract["layers"]]
        return f"**{contract['name']}**\n\n```\n" + "\n".join(lines) + "\n```\n"
    sources = ", ".join(f"`{_short(name)}`" for name in contract["source_modules"])
    forbidden = ", ".join(f"`{_short(name)}`" for name in contract["forbidden_modules"])
    return f"**{contract['name']}**: {sources} must not import {forbidden}.\n"


def _short(layer: str) -> str:
    return re.sub(r"\(?agent_fleet\.(\w+)\)?", r"\1", layer)


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if value is NODEFAULT:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, Duration):
        return f'`"{show_duration(value)}"`'
    if isinstance(value, (bool, int)):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        assert value == ()
        return "`[]`"
    if isinstance(value, (str, Path, StrEnum)):
        return f'`"{value}"`'
    raise TypeError(f"{field.name}: a default of a kind that the reference cannot show")


def _meaning(kind: Any) -> str:
    annotations = getattr(kind, "__metadata__", ())
    told = next(one.description for one in annotations if isinstance(one, Meta) and one.description)
    bound = next((one for one in annotations if isinstance(one, Between)), None)
    if bound is not None:
        told += f": {show_duration(bound.least)} to {show_duration(bound.most)}"
    return told.replace("|", "\\|")


def _first_line(handler: HTTPRouteHandler) -> str:
    return (inspect.getdoc(handler.fn) or "").splitlines()[0]


def _who(handler: Any) -> str:
    """From the guard that `web.access.allow` made."""
    (guard,) = handler.guards
    allowed = inspect.getclosurevars(guard).nonlocals["allowed"]
    return ", ".join(f"`{kind}`" for kind in sorted(allowed))


def _kinds(kind: type[FleetError]) -> Iterator[type[FleetError]]:
    for one in kind.__subclasses__():
        if one.__module__ == errors.__name__:
            yield one
            yield from _kinds(one)


def _told(kind: type[FleetError]) -> str:
    """What the tree at the top of the module says of it."""
    tree = inspect.getdoc(errors) or ""
    line = next(one for one in tree.splitlines() if f"── {kind.__name__} " in f"{one} ")
    return line.partition(kind.__name__)[2].strip()

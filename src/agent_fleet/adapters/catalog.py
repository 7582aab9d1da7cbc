"""The adapters there are: the built-in ones, and the configuration's tables over them.

A table named as a built-in one says only what differs: a field replaces the built-in's, a table
(`set_env`, `graces`) is laid over it key by key. So does one that `extends` a built-in one, under
another name: a second account of the same CLI. Any other table is an adapter of one's own, whole.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import cast

import msgspec

from agent_fleet.adapters.adapter import OPTIONS, PLACEHOLDER, Adapter, Graces
from agent_fleet.adapters.parsers import PARSERS
from agent_fleet.core.errors import InvalidInput

Table = Mapping[str, object]

BUILTIN = ("codex", "claude", "raw")

_PLACES = {"workspace", "git_dir"}
_ALLOWED: dict[str, set[str]] = {
    "command": _PLACES | {"options", "prompt"},
    "resume": _PLACES | {"options", "prompt", "session"},
    "narrow_args": _PLACES,
    "bypass_args": _PLACES,
    "model_args": _PLACES | {"model"},
}


def builtin() -> dict[str, Adapter]:
    """The adapters that need no configuration, by name."""
    return {name: _adapter(name, _table(name)) for name in BUILTIN}


def merge(configured: Mapping[str, Table]) -> dict[str, Adapter]:
    """The built-in adapters and `configured`, the tables `[adapters.NAME]`, by name.

    Raises InvalidInput with the path `adapters.NAME.field`.
    """
    merged = builtin()
    for name, table in configured.items():
        own = {key: value for key, value in table.items() if key != "extends"}
        merged[name] = _adapter(name, _overlay(_base(name, table), own))
    return merged


def _base(name: str, table: Table) -> Table:
    """What a table is laid over."""
    path = f"adapters.{name}.extends"
    if name in BUILTIN:
        if "extends" in table:
            raise InvalidInput(path, f"{name} is built in", remedy="give this one another name")
        return _table(name)
    extended = table.get("extends")
    if extended is None:
        return {}
    if extended not in BUILTIN:
        known = ", ".join(BUILTIN)
        raise InvalidInput(path, f"{extended!r} is not built in", remedy=f"one of {known}")
    return _table(str(extended))


@cache
def _table(name: str) -> dict[str, object]:
    text = files("agent_fleet.adapters").joinpath("builtin", f"{name}.toml").read_text("utf-8")
    return msgspec.toml.decode(text, type=dict[str, object])


def _overlay(base: Table, table: Table) -> dict[str, object]:
    out = dict(base)
    for key, value in table.items():
        below = out.get(key)
        if isinstance(below, dict) and isinstance(value, Mapping):
            out[key] = {**cast("dict[str, object]", below), **cast("Table", value)}
        else:
            out[key] = value
    return out


def _adapter(name: str, table: Table) -> Adapter:
    path = f"adapters.{name}"
    if "name" in table:
        raise InvalidInput(f"{path}.name", "unknown field", remedy=f"the name is {name!r} already")
    try:
        adapter = msgspec.convert({**table, "name": name}, Adapter)
    except msgspec.ValidationError as error:
        raise _translated(path, str(error)) from None
    _check_templates(path, adapter)
    if adapter.parser not in PARSERS:
        raise InvalidInput(
            f"{path}.parser",
            f"unknown parser {adapter.parser!r}",
            remedy="one of " + ", ".join(PARSERS),
        )
    return adapter


def _translated(path: str, message: str) -> InvalidInput:
    """msgspec's words with our path: `$.graces.kill_s` becomes `adapters.NAME.graces.kill_s`."""
    said, _, at = message.partition(" - at `$")
    inner = at.rstrip("`").replace("[...]", "")
    if named := re.search(r"(unknown|missing required) field `(.+)`", said):
        path = f"{path}{inner}.{named[2]}"
        if named[1] == "missing required":
            return InvalidInput(path, "missing", remedy="an adapter of one's own must have it")
        known = (Graces if inner == ".graces" else Adapter).__struct_fields__
        names = ", ".join(name for name in known if name != "name")
        return InvalidInput(path, "unknown field", remedy=f"known are {names}")
    return InvalidInput(path + inner, said, remedy="the built-in adapters show how it is written")


def _check_templates(path: str, adapter: Adapter) -> None:
    for name, allowed in _ALLOWED.items():
        template = cast("tuple[str, ...] | None", getattr(adapter, name)) or ()
        for index, part in enumerate(template):
            for word in PLACEHOLDER.findall(part):
                _check_placeholder(f"{path}.{name}[{index}]", word, part=part, allowed=allowed)
        if template.count(OPTIONS) > 1:
            raise InvalidInput(f"{path}.{name}", "{options} stands twice", remedy="keep one")
    for name in ("command", "resume"):
        template = cast("tuple[str, ...] | None", getattr(adapter, name))
        if template is not None:
            _check_prompt(f"{path}.{name}", adapter.prompt, template)
    if adapter.resume is not None and not _mentions(adapter.resume, "{session}"):
        raise InvalidInput(
            f"{path}.resume", "does not name the session", remedy="put {session} where it belongs"
        )


def _check_placeholder(path: str, word: str, *, part: str, allowed: set[str]) -> None:
    if word not in allowed:
        raise InvalidInput(
            path,
            f"unknown placeholder {{{word}}}",
            remedy="known here are " + ", ".join(f"{{{name}}}" for name in sorted(allowed)),
        )
    if word == "options" and part != OPTIONS:
        raise InvalidInput(
            path, "{options} inside an argument", remedy="make it an argument of its own"
        )


def _check_prompt(path: str, channel: str, template: tuple[str, ...]) -> None:
    if channel == "argument" and not _mentions(template, "{prompt}"):
        raise InvalidInput(
            path,
            'has no place for the prompt, with prompt = "argument"',
            remedy='add "{prompt}" where it belongs, after "--" where the CLI knows that',
        )
    if channel == "stdin" and _mentions(template, "{prompt}"):
        raise InvalidInput(
            path,
            'names {prompt}, with prompt = "stdin"',
            remedy='remove it, or say prompt = "argument"',
        )


def _mentions(template: tuple[str, ...], word: str) -> bool:
    return any(word in part for part in template)

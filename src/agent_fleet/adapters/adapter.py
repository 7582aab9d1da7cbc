"""An adapter: the description of one agent CLI, and the one command it renders to.

A template is a list of arguments. Inside an argument these stand for a value:

    {workspace}   the clone, absolute; also the current directory of the run
    {git_dir}     its Git directory, absolute
    {session}     what to resume; in `resume` only
    {model}       in `model_args` only
    {prompt}      where `prompt = "argument"`

An argument that is `{options}` and nothing else becomes the permission's arguments, the model's
and `args`, in this order; in a template without it they come last. `args` is taken literally.
"""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from agent_fleet.adapters.report import SESSION_ID
from agent_fleet.core.errors import InvalidInput

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
OPTIONS = "{options}"
MAX_ARGUMENT_BYTES = 128 * 1024 - 1
"""The longest single argument that Linux passes to a program (MAX_ARG_STRLEN, less the NUL)."""

# Values that follow an option: none of them may look like one.
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+\[\]-]{0,199}")

Seconds = Annotated[float, Meta(ge=0, le=300)]
Argv = tuple[str, ...]
EnvName = Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]


class Graces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a run has to end after SIGINT, SIGTERM and SIGKILL, each in seconds."""

    interrupt_s: Seconds = 10.0
    terminate_s: Seconds = 5.0
    kill_s: Seconds = 5.0


class Adapter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One agent CLI.

    `resume` replaces `command` where there is a session to resume; None: it cannot. `env` names
    the variables that pass from the host's environment; `set_env` are constants. `model` is used
    where the task names none. `version` is the probe's command; empty: not probed.
    """

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,39}$")]
    command: Annotated[Argv, Meta(min_length=1)]
    resume: Annotated[Argv, Meta(min_length=1)] | None = None
    prompt: Literal["stdin", "argument"]
    parser: str
    permissions: Literal["narrow", "bypass"] = "narrow"
    narrow_args: Argv = ()
    bypass_args: Argv = ()
    model: str | None = None
    model_args: Argv = ()
    args: Argv = ()
    env: tuple[EnvName, ...] = ()
    set_env: dict[EnvName, str] = field(default_factory=dict[str, str])
    version: Argv = ()
    graces: Graces = Graces()


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to start: arguments, never a shell string. `stdin` None: nothing, `/dev/null`.

    The environment is the host's `pass_env`, by name and where set, then `set_env` over it.
    """

    argv: Argv
    stdin: bytes | None
    set_env: dict[str, str]
    pass_env: tuple[str, ...]


def render(
    adapter: Adapter,
    *,
    workspace: str,
    git_dir: str,
    prompt: str,
    model: str | None = None,
    session: str | None = None,
) -> Command:
    """The command of one run; a `session` that the CLI cannot resume is left out.

    Raises InvalidInput for a model or a session that could be read as an option, and for a prompt
    too long to be an argument.
    """
    model = model or adapter.model
    _refuse_unless(_MODEL, model, f"adapters.{adapter.name}.model", "model's name")
    _refuse_unless(SESSION_ID, session, "session", "session's id")
    values = {
        "workspace": workspace,
        "git_dir": git_dir,
        "prompt": _as_argument(adapter, prompt) if adapter.prompt == "argument" else "",
        "model": model or "",
        "session": session or "",
    }
    granted = adapter.narrow_args if adapter.permissions == "narrow" else adapter.bypass_args
    options = _fill(granted, values)
    if model is not None:
        options += _fill(adapter.model_args, values)
    options += adapter.args
    template = adapter.resume if session is not None and adapter.resume else adapter.command
    if OPTIONS not in template:
        template += (OPTIONS,)
    at = template.index(OPTIONS)
    return Command(
        argv=_fill(template[:at], values) + options + _fill(template[at + 1 :], values),
        stdin=prompt.encode("utf-8", "replace") if adapter.prompt == "stdin" else None,
        set_env=dict(adapter.set_env),
        pass_env=adapter.env,
    )


def _fill(template: Argv, values: dict[str, str]) -> Argv:
    # In one pass: a value that contains braces is not looked at again.
    return tuple(PLACEHOLDER.sub(lambda match: values[match[1]], part) for part in template)


def _as_argument(adapter: Adapter, prompt: str) -> str:
    """The prompt as one argument that no CLI can take for an option, with or without `--`."""
    text = prompt.replace("\0", "")
    if text.startswith("-"):
        text = "\n" + text
    if len(text.encode("utf-8", "replace")) > MAX_ARGUMENT_BYTES:
        raise InvalidInput(
            f"adapters.{adapter.name}.prompt",
            f"a prompt of more than {MAX_ARGUMENT_BYTES} bytes cannot be an argument",
            remedy='let the CLI read it with prompt = "stdin", or shorten the task',
        )
    return text


def _refuse_unless(pattern: re.Pattern[str], value: str | None, path: str, what: str) -> None:
    if value is not None and not pattern.fullmatch(value):
        raise InvalidInput(
            path,
            f"{value[:60]!r} is not a {what}",
            remedy="letters, digits and . _ : / @ + [ ] - only, the first a letter or digit",
        )

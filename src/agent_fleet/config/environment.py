"""What a child process may see of this process's environment: an allow-list."""

import os
from collections.abc import Iterable, Mapping

_BASE = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LOGNAME",
        "PATH",
        "SHELL",
        "SSH_AUTH_SOCK",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_RUNTIME_DIR",
    }
)


def base_environment(
    *, path: Iterable[str] = (), environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What every command sees: who and where, but no secret. `path` comes first in PATH."""
    environ = os.environ if environ is None else environ
    seen = {name: environ[name] for name in sorted(environ) if name in _BASE or _is_locale(name)}
    first = [*path, *filter(None, [seen.get("PATH", os.defpath)])]
    return {**seen, "PATH": os.pathsep.join(first)}


def named_environment(
    names: Iterable[str], *, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The variables of these names that are set: what adapters ask for, keys among them."""
    environ = os.environ if environ is None else environ
    return {name: environ[name] for name in sorted(set(names)) if name in environ}


def _is_locale(name: str) -> bool:
    return name.startswith("LC_")

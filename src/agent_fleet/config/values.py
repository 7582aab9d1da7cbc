"""The kinds of value that TOML does not have: durations, addresses, secrets, paths.

`Values.convert` makes one from what stands in the file. It raises Wrong, a ValueError with the
remedy, and knows no setting by name.
"""

import ipaddress
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
_UNITS_S = (86_400, 3600, 60, 1, 0.001)
_SECRET_BYTES = 64 * 1024
_SHOWN_CHARS = 80
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|\.lock(?:/|$)))[A-Za-z0-9][A-Za-z0-9._/-]*(?<![./])")


Entries = Mapping[str, object]


class Wrong(ValueError):
    """A value that is not of its kind."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class Duration(float):
    """Seconds. In the file `"90s"`, `"15m"`, `"1h30m"`, `"500ms"`."""


class Secret(str):
    """A text that does not show itself: its representation hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>"


class DatabaseUrl(Secret):
    """`sqlite`, `sqlite:///PATH`, `postgresql://…`, or a reference to the whole address."""

    __slots__ = ()


class Branch(str):
    """A branch name of ASCII letters, digits, `.`, `_`, `/` and `-`, as git allows it."""

    __slots__ = ()


class RepoUrl(str):
    """An address that git connects to, without a password; a path is made absolute."""

    __slots__ = ()


class Network(str):
    """An IP address or a network in CIDR notation."""

    __slots__ = ()


class Listen(str):
    """Where to listen: `127.0.0.1:8620`, `[::1]:8620`, `localhost:8620`."""

    __slots__ = ()

    @property
    def host(self) -> str:
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Between(msgspec.Struct, frozen=True):
    """The least and the greatest duration that a setting admits, in seconds."""

    least: float
    most: float


class Values:
    """Makes values; `folder` is what relative paths start from, `environ` where variables are."""

    def __init__(self, *, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ

    def convert(self, kind: type, value: object) -> object:
        """Msgspec's `dec_hook`."""
        makers = {
            Secret: self._secret,
            DatabaseUrl: self._database,
            Duration: _duration,
            Listen: _listen,
            Branch: _branch,
            RepoUrl: self._repo_url,
            Network: _network,
            Path: self._path,
        }
        if kind not in makers:
            raise NotImplementedError(f"no maker for {kind}")
        return makers[kind](value)

    def _path(self, value: object) -> Path:
        text = _text(value, "a path")
        if text == "~" or text.startswith("~/"):
            return Path(self._environ.get("HOME", "/")) / text[2:]
        return (self._folder / text).absolute()

    def _secret(self, value: object) -> Secret:
        if isinstance(value, str):
            raise Wrong("a secret does not belong in this file", remedy=_REFERENCE)
        how, named = next(iter(cast("Entries", value).items())) if _is_single(value) else ("", "")
        if how == "env":
            name = _text(named, "a variable's name")
            found = self._environ.get(name, "")
            if not found:
                raise Wrong(f"{name} is not set", remedy=f"set {name} in the server's environment")
            return Secret(found)
        if how == "file":
            return Secret(read_secret(self._path(named)))
        raise Wrong("not a reference to a secret", remedy=_REFERENCE)

    def _database(self, value: object) -> DatabaseUrl:
        if not isinstance(value, str):
            return self._check_database(self._secret(value))
        if re.match(r"\w+://[^/@]*:[^/@]*@", value):
            raise Wrong("a password does not belong in this file", remedy=_REFERENCE)
        return self._check_database(value)

    def _check_database(self, value: str) -> DatabaseUrl:
        if value == "sqlite" or value.startswith(("postgresql://", "postgres://")):
            return DatabaseUrl(value)
        if value.startswith("sqlite:///") and len(value) > len("sqlite:///"):
            path = self._path(value.removeprefix("sqlite:///"))
            return DatabaseUrl(f"sqlite:///{path}")
        raise Wrong(
            "not a database that the fleet knows",
            remedy='write "sqlite", "sqlite:///PATH" or "postgresql://USER@HOST/NAME"',
        )

    def _repo_url(self, value: object) -> RepoUrl:
        text = _text(value, "an address")
        remedy = "write an https, ssh or file address, or a path"
        if re.match(r"\w+://[^/@]*:[^/@]*@", text):
            raise Wrong("a password does not belong in an address", remedy="name the credentials")
        if text.startswith("-") or re.match(r"\w+::", text) or not text.isprintable():
            raise Wrong(f"{shown(text)} is not a repository's address", remedy=remedy)
        if re.match(r"(https?|ssh|git|file)://[^/]*/.|(?:[\w.-]+@)?[\w.-]+:(?!//).", text):
            return RepoUrl(text)
        if "://" in text:
            raise Wrong(f"{shown(text)} is not a repository's address", remedy=remedy)
        return RepoUrl(self._path(text))


_REFERENCE = 'write { env = "NAME" } or { file = "PATH" }'


def read_secret(path: Path) -> str:
    """A secret's file without its last newline. Raises Wrong: not there, or open to others."""
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()[:_SECRET_BYTES] if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise Wrong(f"{path} cannot be read: {error.strerror}", remedy="make the file") from None
    if mode & 0o077:
        raise Wrong(f"{path} is open to other users", remedy=f"run chmod 600 {path}")
    secret = content.decode(errors="replace").strip()
    if not secret:
        raise Wrong(f"{path} is empty", remedy="put the secret there, and nothing else")
    return secret


def shown(value: object) -> str:
    """A value as an error shows it: not at any length."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def _is_single(value: object) -> bool:
    return isinstance(value, dict) and len(cast("Entries", value)) == 1


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise Wrong(f"not {what}", remedy=f"write {what} as a text in quotes")
    return value


def _duration(value: object) -> Duration:
    remedy = 'write a duration as "90s", "15m", "2h" or "1h30m"'
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None or not value:
        raise Wrong(f"{shown(value)} is not a duration", remedy=remedy)
    parts = zip(found.groups(), _UNITS_S, strict=True)
    return Duration(sum(int(number[:9]) * unit for number, unit in parts if number))


def _listen(value: object) -> Listen:
    form = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})"
    found = re.fullmatch(form, value) if isinstance(value, str) else None
    if found is None or int(found[1]) > 65_535:
        raise Wrong(
            f"{shown(value)} is not an address to listen on", remedy='write "127.0.0.1:8620"'
        )
    return Listen(value)


def _branch(value: object) -> Branch:
    if not isinstance(value, str) or not _BRANCH.fullmatch(value) or len(value) > 200:
        raise Wrong(f"{shown(value)} is not a branch name", remedy='write a name such as "main"')
    return Branch(value)


def _network(value: object) -> Network:
    try:
        return Network(ipaddress.ip_network(_text(value, "a network"), strict=False))
    except ValueError:
        raise Wrong(
            f"{shown(value)} is no network", remedy='write "127.0.0.1" or "10.0.0.0/8"'
        ) from None

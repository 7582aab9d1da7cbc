"""What is said to Git: addresses, branch names, credentials, and the scripts' settings. Pure.

The law: a secret travels on stdin, never in argv, an address or a message; only addresses that
name a repository, and never a command, reach Git.
"""

import hashlib
import re
import shlex
from collections.abc import Mapping
from importlib.resources import files
from urllib.parse import urlsplit

from agent_fleet.core.errors import InvalidInput
from agent_fleet.core.model import Credentials

MESSAGE_LIMIT = 600
"""Characters of Git's own message that are passed on."""

_SCRIPTS = files("agent_fleet.execution") / "scripts"
_HOST = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
_USER = r"([A-Za-z0-9][A-Za-z0-9._+-]*@)?"
_ADDRESSES = (
    re.compile(rf"(https?|ssh)://{_USER}({_HOST}|\[[0-9A-Fa-f:.]+\])(:[0-9]{{1,5}})?/[^\s?#]+"),
    re.compile(r"(file://)?/[^\n\r]+"),
    re.compile(rf"{_USER}{_HOST}:(?![:-]|//)[^\s:]+"),  # user@host:path, as scp has it
)
_COMPONENT = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*")
_ADDRESS_REMEDY = (
    "write https://host/path, ssh://user@host/path, user@host:path, file:///path or /path"
)


def check_url(url: str, *, path: str = "url") -> str:
    """`url`, if it is the address of a repository; `path` names the field in the error.

    Refused, by InvalidInput: transport helpers (`ext::`, which run a command), relative paths,
    anything that Git could take for an option, and passwords (an address is shown and stored).
    """
    if re.search(r"://[^/@]*:[^/@]*@", url):
        remedy = "leave it out of the address and configure a token instead"
        raise InvalidInput(path, "the address contains a password", remedy=remedy)
    if not url.isprintable() or not any(form.fullmatch(url) for form in _ADDRESSES):
        message = f"{url[:200]!r} is not the address of a Git repository"
        raise InvalidInput(path, message, remedy=_ADDRESS_REMEDY)
    return url


def check_branch(name: str, *, path: str = "branch") -> str:
    """`name`, if it is a branch name of ASCII letters, digits and `_ . + -`, in parts split by `/`.

    Every such name is also one to `git check-ref-format --branch`.
    """
    parts = name.split("/")
    sound = all(_COMPONENT.fullmatch(part) and not part.endswith(".lock") for part in parts)
    if not sound or ".." in name or name.endswith(".") or name == "HEAD" or len(name) > 200:
        message = f"{name[:200]!r} is not a branch name that can be used"
        remedy = "use letters, digits and _ . + - in parts separated by /, at most 200 characters"
        raise InvalidInput(path, message, remedy=remedy)
    return name


def remote_settings(url: str, credentials: Credentials | None) -> dict[str, str]:
    """What `remote.sh` asks for. Credentials are for the server of an http(s) `url` only."""
    http = url.startswith(("http://", "https://"))
    used = credentials if http else None
    parts = urlsplit(url) if http else None
    return {
        "url": url,
        "ssh": "yes" if not http and not url.startswith(("/", "file://")) else "no",
        "credential_scope": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts else "",
        "git_username": used.username if used else "",
        "git_token": used.token if used else "",
    }


def git_script(*names: str, settings: Mapping[str, str]) -> bytes:
    """The scripts `names` of this package as one, after the assignment of `settings`."""
    assigned = [f"{key}={shlex.quote(value)}" for key, value in settings.items()]
    texts = [(_SCRIPTS / f"{name}.sh").read_text(encoding="utf-8") for name in names]
    return "\n".join([*assigned, *texts]).encode()


def config_value(text: str) -> str:
    """`text` as it stands between double quotes in a Git configuration file."""
    return re.sub(r"[\x00-\x1f\x7f]", " ", text).replace("\\", "\\\\").replace('"', '\\"')


def cache_name(url: str) -> str:
    """The name of the object cache of a repository: equal for equal addresses."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def show_message(text: str, credentials: Credentials | None) -> str:
    """Git's message for people: one short line, without the token or any password in an address."""
    if credentials is not None and credentials.token:
        text = text.replace(credentials.token, "***")
    text = re.sub(r"(://)[^/@\s]*:[^/@\s]*@", r"\1***@", text)
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 2] + " …"

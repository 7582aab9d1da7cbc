"""How attempts are carried out on a machine, and where each of them lies there."""

import re
from collections.abc import Mapping

from msgspec import Struct

from agent_fleet.adapters import Adapter
from agent_fleet.core.errors import InvalidInput
from agent_fleet.core.model import Credentials, Grant
from agent_fleet.execution.following import Place
from agent_fleet.execution.masking import secrets_of

_PART = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Setting(Struct, frozen=True, kw_only=True):
    """How attempts are carried out on a machine.

    `root` is absolute: workspaces and runs lie there. `environment` is all that CLIs and
    validation commands see; `passable` are the variables that an adapter may name for its CLI on
    top. `self_stop`: the worker stops before its lease ends (http_pull); else a run goes on
    without its owner (ssh_cli). `start_s`: so long may a start take until a process shows up.
    `poll_s`: the shortest pause between two looks at a run, a tenth of the longest. `patience_s`:
    for so long is a machine asked again that does not answer, and is a log sent that nobody takes.
    """

    root: str
    environment: Mapping[str, str]
    passable: Mapping[str, str]
    credentials: Credentials | None = None
    self_stop: bool
    start_s: float = 60.0
    poll_s: float = 0.1
    patience_s: float = 60.0

    def __repr__(self) -> str:
        return f"Setting(root={self.root!r})"


def place_of(grant: Grant, setting: Setting, *, workspace: str) -> Place:
    """Where the run of an attempt lies; InvalidInput for a grant that would lead elsewhere."""
    if not _PART.fullmatch(grant.fleet_epoch):
        remedy = "use letters, digits, - and _"
        raise InvalidInput("fleet_epoch", f"{grant.fleet_epoch!r} is not usable", remedy=remedy)
    name = f"{grant.fleet_epoch}-{grant.task}-{grant.attempt}"
    return Place(f"{setting.root}/runs/{name}", name, workspace)


def variables_of(adapter: Adapter, setting: Setting) -> dict[str, str]:
    """What an adapter's CLI sees beyond the environment: what passes, and its constants."""
    passed = {name: setting.passable[name] for name in adapter.env if name in setting.passable}
    return passed | adapter.set_env


def secrets_in(adapter: Adapter, setting: Setting) -> tuple[bytes, ...]:
    """What must not be in any output of an attempt."""
    token = (setting.credentials.token,) if setting.credentials is not None else ()
    return secrets_of({**setting.passable, **adapter.set_env}, *token)

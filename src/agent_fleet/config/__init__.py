"""The only reader of files and environment.

The law of this package:

- What comes out is frozen and complete: durations in seconds, paths absolute, secrets read.
- An error names the setting's path as it stands in the file, and what would be right. All errors
  of a file are found in one reading: the first is raised, the others are its notes.
- A secret is never a literal in the file; it is named by `{ env = … }` or `{ file = … }`.
- It imports core, the seams' own value types, and the adapters' tables; nothing that acts.
"""

from agent_fleet.config.client import ClientSettings, client_settings
from agent_fleet.config.environment import base_environment, named_environment
from agent_fleet.config.load import load, refuse_exposed, template
from agent_fleet.config.settings import (
    Config,
    Defaults,
    ForgeSettings,
    GitSettings,
    LeaseSettings,
    LocalHost,
    RepoSettings,
    ServerSettings,
)
from agent_fleet.config.values import Listen

__all__ = [
    "ClientSettings",
    "Config",
    "Defaults",
    "ForgeSettings",
    "GitSettings",
    "LeaseSettings",
    "Listen",
    "LocalHost",
    "RepoSettings",
    "ServerSettings",
    "base_environment",
    "client_settings",
    "load",
    "named_environment",
    "refuse_exposed",
    "template",
]

"""What the configuration rules: times, limits, repositories. Values, no decisions."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

import msgspec

from agent_fleet.core.errors import NotFound
from agent_fleet.core.lifecycle import Backoff
from agent_fleet.core.model import Identity, Lease, Retry


class RepoRules(msgspec.Struct, frozen=True, kw_only=True):
    """One configured repository. `validation` are the commands that every task of it must pass."""

    name: str
    forge: str
    url: str
    base: str = "main"
    validation: tuple[str, ...] = ()
    commit: Literal["auto", "never"] = "auto"
    adapter: str | None = None


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """All that the use cases take from the configuration. `adapters`: those that hosts can run."""

    orchestrator: str
    adapter: str
    adapters: frozenset[str]
    model: str | None = None
    review_limit: int = 3
    max_tries: int = 3
    max_attempts: int = 20
    run_limit_s: float = 7_200.0
    silence_limit_s: float = 900.0
    retry: Retry = "unpushed"
    lease_ttl: timedelta = timedelta(seconds=90)
    start_deadline: timedelta = timedelta(seconds=30)
    prepare_limit: timedelta = timedelta(minutes=15)
    backoff: Backoff = Backoff()
    identity: Identity
    repos: Mapping[str, RepoRules]
    disk_floor_bytes: int = 1 << 30

    def repo(self, name: str) -> RepoRules:
        """NotFound, with what there is, for a repository that is not configured."""
        try:
            return self.repos[name]
        except KeyError:
            known = ", ".join(sorted(self.repos)) or "none"
            raise NotFound(
                f"there is no repository {name!r} in the configuration; there is: {known}"
            ) from None

    @property
    def lease(self) -> Lease:
        """As told to executors: a heartbeat every third of the lease."""
        ttl = self.lease_ttl.total_seconds()
        return Lease(ttl_s=ttl, heartbeat_s=ttl / 3)

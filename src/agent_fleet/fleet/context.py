"""What every group of use cases is given."""

from collections.abc import Mapping

import msgspec

from agent_fleet.clock import Clock
from agent_fleet.core import lifecycle
from agent_fleet.core.errors import NotFound
from agent_fleet.core.lifecycle import Change, State
from agent_fleet.core.model import ForgeView
from agent_fleet.fleet.rules import RepoRules, Rules
from agent_fleet.fleet.wakeups import Wakeups
from agent_fleet.forges.forge import Forge, RepoRef
from agent_fleet.store.store import Store, Transaction

LOOK_AGAIN_S = 5.0
"""Whoever waits looks at least so often, since any wake-up may be lost."""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    store: Store
    rules: Rules
    forges: Mapping[str, Forge]
    wakeups: Wakeups
    clock: Clock
    fleet_epoch: str

    def forge_of(self, repo: str) -> tuple[Forge, RepoRef, RepoRules]:
        """The forge of a repository; NotFound if the configuration has lost either."""
        rules = self.rules.repo(repo)
        forge = self.forges.get(rules.forge)
        if forge is None:
            raise NotFound(f"there is no forge {rules.forge!r} in the configuration")
        return forge, RepoRef(name=rules.name, url=rules.url, base=rules.base), rules


async def save_all(tx: Transaction, changes: tuple[Change, ...]) -> None:
    """Changes that follow from one another, in their order."""
    for change in changes:
        await tx.work.save(change)


async def follow_up(tx: Transaction, state: State, *, seen: ForgeView | None, actor: str) -> None:
    """After the end of an attempt: what the forge was seen to say then, and what had to wait."""
    now = await tx.now()
    changes = lifecycle.apply_view(state, seen, now=now, actor=actor) if seen else ()
    await save_all(tx, changes)
    waiting = lifecycle.due(changes[-1].state if changes else state, now=now, actor=actor)
    if waiting is not None:
        await tx.work.save(waiting)

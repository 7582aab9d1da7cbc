"""The fleet: all use cases over one store."""

from collections.abc import Mapping

from agent_fleet.clock import Clock
from agent_fleet.core.messages import Ready
from agent_fleet.fleet.attempts import Attempts
from agent_fleet.fleet.claims import Claims
from agent_fleet.fleet.context import Context
from agent_fleet.fleet.effects import Effects
from agent_fleet.fleet.endings import Endings
from agent_fleet.fleet.registry import Registry
from agent_fleet.fleet.rules import Rules
from agent_fleet.fleet.tasks import Tasks
from agent_fleet.fleet.wakeups import Wakeups
from agent_fleet.fleet.watch import Watch
from agent_fleet.forges.forge import Forge
from agent_fleet.store.store import Store


class Fleet:
    """Made with `Fleet.open`. `wakeups` are published by every commit of this process.

    `epoch` is new after a restore: runs that bear another are of a time before it.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.wakeups = context.wakeups
        self.rules = context.rules
        self.epoch = context.fleet_epoch
        self.watch = Watch(context)
        self.effects = Effects(context, self.watch)
        self.tasks = Tasks(context, self.effects)
        self.claims = Claims(context)
        self.attempts = Attempts(context)
        self.endings = Endings(context)
        self.registry = Registry(context)

    @classmethod
    async def open(
        cls, store: Store, *, rules: Rules, forges: Mapping[str, Forge], clock: Clock
    ) -> "Fleet":
        """The fleet that the store holds, under these rules."""
        async with store.reading() as tx:
            fleet_epoch = await tx.fact("fleet_epoch")
        assert fleet_epoch is not None
        wakeups = Wakeups()
        store.on_commit = wakeups.publish
        context = Context(
            store=store,
            rules=rules,
            forges=forges,
            wakeups=wakeups,
            clock=clock,
            fleet_epoch=fleet_epoch,
        )
        return cls(context)

    async def ready(self, version: str) -> Ready:
        """Raises Unavailable unless the database answers."""
        async with self._context.store.reading() as tx:
            epoch = await tx.fact("fleet_epoch")
        return Ready(version=version, orchestrator=self.rules.orchestrator, fleet_epoch=epoch or "")

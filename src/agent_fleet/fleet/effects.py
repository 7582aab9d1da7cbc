"""What the outbox wants done outside, carried out: at least once, and its effect stands once.

While it is being carried out an effect is held, however long that takes; so the next one may take
it up soon after its holder was killed.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from agent_fleet.core.errors import Conflict, FleetError, Unavailable
from agent_fleet.core.model import Effect, TaskStatus
from agent_fleet.fleet.context import Context
from agent_fleet.fleet.sight import read_view
from agent_fleet.fleet.watch import Watch
from agent_fleet.store.outbox import CLAIM

log = structlog.get_logger()

BATCH = 20
MAX_TRIES = 10
"""So often an effect is tried against something that does not answer, then it is refused."""


class Effects:
    def __init__(self, context: Context, watch: Watch) -> None:
        self._context = context
        self._watch = watch

    async def carry_out_due(self) -> int:
        """Carries out what is due; returns how many effects were looked at."""
        async with self._context.store.transaction() as tx:
            claimed = await tx.outbox.claim(limit=BATCH)
        open_ = {effect.key for effect, _ in claimed}
        async with self._holding(open_):
            for effect, tries in claimed:
                await self._settle(effect, tries=tries)
                open_.discard(effect.key)
        return len(claimed)

    async def carry_out(self, effect: Effect) -> None:
        """Carries out an awaited effect, for the one who waits; raises what went wrong."""
        async with self._holding({effect.key}):
            error = await self._settle(effect, tries=1)
        if error is not None:
            raise error

    @asynccontextmanager
    async def _holding(self, keys: set[str]) -> AsyncGenerator[None]:
        """While inside, nobody else takes up the effects that `keys` names by then."""
        over = asyncio.Event()
        holding = asyncio.create_task(self._hold(keys, over))
        try:
            yield
        finally:
            over.set()
            await holding

    async def _hold(self, keys: set[str], over: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(CLAIM.total_seconds() / 3):
                    await over.wait()
                return
            except TimeoutError:
                pass
            try:
                async with self._context.store.transaction() as tx:
                    await tx.outbox.hold(tuple(keys))
            except Unavailable as error:
                log.warning("effects_not_held", keys=sorted(keys), error=error.message)

    async def _settle(self, effect: Effect, *, tries: int) -> FleetError | None:
        try:
            await self._merge(effect)
        except Unavailable as error:
            await self._later(effect, tries, error.message)
            return error
        except FleetError as error:
            log.warning("effect_refused", key=effect.key, error=error.message)
            async with self._context.store.transaction() as tx:
                await tx.outbox.refused(effect.key, error.message)
            return error
        except Exception as error:
            log.exception("effect_broke", key=effect.key)
            await self._later(effect, tries, f"{type(error).__name__}: {error}")
            return FleetError("the server failed; its log says why")
        async with self._context.store.transaction() as tx:
            await tx.outbox.done(effect.key)
        return None

    async def _later(self, effect: Effect, tries: int, error: str) -> None:
        """Due again after a while, until it was tried often enough."""
        async with self._context.store.transaction() as tx:
            if tries >= MAX_TRIES:
                await tx.outbox.refused(effect.key, error)
            else:
                after = timedelta(seconds=min(2.0**tries, 300.0))
                await tx.outbox.again(effect.key, after=after, error=error)

    async def _merge(self, effect: Effect) -> None:
        async with self._context.store.reading() as tx:
            task = await tx.work.task(effect.task)
        if task.status not in {TaskStatus.REVIEW_PENDING, TaskStatus.COMPLETED}:
            raise Conflict(f"task {task.id} is {task.status} by now: its approval no longer holds")
        forge, repo, _ = self._context.forge_of(task.repo)
        merged = await forge.merge(
            repo,
            branch=str(effect.payload["branch"]),
            expected_head=str(effect.payload["head"]),
            base=str(effect.payload["base"]),
            message=f"Merge task {task.id}: {task.title}",
            identity=self._context.rules.identity,
        )
        log.info("merged", task=task.id, commit=merged)
        await self._watch.observe(task, await read_view(self._context, task), actor="fleet")

"""What is seen on forges and clocks: branches that moved or were merged, leases that ran out."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

import structlog
from msgspec.structs import replace

from agent_fleet.core import lifecycle
from agent_fleet.core.errors import Conflict, FleetError, NotFound, Unavailable
from agent_fleet.core.model import (
    Attempt,
    AttemptStatus,
    ForgeView,
    PullState,
    Task,
    Transport,
)
from agent_fleet.fleet.context import Context, follow_up, save_all
from agent_fleet.fleet.sight import Heads, read_heads, read_view
from agent_fleet.store.schema import RESTORED, SETTLED, UNSETTLED

log = structlog.get_logger()

WATCH_ENDED = timedelta(days=7)
"""So long after a task failed or was cancelled, a merge of its branch still completes it."""

WATCHED_AT_ONCE = 1_000
EXPIRED_AT_ONCE = 100


class Watch:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def look(self) -> int:
        """Reads the branches of all watched tasks and applies what is new; returns the changes.

        A forge that does not answer is passed over; the next look makes up for it.
        """
        changes, after = 0, 0
        while True:
            async with self._context.store.reading() as tx:
                since = await tx.now() - WATCH_ENDED
                watched = await tx.listing.watched(
                    ended_since=since, after=after, limit=WATCHED_AT_ONCE
                )
            changes += await self._look_at_all(watched)
            if len(watched) < WATCHED_AT_ONCE:
                return changes
            after = watched[-1].id

    async def observe(self, task: Task, seen: ForgeView, *, actor: str) -> int:
        """Applies a reading that was made of the branch of `task`; returns the number of changes.

        One that was overtaken says nothing about a branch generation that began since, unless
        that the work is merged, nor what an attempt left behind that was lost since.
        """
        async with self._context.store.transaction() as tx:
            state = await tx.work.state(task.id)
            now = await tx.now()
            if state.task.generation != task.generation and seen.state is not PullState.MERGED:
                return 0
            if state.task.held and state.unended is None:
                if not task.held:
                    return 0
                settled = lifecycle.settle(
                    state, view=seen, backoff=self._context.rules.backoff, now=now, actor=actor
                )
                await tx.work.save(settled)
                await follow_up(tx, settled.state, seen=seen, actor=actor)
                return 1
            changes = lifecycle.apply_view(state, seen, now=now, actor=actor)
            await save_all(tx, changes)
            return len(changes)

    async def expire(self) -> int:
        """Ends the http_pull attempts whose lease is over; returns how many there were.

        The statement that ends one demands again that its lease be over, so that a heartbeat
        which comes in between wins.
        """
        async with self._context.store.reading() as tx:
            expired = await tx.work.expired(limit=EXPIRED_AT_ONCE)
        ended = 0
        for attempt in expired:
            ended += await self._lose(attempt, expired=True)
        return ended

    async def _look_at_all(self, watched: Sequence[Task]) -> int:
        by_repo: defaultdict[str, list[Task]] = defaultdict(list)
        for task in watched:
            by_repo[task.repo].append(task)
        changes = 0
        for repo, tasks in by_repo.items():
            try:
                heads = await read_heads(self._context, repo)
            except (NotFound, Unavailable) as error:
                log.warning("forge_unavailable", repo=repo, error=error.message)
                continue
            for task in tasks:  # one branch that cannot be judged hides no other
                try:
                    changes += await self._look_at(task, heads)
                except FleetError as error:
                    log.warning("branch_not_read", task=task.id, error=error.message)
                except Exception:
                    log.exception("branch_not_judged", task=task.id)
        return changes

    async def _look_at(self, task: Task, heads: Heads) -> int:
        seen = await read_view(self._context, task, heads=heads)
        delivered_before = task.view.head is not None and task.started
        if seen.head is None and delivered_before and seen.state is PullState.NONE:
            seen = replace(seen, state=PullState.CLOSED)
        same = replace(
            seen,
            version=task.view.version,
            head=seen.head or task.view.head,
            reviews=task.view.reviews,
            consumed=task.view.consumed,
        )
        if same == task.view and not task.held:
            return 0
        return await self.observe(task, seen, actor=self._context.rules.repo(task.repo).forge)

    async def settle_restore(self) -> bool:
        """After a backup was restored: what was under way then is lost, and the forges are asked.

        Whether there was anything to settle. Until it has returned, nothing must be granted: the
        forges know of work that the database has forgotten.
        """
        async with self._context.store.reading() as tx:
            if await tx.fact(RESTORED) != UNSETTLED:
                return False
            under_way = [
                attempt
                for transport in Transport
                for attempt in await tx.work.unended(transport=transport)
            ]
        await self.look()
        for attempt in under_way:
            await self._lose(attempt, expired=False)
        async with self._context.store.transaction() as tx:
            await tx.set_fact(RESTORED, SETTLED)
        log.info("restore_settled", attempts=len(under_way))
        return True

    async def _lose(self, attempt: Attempt, *, expired: bool) -> int:
        """Ends an attempt whose executor is gone. `expired`: only if its lease is over even now."""
        live = attempt.status is AttemptStatus.LIVE
        view = await self._view_after(attempt) if live else None
        rules = self._context.rules
        try:
            async with self._context.store.transaction() as tx:
                state = await tx.work.state(attempt.task)
                now = await tx.now()
                if live:
                    change = lifecycle.lose(
                        state,
                        attempt=attempt.number,
                        epoch=attempt.epoch,
                        view=view,
                        backoff=rules.backoff,
                        now=now,
                        actor="sweeper",
                    )
                else:
                    change = lifecycle.release(
                        state,
                        attempt=attempt.number,
                        epoch=attempt.epoch,
                        message=f"{attempt.owner} did not start it in time",
                        backoff=rules.backoff,
                        now=now,
                        actor="sweeper",
                    )
                await tx.work.save(change, expired=expired)
                await follow_up(tx, change.state, seen=view, actor="sweeper")
        except Conflict:
            return 0
        log.info("attempt_lost", task=attempt.task, attempt=attempt.number, owner=attempt.owner)
        return 1

    async def _view_after(self, attempt: Attempt) -> ForgeView | None:
        async with self._context.store.reading() as tx:
            task = await tx.work.task(attempt.task)
        try:
            return await read_view(self._context, task)
        except (NotFound, Unavailable) as error:
            log.warning("forge_unavailable", repo=task.repo, error=error.message)
            return None

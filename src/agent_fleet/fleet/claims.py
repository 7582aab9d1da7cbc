"""Whoever wants work: the dispatcher for its hosts, agents for themselves."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from agent_fleet.core.errors import InvalidInput, NotFound, Unauthenticated
from agent_fleet.core.messages import DequeueRequest
from agent_fleet.core.model import Attempt, Grant, Mode, Task, Transport
from agent_fleet.core.obstacles import AccountState, of_agent
from agent_fleet.core.placement import plan
from agent_fleet.core.registry import TokenKind
from agent_fleet.fleet.context import LOOK_AGAIN_S, Context
from agent_fleet.fleet.grants import describe, grant, refuse
from agent_fleet.fleet.snapshot import agent_state, read_snapshot, waiting_tasks
from agent_fleet.store.store import Transaction


class Claims:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def dequeue(
        self, agent: str, request: DequeueRequest, *, request_key: str | None
    ) -> tuple[Grant, ...]:
        """Grants for the agent; waits for the first one, at most `wait_s`.

        With the same `request_key`, as long as what it was granted has not ended, the same grants.
        """
        context = self._context
        deadline = context.clock.elapsed() + request.wait_s
        while True:
            ticket = context.wakeups.ticket()
            async with context.store.transaction() as tx:
                grants = await self._take(tx, agent, request, request_key=request_key)
                delay = await self._next_look(tx)
            left = deadline - context.clock.elapsed()
            if grants or left <= 0 or context.wakeups.closed:
                return grants
            await context.wakeups.wait(ticket, timeout_s=min(left, delay))

    async def place(self) -> list[tuple[str, Grant]]:
        """Grants for the hosts, each with the host's name, as placement plans them."""
        context = self._context
        granted: list[tuple[str, Grant]] = []
        async with context.store.transaction() as tx:
            tasks = await waiting_tasks(tx, modes=(Mode.SSH_CLI, Mode.EITHER))
            if not tasks:
                return []
            now = await tx.now()
            hosts = await tx.registry.hosts(lock=True)
            ours = {h.name for h in hosts if h.orchestrator == context.rules.orchestrator}
            snapshot = await read_snapshot(tx, context.rules, tasks=tasks, now=now)
            snapshot = replace(snapshot, hosts=tuple(h for h in snapshot.hosts if h.name in ours))
            for placement in plan(snapshot).placements:
                made = await grant(
                    tx,
                    context,
                    placement.task,
                    transport=Transport.SSH_CLI,
                    owner=context.rules.orchestrator,
                    host=placement.host,
                    adapter=placement.adapter,
                    lease_ttl=context.rules.lease_ttl,
                    now=now,
                )
                if made is not None:
                    granted.append((placement.host, made))
        return granted

    async def next_look(self) -> float:
        """Seconds after which the queue is to be looked at again, if nothing wakes us before."""
        async with self._context.store.reading() as tx:
            return await self._next_look(tx)

    async def _take(
        self, tx: Transaction, agent: str, request: DequeueRequest, *, request_key: str | None
    ) -> tuple[Grant, ...]:
        context = self._context
        now = await tx.now()
        known = await tx.registry.agent(agent, lock=True)
        if not await tx.registry.has_token(TokenKind.AGENT, agent):
            raise Unauthenticated("the token was revoked while its agent waited")
        known = replace(
            known, adapters=request.adapters, incarnation=request.incarnation, seen_at=now
        )
        await tx.registry.seen(known)
        if request_key is not None:
            before = await tx.work.granted_by_key(owner=agent, request_key=request_key)
            if before:
                return await self._again(tx, before, now=now)
        used = await tx.work.used_slots()
        free = min(known.slots - used.get((Transport.HTTP_PULL, agent), 0), request.capacity)
        if free <= 0:
            return ()
        accounts = {
            (a.place, a.adapter): AccountState(
                a.place, a.adapter, stopped=a.stopped, cooldown_until=a.cooldown_until
            )
            for a in await tx.registry.accounts()
            if a.place == agent
        }
        grants: list[Grant] = []
        waiting = await waiting_tasks(tx, modes=(Mode.HTTP_PULL, Mode.EITHER))
        # Since we came in, a task may have become due, or have been queued by somebody.
        now = await tx.now()
        for task in waiting:
            adapter = self._adapter(task)
            state = replace(agent_state(known, used), used=0)
            if any(of_agent(task, state, adapter=adapter, accounts=accounts, now=now)):
                continue
            made = await grant(
                tx,
                context,
                task.id,
                transport=Transport.HTTP_PULL,
                owner=agent,
                host=None,
                adapter=adapter,
                incarnation=request.incarnation,
                request_key=request_key,
                lease_ttl=min(context.rules.lease_ttl, context.rules.start_deadline),
                now=now,
            )
            if made is not None:
                grants.append(made)
            if len(grants) == free:
                break
        return tuple(grants)

    async def _again(
        self, tx: Transaction, attempts: list[Attempt], *, now: datetime
    ) -> tuple[Grant, ...]:
        """What was granted before; an attempt whose task has become invalid meanwhile fails."""
        grants: list[Grant] = []
        for attempt in attempts:
            state = await tx.work.state(attempt.task)
            try:
                grants.append(describe(self._context, state.task, attempt))
            except (InvalidInput, NotFound) as error:
                await refuse(tx, self._context, state, error, now=now)
        return tuple(grants)

    def _adapter(self, task: Task) -> str:
        return task.adapter or self._context.rules.adapter

    async def _next_look(self, tx: Transaction) -> float:
        """Seconds until a delayed task may start, but never longer than `LOOK_AGAIN_S`."""
        due = await tx.work.next_start()
        if due is None:
            return LOOK_AGAIN_S
        wait = (due - await tx.now()) / timedelta(seconds=1)
        return min(max(wait, 0.01), LOOK_AGAIN_S)

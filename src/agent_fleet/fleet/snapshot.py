"""What placement looks at, read from one transaction."""

from datetime import datetime

from agent_fleet.core.model import Mode, Task, Transport
from agent_fleet.core.placement import AccountState, AgentState, HostState, Snapshot
from agent_fleet.core.registry import Agent, Host
from agent_fleet.fleet.rules import Rules
from agent_fleet.store.store import Transaction

BATCH = 200
"""So many of the most urgent tasks are looked at for one plan."""


async def read_snapshot(
    tx: Transaction, rules: Rules, *, tasks: tuple[Task, ...], now: datetime
) -> Snapshot:
    """Everything around the given tasks: hosts, agents, accounts, and the slots in use."""
    used = await tx.work.used_slots()
    return Snapshot(
        now=now,
        tasks=tasks,
        unended=await tx.work.with_unended(tuple(task.id for task in tasks)),
        hosts=tuple(_host(host, used) for host in await tx.registry.hosts()),
        accounts=tuple(
            AccountState(a.place, a.adapter, stopped=a.stopped, cooldown_until=a.cooldown_until)
            for a in await tx.registry.accounts()
        ),
        agents=tuple(agent_state(agent, used) for agent in await tx.registry.agents()),
        default_adapter=rules.adapter,
        disk_floor_bytes=rules.disk_floor_bytes,
    )


async def waiting_tasks(tx: Transaction, *, modes: tuple[Mode, ...]) -> tuple[Task, ...]:
    """The most urgent queued tasks that may start now, locked."""
    return tuple(await tx.work.claimable(modes=modes, limit=BATCH))


def agent_state(agent: Agent, used: dict[tuple[Transport, str], int]) -> AgentState:
    """An agent as placement sees it."""
    return AgentState(
        name=agent.name,
        slots=agent.slots,
        used=used.get((Transport.HTTP_PULL, agent.name), 0),
        capabilities=agent.capabilities,
        adapters=agent.adapters,
        repos=agent.repos,
        last_seen=agent.seen_at,
    )


def _host(host: Host, used: dict[tuple[Transport, str], int]) -> HostState:
    return HostState(
        name=host.name,
        slots=host.slots,
        used=used.get((Transport.SSH_CLI, host.name), 0),
        capabilities=host.capabilities,
        adapters=tuple(host.adapters),
        load_per_core=host.load_per_core,
        disk_free_bytes=host.disk_free_bytes,
        up=host.up,
        draining=host.draining,
        backoff_until=host.backoff_until,
    )

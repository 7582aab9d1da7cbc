"""Which queued task goes to which host, and why each other one waits.

Pure: one snapshot in, one plan out, the same plan for the same snapshot. A plan is advice: the
grant counts the slots again, under a lock.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec
from msgspec.structs import replace

from agent_fleet.core.model import Mode, Task, TaskStatus
from agent_fleet.core.obstacles import (
    Accounts,
    AccountState,
    AgentState,
    HostState,
    Why,
    of_agent,
    of_host,
    of_task,
)

__all__ = [
    "AccountState",
    "AgentState",
    "HostState",
    "Placement",
    "Plan",
    "Snapshot",
    "Why",
    "explain",
    "plan",
]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that placement looks at, read at one moment.

    `tasks` are queued ones; `unended` the ids of those with an attempt that has not ended (a task
    can be queued again while its host is lost). `default_adapter` serves tasks that name none.
    """

    now: datetime
    tasks: tuple[Task, ...] = ()
    unended: frozenset[int] = frozenset()
    hosts: tuple[HostState, ...] = ()
    accounts: tuple[AccountState, ...] = ()
    agents: tuple[AgentState, ...] = ()
    default_adapter: str
    disk_floor_bytes: int = 0


class Placement(msgspec.Struct, frozen=True):
    """This task, by this adapter, on this host."""

    task: int
    host: str
    adapter: str


class Plan(msgspec.Struct, frozen=True):
    """Each task of the snapshot is in one of the two; each that waits has at least one reason."""

    placements: tuple[Placement, ...]
    waiting: dict[int, tuple[Why, ...]]


def plan(snapshot: Snapshot) -> Plan:
    """Give each task in turn the best host that may have it, until the slots are taken.

    The higher priority goes first, then the older task. Tasks times hosts steps at most; a task
    that wants what was refused before, or comes when no slot is free, costs one step.
    """
    hosts = {host.name: host for host in snapshot.hosts}
    accounts = _accounts(snapshot)
    up = [host for host in snapshot.hosts if host.up]
    free = sum(max(host.slots - host.used, 0) for host in up)
    placements: list[Placement] = []
    waiting: dict[int, tuple[Why, ...]] = {}
    # Slots only get fewer, so what found no host finds none later, and for the same reasons.
    refused: dict[tuple[object, ...], tuple[Why, ...]] = {}
    for task in sorted(snapshot.tasks, key=_precedence):
        reasons = _at_once(task, snapshot)
        if not reasons and up and free == 0:
            reasons = (Why("full", "no host that answers has a free slot"),)
        if reasons:
            waiting[task.id] = reasons
            continue
        wants = (_adapter(task, snapshot), task.host, task.capabilities)
        known = wants in refused
        host = None if known else _best(task, snapshot, hosts=hosts, accounts=accounts)
        if host is None:
            if not known:
                by_host = _by_host(task, snapshot, hosts=hosts, accounts=accounts)
                refused[wants] = tuple(by_host)
            waiting[task.id] = refused[wants]
            continue
        placements.append(Placement(task.id, host.name, _adapter(task, snapshot)))
        hosts[host.name] = replace(host, used=host.used + 1)
        free -= 1
    return Plan(tuple(placements), waiting)


def explain(task: Task, snapshot: Snapshot) -> tuple[Why, ...]:
    """Every reason that keeps the task from running: its own, then each host's, then each agent's.

    Empty if the next plan places it. An agent that could have the task at once is named too: it
    has only to ask for it.
    """
    others = tuple(other for other in snapshot.tasks if other.id != task.id)
    planned = plan(replace(snapshot, tasks=(*others, task)))
    if task.id not in planned.waiting:
        return ()
    reasons = list(of_task(task, now=snapshot.now, unended=task.id in snapshot.unended))
    if task.status is not TaskStatus.QUEUED:
        return tuple(reasons)
    hosts = {host.name: host for host in snapshot.hosts}
    for placement in planned.placements:
        host = hosts[placement.host]
        hosts[host.name] = replace(host, used=host.used + 1)
    accounts = _accounts(snapshot)
    if task.execution_mode is not Mode.HTTP_PULL:
        reasons += _by_host(task, snapshot, hosts=hosts, accounts=accounts)
    if task.execution_mode is not Mode.SSH_CLI:
        reasons += _by_agent(task, snapshot, accounts=accounts)
    return tuple(reasons)


def _precedence(task: Task) -> tuple[int, datetime, int]:
    return (-task.priority, task.created_at, task.id)


def _adapter(task: Task, snapshot: Snapshot) -> str:
    return task.adapter or snapshot.default_adapter


def _accounts(snapshot: Snapshot) -> Accounts:
    return {(account.host, account.adapter): account for account in snapshot.accounts}


def _at_once(task: Task, snapshot: Snapshot) -> tuple[Why, ...]:
    """The reasons that can be seen without looking at any host."""
    reasons = tuple(of_task(task, now=snapshot.now, unended=task.id in snapshot.unended))
    if not reasons and task.execution_mode is Mode.HTTP_PULL:
        return (Why("http_pull", "it waits for an agent to ask for it"),)
    return reasons


def _best(
    task: Task, snapshot: Snapshot, *, hosts: dict[str, HostState], accounts: Accounts
) -> HostState | None:
    """The host that may have the task and is loaded least; first the one that holds its session."""
    adapter = _adapter(task, snapshot)
    session = task.session if task.session and not task.fresh else None
    home = session.host if session and session.adapter == adapter else None

    def preference(host: HostState) -> tuple[bool, float, float, str]:
        return (host.name != home, (host.used + 1) / host.slots, host.load_per_core, host.name)

    fit = (
        host
        for host in _open_to(task, hosts)
        if not any(_of_host(task, host, snapshot, accounts=accounts))
    )
    return min(fit, key=preference, default=None)


def _open_to(task: Task, hosts: dict[str, HostState]) -> Iterable[HostState]:
    """All hosts, or the one that the task is bound to."""
    if task.host is None:
        return hosts.values()
    return [hosts[task.host]] if task.host in hosts else []


def _of_host(
    task: Task, host: HostState, snapshot: Snapshot, *, accounts: Accounts
) -> Iterator[Why]:
    return of_host(
        task,
        host,
        adapter=_adapter(task, snapshot),
        accounts=accounts,
        disk_floor_bytes=snapshot.disk_floor_bytes,
        now=snapshot.now,
    )


def _by_host(
    task: Task, snapshot: Snapshot, *, hosts: dict[str, HostState], accounts: Accounts
) -> Iterator[Why]:
    """What fails at each host, its slots counted as in `hosts`; or that there is none."""
    if task.host is not None and task.host not in hosts:
        remedy = f"add it to the configuration, or fleet task create without --host {task.host}"
        yield Why("no_host", f"it is bound to {task.host}, which is not known", remedy=remedy)
    elif not hosts:
        yield Why("no_host", "no host is configured", remedy="add one to fleet.toml: [hosts.local]")
    before = {host.name: host for host in snapshot.hosts}
    for host in _open_to(task, hosts):
        for why in _of_host(task, host, snapshot, accounts=accounts):
            if why.code == "full" and before[host.name].used < host.slots:
                yield Why("behind", "its free slots go to tasks that come first", host.name)
            else:
                yield why


def _by_agent(task: Task, snapshot: Snapshot, *, accounts: Accounts) -> Iterator[Why]:
    """What fails at each agent; or that nothing does."""
    if not snapshot.agents:
        remedy = "fleet token create, then fleet agent run"
        yield Why("no_agent", "no agent is registered", remedy=remedy)
    adapter = _adapter(task, snapshot)
    for agent in snapshot.agents:
        reasons = [*of_agent(task, agent, adapter=adapter, accounts=accounts, now=snapshot.now)]
        could = Why("unasked", "it could take it, and has not asked for it yet", agent.name)
        yield from reasons or [could]

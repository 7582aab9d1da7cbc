"""What keeps a task from running: one test for each rule, each with its reason in words.

A host or an agent may have a task if and only if nothing stands in the way here; `placement`, the
claims of agents and `fleet task why` all ask these functions.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import msgspec

from agent_fleet.core.model import Task, TaskStatus

AGENT_SILENCE = timedelta(seconds=120)
"""An agent that works or waits asks at least every 50 seconds."""


class Why(msgspec.Struct, frozen=True):
    """One reason. `subject` is the host or agent it is about, "" for the task itself.

    `until` is when it ends by itself, where that is known; `remedy` what would end it, where
    somebody can do that.
    """

    code: str
    text: str
    subject: str = ""
    until: datetime | None = None
    remedy: str = ""


class HostState(msgspec.Struct, frozen=True, kw_only=True):
    """A host as placement sees it. `used`: its attempts that have not ended, of all orchestrators.

    `adapters` are those whose CLI the probe found.
    """

    name: str
    slots: int
    used: int = 0
    capabilities: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    load_per_core: float = 0.0
    disk_free_bytes: int = 0
    up: bool = True
    draining: bool = False
    backoff_until: datetime | None = None


class AccountState(msgspec.Struct, frozen=True):
    """What an adapter on a host (or at an agent of that name) pays with."""

    host: str
    adapter: str
    stopped: bool = False
    cooldown_until: datetime | None = None


class AgentState(msgspec.Struct, frozen=True, kw_only=True):
    """An http_pull agent. Empty `repos` and `adapters` mean every repository, every adapter."""

    name: str
    slots: int
    used: int = 0
    capabilities: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    repos: tuple[str, ...] = ()
    last_seen: datetime | None = None
    draining: bool = False


Accounts = Mapping[tuple[str, str], AccountState]
"""Accounts by host and adapter."""

_STEPS = {
    TaskStatus.REVIEW_PENDING: "approve it, or request changes",
    TaskStatus.NEEDS_HUMAN: "fleet task retry {id}, after a look at its message",
    TaskStatus.FAILED: "fleet task retry {id}",
    TaskStatus.CANCELLED: "fleet task retry {id}",
}


def of_task(task: Task, *, now: datetime, unended: bool) -> Iterator[Why]:
    """What keeps the task from running anywhere. `unended`: one of its attempts has not ended."""
    if task.status is not TaskStatus.QUEUED:
        remedy = _STEPS.get(task.status, "").format(id=task.id)
        yield Why(task.status.value, f"it is {task.status}, not queued", remedy=remedy)
        return
    if task.cancel_requested:
        yield Why("cancel_requested", "its cancel has been requested")
    if unended:
        yield Why("unended", f"its attempt {task.attempts} has not ended")
    if task.held:
        text = "its forge has not yet said what a lost attempt left behind"
        yield Why("held", text, remedy="check that the forge answers: fleet doctor")
    if task.not_before is not None and task.not_before > now:
        after = f" after {task.reason}" if task.reason else ""
        yield Why("not_before", f"it waits{after}", until=task.not_before)


def of_host(
    task: Task,
    host: HostState,
    *,
    adapter: str,
    accounts: Accounts,
    disk_floor_bytes: int,
    now: datetime,
) -> Iterator[Why]:
    """What keeps the task from this host. Of a host that is down nothing else is known."""
    name = host.name
    if not host.up:
        yield Why(
            "down", "it does not answer", name, host.backoff_until, "look at it: fleet doctor"
        )
        return
    if host.draining:
        yield Why("draining", "it is draining", name, remedy="resume it")
    if host.backoff_until is not None and host.backoff_until > now:
        yield Why("backoff", "it failed, and is tried again later", name, host.backoff_until)
    if adapter not in host.adapters:
        remedy = "install it there, or give the task another adapter"
        yield Why("adapter", f"the CLI of {adapter} was not found on it", name, remedy=remedy)
    yield from _capabilities(task, host.capabilities, name)
    yield from _account(accounts.get((name, adapter)), now)
    if host.disk_free_bytes < disk_floor_bytes:
        free, floor = (n // 2**20 for n in (host.disk_free_bytes, disk_floor_bytes))
        text = f"{free} MiB of its disk are free, and {floor} MiB are the floor"
        yield Why("disk", text, name, remedy="free some disk on it")
    if host.used >= host.slots:
        yield Why("full", f"{host.used} of its {host.slots} slots are taken", name)


def of_agent(
    task: Task, agent: AgentState, *, adapter: str, accounts: Accounts, now: datetime
) -> Iterator[Why]:
    """What keeps the task from this agent."""
    name = agent.name
    if agent.last_seen is None:
        yield Why("silent", "it has never asked for work", name, remedy="start it: fleet agent run")
    elif now - agent.last_seen > AGENT_SILENCE:
        text = f"it was last heard of {int((now - agent.last_seen).total_seconds())} seconds ago"
        yield Why("silent", text, name, remedy="check that it runs and reaches this server")
    if agent.draining:
        yield Why("draining", "it is draining", name, remedy="resume it")
    if task.host is not None and task.host != name:
        yield Why("host", f"the task is bound to {task.host}", name)
    if agent.repos and task.repo not in agent.repos:
        yield Why("repo", f"it is not registered for {task.repo}", name)
    if agent.adapters and adapter not in agent.adapters:
        yield Why("adapter", f"it does not have the adapter {adapter}", name)
    yield from _capabilities(task, agent.capabilities, name)
    yield from _account(accounts.get((name, adapter)), now)
    if agent.used >= agent.slots:
        yield Why("full", f"{agent.used} of its {agent.slots} slots are taken", name)


def _capabilities(task: Task, offered: tuple[str, ...], subject: str) -> Iterator[Why]:
    missing = [capability for capability in task.capabilities if capability not in offered]
    if missing:
        yield Why("capability", f"it lacks {', '.join(missing)}", subject)


def _account(account: AccountState | None, now: datetime) -> Iterator[Why]:
    if account is None:
        return
    subject, whose = account.host, f"its account for {account.adapter}"
    if account.stopped:
        remedy = f"log in to {account.adapter} there"
        yield Why("account_stopped", f"{whose} was refused", subject, remedy=remedy)
    if account.cooldown_until is not None and account.cooldown_until > now:
        yield Why("account_cooldown", f"{whose} cools down", subject, account.cooldown_until)

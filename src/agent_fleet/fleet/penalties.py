"""What a failure costs the host or the account it happened on, in the same transaction."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from agent_fleet.core.errors import NotFound
from agent_fleet.core.faults import Penalty
from agent_fleet.core.lifecycle import Backoff, Change
from agent_fleet.core.model import Attempt, Mode, Task, Transport
from agent_fleet.core.registry import Account
from agent_fleet.store.store import Transaction

ACCOUNT_BACKOFF = Backoff(first_s=30.0, most_s=3_600.0)
"""For a usage limit or an overload whose end nobody told."""


async def punish(tx: Transaction, change: Change, *, backoff: Backoff, now: datetime) -> None:
    """Applies the penalty of a failed attempt; none for most reasons."""
    attempt = change.attempt
    if attempt is None or change.penalty is Penalty.NONE:
        return
    if change.penalty is Penalty.HOST_BACKOFF:
        await _back_off_host(tx, attempt, backoff=backoff, now=now)
        return
    account = await tx.registry.account(place_of(attempt), attempt.adapter)
    failures = account.failures + 1
    if change.penalty is Penalty.ACCOUNT_STOP:
        account = replace(account, stopped=True)
    elif change.penalty is Penalty.ACCOUNT_COOLDOWN and change.retry_after_s is not None:
        until = now + timedelta(seconds=change.retry_after_s)
        account = replace(account, cooldown_until=until)
    else:
        account = replace(account, cooldown_until=ACCOUNT_BACKOFF.after(now, failures))
    await tx.registry.put_account(
        replace(account, failures=failures, message=attempt.message[:500])
    )


async def pardon(tx: Transaction, attempt: Attempt) -> None:
    """A success: its host and its account are well."""
    account = await tx.registry.account(place_of(attempt), attempt.adapter)
    if account.failures:
        await tx.registry.put_account(Account(place_of(attempt), attempt.adapter))
    if attempt.transport is Transport.SSH_CLI and attempt.host is not None:
        host = await tx.registry.host(attempt.host, lock=True)
        if host.failures:
            await tx.registry.put_host(replace(host, failures=0, backoff_until=None, message=""))


async def reopen_account(tx: Transaction, attempt: Attempt) -> None:
    """An operator has looked: a stopped account is used again."""
    account = await tx.registry.account(place_of(attempt), attempt.adapter)
    if account.stopped or account.cooldown_until:
        await tx.registry.put_account(Account(place_of(attempt), attempt.adapter))


async def has_alternative(tx: Transaction, task: Task, attempt: Attempt) -> bool:
    """Whether somebody else may have the task, with an account that is not stopped."""
    if task.host is not None:
        return False
    stopped = {(a.place, a.adapter) for a in await tx.registry.accounts() if a.stopped}
    places: list[str] = []
    if task.execution_mode is not Mode.HTTP_PULL:
        places += [
            host.name
            for host in await tx.registry.hosts()
            if host.up
            and attempt.adapter in host.adapters
            and {*task.capabilities} <= {*host.capabilities}
        ]
    if task.execution_mode is not Mode.SSH_CLI:
        places += [
            agent.name
            for agent in await tx.registry.agents()
            if agent.seen_at is not None
            and (not agent.adapters or attempt.adapter in agent.adapters)
            and (not agent.repos or task.repo in agent.repos)
            and {*task.capabilities} <= {*agent.capabilities}
        ]
    here = place_of(attempt)
    return any(place != here and (place, attempt.adapter) not in stopped for place in places)


def place_of(attempt: Attempt) -> str:
    """Where an attempt's account is: its host, or the agent that pays by itself."""
    return attempt.host or attempt.owner


async def _back_off_host(
    tx: Transaction, attempt: Attempt, *, backoff: Backoff, now: datetime
) -> None:
    if attempt.host is None:
        return
    try:
        host = await tx.registry.host(attempt.host, lock=True)
    except NotFound:
        return
    failures = host.failures + 1
    await tx.registry.put_host(
        replace(
            host,
            failures=failures,
            backoff_until=backoff.after(now, failures),
            message=attempt.message[:500],
        )
    )

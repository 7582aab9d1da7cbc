"""One attempt on a machine, from its grant to its receipt: the same for both transports.

    prepare → start → follow → judge → validate → push → receipt

The law: it can be cut off at any point and carried out again, by whoever comes next, to the same
end. Where the fleet says stop, it stops: before the start nothing is started, before the push
nothing is pushed.
"""

import contextlib

from msgspec.structs import replace

from agent_fleet.adapters import Adapter, Failure
from agent_fleet.adapters.report import SUMMARY_LIMIT, clean
from agent_fleet.clock import Clock
from agent_fleet.core.errors import AttemptFailed, Unavailable
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Grant, LogDigest, Outcome, Receipt
from agent_fleet.execution import run
from agent_fleet.execution.following import LOST
from agent_fleet.execution.heartbeat import Halt, Halted, Heartbeat, Reporter
from agent_fleet.execution.logbook import Logbook
from agent_fleet.execution.machine import Machine
from agent_fleet.execution.masking import mask_text
from agent_fleet.execution.records import Concluded, forget, recall, remember
from agent_fleet.execution.run import RunState, RunView
from agent_fleet.execution.setting import Setting, place_of, secrets_in
from agent_fleet.execution.site import Site
from agent_fleet.execution.walk import Walk

LONGEST_RETRY_S = 2_592_000.0
"""Seconds: a usage limit that resets later than a month is told as a month."""

_OUTCOMES = {
    Reason.CANCELLED: Outcome.CANCELLED,
    Reason.RUN_TIMEOUT: Outcome.TIMED_OUT,
    Reason.STALLED: Outcome.TIMED_OUT,
}


async def carry_out(
    machine: Machine,
    grant: Grant,
    adapter: Adapter,
    *,
    reporter: Reporter,
    setting: Setting,
    clock: Clock,
    receipt_id: str,
) -> Receipt | None:
    """Carry out the attempt of `grant`, or go on with it wherever it is; the receipt to hand in.

    None: the lease was lost, and nothing is to be handed in. With `self_stop` (http_pull) the run
    is then ended, before the lease can have expired; without (ssh_cli) it goes on, another's.
    Called again, also by another process, it gives the same receipt, whose id is then the first
    call's, and sends what the log still lacks. Cancelled, it leaves the run alive and all as it
    is. Raises Unavailable when the machine or the fleet does not answer: call again, for a run may
    be going on.
    """
    directory = place_of(grant, setting, workspace="").directory
    records = await recall(machine, directory)
    view = await _look(machine, directory) if records.prepared is not None else None
    heartbeat = Heartbeat(reporter, lease=grant.lease, clock=clock, self_stop=setting.self_stop)
    if records.prepared is not None and view is not None and view.state is not RunState.STARTING:
        base_sha = records.prepared.workspace.base_sha
        heartbeat.tell("run", status="running", base_sha=base_sha)
    site = Site(machine, clock, heartbeat, setting.poll_s, setting.patience_s)
    secrets = secrets_in(adapter, setting)
    most = grant.limits.output_bytes
    logbook = Logbook(site, reporter, secrets=secrets, most=most, fresh=view is None)
    walk = Walk(
        site,
        grant,
        adapter,
        setting,
        logbook=logbook,
        records=records,
        view=view,
        receipt_id=receipt_id,
    )
    async with heartbeat.beating(), logbook.writing():
        if records.concluded is not None:
            await walk.recount()
            await logbook.close(within_s=setting.patience_s)
            await heartbeat.started()
            return records.concluded.receipt
        try:
            failure = await _walk(walk)
        except Halted:
            if setting.self_stop:
                await walk.abandon(LOST)
            return None
        digest = await logbook.close(within_s=setting.patience_s)
        receipt = _completed(walk, failure, digest, secrets=secrets)
        # On a full disk it cannot be kept; handed in it can be.
        with contextlib.suppress(AttemptFailed, Unavailable):
            await remember(machine, directory, Concluded(receipt))
        await heartbeat.started()
    return receipt


async def tidy(machine: Machine, grant: Grant, setting: Setting) -> None:
    """Remove an attempt's runs, once its receipt was taken; the workspace stays for revisions.

    A run that is alive is somebody else's by now, and is left to them.
    """
    directory = place_of(grant, setting, workspace="").directory
    view = await _look(machine, directory)
    if view is None or view.state is not RunState.RUNNING:
        await forget(machine, directory)


async def _look(machine: Machine, directory: str) -> RunView | None:
    view = await run.inspect(machine, directory, stdout_offset=0, stderr_offset=0, limit=0)
    return None if view.state is RunState.ABSENT else view


async def _walk(walk: Walk) -> Failure | None:
    """Why the attempt did not deliver. Raises Halted where it is lost."""
    try:
        await walk.deliver()
    except AttemptFailed as failed:
        return Failure(failed.reason, failed.message, failed.retry_after_s)
    except Halted as halted:
        if halted.halt is Halt.LOST:
            raise
        return Failure(Reason.CANCELLED, "cancelled")
    return None


def _completed(
    walk: Walk, failure: Failure | None, digest: LogDigest, *, secrets: tuple[bytes, ...]
) -> Receipt:
    receipt = replace(walk.draft, log=digest)
    if failure is not None:
        wait_s = failure.retry_after_s
        receipt = replace(
            receipt,
            outcome=_OUTCOMES.get(failure.reason, Outcome.FAILED),
            reason=failure.reason,
            summary=failure.message,
            retry_after_s=None if wait_s is None else min(max(wait_s, 0.0), LONGEST_RETRY_S),
        )
    summary = mask_text(receipt.summary, secrets)
    if walk.survivors:
        pids = " ".join(map(str, walk.survivors))
        summary = f"processes outlived SIGKILL: {pids}\n{summary}"
    return replace(receipt, summary=clean(summary, SUMMARY_LIMIT))

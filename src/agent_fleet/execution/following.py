"""Following one run to its end: its limits, its log, the orders that come meanwhile.

The law: a run is ended by a reason that was written down before the first signal; after every end,
whatever its cause, no process of the run is left, or the survivors are named.
"""

import contextlib
from collections.abc import Callable

from msgspec import Struct

from agent_fleet.core.errors import AttemptFailed, InvalidInput, Unavailable
from agent_fleet.core.faults import Reason
from agent_fleet.execution import run
from agent_fleet.execution.heartbeat import Halt, Halted
from agent_fleet.execution.logbook import Section
from agent_fleet.execution.records import Ending, is_full, remember
from agent_fleet.execution.run import Graces, RunSpec, RunState, RunView
from agent_fleet.execution.site import Site, insist
from agent_fleet.execution.waiting import finish

CANCELLED = Ending(Reason.CANCELLED, "cancelled")
LOST = Ending(Reason.KILLED, "ended by its own worker, which could no longer renew the lease")

_BEFORE = frozenset({RunState.ABSENT, RunState.STARTING})


class Place(Struct, frozen=True):
    """Of one run: its directory, its mark, and the workspace that it is at work in."""

    directory: str
    mark: str
    workspace: str


class Bounds(Struct, frozen=True):
    """What a run may take: seconds to start, in all and without output; bytes of output."""

    start_s: float
    run_s: float
    output_bytes: int
    silence_s: float | None = None


class Followed(Struct, frozen=True):
    """A run that is over. `ending`: we ended it, and why. `seconds` is how long it took."""

    view: RunView
    ending: Ending | None
    seconds: float
    survivors: tuple[int, ...]


async def start(site: Site, spec: RunSpec) -> bool:
    """Start a run, unless told to stop before; whether it was started now (else it was there).

    Raises AttemptFailed if it did not start, and Unavailable if nobody can tell.
    """
    site.heartbeat.check()
    try:
        return await finish(run.start(site.machine, spec, timeout_s=run.SHORT_S))
    except InvalidInput as error:
        raise AttemptFailed(Reason.INVALID_TASK, error.message) from error
    except Unavailable as error:
        view = await _look(site, spec.directory)
        if view.state is RunState.ABSENT:
            raise not_started(error) from error
        return True


def not_started(error: Unavailable) -> AttemptFailed:
    """The failure of an attempt of which nothing was started, by what the machine said."""
    reason = Reason.DISK_FULL if is_full(error) else Reason.HOST_UNREACHABLE
    return AttemptFailed(reason, error.message)


async def follow(
    site: Site,
    place: Place,
    *,
    bounds: Bounds,
    graces: Graces,
    section: Section,
    began: float | None,
    ending: Ending | None,
    on_running: Callable[[], None] = lambda: None,
) -> Followed:
    """Follow the run at `place` until it is over.

    `began` is when it was started, by the clock of the site; None where another process did that:
    then the machine knows, to a second. `ending` is what an earlier follower decided.
    Raises Halted when the attempt is lost: what becomes of the run is the caller's to say. Raises
    Unavailable when the machine does not answer; follow it again then.
    """
    view = await _look(site, place.directory)
    if began is None:
        began = site.clock.elapsed() - view.age_s
    spoke, size, pause_s = site.clock.elapsed(), 0, site.poll_s
    while ending is None and view.state in {RunState.STARTING, RunState.RUNNING}:
        if view.state is RunState.RUNNING:
            on_running()
        section.reach(view.stdout_size)
        now = site.clock.elapsed()
        if view.stdout_size + view.stderr_size != size:
            size, spoke, pause_s = view.stdout_size + view.stderr_size, now, site.poll_s
        site.heartbeat.remark(_warning(bounds, silent_s=now - spoke))
        ending = _cancelled(site) or _exceeded(
            view, bounds, age_s=now - began, silent_s=now - spoke
        )
        if ending is None:
            await site.heartbeat.pause(pause_s)
            pause_s = min(pause_s * 1.3, 10 * site.poll_s)
            view = await _look(site, place.directory)
    seconds = site.clock.elapsed() - began
    if view.state not in _BEFORE:
        on_running()
    survivors = await _end(site, place, graces=graces, ending=ending)
    view = await _look(site, place.directory)
    section.reach(view.stdout_size, ended=True)
    return Followed(view, ending, seconds, survivors)


async def abandon(site: Site, place: Place, *, graces: Graces, ending: Ending) -> None:
    """End whatever there is of the run at `place`, which nobody will follow."""
    view = await _look(site, place.directory)
    if view.state is RunState.ABSENT:
        return
    alive = view.state in {RunState.STARTING, RunState.RUNNING}
    await _end(site, place, graces=graces, ending=ending if alive else None)


def _cancelled(site: Site) -> Ending | None:
    try:
        site.heartbeat.check()
    except Halted as halted:
        if halted.halt is Halt.LOST:
            raise
        return CANCELLED
    return None


def _exceeded(view: RunView, bounds: Bounds, *, age_s: float, silent_s: float) -> Ending | None:
    if view.state is RunState.STARTING:
        if age_s <= bounds.start_s:
            return None
        message = f"no process had appeared {bounds.start_s:g} s after the start"
        return Ending(Reason.START_TIMEOUT, message)
    if age_s > bounds.run_s:
        return Ending(Reason.RUN_TIMEOUT, f"it had not ended after {bounds.run_s:g} s")
    if view.stdout_size + view.stderr_size > bounds.output_bytes:
        message = f"output limit: it wrote more than {bounds.output_bytes} bytes"
        return Ending(Reason.AGENT_ERROR, message)
    if bounds.silence_s is not None and silent_s > bounds.silence_s:
        return Ending(Reason.STALLED, f"it had been silent for {bounds.silence_s:g} s")
    return None


def _warning(bounds: Bounds, *, silent_s: float) -> str:
    """Silence is shown early, and enforced late."""
    if bounds.silence_s is None or silent_s < bounds.silence_s / 2:
        return ""
    return f"no output for {silent_s:.0f} s; ended after {bounds.silence_s:.0f} s of silence"


async def _end(
    site: Site, place: Place, *, graces: Graces, ending: Ending | None
) -> tuple[int, ...]:
    """End what is left of the run: all of it, or the tools that outlived it. The survivors."""
    machine = site.machine
    if ending is not None:
        # On a full disk it cannot be kept: the run is ended all the same.
        with contextlib.suppress(AttemptFailed, Unavailable):
            await remember(machine, place.directory, ending)
    report = await insist(
        site,
        lambda: run.end(
            machine, place.directory, workspace=place.workspace, mark=place.mark, graces=graces
        ),
    )
    return report.survivors


async def _look(site: Site, directory: str) -> RunView:
    return await insist(
        site,
        lambda: run.inspect(site.machine, directory, stdout_offset=0, stderr_offset=0, limit=0),
    )

"""What came of the agent's run: its output read, what it left behind committed, its work seen.

Everything is read as masked, so that no secret gets into a summary. A run that failed by itself
keeps its leftovers uncommitted: the next preparation puts them aside.
"""

from msgspec.structs import replace

from agent_fleet.adapters import Adapter, Failure, judge, parse
from agent_fleet.adapters.report import MESSAGE_LIMIT, Report, clean
from agent_fleet.core.errors import AttemptFailed
from agent_fleet.core.model import Grant
from agent_fleet.core.text import shorten
from agent_fleet.execution.following import Followed
from agent_fleet.execution.masking import mask
from agent_fleet.execution.output import Stream, read_ends
from agent_fleet.execution.records import Judged
from agent_fleet.execution.run import RunState
from agent_fleet.execution.site import Site, insist
from agent_fleet.execution.workspace import Work, Workspace, commit_leftovers, inspect_work

MOST = 8 * 1024 * 1024
"""Bytes of each stream that a parser is given: of more, the beginning and the end."""


async def judge_run(
    site: Site,
    grant: Grant,
    adapter: Adapter,
    workspace: Workspace,
    *,
    directory: str,
    followed: Followed,
    secrets: tuple[bytes, ...],
) -> Judged:
    """Whether the run in `directory` did the task, and what it says of itself."""
    view = followed.view

    async def read(stream: Stream, size: int) -> bytes:
        return mask(await read_ends(site, directory, stream, size=size, limit=MOST), secrets)

    report = parse(
        adapter.parser,
        stdout=await read("stdout", view.stdout_size),
        stderr=await read("stderr", view.stderr_size),
        exit_code=view.exit_code,
        now=site.clock.now(),
    )
    failure = _verdict(grant, followed, report, commits=1, changed=True)
    head_sha = None
    if failure is None and grant.deliverable == "branch":
        try:
            work = await _work(site, grant, workspace, adapter=adapter.name)
        except AttemptFailed as error:
            failure = Failure(error.reason, error.message)
        else:
            head_sha = work.head_sha
            failure = _verdict(grant, followed, report, commits=work.commits, changed=work.changed)
            if failure is not None and work.dirty:
                message = f"{failure.message}; its work is uncommitted, and is to stay so"
                failure = replace(failure, message=clean(message, MESSAGE_LIMIT))
    return Judged(report, failure, head_sha, view.exit_code, round(followed.seconds, 3))


async def _work(site: Site, grant: Grant, workspace: Workspace, *, adapter: str) -> Work:
    message = f"{shorten(grant.title)}\n\nLeft uncommitted by {adapter}, committed by the fleet."
    if grant.commit == "auto":
        await insist(
            site,
            lambda: commit_leftovers(
                site.machine, workspace, identity=grant.identity, message=message
            ),
        )
    return await insist(site, lambda: inspect_work(site.machine, workspace))


def _verdict(
    grant: Grant, followed: Followed, report: Report, *, commits: int, changed: bool
) -> Failure | None:
    """The failure, were that the work. With some, it is the run's own failure that remains."""
    view, ending = followed.view, followed.ending
    failure = judge(
        report,
        exit_code=view.exit_code,
        commits=commits,
        changed=changed,
        not_found=view.not_found,
        vanished=view.state is RunState.VANISHED,
        ended_by_us=ending.reason if ending is not None else None,
        deliverable=grant.deliverable,
    )
    if failure is None or ending is None:
        return failure
    return replace(failure, message=clean(f"{ending.message}; {failure.message}", MESSAGE_LIMIT))

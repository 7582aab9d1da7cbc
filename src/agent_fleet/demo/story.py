"""The story: tasks are filed, one is sent back, one loses its agent, all end in main."""

import asyncio
import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from rich.console import Console

from agent_fleet.client import FleetClient
from agent_fleet.core.messages import Submission, TaskDetail
from agent_fleet.core.model import Mode, TaskStatus
from agent_fleet.demo import stage as stages
from agent_fleet.demo.player import HALF_WAY
from agent_fleet.demo.show import Show
from agent_fleet.demo.stage import REPO, Stage

PLAYED_S = 100.0
REAL_S = 1_800.0

BODY = """\
## Goal
Write the page `{file}`, with exactly these lines{pace}:

> # {title}
> {line}

## Constraints
- Change no other file.
"""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One task of the story, and what happens to it besides."""

    file: str
    title: str
    line: str
    mode: Mode
    slowly: bool = False
    sent_back: str = ""
    by_hand: bool = False

    @property
    def submission(self) -> Submission:
        pace = ", SLOWLY" if self.slowly else ""
        body = BODY.format(file=self.file, title=self.title, line=self.line, pace=pace)
        return Submission(repo=REPO, title=self.title, body=body, mode=self.mode)


PARTS = (
    Part(
        file="install.md",
        title="How to install",
        line="Two commands are enough.",
        mode=Mode.SSH_CLI,
    ),
    Part(
        file="hosts.md",
        title="About hosts",
        line="A host has slots.",
        mode=Mode.SSH_CLI,
        sent_back="Say how a host is chosen:\n\n> The least loaded host is chosen.",
    ),
    Part(
        file="agents.md",
        title="About agents",
        line="An agent asks for work.",
        mode=Mode.HTTP_PULL,
        by_hand=True,
    ),
    Part(
        file="leases.md",
        title="About leases",
        line="Who is silent loses its task.",
        mode=Mode.HTTP_PULL,
        slowly=True,
    ),
    Part(
        file="review.md",
        title="About review",
        line="Git tells how the work is going.",
        mode=Mode.EITHER,
    ),
)


async def run(folder: Path, *, adapter: str | None, console: Console) -> bool:
    """Plays the demo in `folder`; True if every task is completed with its commit in main.

    `adapter` is one of the agent CLIs that the user has; None plays the model by a script.
    """
    stage = await stages.build(folder, adapter=adapter)
    show = Show(console)
    async with stages.orchestrator(stage) as client:
        try:
            async with asyncio.timeout(PLAYED_S if adapter is None else REAL_S):
                await _play(stage, client, show)
        except TimeoutError:
            show.say("the time is up")
        details = [await client.task(task) for task in show.tasks]
    merged = [await _is_in_main(stage, detail) for detail in details]
    show.finish(details, merged, log=await stages.git(*_LOG, cwd=stage.origin), stage=stage)
    return len(merged) == len(PARTS) and all(merged)


_LOG = ("log", "--graph", "--oneline", "--decorate", "--all")


async def _play(stage: Stage, client: FleetClient, show: Show) -> None:
    async with stages.agent(stage, 1) as first:
        tasks: dict[int, Part] = {}
        for part in PARTS:
            detail = await client.submit(part.submission)
            tasks[detail.task.id] = part
            show.submitted(detail)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(show.follow(client))
            ends = [
                group.create_task(_accompany(stage, client, show, task, part))
                for task, part in tasks.items()
            ]
            slow = next(task for task, part in tasks.items() if part.slowly)
            await _until_half_way(client, slow)
            show.say(f"the agent process {first.pid} is killed, half-way through task {slow}")
            os.kill(first.pid, signal.SIGKILL)
            await first.wait()
            async with stages.agent(stage, 2) as second:
                show.say(f"the agent is started again, as process {second.pid}")
                await asyncio.gather(*ends)
            watching.cancel()


async def _accompany(stage: Stage, client: FleetClient, show: Show, task: int, part: Part) -> None:
    """Reviews a task until it has ended: sends it back once where the story says so."""
    sent_back = False
    while True:
        detail = await client.wait(task, until="settled", timeout_s=REAL_S)
        status = detail.task.status
        if status is not TaskStatus.REVIEW_PENDING:
            return
        if part.sent_back and not sent_back:
            sent_back = True
            show.say(f"task {task} is sent back: {part.sent_back.splitlines()[0]}")
            await client.request_changes(task, part.sent_back)
        elif part.by_hand:
            show.say(f"task {task} is merged by hand, squashed, with plain Git")
            await _merge_by_hand(stage, detail)
            await client.wait(task, until="ended", timeout_s=REAL_S)
        else:
            show.say(f"task {task} is approved and merged by the fleet")
            await client.approve(task, merge=True)


async def _until_half_way(client: FleetClient, task: int) -> None:
    """Until the first attempt's log says that it has got half-way, or begun at all."""
    while True:
        detail = await client.wait(task, until="changed", timeout_s=1.0)
        if detail.attempts and detail.attempts[0].started_at is not None:
            log = await client.read_log(task, 1, start=0)
            if HALF_WAY.encode() in log or detail.task.adapter is not None:
                return


async def _merge_by_hand(stage: Stage, detail: TaskDetail) -> None:
    """What somebody does who knows nothing of the fleet."""
    with TemporaryDirectory(dir=stage.folder) as name:
        clone = Path(name) / "clone"
        await stages.git("clone", "--quiet", str(stage.origin), str(clone), cwd=stage.folder)
        await stages.git("merge", "--squash", f"origin/{detail.branch_name}", cwd=clone)
        await stages.git("commit", "--quiet", "-m", detail.task.title, cwd=clone)
        await stages.git("push", "--quiet", "origin", "HEAD:main", cwd=clone)


async def _is_in_main(stage: Stage, detail: TaskDetail) -> bool:
    """Completed, and the commit that it was merged as is in main."""
    merged = detail.task.view.merged_sha
    if detail.task.status is not TaskStatus.COMPLETED or merged is None:
        return False
    inside = await stages.git("branch", "--contains", merged, "--list", "main", cwd=stage.origin)
    return "main" in inside

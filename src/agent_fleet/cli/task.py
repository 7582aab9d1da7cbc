"""`fleet task`: look at tasks, and decide about them."""

import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter

from agent_fleet.cli import create, output, taskview, waiting
from agent_fleet.cli.exits import Exit, fail
from agent_fleet.cli.numbers import whole
from agent_fleet.cli.text import visible
from agent_fleet.core.errors import FleetError, InvalidInput, NotFound
from agent_fleet.core.messages import TaskDetail
from agent_fleet.core.model import TaskStatus

app = App(name="task", help="Submit tasks, look at them, and decide about them.", help_epilogue="")
app.command(create.create)

Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON for programs.")]
Number = Annotated[int, Parameter(name="TASK", converter=whole, help="The task's number.")]
Status = Literal[
    "queued",
    "assigned",
    "running",
    "review_pending",
    "needs_human",
    "completed",
    "failed",
    "cancelled",
]

_SHOWN = tuple(s for s in TaskStatus if s not in {TaskStatus.COMPLETED, TaskStatus.CANCELLED})
_PAGE = 200


@app.command(name="list")
async def list_tasks(
    *,
    status: Annotated[tuple[Status, ...], Parameter(help="Only these; may be repeated.")] = (),
    repo: Annotated[str | None, Parameter(help="Only tasks of this repository.")] = None,
    everything: Annotated[
        bool, Parameter(name="--all", negative=(), help="Completed and cancelled ones too.")
    ] = False,
    limit: Annotated[
        int,
        Parameter(
            converter=whole, help="At most so many, the newest ones: 1 to 1000, 100 if left out."
        ),
    ] = 100,
    json: Json = False,
) -> None:
    """Who needs me? Tasks that wait for a person come first, then those that run, then the queue.

    For example:

      fleet task list
      fleet task list --status needs_human --status review_pending --json
    """
    create.check_range("--limit", limit, least=1, most=1000)
    wanted = tuple(map(TaskStatus, status)) or (() if everything else _SHOWN)
    async with output.connect() as client:
        page = await client.list_tasks(statuses=wanted, repo=repo, limit=min(limit, _PAGE))
        tasks = list(page.tasks)
        while page.next is not None and len(tasks) < limit:
            page = await client.list_tasks(
                statuses=wanted, repo=repo, before=page.next, limit=min(limit - len(tasks), _PAGE)
            )
            tasks += page.tasks
    if json:
        output.print_json({"tasks": tasks, "next": page.next})
    else:
        taskview.print_list(tasks, more=page.next is not None)


@app.command
async def show(task: Number, /, *, json: Json = False) -> None:
    """Everything about one task: where it stands, its attempts, and what can be done next."""
    async with output.connect() as client:
        detail = await client.task(task)
    _print(detail, json=json, whole=True)


@app.command
async def why(task: Number, /, *, json: Json = False) -> None:
    """Every reason that keeps a task from running, host by host, and what would end it."""
    async with output.connect() as client:
        answer = await client.why(task)
    if json:
        output.print_json(answer)
    else:
        taskview.print_why(task, answer)


@app.command
async def logs(
    task: Number,
    /,
    *,
    follow: Annotated[
        bool, Parameter(name=("--follow", "-f"), negative=(), help="Go on until it has ended.")
    ] = False,
    attempt: Annotated[
        int | None, Parameter(converter=whole, help="Its number; the latest if left out.")
    ] = None,
    json: Json = False,
) -> None:
    """What an attempt's agent printed. With --json each piece is one line of JSON.

    For example:

      fleet task logs 3 -f
      fleet task logs 3 --attempt 1 > attempt-1.log
    """
    async with output.connect() as client:
        number = attempt
        if number is None:
            number = (await client.task(task)).task.attempts
            if number == 0:
                raise NotFound(f"task {task} has had no attempt yet; fleet task why {task}")
        writer = taskview.LogWriter(number, json=json)
        if follow:
            async for data in client.follow_log(task, number):
                writer.write(data)
        else:
            while data := await client.read_log(task, number, start=writer.offset):
                writer.write(data)
        writer.finish()


@app.command
async def diff(task: Number, /, *, json: Json = False) -> None:
    """What the task's branch adds to its base."""
    async with output.connect() as client:
        patch = await client.diff(task)
    if json:
        output.print_json({"diff": patch.decode(errors="replace")})
    elif sys.stdout.isatty():
        taskview.print_diff(patch.decode(errors="replace"))
    else:
        sys.stdout.buffer.write(patch)


@app.command
async def cancel(task: Number, /, *, json: Json = False) -> None:
    """Cancel a task: at once, or as soon as its agent has been told."""
    async with output.connect() as client:
        detail = await client.cancel(task)
    _print(detail, json=json)


@app.command
async def approve(
    task: Number,
    /,
    *,
    merge: Annotated[bool, Parameter(negative=(), help="The fleet merges the branch now.")] = False,
    head: Annotated[
        str | None, Parameter(help="Only if the branch is still at this commit (all of its id).")
    ] = None,
    json: Json = False,
) -> None:
    """Approve what a task delivered.

    For example:

      fleet task diff 3
      fleet task approve 3 --merge
    """
    async with output.connect() as client:
        try:
            detail = await client.approve(task, merge=merge, head=head)
        except FleetError as error:
            fail(error, flags={"head": "--head"})
    _print(detail, json=json)


@app.command
async def request_changes(
    task: Number,
    text: Annotated[str | None, Parameter(name="TEXT", help="What is to change.")] = None,
    /,
    *,
    file: Annotated[
        str | None,
        Parameter(
            name=("--file", "-F"),
            allow_leading_hyphen=True,
            help='A file with the text instead; "-" is stdin.',
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Send a task back: a revision with your text, by the same agent where it can.

    For example:

      fleet task request-changes 3 "Keep the old name as an alias."
      fleet task request-changes 3 --file review.md
    """
    if (text is None) == (file is None):
        raise InvalidInput("TEXT", "one text is wanted", remedy="give it, or a --file")
    told = output.read_text(file) if file is not None else text or ""
    async with output.connect() as client:
        try:
            detail = await client.request_changes(task, told)
        except FleetError as error:
            fail(error, flags={"text": "TEXT"})
    _print(detail, json=json)


@app.command
async def retry(task: Number, /, *, json: Json = False) -> None:
    """Queue a task again that needs a human, has failed or was cancelled; its limits are reset."""
    async with output.connect() as client:
        detail = await client.retry(task)
    _print(detail, json=json)


@app.command
async def wait(
    task: Number,
    /,
    *,
    until: Annotated[
        Literal["settled", "ended"],
        Parameter(
            help="settled: it ended, or waits for a person (the default). ended: it is over."
        ),
    ] = "settled",
    limit: Annotated[
        str | None,
        Parameter(
            name="--timeout", help='At most so long, as "90s", "15m", "2h"; for ever if left out.'
        ),
    ] = None,
    json: Json = False,
) -> Exit:
    """Wait for a task. The exit code says what came of it: fleet --help lists them.

    For example:

      fleet task wait 3 --timeout 30m && fleet task approve 3 --merge
    """
    timeout_s = None if limit is None else create.to_seconds("--timeout", limit)
    async with output.connect() as client:
        return await waiting.wait(client, task, until=until, timeout_s=timeout_s, json=json)


def _print(detail: TaskDetail, *, json: bool, whole: bool = False) -> None:
    if json:
        output.print_json(detail)
    elif whole:
        taskview.print_detail(detail)
    else:
        asked = ", cancel requested" if detail.task.cancel_requested else ""
        print(visible(f"task {detail.task.id}: {detail.task.status}{asked}"))

"""How tasks look: what a person must do comes first, and each state says the next command."""

import codecs
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from agent_fleet.cli import output
from agent_fleet.cli.text import line, show_span, show_time, visible
from agent_fleet.clock import SystemClock
from agent_fleet.core.messages import TaskDetail, WhyAnswer
from agent_fleet.core.model import Attempt, AttemptStatus, Task, TaskStatus

if TYPE_CHECKING:
    from rich.text import Text

# In the order of the list: who waits for a person, who works, who waits for a place, who is done.
_STYLES = {
    TaskStatus.NEEDS_HUMAN: "bold red",
    TaskStatus.REVIEW_PENDING: "bold yellow",
    TaskStatus.FAILED: "red",
    TaskStatus.RUNNING: "green",
    TaskStatus.ASSIGNED: "green",
    TaskStatus.QUEUED: "cyan",
    TaskStatus.COMPLETED: "dim",
    TaskStatus.CANCELLED: "dim",
}
_ORDER = list(_STYLES)

_STEPS: dict[TaskStatus, tuple[str, ...]] = {
    TaskStatus.QUEUED: ("fleet task why {id}",),
    TaskStatus.ASSIGNED: ("fleet task logs {id} -f", "fleet task cancel {id}"),
    TaskStatus.RUNNING: ("fleet task logs {id} -f", "fleet task cancel {id}"),
    TaskStatus.REVIEW_PENDING: (
        "fleet task diff {id}",
        "fleet task approve {id} --merge",
        'fleet task request-changes {id} "…"',
    ),
    TaskStatus.NEEDS_HUMAN: (
        "fleet task logs {id}",
        'fleet task request-changes {id} "…"',
        "fleet task retry {id}",
        "fleet task cancel {id}",
    ),
    TaskStatus.FAILED: ("fleet task logs {id}", "fleet task retry {id}"),
    TaskStatus.CANCELLED: ("fleet task retry {id}",),
    TaskStatus.COMPLETED: (),
}


def print_list(tasks: Sequence[Task], *, more: bool) -> None:
    if not tasks:
        print('no tasks; the first one: fleet task create "…" --repo NAME')
        return
    now = SystemClock().now()
    table = output.table("task", "status", "for", "where", "repo", "title", last_folds=False)
    for task in sorted(tasks, key=lambda t: (_ORDER.index(t.status), -t.priority, t.id)):
        why = f" ({task.reason})" if task.reason and task.status is not TaskStatus.RUNNING else ""
        table.add_row(
            str(task.id),
            output.cell(f"{task.status}{why}", _STYLES[task.status]),
            show_span(now - task.updated_at),
            output.cell(task.assigned_host or task.host or ""),
            output.cell(task.repo),
            output.cell(task.title),
        )
    output.console().print(table)
    waiting = sum(t.status in {TaskStatus.NEEDS_HUMAN, TaskStatus.REVIEW_PENDING} for t in tasks)
    if waiting:
        print(f"{waiting} wait for a person: fleet task show TASK")
    if more:
        print("there are more: --limit, --status, --repo")


def print_detail(detail: TaskDetail) -> None:
    task = detail.task
    console = output.console()
    console.print(output.cell(f"task {task.id}: {task.title}", "bold"))
    table = output.table("", "")
    table.show_header = False
    for name, text in _facts(detail):
        style = _STYLES[task.status] if name == "status" else ""
        table.add_row(name, output.cell(text, style))
    console.print(table)
    if detail.attempts:
        console.print(_attempts(detail.attempts))
    _print_steps(task)


def print_why(task: int, answer: WhyAnswer) -> None:
    if not answer.reasons:
        print(f"task {task} is {answer.status}: nothing keeps it")
        return
    table = output.table("where", "why", "until", "remedy")
    table.columns[1].no_wrap = False
    table.columns[1].overflow = "fold"
    for reason in answer.reasons:
        table.add_row(
            output.cell(reason.subject or "the task"),
            output.cell(reason.text),
            show_time(reason.until) if reason.until else "",
            output.cell(reason.remedy),
        )
    output.console().print(table)


def print_outcome(detail: TaskDetail) -> None:
    """One line for how a task ended up, and what can be done now."""
    task = detail.task
    output.console().print(
        output.cell(f"task {task.id}: {_standing(task)}", _STYLES[task.status]), soft_wrap=True
    )
    _print_steps(task)


def glance(detail: TaskDetail) -> "Text":
    """One line for a live status."""
    task = detail.task
    last = detail.attempts[-1] if detail.attempts else None
    doing = ""
    if last is not None and last.status is not AttemptStatus.ENDED:
        since = last.started_at or last.granted_at
        span = show_span(SystemClock().now() - since)
        doing = f", attempt {last.number} at {last.host or last.owner}, {last.phase}, {span}"
    return output.cell(f"task {task.id}: {task.status}{doing}", _STYLES[task.status])


def print_diff(patch: str) -> None:
    """Coloured as people know it; each line is only ever text."""
    from rich.text import Text

    styles = {"+": "green", "-": "red", "@": "cyan"}
    console = output.console()
    for row in visible(patch).split("\n"):
        console.print(Text(row, style=styles.get(row[:1], "")), soft_wrap=True)


class LogWriter:
    """Writes a log piece by piece: as it is to a file, harmless to a terminal, or as JSON lines."""

    def __init__(self, attempt: int, *, json: bool) -> None:
        self.offset = 0
        self._attempt = attempt
        self._json = json
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def write(self, data: bytes) -> None:
        if self._json:
            self._print(self._decoder.decode(data))
        elif sys.stdout.isatty():
            sys.stdout.write(visible(self._decoder.decode(data)))
        else:
            sys.stdout.buffer.write(data)
        sys.stdout.flush()
        self.offset += len(data)

    def finish(self) -> None:
        """What is left of a character that was cut off."""
        rest = self._decoder.decode(b"", final=True)
        if rest and self._json:
            self._print(rest)

    def _print(self, text: str) -> None:
        if text:
            output.print_json({"attempt": self._attempt, "offset": self.offset, "text": text})


def _facts(detail: TaskDetail) -> Iterator[tuple[str, str]]:
    task = detail.task
    yield "status", _standing(task)
    yield "repo", f"{task.repo}, {detail.branch_name} into {task.base}"
    if task.view.head:
        yield "head", task.view.head
    if task.view.merged_sha:
        yield "merged", task.view.merged_sha
    yield "goal", line(task.goal)[:2_000]
    for constraint in task.constraints:
        yield "constraint", constraint
    for command in task.validation:
        yield "validate", command
    runs_by = " ".join(filter(None, (task.execution_mode, task.adapter, task.model, task.host)))
    yield "runs by", runs_by
    yield (
        "counts",
        (
            f"{task.tries} of {task.max_tries} tries, "
            f"{task.review_count} of {task.review_limit} revisions, priority {task.priority}"
        ),
    )
    yield "submitted", f"{show_time(task.created_at)} by {task.requester}"
    if task.not_before and task.not_before > SystemClock().now():
        yield "not before", show_time(task.not_before)


def _standing(task: Task) -> str:
    why = f" ({task.reason})" if task.reason else ""
    said = f": {task.message}" if task.message else ""
    asked = ", cancel requested" if task.cancel_requested else ""
    return f"{task.status}{why}{asked}{line(said)[:500]}"


def _attempts(attempts: Sequence[Attempt]) -> object:
    now = SystemClock().now()
    table = output.table("attempt", "where", "adapter", "began", "took", "how")
    for one in attempts:
        began = one.started_at or one.granted_at
        table.add_row(
            str(one.number),
            output.cell(one.host or one.owner),
            output.cell(one.adapter),
            show_time(began),
            _took(began, one.ended_at or now),
            output.cell(_how(one)),
        )
    return table


def _took(began: datetime, ended: datetime) -> str:
    return show_span(ended - began)


def _how(attempt: Attempt) -> str:
    if attempt.status is not AttemptStatus.ENDED:
        return f"{attempt.status}: {attempt.phase} {attempt.progress}"
    said = f": {attempt.message}" if attempt.message else ""
    return f"{attempt.outcome}{f' ({attempt.reason})' if attempt.reason else ''}{said}"


def _print_steps(task: Task) -> None:
    for step in _STEPS[task.status]:
        print(f"  {step.format(id=task.id)}")

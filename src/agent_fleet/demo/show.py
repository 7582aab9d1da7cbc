"""What the demo shows: one line for each thing that happens, as it happens."""

import time

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent_fleet.client import FleetClient
from agent_fleet.core.messages import TaskDetail
from agent_fleet.core.model import Event, TaskStatus
from agent_fleet.demo.stage import Stage

_STYLES = {
    TaskStatus.QUEUED: "white",
    TaskStatus.ASSIGNED: "cyan",
    TaskStatus.RUNNING: "cyan",
    TaskStatus.REVIEW_PENDING: "yellow",
    TaskStatus.NEEDS_HUMAN: "magenta",
    TaskStatus.COMPLETED: "green",
    TaskStatus.FAILED: "red",
    TaskStatus.CANCELLED: "red",
}
_QUIET = {"observe"}


class Show:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()
        self.tasks: list[int] = []

    def say(self, text: str) -> None:
        """Something that a person did."""
        self._line(("» ", "bold"), text)

    def submitted(self, detail: TaskDetail) -> None:
        self.tasks.append(detail.task.id)
        mode = detail.task.execution_mode
        self.say(f"task {detail.task.id} is filed: {detail.task.title} ({mode})")

    async def follow(self, client: FleetClient) -> None:
        """Prints events as they come, until cancelled."""
        async for event in client.events():
            if event.verb not in _QUIET:
                self._tell(event)

    def finish(
        self, details: list[TaskDetail], merged: list[bool], *, log: str, stage: Stage
    ) -> None:
        """The end: the repository's history, and what became of each task."""
        table = Table("task", "title", "by", "attempts", "revisions", "status", "in main")
        for detail, inside in zip(details, merged, strict=True):
            task = detail.task
            owners = dict.fromkeys(a.host or a.owner for a in detail.attempts)
            table.add_row(
                str(task.id),
                Text(task.title),
                ", ".join(owners),
                str(task.attempts),
                str(task.review_count),
                Text(task.status, style=_STYLES[task.status]),
                "yes" if inside else "no",
            )
        self._console.print(Text(f"\n{log}\n"), soft_wrap=True)
        self._console.print(table)
        self._console.print(f"{sum(merged)} of {len(details)} tasks are completed and in main.")
        look = f"For a look: git -C {stage.origin} log --graph --oneline --all"
        self._console.print(Text(look), soft_wrap=True)

    def _tell(self, event: Event) -> None:
        attempt = f", attempt {event.attempt}" if event.attempt else ""
        before = f"{event.before} → " if event.before and event.before != event.after else ""
        self._line(
            f"  task {event.task}{attempt}: {event.verb}: {before}",
            (event.after.value, _STYLES[event.after]),
            (f" by {event.actor}", "dim"),
        )

    def _line(self, *parts: str | tuple[str, str]) -> None:
        clock = (f"{time.monotonic() - self._begun:5.1f} s  ", "dim")
        self._console.print(Text.assemble(clock, *parts), soft_wrap=True)

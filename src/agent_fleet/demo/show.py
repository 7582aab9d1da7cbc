"""What the demo shows: one line for each thing that happens, as it happens."""

import time

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agent_fleet.client import FleetClient
from agent_fleet.core.messages import TaskDetail
from agent_fleet.core.model import Event
from agent_fleet.demo.stage import Stage

_COLOURS = {
    "queued": "white",
    "assigned": "cyan",
    "running": "cyan",
    "review_pending": "yellow",
    "needs_human": "magenta",
    "completed": "green",
    "failed": "red",
    "cancelled": "red",
}
_QUIET = {"observe"}


class Show:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()
        self.tasks: list[int] = []

    def say(self, text: str) -> None:
        """Something that a person did."""
        self._console.print(f"{self._clock()}  [bold]»[/bold] {escape(text)}")

    def submitted(self, detail: TaskDetail) -> None:
        self.tasks.append(detail.task.id)
        mode = detail.task.execution_mode
        self.say(f"task {detail.task.id} is filed: {detail.task.title} ({mode})")

    async def follow(self, client: FleetClient) -> None:
        """Prints events as they come, until cancelled."""
        async for event in client.events():
            if event.verb not in _QUIET:
                self._print(event)

    def finish(
        self, details: list[TaskDetail], merged: list[bool], *, log: str, stage: Stage
    ) -> None:
        """The end: what became of each task, and the repository's history."""
        table = Table("task", "title", "by", "attempts", "revisions", "status", "in main")
        for detail, is_in in zip(details, merged, strict=True):
            task = detail.task
            owners = dict.fromkeys(a.host or a.owner for a in detail.attempts)
            table.add_row(
                str(task.id),
                escape(task.title),
                ", ".join(owners),
                str(task.attempts),
                str(task.review_count),
                f"[{_COLOURS[task.status]}]{task.status}[/]",
                "yes" if is_in else "no",
            )
        self._console.print()
        self._console.print(log, highlight=False, markup=False)
        self._console.print()
        self._console.print(table)
        self._console.print(f"{sum(merged)} of {len(details)} tasks are completed and in main.")
        self._console.print(f"The repository, for a look: git -C {stage.origin} log --graph --all")

    def _print(self, event: Event) -> None:
        before = f"{event.before} → " if event.before and event.before != event.after else ""
        attempt = f" (attempt {event.attempt})" if event.attempt else ""
        colour = _COLOURS[event.after]
        self._console.print(
            f"{self._clock()}  task {event.task}  {event.verb}{attempt}: "
            f"{before}[{colour}]{event.after}[/] [dim]by {escape(event.actor)}[/dim]",
            highlight=False,
        )

    def _clock(self) -> str:
        return f"[dim]{time.monotonic() - self._begun:5.1f} s[/dim]"

"""The client of people and their programs: submit, look, decide, administer."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Literal, Self
from uuid import uuid4

from agent_fleet.client.connection import Connection
from agent_fleet.core.errors import Unavailable
from agent_fleet.core.lifecycle import ENDED, SETTLED
from agent_fleet.core.messages import (
    AgentList,
    Approval,
    Comment,
    EventPage,
    HostList,
    Ready,
    ReceiptAnswer,
    ReceiptList,
    Submission,
    TaskDetail,
    TaskPage,
    TokenIssued,
    TokenList,
    TokenRequest,
    WhyAnswer,
)
from agent_fleet.core.model import AttemptStatus, Event, TaskStatus

_API = "/api/v1"
_LONGEST_WAIT_S = 45.0
_GIT_S = 240.0
"""What makes the server ask a forge may take so much longer."""
_LOOK_AGAIN_S = 1.0
_PATIENCE_S = 60.0
"""So long a server may be away (it restarts) before what follows it gives up."""
_PAGE = 200

Until = Literal["changed", "settled", "ended"]


class FleetClient:
    """Every method raises what `core.errors` names; Unavailable where the server is away."""

    def __init__(self, url: str, token: str) -> None:
        self._connection = Connection(url, token)

    def __repr__(self) -> str:
        return f"FleetClient({self._connection.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._connection.close()

    async def ready(self) -> Ready:
        """The server and its database answer. Takes no token."""
        return await self._connection.ask(Ready, "GET", "/readyz")

    # -- tasks -----------------------------------------------------------------------------------

    async def submit(self, submission: Submission, *, key: str | None = None) -> TaskDetail:
        """A new task, or the one that the same `key` made before; a key is made if there is none.

        So an answer that was lost on the way makes no second task.
        """
        return await self._connection.ask(
            TaskDetail,
            "POST",
            f"{_API}/tasks",
            body=submission,
            headers={"Idempotency-Key": key or uuid4().hex},
        )

    async def list_tasks(
        self,
        *,
        statuses: Sequence[TaskStatus] = (),
        repo: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> TaskPage:
        """One page, the newest first; `before` is the `next` of the page before."""
        params: dict[str, str | int | float | list[str]] = {"limit": limit}
        if statuses:
            params["status"] = [status.value for status in statuses]
        if repo is not None:
            params["repo"] = repo
        if before is not None:
            params["before"] = before
        return await self._connection.ask(TaskPage, "GET", f"{_API}/tasks", params=params)

    async def task(self, task: int, *, wait_s: float = 0.0, until: Until = "changed") -> TaskDetail:
        """The task; with `wait_s` (50 at most), as soon as it is so far, or after that time."""
        return await self._connection.ask(
            TaskDetail,
            "GET",
            f"{_API}/tasks/{task}",
            params={"wait": wait_s, "until": until} if wait_s else None,
            wait_s=wait_s,
        )

    async def wait(self, task: int, *, until: Until, timeout_s: float | None = None) -> TaskDetail:
        """The task once it has changed, settled or ended, or as it is after `timeout_s`.

        A server that restarts meanwhile is waited for, a minute at most.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        # The server compares with what it finds when it is asked: a change just before is missed.
        longest = _LOOK_AGAIN_S if until == "changed" else _LONGEST_WAIT_S
        first = detail = await self.task(task)
        while not _is_there(detail, until=until, since=first):
            left = longest if deadline is None else deadline - time.monotonic()
            if left <= 0:
                break
            detail = await self._look(task, wait_s=min(left, longest), until=until)
        return detail

    async def why(self, task: int) -> WhyAnswer:
        """Every reason that keeps the task from running."""
        return await self._connection.ask(WhyAnswer, "GET", f"{_API}/tasks/{task}/why")

    async def diff(self, task: int) -> bytes:
        """What the task's branch adds to its base: a summary and the patch, a megabyte at most."""
        answer = await self._connection.send("GET", f"{_API}/tasks/{task}/diff", wait_s=_GIT_S)
        return answer.content

    async def cancel(self, task: int) -> TaskDetail:
        """Cancelled now, or as soon as its executor has been told."""
        return await self._connection.ask(TaskDetail, "POST", f"{_API}/tasks/{task}/cancel")

    async def retry(self, task: int) -> TaskDetail:
        """Queued again, its limits reset."""
        return await self._connection.ask(
            TaskDetail, "POST", f"{_API}/tasks/{task}/retry", repeatable=False
        )

    async def approve(
        self, task: int, *, merge: bool = False, head: str | None = None
    ) -> TaskDetail:
        """Approved; with `merge`, merged before this returns; with `head`, only if it is there."""
        return await self._connection.ask(
            TaskDetail,
            "POST",
            f"{_API}/tasks/{task}/approve",
            body=Approval(merge=merge, head=head),
            repeatable=False,
            wait_s=_GIT_S,
        )

    async def request_changes(self, task: int, text: str) -> TaskDetail:
        """A revision with that text."""
        return await self._connection.ask(
            TaskDetail,
            "POST",
            f"{_API}/tasks/{task}/request-changes",
            body=Comment(text=text),
            repeatable=False,
        )

    # -- what came of them -----------------------------------------------------------------------

    async def event_page(
        self, *, after: int = 0, task: int | None = None, limit: int = _PAGE
    ) -> EventPage:
        """What happened in the fleet, or to one task, from behind the cursor `after`."""
        path = f"{_API}/events" if task is None else f"{_API}/tasks/{task}/events"
        params = {"after": after, "limit": limit}
        return await self._connection.ask(EventPage, "GET", path, params=params)

    async def events(self, *, after: int = 0, task: int | None = None) -> AsyncGenerator[Event]:
        """Events from behind the cursor `after`, each once and in order, and new ones for ever.

        An event's id is the cursor to go on from.
        """
        while True:
            page = await self.event_page(after=after, task=task)
            for event in page.events:
                after = event.id
                yield event
            if len(page.events) < _PAGE:
                await asyncio.sleep(_LOOK_AGAIN_S)

    async def receipts(self, task: int) -> tuple[ReceiptAnswer, ...]:
        """Everything that was handed in for the task, in the order of arrival."""
        path = f"{_API}/tasks/{task}/receipts"
        return (await self._connection.ask(ReceiptList, "GET", path)).receipts

    async def receipt(self, receipt_id: str) -> ReceiptAnswer:
        """One receipt, as it was handed in."""
        return await self._connection.ask(ReceiptAnswer, "GET", f"{_API}/receipts/{receipt_id}")

    async def read_log(self, task: int, attempt: int, *, start: int = 0) -> bytes:
        """The log from byte `start` on, 4 MiB of it at most; LogGap from beyond its end."""
        path = f"{_API}/tasks/{task}/attempts/{attempt}/log"
        headers = {"Range": f"bytes={start}-"}
        return (await self._connection.send("GET", path, headers=headers)).content

    async def follow_log(self, task: int, attempt: int, *, start: int = 0) -> AsyncGenerator[bytes]:
        """The log from byte `start` as it grows, until the attempt has ended and all was read."""
        ended = False
        while True:
            data = await self.read_log(task, attempt, start=start)
            if data:
                start += len(data)
                yield data
            elif ended:
                return
            else:
                detail = await self._look(task, wait_s=_LOOK_AGAIN_S, until="changed")
                ended = any(
                    one.number == attempt and one.status is AttemptStatus.ENDED
                    for one in detail.attempts
                )

    async def _look(self, task: int, *, wait_s: float, until: Until) -> TaskDetail:
        """A long poll that outlives a restart of the server, and never turns into a busy loop."""
        began = time.monotonic()
        while True:
            asked = time.monotonic()
            try:
                detail = await self.task(task, wait_s=wait_s, until=until)
            except Unavailable:
                if time.monotonic() - began > _PATIENCE_S:
                    raise
                await asyncio.sleep(_LOOK_AGAIN_S)
                continue
            # A server that is about to stop answers at once.
            quick = min(wait_s, _LOOK_AGAIN_S) / 4 - (time.monotonic() - asked)
            if quick > 0:
                await asyncio.sleep(quick)
            return detail

    # -- who takes part --------------------------------------------------------------------------

    async def agents(self) -> AgentList:
        """The registered agents, and the slots that they use."""
        return await self._connection.ask(AgentList, "GET", f"{_API}/agents")

    async def hosts(self) -> HostList:
        """The hosts, as declared and last probed, and the slots that they use."""
        return await self._connection.ask(HostList, "GET", f"{_API}/hosts")

    async def issue_token(self, request: TokenRequest) -> TokenIssued:
        """A new token; the only time that its secret is told. Sent once, never again by itself."""
        return await self._connection.ask(
            TokenIssued, "POST", f"{_API}/tokens", body=request, repeatable=False
        )

    async def tokens(self) -> TokenList:
        """All tokens, without their secrets."""
        return await self._connection.ask(TokenList, "GET", f"{_API}/tokens")

    async def revoke_token(self, prefix: str) -> None:
        """Holds from the next request; a second time changes nothing."""
        await self._connection.send("DELETE", f"{_API}/tokens/{prefix}")


def _is_there(detail: TaskDetail, *, until: Until, since: TaskDetail) -> bool:
    match until:
        case "changed":
            return detail.task.revision != since.task.revision
        case "settled":
            return detail.task.status in SETTLED
        case "ended":
            return detail.task.status in ENDED

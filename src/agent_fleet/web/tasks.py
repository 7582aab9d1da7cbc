"""Routes for people and their programs: tasks, what keeps them, what came of them."""

from typing import Annotated

from litestar import Response, Router, get, post
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter

from agent_fleet.core.messages import (
    Approval,
    Comment,
    EventPage,
    ReceiptAnswer,
    ReceiptList,
    Submission,
    TaskDetail,
    TaskPage,
    WhyAnswer,
)
from agent_fleet.core.model import TaskStatus
from agent_fleet.core.registry import TokenKind
from agent_fleet.web.access import Caller, Number, TheFleet, allow, check_visible

OPERATOR, REQUESTER = TokenKind.OPERATOR, TokenKind.REQUESTER
READ_ONLY, AGENT = TokenKind.READ_ONLY, TokenKind.AGENT

IdempotencyKey = Annotated[
    str | None, HeaderParameter(name="Idempotency-Key", min_length=1, max_length=200)
]
Limit = Annotated[int, QueryParameter(ge=1, le=200)]
Wait = Annotated[float, QueryParameter(name="wait", ge=0, le=50)]


@post("/tasks", guards=[allow(OPERATOR, REQUESTER)])
async def submit(
    fleet: TheFleet, caller: Caller, data: JSONBody[Submission], key: IdempotencyKey = None
) -> Response[TaskDetail]:
    """A new task (201), or the one that the same Idempotency-Key made before (200)."""
    detail, created = await fleet.tasks.submit(data, by=caller, key=key)
    return Response(detail, status_code=201 if created else 200)


@get("/tasks", guards=[allow(OPERATOR, REQUESTER, READ_ONLY)])
async def list_tasks(
    *,
    fleet: TheFleet,
    caller: Caller,
    status: FromQuery[list[TaskStatus] | None] = None,
    repo: FromQuery[str | None] = None,
    before: Annotated[int | None, QueryParameter(ge=1, le=2**53)] = None,
    limit: Limit = 50,
) -> TaskPage:
    """Tasks, the newest first; a requester sees its own."""
    return await fleet.tasks.list(
        statuses=tuple(status or ()),
        repo=repo,
        requester=caller.name if caller.kind is REQUESTER else None,
        before=before,
        limit=limit,
    )


@get("/tasks/{task:int}", guards=[allow(OPERATOR, REQUESTER, READ_ONLY, AGENT)])
async def show(
    fleet: TheFleet,
    caller: Caller,
    task: Number,
    wait: Wait = 0.0,
    until: Annotated[str, QueryParameter(pattern="^(changed|settled|ended)$")] = "changed",
) -> TaskDetail:
    """A task; with `wait`, once it has changed, settled or ended, or after so many seconds."""
    check_visible(await fleet.tasks.show(task), to=caller)
    return await fleet.tasks.wait(task, seconds=wait, until=until)


@get("/tasks/{task:int}/why", guards=[allow(OPERATOR, REQUESTER, READ_ONLY)])
async def why(fleet: TheFleet, caller: Caller, task: Number) -> WhyAnswer:
    """Every reason that keeps the task from running."""
    check_visible(await fleet.tasks.show(task), to=caller)
    return await fleet.tasks.why(task)


@get("/tasks/{task:int}/diff", guards=[allow(OPERATOR, REQUESTER, READ_ONLY)])
async def diff(fleet: TheFleet, caller: Caller, task: Number) -> Response[bytes]:
    """What the task's branch adds to its base."""
    check_visible(await fleet.tasks.show(task), to=caller)
    return Response(await fleet.tasks.diff(task), media_type="text/x-diff")


@get("/tasks/{task:int}/events", guards=[allow(OPERATOR, REQUESTER, READ_ONLY)])
async def task_events(
    fleet: TheFleet,
    caller: Caller,
    task: Number,
    after: Annotated[int, QueryParameter(ge=0, le=2**53)] = 0,
    limit: Limit = 200,
) -> EventPage:
    """What happened to the task, from behind the cursor `after`."""
    check_visible(await fleet.tasks.show(task), to=caller)
    return await fleet.tasks.events(after=after, task=task, limit=limit)


@get("/tasks/{task:int}/receipts", guards=[allow(OPERATOR, REQUESTER, READ_ONLY)])
async def task_receipts(fleet: TheFleet, caller: Caller, task: Number) -> ReceiptList:
    """Everything that was handed in for the task, in the order of arrival."""
    check_visible(await fleet.tasks.show(task), to=caller)
    return ReceiptList(receipts=await fleet.tasks.receipts(task))


@get("/receipts/{receipt_id:str}", guards=[allow(OPERATOR, REQUESTER, READ_ONLY, AGENT)])
async def show_receipt(fleet: TheFleet, caller: Caller, receipt_id: FromPath[str]) -> ReceiptAnswer:
    """One receipt, as it was handed in."""
    answer = await fleet.tasks.receipt(receipt_id)
    told = answer.receipt
    check_visible(await fleet.tasks.show(told.task), to=caller, attempt=told.attempt)
    return answer


@get("/events", guards=[allow(OPERATOR, REQUESTER, READ_ONLY)])
async def events(
    fleet: TheFleet,
    caller: Caller,
    after: Annotated[int, QueryParameter(ge=0, le=2**53)] = 0,
    limit: Limit = 200,
) -> EventPage:
    """What happened in the fleet, from behind the cursor `after`; a requester sees its own."""
    requester = caller.name if caller.kind is REQUESTER else None
    return await fleet.tasks.events(after=after, requester=requester, limit=limit)


@post("/tasks/{task:int}/cancel", status_code=200, guards=[allow(OPERATOR, REQUESTER)])
async def cancel(fleet: TheFleet, caller: Caller, task: Number) -> TaskDetail:
    """Cancelled now, or as soon as its executor was told."""
    check_visible(await fleet.tasks.show(task), to=caller)
    return await fleet.tasks.cancel(task, by=caller)


@post("/tasks/{task:int}/retry", status_code=200, guards=[allow(OPERATOR)])
async def retry(fleet: TheFleet, caller: Caller, task: Number) -> TaskDetail:
    """Queued again, its limits reset."""
    return await fleet.tasks.retry(task, by=caller)


@post("/tasks/{task:int}/approve", status_code=200, guards=[allow(OPERATOR)])
async def approve(
    fleet: TheFleet, caller: Caller, task: Number, data: JSONBody[Approval]
) -> TaskDetail:
    """Approved; with `merge`, merged before this answers."""
    return await fleet.tasks.approve(task, data, by=caller)


@post("/tasks/{task:int}/request-changes", status_code=200, guards=[allow(OPERATOR)])
async def request_changes(
    fleet: TheFleet, caller: Caller, task: Number, data: JSONBody[Comment]
) -> TaskDetail:
    """A revision with that text."""
    return await fleet.tasks.request_changes(task, data.text, by=caller)


routes = Router(
    "/",
    route_handlers=[
        submit,
        list_tasks,
        show,
        why,
        diff,
        task_events,
        task_receipts,
        show_receipt,
        events,
        cancel,
        retry,
        approve,
        request_changes,
    ],
)

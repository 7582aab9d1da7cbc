"""Every route once: who may call it, and what it answers to a body or a field that is wrong."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agent_fleet.core.registry import TokenKind
from tests.support.servers import REPO, RunningServer, running_server

ADMIN, OPERATOR, REQUESTER = TokenKind.ADMIN, TokenKind.OPERATOR, TokenKind.REQUESTER
READ_ONLY, AGENT = TokenKind.READ_ONLY, TokenKind.AGENT
LOG = "/api/v1/tasks/1/attempts/1/log"

PEOPLE = {ADMIN, OPERATOR}
READERS = {ADMIN, OPERATOR, REQUESTER, READ_ONLY}
ROUTES = [
    ("POST", "/api/v1/tasks", PEOPLE | {REQUESTER}),
    ("GET", "/api/v1/tasks", READERS),
    ("GET", "/api/v1/tasks/1", READERS | {AGENT}),
    ("GET", "/api/v1/tasks/1/why", READERS),
    ("GET", "/api/v1/tasks/1/diff", READERS),
    ("GET", "/api/v1/tasks/1/events", READERS),
    ("GET", "/api/v1/tasks/1/receipts", READERS),
    ("GET", "/api/v1/receipts/unknown1", READERS | {AGENT}),
    ("GET", "/api/v1/events", READERS),
    ("POST", "/api/v1/tasks/1/cancel", PEOPLE | {REQUESTER}),
    ("POST", "/api/v1/tasks/1/retry", PEOPLE),
    ("POST", "/api/v1/tasks/1/approve", PEOPLE),
    ("POST", "/api/v1/tasks/1/request-changes", PEOPLE),
    ("POST", "/api/v1/tasks/dequeue", {AGENT}),
    ("POST", "/api/v1/tasks/1/status", {AGENT}),
    ("PATCH", LOG, {AGENT}),
    ("GET", LOG, READERS | {AGENT}),
    ("POST", "/api/v1/receipts", {AGENT}),
    ("GET", "/api/v1/agents", PEOPLE | {READ_ONLY}),
    ("GET", "/api/v1/hosts", PEOPLE | {READ_ONLY}),
    ("POST", "/api/v1/tokens", {ADMIN}),
    ("GET", "/api/v1/tokens", {ADMIN}),
    ("DELETE", "/api/v1/tokens/unknown", {ADMIN}),
]


class Api:
    """The API as a client that nobody wrote an SDK for sees it."""

    def __init__(self, server: RunningServer, http: httpx2.AsyncClient) -> None:
        self.server = server
        self._http = http

    async def ask(
        self, method: str, path: str, *, token: str | None = "", **request: Any
    ) -> httpx2.Response:
        """`token`: an admin's if empty, none if None."""
        headers: dict[str, str] = request.pop("headers", {})
        if token is not None:
            headers = {"Authorization": f"Bearer {token or self.server.admin}", **headers}
        return await self._http.request(method, path, headers=headers, **request)


@asynccontextmanager
async def api(directory: Path) -> AsyncGenerator[Api]:
    async with (
        running_server(directory) as server,
        httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as http,
    ):
        yield Api(server, http)


def problem(response: httpx2.Response) -> dict[str, Any]:
    """The problem document of an error, which must be one."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    told: dict[str, Any] = response.json()
    assert told["status"] == response.status_code
    assert told["type"].startswith("urn:agent-fleet:problem:")
    assert "Traceback" not in response.text
    return told


def test_every_route_is_in_the_table(tmp_path: Path) -> None:
    from agent_fleet.web import attempts, registry, tasks

    known = {
        (method, path)
        for router in (tasks.routes, attempts.routes, registry.routes)
        for route in router.routes
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
        for path in [route.path_format]
    }
    tabled = {(method, path) for method, path, _ in ROUTES}

    assert len(known) == len(tabled)


async def test_each_route_takes_the_kinds_of_token_that_may_and_no_other(tmp_path: Path) -> None:
    async with api(tmp_path) as fleet:
        tokens = {kind: await fleet.server.token(kind, f"a-{kind}") for kind in TokenKind}
        for method, path, allowed in ROUTES:
            absent = await fleet.ask(method, path, token=None)
            wrong = await fleet.ask(method, path, token="aflt_admin_wrong")
            assert (absent.status_code, wrong.status_code) == (401, 401), path
            assert absent.headers["www-authenticate"] == "Bearer"
            problem(absent)
            for kind, token in tokens.items():
                answer = await fleet.ask(method, path, token=token)
                assert (answer.status_code == 403) == (kind not in allowed), (kind, method, path)
                assert answer.status_code < 500, answer.text
                if answer.is_error:
                    problem(answer)


@pytest.mark.parametrize(
    ("body", "field", "remedy"),
    [
        ({"goal": "x"}, "$.repo", "send it"),
        ({"repo": REPO}, "$.goal", "say what is to be done, in `goal` or in `body`"),
        ({"repo": REPO, "goal": 1}, "$.goal", "send str | null"),
        ({"repo": REPO, "goal": "x", "prio": 1}, "$.prio", "leave it out"),
        ({"repo": REPO, "goal": "x", "priority": "high"}, "$.priority", "send int"),
        ({"repo": REPO, "goal": "x", "priority": 101}, "$.priority", "send int <= 100"),
        ({"repo": REPO, "goal": "x", "constraints": ["a", 3]}, "$.constraints[1]", "send str"),
        ({"repo": REPO, "goal": "x", "mode": "ssh"}, "$.mode", None),
        ({"repo": REPO, "goal": "x", "base": "-x"}, "$.base", None),
        ({"repo": REPO, "goal": "x", "max_tries": 0}, "$.max_tries", "send int >= 1"),
        ({"repo": "no name", "goal": "x"}, "$.repo", None),
        (["a list"], "$", "send object"),
    ],
)
async def test_a_wrong_field_is_named_with_what_would_be_right(
    tmp_path: Path, body: object, field: str, remedy: str | None
) -> None:
    async with api(tmp_path) as fleet:
        told = problem(await fleet.ask("POST", "/api/v1/tasks", json=body))

    assert told["type"].endswith(":invalid-input")
    assert told["status"] == 400
    assert told["field"] == field
    assert told["remedy"]
    assert remedy is None or told["remedy"] == remedy


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/api/v1/tasks/1/approve", {"merge": "yes"}, "$.merge"),
        ("POST", "/api/v1/tasks/1/approve", {"head": "abc"}, "$.head"),
        ("POST", "/api/v1/tasks/1/request-changes", {"text": ""}, "$.text"),
        ("POST", "/api/v1/tasks/1/request-changes", {}, "$.text"),
        ("POST", "/api/v1/tokens", {"kind": "root", "name": "x"}, "$.kind"),
        ("POST", "/api/v1/tokens", {"kind": "admin", "name": "X"}, "$.name"),
        ("POST", "/api/v1/tokens", {"kind": "agent", "name": "x", "slots": 0}, "$.slots"),
        ("GET", "/api/v1/tasks?limit=0", None, "limit"),
        ("GET", "/api/v1/tasks?limit=many", None, "limit"),
        ("GET", "/api/v1/tasks?status=lost", None, "status"),
        ("GET", "/api/v1/tasks?before=0", None, "before"),
        ("GET", "/api/v1/tasks/1?wait=51", None, "wait"),
        ("GET", "/api/v1/tasks/1?until=then", None, "until"),
        ("GET", "/api/v1/events?after=-1", None, "after"),
        ("GET", "/api/v1/tasks?token=secret", None, "query"),
    ],
)
async def test_so_is_one_of_every_other_request(
    tmp_path: Path, method: str, path: str, body: object, field: str
) -> None:
    async with api(tmp_path) as fleet:
        sent: dict[str, Any] = {} if body is None else {"json": body}
        told = problem(await fleet.ask(method, path, **sent))

    assert (told["status"], told["field"]) == (400, field)
    assert "secret" not in told["detail"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("dequeue", {"incarnation": "short"}, "$.incarnation"),
        ("dequeue", {"incarnation": "incarnation", "wait_s": 51}, "$.wait_s"),
        ("dequeue", {"incarnation": "incarnation", "capacity": 0}, "$.capacity"),
        ("1/status", {"attempt": 1, "epoch": 1, "status": "done"}, "$.status"),
        ("1/status", {"attempt": 0, "epoch": 1, "status": "running"}, "$.attempt"),
        ("1/status", {"attempt": 1, "status": "running"}, "$.epoch"),
    ],
)
async def test_agents_are_told_of_wrong_fields_too(
    tmp_path: Path, path: str, body: object, field: str
) -> None:
    async with api(tmp_path) as fleet:
        token = await fleet.server.token(AGENT, "bot")
        told = problem(await fleet.ask("POST", f"/api/v1/tasks/{path}", token=token, json=body))

    assert (told["status"], told["field"]) == (400, field)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'"text"', b"{}{}", b"[" * 10_000])
async def test_a_body_that_is_no_object_is_refused(tmp_path: Path, body: bytes) -> None:
    async with api(tmp_path) as fleet:
        told = problem(await fleet.ask("POST", "/api/v1/tasks", content=body))

    assert told["status"] == 400
    assert told["field"].startswith("$")


async def test_too_large_a_body_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    async with api(tmp_path) as fleet:
        token = await fleet.server.token(AGENT, "bot")
        body = problem(await fleet.ask("POST", "/api/v1/tasks", content=b"{" * 1_000_001))
        piece: dict[str, Any] = {
            "content": b"x" * 4_194_305,
            "headers": {"Content-Range": "bytes 0-4194304/*"},
        }
        log = problem(await fleet.ask("PATCH", LOG, token=token, **piece))

    assert body["status"] == log["status"] == 413


async def test_an_operators_commands_are_not_a_requesters(tmp_path: Path) -> None:
    async with api(tmp_path) as fleet:
        token = await fleet.server.token(REQUESTER)
        body = {"repo": REPO, "goal": "x", "validation": ["true"]}
        answer = await fleet.ask("POST", "/api/v1/tasks", token=token, json=body)

    assert answer.status_code == 403


async def test_a_requester_sees_its_own_tasks_alone(tmp_path: Path) -> None:
    async with api(tmp_path) as fleet:
        ann, ben = [await fleet.server.token(REQUESTER, name) for name in ("ann", "ben")]
        await fleet.ask("POST", "/api/v1/tasks", token=ann, json={"repo": REPO, "goal": "x"})

        for path in ("", "/why", "/events", "/receipts", "/attempts/1/log"):
            answer = await fleet.ask("GET", f"/api/v1/tasks/1{path}", token=ben)
            assert answer.status_code == 404, path
        cancel = await fleet.ask("POST", "/api/v1/tasks/1/cancel", token=ben)
        listed = [
            (await fleet.ask("GET", "/api/v1/tasks", token=token)).json()["tasks"]
            for token in (ann, ben)
        ]
        events = (await fleet.ask("GET", "/api/v1/events", token=ben)).json()["events"]

    assert cancel.status_code == 404
    assert [len(tasks) for tasks in listed] == [1, 0]
    assert events == []


async def test_an_agent_sees_the_tasks_that_it_held_alone(tmp_path: Path) -> None:
    async with api(tmp_path) as fleet:
        holder, other = [await fleet.server.token(AGENT, name) for name in ("holder", "other")]
        await fleet.ask("POST", "/api/v1/tasks", json={"repo": REPO, "goal": "x"})
        request = {"incarnation": "incarnation", "wait_s": 0}
        await fleet.ask("POST", "/api/v1/tasks/dequeue", token=holder, json=request)

        seen = [await fleet.ask("GET", "/api/v1/tasks/1", token=t) for t in (holder, other)]
        report = {"attempt": 1, "epoch": 1, "status": "running"}
        foreign = await fleet.ask("POST", "/api/v1/tasks/1/status", token=other, json=report)

    assert [one.status_code for one in seen] == [200, 404]
    assert foreign.status_code == 403


async def test_health_needs_no_token_and_unknown_paths_are_problems(tmp_path: Path) -> None:
    async with api(tmp_path) as fleet:
        health = await fleet.ask("GET", "/healthz", token=None)
        ready = await fleet.ask("GET", "/readyz", token=None)
        described = await fleet.ask("GET", "/schema/openapi.json", token=None)
        nowhere = await fleet.ask("GET", "/api/v1/nowhere")
        method = await fleet.ask("PUT", "/api/v1/tasks")

    assert health.json() == {"status": "ok"}
    assert ready.json()["orchestrator"] == "main"
    assert described.json()["openapi"].startswith("3.1")
    assert problem(nowhere)["status"] == 404
    assert problem(method)["status"] == 405


@pytest.mark.parametrize("told", ["", "bytes 0-9/*", "bytes */*", "bytes 5-2/*", "lines 0-4/*"])
async def test_a_log_is_placed_by_its_range(tmp_path: Path, told: str) -> None:
    async with api(tmp_path) as fleet:
        token = await fleet.server.token(AGENT, "bot")
        piece = {"content": b"hello", "headers": {"Content-Range": told}}
        answer = problem(await fleet.ask("PATCH", LOG, token=token, **piece))

    assert (answer["status"], answer["field"]) == (400, "Content-Range")


async def test_a_log_is_read_in_parts(tmp_path: Path) -> None:
    async with api(tmp_path) as fleet:
        token = await fleet.server.token(AGENT, "bot")
        await fleet.ask("POST", "/api/v1/tasks", json={"repo": REPO, "goal": "x"})
        request = {"incarnation": "incarnation", "wait_s": 0}
        await fleet.ask("POST", "/api/v1/tasks/dequeue", token=token, json=request)
        piece = {"content": b"hello", "headers": {"Content-Range": "bytes 0-4/*"}}
        appended = await fleet.ask("PATCH", LOG, token=token, **piece)
        ranges = ["bytes=1-2", "bytes=3-", "bytes=5-", "bytes=6-", "bytes=-2"]

        whole = await fleet.ask("GET", LOG)
        parts = [await fleet.ask("GET", LOG, headers={"Range": one}) for one in ranges]

    assert (appended.status_code, appended.json()) == (202, {"offset": 5})
    assert (whole.status_code, whole.content) == (200, b"hello")
    assert [(p.status_code, p.content) for p in parts[:3]] == [
        (206, b"el"),
        (206, b"lo"),
        (200, b""),
    ]
    assert parts[0].headers["content-range"] == "bytes 1-2/5"
    assert [problem(p)["status"] for p in parts[3:]] == [416, 400]

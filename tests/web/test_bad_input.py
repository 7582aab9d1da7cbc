"""What no client should send, on both engines: each is told as a problem, and none breaks anything.

PostgreSQL takes no NUL in a text and no integer beyond 64 bits; SQLite takes the one and not the
other. Neither may show.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agent_fleet.core.registry import TokenKind
from tests.support.servers import REPO, RunningServer, running_server
from tests.support.stores import ENGINES, migrated

HUGE = 99_999_999_999_999_999_999
NUL = "a\x00b"


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


class Asked:
    """A server, asked as its admin or with another token."""

    def __init__(self, server: RunningServer, http: httpx2.AsyncClient) -> None:
        self.server = server
        self._http = http

    async def ask(
        self, method: str, path: str, *, token: str = "", **request: Any
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token or self.server.admin}"}
        headers |= request.pop("headers", {})
        answer = await self._http.request(method, f"/api/v1{path}", headers=headers, **request)
        told: dict[str, Any] = answer.json()
        if answer.is_error:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.status_code < 500, (method, path, request, told)
        return told

    async def submit(self, **fields: object) -> dict[str, Any]:
        body = {"repo": REPO, "goal": "Write the answer", "mode": "http_pull", **fields}
        return await self.ask("POST", "/tasks", json=body)


@asynccontextmanager
async def asked(engine: str, directory: Path) -> AsyncGenerator[Asked]:
    async with (
        migrated(engine, directory) as url,
        running_server(directory, database=url) as server,
        httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as http,
    ):
        yield Asked(server, http)


async def test_control_characters_are_taken_out_of_what_people_write(
    engine: str, tmp_path: Path
) -> None:
    async with asked(engine, tmp_path) as fleet:
        told = await fleet.submit(
            goal=f"{NUL} 🦊\tok\n", title="a\x00 \n b", constraints=[NUL, "\0"]
        )

        task = told["task"]
        assert (task["goal"], task["title"]) == ("ab 🦊\tok", "a b")
        assert task["constraints"] == ["ab"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"goal": "\0 \n"}, "$.goal"),
        ({"goal": "", "body": "\0"}, "$.body"),
        ({"validation": [NUL]}, "$.validation[0]"),
        ({"model": NUL}, "$.model"),
        ({"model": "two words"}, "$.model"),
        ({"adapter": NUL}, "$.adapter"),
        ({"host": NUL}, "$.host"),
        ({"base": NUL}, "$.base"),
        ({"base": "nowhere"}, "$.base"),
        ({"capabilities": [NUL]}, "$.capabilities[0]"),
        ({"priority": HUGE}, "$.priority"),
        ({"review_limit": -1}, "$.review_limit"),
        ({"run_limit_s": 0}, "$.run_limit_s"),
        ({"silence_limit_s": "1h"}, "$.silence_limit_s"),
        ({"deliverable": "patch"}, "$.deliverable"),
        ({"retry": "sometimes"}, "$.retry"),
        ({"repo": "local/other"}, "$.repo"),
    ],
)
async def test_a_field_that_cannot_be_meant_is_named(
    tmp_path: Path, fields: dict[str, object], field: str
) -> None:
    async with asked("sqlite", tmp_path) as fleet:
        told = await fleet.submit(**fields)

        assert (told["status"], told["field"]) == (400, field)
        assert told["remedy"]


@pytest.mark.parametrize("text", [b"\xff", b"\xc3(", b"\\ud800"])
async def test_a_text_that_is_no_unicode_is_refused(tmp_path: Path, text: bytes) -> None:
    async with asked("sqlite", tmp_path) as fleet:
        body = b'{"repo":"local/demo","goal":"x' + text + b'"}'

        told = await fleet.ask("POST", "/tasks", content=body)

        assert (told["status"], told["field"]) == (400, "$")
        assert "UTF-8" in told["remedy"]


async def test_numbers_and_names_of_nothing_are_told_as_such(engine: str, tmp_path: Path) -> None:
    paths = ["/tasks/{}", "/tasks/{}/why", "/tasks/{}/diff", "/tasks/1/attempts/{}/log"]
    async with asked(engine, tmp_path) as fleet:
        await fleet.submit()
        for number in (HUGE, 2**63, 2**31, 2**31 - 1, 0, -1):
            for path in paths:
                told = await fleet.ask("GET", path.format(number))
                assert told["status"] in {400, 404}, (path, number)
            assert (await fleet.ask("POST", f"/tasks/{number}/cancel"))["status"] in {400, 404}
        for method, path in (("GET", "/receipts/a%00b"), ("DELETE", "/tokens/a%00b")):
            assert (await fleet.ask(method, path))["status"] == 400


@pytest.mark.parametrize(
    ("address", "field"),
    [
        (f"/tasks?before={HUGE}", "before"),
        ("/tasks?before=0", "before"),
        ("/tasks?limit=0", "limit"),
        ("/tasks?limit=-1", "limit"),
        ("/tasks?limit=201", "limit"),
        ("/tasks?limit=many", "limit"),
        ("/tasks?repo=a%00b", "repo"),
        ("/tasks?statuses=queued", "statuses"),
        (f"/events?after={HUGE}", "after"),
        ("/events?after=-1", "after"),
        ("/events?task=1", "task"),
        ("/tasks/1?wait=51", "wait"),
        ("/tasks/1?wait=nan", "wait"),
        ("/tasks/1?until=never", "until"),
        ("/tasks/1?task=2", "task"),
    ],
)
async def test_a_wrong_parameter_is_named(
    engine: str, tmp_path: Path, address: str, field: str
) -> None:
    async with asked(engine, tmp_path) as fleet:
        await fleet.submit()

        told = await fleet.ask("GET", address)

        assert (told["status"], told["field"]) == (400, field)
        assert told["remedy"]


async def test_a_key_has_one_body_and_a_bounded_length(engine: str, tmp_path: Path) -> None:
    async with asked(engine, tmp_path) as fleet:
        body = {"repo": REPO, "goal": "one"}
        first = await fleet.ask("POST", "/tasks", json=body, headers={"Idempotency-Key": "k"})
        again = await fleet.ask("POST", "/tasks", json=body, headers={"Idempotency-Key": "k"})
        other = await fleet.ask(
            "POST", "/tasks", json={**body, "goal": "two"}, headers={"Idempotency-Key": "k"}
        )
        long = await fleet.ask("POST", "/tasks", json=body, headers={"Idempotency-Key": "k" * 201})

        assert again["task"]["id"] == first["task"]["id"]
        assert other["type"].endswith(":idempotency-mismatch")
        assert long["field"] == "Idempotency-Key"


async def test_what_an_agent_says_breaks_nothing(engine: str, tmp_path: Path) -> None:
    async with asked(engine, tmp_path) as fleet:
        token = await fleet.server.token(TokenKind.AGENT, "bot")
        await fleet.submit()
        asking = {"incarnation": "incarnation", "wait_s": 0}
        await fleet.ask("POST", "/tasks/dequeue", token=token, json=asking)
        base_sha = fleet.server.git("rev-parse", "HEAD")
        start = {"attempt": 1, "epoch": 1, "status": "running", "base_sha": base_sha}
        receipt = {"task": 1, "attempt": 1, "outcome": "failed", "reason": "agent_error"}

        said = await fleet.ask(
            "POST", "/tasks/1/status", token=token, json={**start, "message": NUL}
        )
        for field, value in (("phase", NUL), ("epoch", HUGE), ("attempt", HUGE)):
            told = await fleet.ask(
                "POST", "/tasks/1/status", token=token, json={**start, field: value}
            )
            assert told["field"] == f"$.{field}"
        for field, value in (
            ("exit_code", 2**60),
            ("pull_request", 2**60),
            ("task", HUGE),
            ("attempt", HUGE),
            ("retry_after_s", 1e12),
        ):
            body = {**receipt, "receipt_id": "receipt-0", field: value}
            told = await fleet.ask("POST", "/receipts", token=token, json=body)
            assert told["field"] == f"$.{field}"
        body = {**receipt, "receipt_id": "receipt-1", "summary": NUL, "session": NUL, "branch": NUL}
        kept = await fleet.ask(
            "POST", "/receipts", token=token, json={**body, "timings": {NUL: 1e308}}
        )

        assert said["directive"] == "continue"
        assert kept["verdict"] == "accepted"

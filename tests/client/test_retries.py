"""What the client does when a server falters: a server of raw bytes, one answer after another."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import pytest

from agent_fleet.client import FleetClient
from agent_fleet.client.connection import TRIES
from agent_fleet.core.errors import FleetError, InvalidInput, LogGap, Superseded, Unavailable
from agent_fleet.core.messages import Problem, Submission, TaskPage

EMPTY = msgspec.json.encode(TaskPage(tasks=()))


def answer(status: int, body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def problem(status: int, slug: str, **fields: object) -> bytes:
    told = {"type": f"urn:agent-fleet:problem:{slug}", "title": slug, "status": status, **fields}
    return answer(status, msgspec.json.encode(msgspec.convert(told, Problem)))


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncGenerator[tuple[FleetClient, list[str]]]:
    """A client of a server that gives these answers, the last one ever again; its requests."""
    requests: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        requests.append(head)
        for line in head.splitlines():
            if line.lower().startswith("content-length:"):
                await reader.readexactly(int(line.split(":")[1]))
        writer.write(answers[min(len(requests), len(answers)) - 1])
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with FleetClient(f"http://{host}:{port}", "token") as client:
            yield client, requests


async def test_a_question_is_asked_again_until_it_is_answered() -> None:
    async with answering(answer(503), b"", answer(200, EMPTY)) as (client, requests):
        page = await client.list_tasks()

    assert page.tasks == ()
    assert len(requests) == 3


async def test_a_server_that_stays_away_is_given_up() -> None:
    async with answering(problem(503, "unavailable", detail="no database")) as (client, requests):
        with pytest.raises(Unavailable, match="no database"):
            await client.list_tasks()

    assert len(requests) == TRIES


async def test_retry_after_is_honoured() -> None:
    loop = asyncio.get_running_loop()
    async with answering(answer(503, b"", "Retry-After: 1"), answer(200, EMPTY)) as (client, _):
        began = loop.time()
        await client.list_tasks()

        assert loop.time() - began >= 1


async def test_a_longer_pause_than_ours_is_the_callers_to_make() -> None:
    unavailable = problem(503, "unavailable", retry_after_s=120.0)
    async with answering(unavailable) as (client, requests):
        with pytest.raises(Unavailable) as error:
            await client.list_tasks()

    assert error.value.retry_after_s == 120
    assert len(requests) == 1


async def test_a_submission_is_repeated_with_its_key() -> None:
    lost = b""
    async with answering(lost, problem(404, "not-found")) as (client, requests):
        with pytest.raises(FleetError):
            await client.submit(Submission(repo="local/demo", goal="Do"))

    keys = [line for one in requests for line in one.splitlines() if "idempotency" in line.lower()]
    assert len(keys) == 2
    assert keys[0] == keys[1]


async def test_what_may_not_be_done_twice_is_sent_once() -> None:
    async with answering(b"") as (client, requests):
        with pytest.raises(Unavailable):
            await client.request_changes(1, "More.")

    assert len(requests) == 1


async def test_a_redirect_is_not_followed() -> None:
    moved = answer(302, b"", "Location: http://127.0.0.1:9/")
    async with answering(moved) as (client, requests):
        with pytest.raises(FleetError, match="302"):
            await client.list_tasks()

    assert len(requests) == 1


async def test_an_answer_that_no_fleet_gives_is_said_to_be_one() -> None:
    for other in (answer(200, b"<html>"), answer(404, b"<html>"), answer(200, b'{"tasks": 1}')):
        async with answering(other) as (client, _):
            with pytest.raises(FleetError, match="not as a fleet does"):
                await client.list_tasks()


async def test_a_problem_of_an_unknown_kind_is_a_plain_error() -> None:
    async with answering(problem(418, "teapot", detail="short and stout")) as (client, _):
        with pytest.raises(FleetError, match="short and stout") as error:
            await client.list_tasks()

    assert type(error.value) is FleetError


async def test_what_an_error_carries_is_there_again() -> None:
    superseded = problem(409, "superseded", detail="late", current_attempt=3)
    gap = problem(416, "log-gap", detail="gap", offset=7)
    invalid = problem(400, "invalid-input", detail="$.a: is b; c", field="$.a", remedy="c")
    async with answering(superseded, gap, invalid) as (client, _):
        with pytest.raises(Superseded) as first:
            await client.task(1)
        with pytest.raises(LogGap) as second:
            await client.task(1)
        with pytest.raises(InvalidInput) as third:
            await client.task(1)

    assert first.value.current_attempt == 3
    assert second.value.offset == 7
    assert (third.value.path, third.value.remedy) == ("$.a", "c")
    assert third.value.message == "$.a: is b; c"


async def test_no_proxy_stands_between_us_and_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with answering(answer(200, EMPTY)) as (client, requests):
        await client.list_tasks()

    assert len(requests) == 1

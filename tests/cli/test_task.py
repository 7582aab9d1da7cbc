import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent_fleet.cli.exits import Exit
from agent_fleet.client import AgentClient
from agent_fleet.core.messages import DequeueRequest, StatusReport
from agent_fleet.core.model import Outcome, Receipt
from agent_fleet.core.registry import TokenKind
from tests.cli.command import Ended, clean_environ, environ_of, fleet
from tests.support.servers import REPO, RunningServer, running_server

INCARNATION = "incarnation-1"


@asynccontextmanager
async def at_work(directory: Path) -> AsyncGenerator[tuple[RunningServer, AgentClient]]:
    async with running_server(directory) as server:
        token = await server.token(TokenKind.AGENT, "bot", slots=5)
        async with AgentClient(server.url, token) as agent:
            yield server, agent


async def run(server: RunningServer, *arguments: str, stdin: bytes = b"") -> Ended:
    return await fleet(*arguments, at=server.directory, environ=environ_of(server), stdin=stdin)


async def begin(server: RunningServer, agent: AgentClient, *, log: bytes = b"") -> int:
    """The agent takes the next task and starts it; the task's number."""
    answer = await agent.dequeue(DequeueRequest(incarnation=INCARNATION, wait_s=0))
    grant = answer.grants[0]
    base_sha = server.git("rev-parse", "origin/main")
    started = StatusReport(attempt=1, epoch=1, status="running", base_sha=base_sha)
    await agent.report(grant.task, started)
    if log:
        await agent.append_log(grant.task, 1, start=0, data=log)
    return grant.task


async def deliver(server: RunningServer, agent: AgentClient, task: int, branch: str) -> None:
    head = server.push(branch)
    receipt = Receipt(
        receipt_id=f"receipt-{task}",
        task=task,
        attempt=1,
        outcome=Outcome.SUCCEEDED,
        summary="done",
        branch=branch,
        head_sha=head,
    )
    await agent.hand_in(receipt)


async def test_a_task_is_created_shown_reviewed_and_merged(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (server, agent):
        created = await run(server, "task", "create", "Answer the question", "--repo", REPO)
        assert (created.code, created.out) == (0, "1\n"), created.err
        await deliver(server, agent, await begin(server, agent), "task/1-answer-the-question")

        waited = await run(server, "task", "wait", "1")
        shown = await run(server, "task", "show", "1")
        diff = await run(server, "task", "diff", "1")
        approved = await run(server, "task", "approve", "1", "--merge")
        ended = await run(server, "task", "wait", "1", "--until", "ended", "--json")

    assert waited.code == 11
    assert "fleet task approve 1 --merge" in waited.out
    assert "review_pending" in shown.out
    assert "succeeded" in shown.out
    assert "+42" in diff.out
    assert approved.code == 0, approved.err
    assert ended.code == 0
    task = ended.json()["task"]
    assert isinstance(task, dict)
    assert task["status"] == "completed"


async def test_the_list_begins_with_what_waits_for_a_person(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (server, agent):
        for title in ("Answer", "Run"):
            await run(server, "task", "create", title, "--repo", REPO)
        await deliver(server, agent, await begin(server, agent), "task/1-answer")
        await begin(server, agent)
        await run(server, "task", "create", "Wait", "--repo", REPO, "--priority", "9")

        listed = await run(server, "task", "list")
        none = await run(server, "task", "list", "--status", "failed")

    order = re.findall(r"^ *(\d+) +(\w+)", listed.out, re.MULTILINE)
    assert order[:3] == [("1", "review_pending"), ("2", "running"), ("3", "queued")]
    assert "no tasks" in none.out


async def test_what_a_task_brings_is_neither_markup_nor_control_sequence(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        title = "[red]X[/red] \x1b[31mred\u202e"
        await run(server, "task", "create", title, "--repo", REPO)

        shown = await run(server, "task", "show", "1")
        listed = await run(server, "task", "list")

    for out in (shown.out, listed.out):
        assert "[red]X[/red]" in out
        assert "\x1b" not in out
        assert "\u202e" not in out


async def test_an_issue_is_read_from_stdin(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        body = b"# Fix it\n\n## Goal\n\nIt works.\n\n## Constraints\n\n- no new library\n"

        created = await run(
            server, "task", "create", "--file", "-", "--repo", REPO, "--json", stdin=body
        )

    task = created.json()["task"]
    assert isinstance(task, dict)
    assert task["constraints"] == ["no new library"]


async def test_the_same_key_makes_one_task(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        first = await run(server, "task", "create", "Do", "--repo", REPO, "--key", "k")
        second = await run(server, "task", "create", "Do", "--repo", REPO, "--key", "k")
        other = await run(server, "task", "create", "Else", "--repo", REPO, "--key", "k")

    assert first.out == second.out == "1\n"
    assert other.code == 4
    assert "take a new key" in other.err


async def test_logs_are_followed_to_the_end(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (server, agent):
        await run(server, "task", "create", "Answer", "--repo", REPO)
        task = await begin(server, agent, log="hello ü\n".encode())
        await deliver(server, agent, task, "task/1-answer")

        followed = await run(server, "task", "logs", "1", "-f")
        lines = await run(server, "task", "logs", "1", "--json")

    assert followed.out == "hello ü\n"
    assert lines.json() == {"attempt": 1, "offset": 0, "text": "hello ü\n"}


async def test_a_wait_that_takes_too_long_says_so(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        await run(server, "task", "create", "Answer", "--repo", REPO)

        waited = await run(server, "task", "wait", "1", "--timeout", "200ms")
        why = await run(server, "task", "why", "1")
        cancelled = await run(server, "task", "cancel", "1")
        ended = await run(server, "task", "wait", "1")

    assert waited.code == 14
    assert "no agent is registered" in why.out
    assert cancelled.out == "task 1: cancelled\n"
    assert ended.code == 13


async def test_errors_have_codes_and_two_lines(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        await run(server, "task", "create", "Answer", "--repo", REPO)
        requester = environ_of(server, await server.token(TokenKind.REQUESTER))

        missing = await run(server, "task", "show", "7")
        illegal = await run(server, "task", "retry", "1")
        unknown = await fleet(
            "task", "list", at=tmp_path, environ=environ_of(server, "aflt_admin_x")
        )
        forbidden = await fleet("token", "list", at=tmp_path, environ=requester)
    away = await fleet(
        "task", "list", at=tmp_path, environ={"FLEET_URL": server.url, "FLEET_TOKEN": "t"}
    )
    unset = await fleet("task", "list", at=tmp_path)

    ends = [missing, illegal, unknown, forbidden, away, unset]
    assert [end.code for end in ends] == [3, 4, 5, 5, 6, 2]
    for end in ends:
        assert re.fullmatch(r"error:  .+\nremedy: .+\n", end.err), end.err
        assert end.out == ""
    assert "FLEET_URL" in unset.err


async def test_a_number_is_never_rounded_to_that_of_another_task(tmp_path: Path) -> None:
    ended = await fleet("task", "cancel", "1.5", at=tmp_path)

    assert ended.code == 2
    assert 'TASK: unable to convert "1.5" into int' in ended.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--priority", "high"), "--priority"),
        (("--priority", "1000"), "--priority"),
        (("--priority", "1.5"), "--priority"),
        (("--mode", "ssh"), "--mode"),
        (("--prio", "1"), "--prio"),
        (("--run-limit", "soon"), "--run-limit"),
        (("--run-limit", "100d"), "--run-limit"),
        (("--review-limit", "21"), "--review-limit"),
        (("--max-tries", "0"), "--max-tries"),
        (("--adapter", "No Such"), "--adapter"),
        (("--capability", "a b"), "--capability"),
        (("--base", "-x"), "--base"),
        (("--file", "nowhere.md"), "--file"),
        (("--retry", "sometimes"), "--retry"),
        (("--key", ""), "--key"),
        (("--title",), "--title"),
    ],
)
async def test_a_wrong_flag_is_named(
    tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    ended = await fleet("task", "create", "Do", "--repo", REPO, *arguments, at=tmp_path)

    assert ended.code == 2
    assert re.fullmatch(r"error:  .+\nremedy: .+\n", ended.err), ended.err
    assert named in ended.err.splitlines()[0]


async def test_what_is_missing_is_named(tmp_path: Path) -> None:
    no_repo = await fleet("task", "create", "Do", at=tmp_path)
    no_goal = await fleet("task", "create", "--repo", REPO, at=tmp_path)
    no_task = await fleet("task", "show", at=tmp_path)
    no_number = await fleet("task", "show", "first", at=tmp_path)
    no_command = await fleet("tusk", at=tmp_path)

    ends = [no_repo, no_goal, no_task, no_number, no_command]
    assert [end.code for end in ends] == [2] * 5
    for end, named in zip(ends, ("--repo", "GOAL", "TASK", "TASK", "tusk"), strict=True):
        assert named in end.err.splitlines()[0]


@pytest.mark.parametrize("arguments", [("task", "list"), ("task", "list", "--json")])
async def test_whoever_stops_reading_hears_nothing_of_it(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    async with running_server(tmp_path) as server:
        await run(server, "task", "create", "Answer", "--repo", REPO)
        reader, writer = os.pipe()
        os.close(reader)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "agent_fleet.cli", *arguments),
                cwd=tmp_path,
                env={**clean_environ(tmp_path), **environ_of(server)},
                stdout=writer,
                stderr=asyncio.subprocess.PIPE,
            )
            _, err = await process.communicate()
        finally:
            os.close(writer)

    assert err == b""
    assert process.returncode == Exit.BROKEN_PIPE


async def test_ctrl_c_ends_a_wait_quietly(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (server, agent):
        await run(server, "task", "create", "Answer", "--repo", REPO)
        await begin(server, agent, log=b"begun\n")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent_fleet.cli", "task", "logs", "1", "-f"),
            cwd=tmp_path,
            env={**clean_environ(tmp_path), **environ_of(server)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()

    assert process.returncode == Exit.INTERRUPTED, err
    assert err == b""


async def test_a_task_is_sent_back_with_a_text_from_a_file(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (server, agent):
        await run(server, "task", "create", "Answer", "--repo", REPO)
        await deliver(server, agent, await begin(server, agent), "task/1-answer")

        neither = await run(server, "task", "request-changes", "1")
        sent = await run(server, "task", "request-changes", "1", "--file", "-", stdin=b"Say why.\n")

    assert (neither.code, "TEXT" in neither.err) == (2, True)
    assert sent.out == "task 1: queued\n"

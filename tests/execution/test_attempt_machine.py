"""A machine that does not answer: what is known not to have started, and what may have."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent_fleet.core.errors import Conflict, Unavailable
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Outcome
from agent_fleet.execution.machine import OUTPUT_LIMIT, Completed, Machine
from tests.support.attempts import WORK, Workshop
from tests.support.remotes import BRANCH
from tests.support.runs import written


class FaultyLink:
    """A machine behind a link that loses questions, or answers, as `lose` says of the nth."""

    def __init__(self, machine: Machine) -> None:
        self.name = machine.name
        self.shell = machine.shell
        self.questions = 0
        self.lose: Callable[[int, bytes], str] = lambda _number, _script: ""
        self._machine = machine

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float,
        output_limit: int = OUTPUT_LIMIT,
    ) -> Completed:
        self.questions += 1
        lost = self.lose(self.questions, stdin)
        if lost == "question":
            raise Unavailable("no route to host")
        done = await self._machine.run(
            argv, stdin=stdin, cwd=cwd, env=env, timeout_s=timeout_s, output_limit=output_limit
        )
        if lost == "answer":
            raise Unavailable("connection reset")
        return done


@pytest.fixture
def link(tmp_path: Path) -> Iterator[tuple[Workshop, FaultyLink]]:
    shop = Workshop(tmp_path)
    link = FaultyLink(shop.machine)
    shop.machine = link
    yield shop, link
    link.lose = lambda _number, _script: ""
    asyncio.run(shop.clean())


def starts(script: bytes) -> bool:
    return b"supervise=" in script


async def test_away_before_the_start_it_is_unreachable(link: tuple[Workshop, FaultyLink]) -> None:
    shop, machine = link
    machine.lose = lambda number, _: "question" if number > 1 else ""

    receipt = await shop.receipt()

    assert receipt.reason is Reason.HOST_UNREACHABLE
    assert not shop.starts.exists()


async def test_a_start_whose_answer_is_lost_is_found(link: tuple[Workshop, FaultyLink]) -> None:
    shop, machine = link
    machine.lose = lambda _, script: "answer" if starts(script) else ""

    receipt = await shop.receipt()

    assert receipt.outcome is Outcome.SUCCEEDED
    assert written(shop.starts) == "started\n"


async def test_a_start_that_did_not_arrive_is_proven(link: tuple[Workshop, FaultyLink]) -> None:
    shop, machine = link
    machine.lose = lambda _, script: "question" if starts(script) else ""

    receipt = await shop.receipt()

    assert receipt.reason is Reason.HOST_UNREACHABLE
    assert not shop.starts.exists()


async def test_every_other_answer_is_lost(link: tuple[Workshop, FaultyLink]) -> None:
    shop, machine = link
    shop.grant = replace(shop.grant, validation=("echo fine",))
    seen = set[bytes]()

    def lose(_: int, script: bytes) -> str:
        if not shop.recorder.words or b"prepare()" in script or script in seen:
            seen.discard(script)
            return ""
        seen.add(script)
        return "answer"

    machine.lose = lose

    receipt = await shop.receipt()

    assert receipt.outcome is Outcome.SUCCEEDED
    assert receipt.head_sha == shop.bench.heads()[BRANCH]
    assert written(shop.starts) == "started\n"
    assert shop.recorder.log.startswith(b"working\nfinished\n")


async def test_away_for_long_while_it_runs_nobody_can_tell(
    link: tuple[Workshop, FaultyLink],
) -> None:
    shop, machine = link
    shop.setting = replace(shop.setting, patience_s=0.3)
    finish = shop.directory / "finish"
    shop.adapter = shop.agent(f"{WORK}\nuntil [ -e {finish} ]; do sleep 0.05; done")
    machine.lose = lambda _number, _script: "question" if shop.starts.exists() else ""
    with pytest.raises(Unavailable):
        await shop.carry_out()
    machine.lose = lambda _number, _script: ""
    finish.touch()

    receipt = await shop.receipt()

    assert receipt.outcome is Outcome.SUCCEEDED
    assert written(shop.starts) == "started\n"


async def test_a_receiver_that_loses_bytes_gets_them_again(
    link: tuple[Workshop, FaultyLink],
) -> None:
    shop, _ = link
    ready = shop.directory / "ready"
    shop.adapter = shop.agent(
        f"echo first; until [ -e {ready} ]; do sleep 0.02; done; echo second; echo >a"
    )

    def forget_once(start: int, _data: bytes) -> None:
        if shop.recorder.log == b"first\n" and start == 6 and not shop.pipe.exists():
            shop.pipe.touch()
            shop.recorder.lose(2)

    def seen(word: object) -> None:
        if shop.recorder.log == b"first\n":
            ready.touch()

    answer = shop.recorder.answer
    shop.recorder.refuse = forget_once
    shop.recorder.answer = lambda word: (seen(word), answer(word))[1]

    receipt = await shop.receipt()

    assert shop.pipe.exists()
    assert shop.recorder.log == b"first\nsecond\n"
    assert receipt.log.bytes == 13


async def test_a_receiver_with_other_bytes_is_sent_no_more(
    link: tuple[Workshop, FaultyLink],
) -> None:
    shop, _ = link
    asked = list[int]()

    def refuse(start: int, _data: bytes) -> Conflict:
        asked.append(start)
        return Conflict("the bytes differ")

    shop.recorder.refuse = refuse

    receipt = await shop.receipt()

    assert receipt.outcome is Outcome.SUCCEEDED
    assert asked == [0]
    assert receipt.log.bytes == len(b"working\nfinished\n")


async def test_an_agent_that_shortens_its_own_output_hangs_nothing(
    link: tuple[Workshop, FaultyLink],
) -> None:
    shop, _ = link
    shop.adapter = shop.agent(f"yes | head -c 500000; : >{shop.run}/stdout; echo >a")

    receipt = await shop.receipt()

    assert receipt.outcome is Outcome.SUCCEEDED

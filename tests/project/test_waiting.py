import pytest

from tests.support.waiting import NeverHappened, eventually, eventually_async


def test_the_answer_that_came_at_last_is_returned():
    answers = iter([None, "", "here"])

    answer = eventually(lambda: next(answers), 5, "an answer")

    assert answer == "here"


def test_what_never_happens_is_named_with_what_was_seen_last():
    with pytest.raises(NeverHappened, match=r"waited 0.01 s for the moon; last seen: \[\]"):
        eventually(list, 0.01, "the moon")


async def test_an_awaited_answer_that_came_at_last_is_returned():
    answers = iter([None, "here"])

    async def ask() -> str | None:
        return next(answers)

    assert await eventually_async(ask, 5, "an answer") == "here"


async def test_what_never_happens_is_named_when_awaited_too():
    async def ask() -> bool:
        return False

    with pytest.raises(NeverHappened, match="the moon"):
        await eventually_async(ask, 0.01, "the moon")

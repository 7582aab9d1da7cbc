"""What of an agent's session the next attempt may resume."""

import pytest

from tests.core.strategies import after

DELIVERED = ("grant", "start", "succeed")
REVISED = (*DELIVERED, "request changes", "grant", "start")


@pytest.mark.parametrize("end", ["killed", "validation_failed", "run_timeout", "provider_error"])
def test_a_session_outlives_a_failure_that_says_nothing_of_it(end: str) -> None:
    state = after(*REVISED, f"fail: {end}", "grant")

    assert state.task.session == after(*DELIVERED).task.session is not None


@pytest.mark.parametrize("end", ["agent_error", "output_unparsable"])
def test_a_session_that_its_cli_does_not_find_is_not_resumed_again(end: str) -> None:
    state = after(*REVISED, f"fail: {end}", "grant")

    assert state.task.session is None


def test_another_generation_begins_a_session_of_its_own() -> None:
    state = after(*DELIVERED, "see: closed", "retry", "grant")

    assert state.task.generation == 2
    assert state.task.session is None

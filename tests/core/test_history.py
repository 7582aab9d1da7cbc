"""Events and their replay."""

import pytest

from agent_fleet.core import lifecycle
from agent_fleet.core.history import VOLATILE, comparable, difference, replay
from agent_fleet.core.model import Attempt, Event, Task
from tests.core.strategies import TTL, Clock, after, new_task, perform


def walked(*steps: str) -> tuple[Task, list[Event]]:
    made = lifecycle.submit(new_task(), actor="ada")
    events, state, clock = [made.event], made.state, Clock()
    for step in steps:
        for change in perform(state, step, clock.tick()):
            events.append(change.event)
            state = change.state
    return state.task, events


def test_an_event_holds_only_what_changed() -> None:
    before, now = after("grant"), after("grant").task.updated_at

    made = perform(before, "start", now)[0]

    assert set(made.event.task_changes) == {
        *("status", "started", "base_sha", "last_activity_at", "revision")
    }
    assert set(made.event.attempt_changes) == {"status", "started_at", "base_sha"}


def test_a_heartbeat_leaves_no_difference() -> None:
    state = after("grant", "start")
    assert state.attempt is not None

    renewed = lifecycle.renew(
        state,
        attempt=1,
        epoch=1,
        lease_ttl=2 * TTL,
        prepare_limit=TTL,
        phase="testing",
        progress="half-way",
        now=state.task.updated_at,
    )

    assert renewed != state.attempt
    assert difference(state.attempt, renewed) == {}
    assert comparable(renewed) == comparable(state.attempt)


def test_a_replay_holds_every_attempt_not_only_the_latest() -> None:
    task, events = walked("grant", "start", "fail: killed", "grant", "start", "succeed")

    replayed, attempts = replay(events)

    assert comparable(replayed) == comparable(task)
    assert [attempts[n].outcome for n in (1, 2)] == ["failed", "succeeded"]


def test_a_history_without_its_beginning_is_refused() -> None:
    _, events = walked("grant")

    with pytest.raises(ValueError, match="begins with grant"):
        replay(events[1:])


def test_what_is_volatile_is_a_field_of_the_attempt_only() -> None:
    assert set(Attempt.__struct_fields__) >= VOLATILE
    assert not VOLATILE & set(Task.__struct_fields__)

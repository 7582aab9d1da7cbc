"""The fence, the lease and the late receipt: who may still write about an attempt."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_fleet.core import lifecycle
from agent_fleet.core.errors import Conflict, LeaseLost, Superseded
from agent_fleet.core.lifecycle import State
from agent_fleet.core.model import Attempt, Outcome, PullState, TaskStatus
from tests.core.strategies import (
    EXECUTOR,
    HEADS,
    PREPARE,
    TTL,
    Clock,
    Fence,
    after,
    fence,
    grant,
    late_receipt,
    perform,
    reading,
    step_names,
    succeed,
)

LOST = ("grant", "start", "lose, nothing pushed")


def renew(state: State, *, attempt: int, epoch: int, later: timedelta) -> Attempt:
    assert state.attempt is not None
    return lifecycle.renew(
        state,
        attempt=attempt,
        epoch=epoch,
        lease_ttl=TTL,
        prepare_limit=PREPARE,
        phase=None,
        progress=None,
        now=state.attempt.granted_at + later,
    )


@given(names=st.lists(step_names, max_size=12), stale=st.sampled_from([(-1, 0), (0, -1), (1, 0)]))
def test_a_stale_attempt_or_epoch_changes_nothing(names: list[str], stale: tuple[int, int]) -> None:
    state, clock = after("grant", "take over"), Clock()
    for name in names:
        try:
            made = perform(state, name, clock.tick())
        except Conflict:
            continue
        state = made[-1].state if made else state
    assert state.attempt is not None
    other = Fence(attempt=state.attempt.number + stale[0], epoch=state.attempt.epoch + stale[1])
    before = msgspec.json.encode(state)

    for word in EXECUTOR.values():
        with pytest.raises(LeaseLost):
            word(state, state.task.updated_at, other)
    with pytest.raises(LeaseLost):
        renew(state, **other, later=TTL)

    assert msgspec.json.encode(state) == before


def test_every_word_of_an_attempt_that_has_ended_is_refused() -> None:
    state = after("grant", "start", "fail: agent_error")

    for step in EXECUTOR:
        with pytest.raises(LeaseLost):
            perform(state, step, state.task.updated_at)


def test_the_old_owners_writes_match_no_more_after_a_take_over() -> None:
    old = after("grant", "start")
    assert old.attempt is not None
    state = lifecycle.take_over(
        old, attempt=1, epoch=1, owner="second", lease_ttl=TTL, now=old.task.updated_at
    ).state

    with pytest.raises(LeaseLost) as refusal:
        renew(state, attempt=1, epoch=1, later=TTL)

    assert refusal.value.current_attempt == 1
    assert renew(state, attempt=1, epoch=2, later=TTL).owner == "second"


def test_a_heartbeat_extends_the_lease_of_a_live_attempt() -> None:
    state = after("grant", "start")
    assert state.attempt is not None

    renewed = renew(state, attempt=1, epoch=1, later=timedelta(hours=1))

    assert renewed.lease_expires_at == state.attempt.granted_at + timedelta(hours=1) + TTL


def test_a_lease_never_becomes_shorter() -> None:
    state = after("grant", "start")
    assert state.attempt is not None

    renewed = renew(state, attempt=1, epoch=1, later=timedelta(seconds=-30))

    assert renewed.lease_expires_at == state.attempt.lease_expires_at


def test_before_the_start_a_lease_is_not_extended_past_the_prepare_limit() -> None:
    state = after("grant")
    assert state.attempt is not None

    renewed = renew(state, attempt=1, epoch=1, later=PREPARE)

    assert renewed.lease_expires_at == state.attempt.granted_at + PREPARE


@pytest.mark.parametrize("word", ["cancel", "see: merged"])
def test_nothing_is_extended_once_the_executor_is_told_to_end(word: str) -> None:
    state = after("grant", "start", word)
    assert state.attempt is not None

    renewed = renew(state, attempt=1, epoch=1, later=timedelta(hours=1))

    assert renewed.lease_expires_at == state.attempt.lease_expires_at


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (("grant",), "continue"),
        (("grant", "start", "see: ready"), "continue"),
        (("grant", "start", "withdraw"), "continue"),
        (("grant", "start", "cancel"), "cancel"),
        (("grant", "start", "see: merged"), "stop"),
        (("grant", "start", "cancel", "see: merged"), "stop"),
    ],
)
def test_the_directive_follows_from_the_task(steps: tuple[str, ...], told: str) -> None:
    assert lifecycle.directive(after(*steps)) == told


def test_a_lost_attempt_without_a_successor_may_hand_in_late() -> None:
    state = after(*LOST)

    made = late_receipt(state, now=state.task.updated_at)

    assert made.task.status is TaskStatus.REVIEW_PENDING
    assert made.attempt is not None
    assert made.attempt.outcome is Outcome.SUCCEEDED
    assert not made.task.fresh


def test_a_late_receipt_of_an_attempt_with_a_successor_is_superseded() -> None:
    state = after(*LOST, "grant")

    with pytest.raises(Superseded) as refusal:
        lifecycle.late_receipt(
            state,
            attempt=1,
            head_sha=HEADS[0],
            view=reading(state, head=HEADS[0]),
            summary="",
            receipt_id="receipt-0001",
            now=state.task.updated_at,
            actor="laptop",
        )

    assert refusal.value.current_attempt == 2


def test_a_late_receipt_whose_head_is_not_the_branchs_is_refused() -> None:
    state = after(*LOST)

    with pytest.raises(Conflict, match="is not at"):
        lifecycle.late_receipt(
            state,
            attempt=1,
            head_sha=HEADS[1],
            view=reading(state, head=HEADS[0]),
            summary="",
            receipt_id="receipt-0001",
            now=state.task.updated_at,
            actor="laptop",
        )


@pytest.mark.parametrize("end", ["succeed", "fail: agent_error", "fail: killed"])
def test_only_a_lost_attempt_may_hand_in_late(end: str) -> None:
    state = after("grant", "start", end)

    with pytest.raises(LeaseLost):
        late_receipt(state, now=state.task.updated_at)


def test_an_attempt_hands_in_late_once() -> None:
    state = after(*LOST, "late receipt")

    with pytest.raises(LeaseLost):
        late_receipt(state, now=state.task.updated_at)


def test_a_late_receipt_does_not_swallow_what_was_asked_since() -> None:
    state = after("grant", "start", "lose, pull request ready", "see: a review")

    made = late_receipt(state, now=state.task.updated_at, head=state.task.view.head)

    assert made.task.status is TaskStatus.QUEUED
    assert made.task.feedback == "use a lock"


@pytest.mark.parametrize("end", ["cancel", "see: merged"])
def test_a_late_receipt_is_kept_of_a_task_that_has_ended_and_leaves_it_so(end: str) -> None:
    state = after(*LOST, end)

    made = late_receipt(state, now=state.task.updated_at)

    assert made.task.status is state.task.status
    assert made.attempt is not None
    assert made.attempt.receipt_id == "receipt-0002"


def test_a_held_task_is_not_granted() -> None:
    state = after("grant", "start", "lose, the forge is silent")

    with pytest.raises(Conflict, match="held"):
        grant(state, now=state.task.updated_at)


def test_receipt_and_pull_request_may_come_in_either_order() -> None:
    running = after("grant", "start", "see: a push")
    view = reading(running, pull=PullState.OPEN)

    def receive(state: State) -> State:
        return succeed(state, running.task.updated_at, fence(state), view=view).state

    def see(state: State) -> State:
        made = lifecycle.apply_view(state, view, now=running.task.updated_at, actor="reconciler")
        return made[-1].state

    receipt_first, pull_first = see(receive(running)).task, receive(see(running)).task

    assert receipt_first.status is pull_first.status is TaskStatus.REVIEW_PENDING
    assert receipt_first.view == pull_first.view
    assert receipt_first.message == pull_first.message


def test_a_merge_that_a_receipts_reading_shows_is_not_swallowed() -> None:
    state = after("grant", "start", "see: a push")
    merged = reading(state, pull=PullState.MERGED)
    state = succeed(state, state.task.updated_at, fence(state), view=merged).state

    made = lifecycle.apply_view(state, merged, now=state.task.updated_at, actor="reconciler")

    assert made[-1].task.status is TaskStatus.COMPLETED

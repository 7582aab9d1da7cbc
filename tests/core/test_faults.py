"""The failure table: total, and carried out by the state machine row by row."""

from datetime import timedelta

import pytest

from agent_fleet.core.faults import (
    CONSEQUENCES,
    FREE_FAILURES_IN_A_ROW,
    Fault,
    Next,
    Penalty,
    Reason,
)
from agent_fleet.core.lifecycle import State
from agent_fleet.core.model import AttemptStatus, Outcome, TaskStatus
from tests.core.strategies import after, fail, fence, new_task, perform

LEADS_TO = {
    Next.AGAIN: TaskStatus.QUEUED,
    Next.NEEDS_HUMAN: TaskStatus.NEEDS_HUMAN,
    Next.FAILED: TaskStatus.FAILED,
    Next.ASK_FORGE: TaskStatus.NEEDS_HUMAN,  # said by an executor, not by the sweeper
    Next.CANCEL: TaskStatus.CANCELLED,
}


def ended(reason: Reason, *steps: str) -> State:
    return after(*(steps or ("grant", "start")), f"fail: {reason}")


def test_every_reason_has_a_consequence() -> None:
    assert set(CONSEQUENCES) == set(Reason)


def test_every_fault_next_step_and_penalty_is_used() -> None:
    rows = CONSEQUENCES.values()

    assert {row.fault for row in rows} == set(Fault)
    assert {row.next for row in rows} == set(Next)
    assert {row.penalty for row in rows} == set(Penalty)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_failure_leads_where_its_row_says(reason: Reason) -> None:
    row = CONSEQUENCES[reason]

    task = ended(reason).task

    assert task.status is LEADS_TO[row.next]
    assert task.tries == int(row.charged)
    assert task.reason == reason
    assert ("it went wrong" in task.feedback) is row.feedback


@pytest.mark.parametrize("reason", list(Reason))
def test_a_failure_costs_its_host_or_account_what_its_row_says(reason: Reason) -> None:
    state = after("grant", "start")

    made = fail(state, reason, state.task.updated_at, fence(state))

    assert made.penalty is CONSEQUENCES[reason].penalty


@pytest.mark.parametrize("reason", list(Reason))
def test_an_attempt_that_did_not_start_consumes_no_try(reason: Reason) -> None:
    state = ended(reason, "grant")

    assert state.task.tries == 0
    assert state.attempt is not None
    assert (state.attempt.status, state.attempt.outcome) == (
        AttemptStatus.ENDED,
        Outcome.RELEASED,
    )


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        (Reason.RUN_TIMEOUT, Outcome.TIMED_OUT),
        (Reason.STALLED, Outcome.TIMED_OUT),
        (Reason.CANCELLED, Outcome.CANCELLED),
        (Reason.AGENT_ERROR, Outcome.FAILED),
    ],
)
def test_the_outcome_of_an_attempt_follows_from_its_reason(
    reason: Reason, outcome: Outcome
) -> None:
    attempt = ended(reason).attempt

    assert attempt is not None
    assert attempt.outcome is outcome


def test_a_stopped_account_is_a_question_only_where_nothing_else_can_take_the_task() -> None:
    assert ended(Reason.AUTH).task.status is TaskStatus.QUEUED
    alone = after("grant", "start", "fail, no other account").task
    assert (alone.status, alone.reason) == (TaskStatus.NEEDS_HUMAN, "auth")


def test_tries_exhausted_is_failed() -> None:
    state = after(*("grant", "start", "fail: agent_error") * 3)

    assert (state.task.status, state.task.tries) == (TaskStatus.FAILED, 3)


@pytest.mark.parametrize("step", ["release", "fail: host_unreachable"])
def test_one_free_failure_too_many_in_a_row_needs_a_human(step: str) -> None:
    bounded = after(*("grant", step) * FREE_FAILURES_IN_A_ROW)
    assert bounded.task.status is TaskStatus.QUEUED

    beyond = after(*("grant", step) * (FREE_FAILURES_IN_A_ROW + 1))

    assert (beyond.task.status, beyond.task.tries) == (TaskStatus.NEEDS_HUMAN, 0)


def test_the_last_attempt_that_a_task_may_have_needs_a_human() -> None:
    state = after(*("grant", "fail: disk_full") * 2, task=new_task(max_attempts=2))

    assert (state.task.status, state.task.reason) == (TaskStatus.NEEDS_HUMAN, "max_attempts")


def test_each_failure_in_a_row_waits_longer() -> None:
    waits: list[timedelta] = []
    for failures in range(1, FREE_FAILURES_IN_A_ROW + 1):
        task = after(*("grant", "fail: disk_full") * failures).task
        assert task.not_before is not None
        waits.append(task.not_before - task.updated_at)

    assert waits == [timedelta(seconds=10 * 2**n) for n in range(FREE_FAILURES_IN_A_ROW)]


def test_a_failure_of_a_task_that_needs_a_human_leaves_the_question() -> None:
    state = after("grant", "start", "withdraw")

    task = perform(state, "fail: agent_error", state.task.updated_at)[0].task

    assert task.status is TaskStatus.NEEDS_HUMAN


def test_the_feedback_keeps_what_a_review_asked_beside_the_failure() -> None:
    revision = ("grant", "start", "succeed", "see: ready", "see: a review", "grant", "start")

    task = after(*revision, "fail: validation_failed").task

    assert task.feedback.startswith("use a lock\n\nThe previous attempt ended with")

"""Each row of the task's table by example: from a submit, a few steps, and where they lead."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from agent_fleet.core import lifecycle
from agent_fleet.core.errors import Conflict
from agent_fleet.core.lifecycle import Backoff
from agent_fleet.core.model import AttemptStatus, Outcome, TaskStatus, Transport
from tests.core.strategies import EPOCH, TTL, after, grant, new_task, perform

DELIVERED = ("grant", "start", "succeed")
READY = (*DELIVERED, "see: ready")
SENT_BACK = (*READY, "see: a review")
ROUND = ("see: a review", "grant", "start", "succeed")

ROWS: list[tuple[tuple[str, ...], str, str | None]] = [
    ((), "queued", None),
    (("grant",), "assigned", None),
    (("grant", "start"), "running", None),
    (("grant", "release"), "queued", None),
    (("grant", "fail: disk_full"), "queued", "disk_full"),
    (DELIVERED, "review_pending", None),
    (("grant", "start", "fail: agent_error"), "queued", "agent_error"),
    (("grant", "start", "fail: no_changes"), "needs_human", "no_changes"),
    (("grant", "start", "fail: invalid_task"), "failed", "invalid_task"),
    (("grant", "start", "lose, pull request ready"), "review_pending", None),
    (("grant", "start", "lose, commits pushed"), "needs_human", "lost"),
    (("grant", "start", "lose, nothing pushed"), "queued", "lost"),
    (("grant", "start", "see: ready"), "review_pending", None),
    (("grant", "start", "see: ready", "succeed"), "review_pending", None),
    (("grant", "start", "see: ready", "lose, nothing pushed"), "review_pending", None),
    (("grant", "start", "see: ready", "fail: agent_error"), "queued", "agent_error"),
    (("queue limit", "see: ready"), "review_pending", None),
    (SENT_BACK, "queued", "changes_requested"),
    ((*DELIVERED, "request changes"), "queued", "changes_requested"),
    ((*DELIVERED, "approve"), "review_pending", None),
    ((*READY, "see: closed"), "cancelled", "closed"),
    ((*SENT_BACK, "see: closed"), "cancelled", "closed"),
    ((*DELIVERED, "see: closed"), "cancelled", "branch_gone"),
    ((*READY, "see: closed", "see: ready"), "review_pending", None),
    (("cancel",), "cancelled", "cancelled"),
    (("grant", "cancel"), "cancelled", "cancelled"),
    (("grant", "start", "cancel"), "running", None),
    (("grant", "start", "cancel", "fail: cancelled"), "cancelled", "cancelled"),
    (("grant", "start", "cancel", "succeed"), "cancelled", "cancelled"),
    (("grant", "start", "cancel", "lose, the forge is silent"), "cancelled", "cancelled"),
    ((*READY, "see: closed", "cancel", "see: ready"), "cancelled", "cancelled"),
    (("queue limit",), "needs_human", "queue_limit"),
    (("queue limit", "request changes"), "queued", "changes_requested"),
    (("queue limit", "retry"), "queued", None),
    (("cancel", "retry"), "queued", None),
    (("grant", "start", "fail: invalid_task", "retry"), "queued", None),
    (("withdraw",), "cancelled", "withdrawn"),
    (("grant", "release", "withdraw"), "cancelled", "withdrawn"),
    (("grant", "start", "withdraw"), "needs_human", "withdrawn"),
]


@pytest.mark.parametrize(
    ("steps", "status", "reason"), ROWS, ids=[", ".join(row[0]) or "submit" for row in ROWS]
)
def test_a_row_of_the_table(steps: tuple[str, ...], status: str, reason: str | None) -> None:
    task = after(*steps).task

    assert (task.status, task.reason) == (status, reason)


@pytest.mark.parametrize(
    "steps",
    [
        (),
        ("grant",),
        ("grant", "start"),
        DELIVERED,
        ("queue limit",),
        ("cancel",),
        ("grant", "start", "fail: invalid_task"),
        ("grant", "start", "cancel"),
    ],
)
def test_a_merge_completes_the_task_whatever_it_was(steps: tuple[str, ...]) -> None:
    assert after(*steps, "see: merged").task.status is TaskStatus.COMPLETED


def test_a_merge_takes_a_grant_back_and_leaves_a_live_attempt_to_stop() -> None:
    granted, live = after("grant", "see: merged"), after("grant", "start", "see: merged")

    assert granted.attempt is not None
    assert granted.attempt.outcome is Outcome.RELEASED
    assert live.unended is not None
    assert after("grant", "start", "see: merged", "succeed").unended is None


def test_where_nothing_is_to_be_delivered_success_completes() -> None:
    state = after(*DELIVERED, task=new_task(deliverable="none"))

    assert state.task.status is TaskStatus.COMPLETED


def test_a_lost_task_is_held_while_the_forge_is_silent_and_settled_by_its_answer() -> None:
    held = after("grant", "start", "lose, the forge is silent")
    assert held.task.held
    assert held.unended is None

    settled = {
        answer: perform(held, f"settle, {answer}", held.task.updated_at)[0].task
        for answer in ("nothing pushed", "commits pushed", "pull request ready")
    }

    assert [task.status for task in settled.values()] == ["queued", "needs_human", "review_pending"]
    assert not any(task.held for task in settled.values())


@pytest.mark.parametrize(
    ("retry", "pushed", "status"),
    [
        ("never", "nothing pushed", "needs_human"),
        ("unpushed", "nothing pushed", "queued"),
        ("always", "nothing pushed", "queued"),
        ("never", "commits pushed", "needs_human"),
        ("unpushed", "commits pushed", "needs_human"),
        ("always", "commits pushed", "queued"),
    ],
)
def test_what_a_lost_attempt_left_decides_with_the_tasks_retry(
    retry: str, pushed: str, status: str
) -> None:
    state = after("grant", "start", f"lose, {pushed}", task=new_task(retry=retry))

    assert state.task.status == status


def test_a_task_lost_at_its_last_try_has_failed() -> None:
    state = after("grant", "start", "lose, nothing pushed", task=new_task(max_tries=1))

    assert state.task.status is TaskStatus.FAILED


def test_after_a_lost_attempt_the_next_grant_takes_the_next_generation() -> None:
    lost = after("grant", "start", "lose, nothing pushed")
    assert lost.task.branch_name == "task/7-fix-the-login"

    again = after("grant", "start", "lose, nothing pushed", "grant")

    assert again.task.branch_name == "task/7-fix-the-login.2"
    assert again.attempt is not None
    assert again.attempt.branch == again.task.branch_name
    assert again.attempt.start_head is None


@pytest.mark.parametrize("end", ["fail: agent_error", "fail: killed"])
def test_after_a_known_end_the_next_attempt_goes_on_with_the_branch(end: str) -> None:
    state = after("grant", "start", "see: a push", end, "grant")

    assert state.task.generation == 1
    assert state.attempt is not None
    assert state.attempt.start_head == state.task.view.head


def test_a_lost_revision_that_moved_nothing_is_done_again_on_its_branch() -> None:
    state = after(*SENT_BACK, "grant", "start", "lose, nothing pushed")
    assert state.task.status is TaskStatus.QUEUED

    again = after(*SENT_BACK, "grant", "start", "lose, nothing pushed", "grant")

    assert again.task.generation == 1
    assert again.task.feedback == "use a lock"
    assert again.task.review_count == 1


@pytest.mark.parametrize(
    ("steps", "generation"),
    [
        (("grant", "start", "lose, commits pushed"), 2),
        ((*READY, "see: closed"), 2),
        (("grant", "start", "fail: no_changes"), 1),
    ],
)
def test_a_retry_leaves_a_branch_that_is_closed_or_may_still_be_pushed_to(
    steps: tuple[str, ...], generation: int
) -> None:
    assert after(*steps, "retry", "grant").task.generation == generation


def test_a_retry_does_not_undo_a_cancel_under_way() -> None:
    state = after("grant", "start", "withdraw", "cancel")

    with pytest.raises(Conflict, match="being cancelled"):
        perform(state, "retry", state.task.updated_at)


def test_a_retry_beyond_the_last_attempt_is_refused() -> None:
    state = after("grant", "start", "fail: no_changes", task=new_task(max_attempts=1))

    with pytest.raises(Conflict, match="used its 1 attempts"):
        perform(state, "retry", state.task.updated_at)


def test_three_revisions_are_made_and_the_fourth_request_needs_a_human() -> None:
    three = after(*DELIVERED, "see: ready", *ROUND, *ROUND, *ROUND)
    assert three.task.review_count == 3
    assert three.task.status is TaskStatus.REVIEW_PENDING

    fourth = perform(three, "see: a review", three.task.updated_at)[-1].task

    assert (fourth.status, fourth.reason) == (TaskStatus.NEEDS_HUMAN, "review_limit")


def test_a_person_who_asks_again_resets_the_limit() -> None:
    beyond = (*READY, *ROUND, *ROUND, *ROUND, "see: a review")

    asked, granted = after(*beyond, "request changes"), after(*beyond, "request changes", "grant")

    assert (asked.task.status, asked.task.review_count) == (TaskStatus.QUEUED, 0)
    assert granted.task.review_count == 1


def test_all_reviews_of_a_head_make_one_round() -> None:
    state = after(*SENT_BACK, "see: a review", "request changes", "grant")

    assert state.task.review_count == 1
    assert state.task.feedback == "\n\n".join(["use a lock"] * 3)


def test_what_is_asked_while_an_attempt_lives_waits_for_its_end() -> None:
    asked = ("grant", "start", "see: a push", "see: ready", "see: a review")

    live, ended = after(*asked), after(*asked, "fail: killed", "grant")

    assert live.task.status is TaskStatus.REVIEW_PENDING
    assert live.task.feedback == ""
    assert ended.task.feedback == "use a lock"


def test_what_was_asked_of_the_fleet_stands_though_the_head_moves() -> None:
    state = after("grant", "start", "see: ready", "request changes", "succeed", "due")

    assert state.task.status is TaskStatus.QUEUED
    assert state.task.feedback == "use a lock"


@pytest.mark.parametrize("limit", [0, 3])
def test_a_request_that_a_newer_head_overtakes_is_none(limit: int) -> None:
    state = after(*SENT_BACK, "see: a push", task=new_task(review_limit=limit))

    assert state.task.status is TaskStatus.REVIEW_PENDING
    assert state.task.feedback == ""


def test_an_approval_with_a_merge_names_the_approved_head() -> None:
    state = after(*READY)

    made = lifecycle.approve(state, merge=True, now=state.task.updated_at, actor="ada")

    assert [effect.payload["head"] for effect in made.effects] == [state.task.view.head]


def test_a_cancel_asked_twice_is_asked_once() -> None:
    state = after("grant", "start", "cancel")

    assert perform(state, "cancel", state.task.updated_at) == ()


@pytest.mark.parametrize("end", ["see: merged", "fail: invalid_task"])
def test_what_has_ended_otherwise_cannot_be_cancelled(end: str) -> None:
    state = after("grant", "start", end)

    with pytest.raises(Conflict, match="has ended"):
        perform(state, "cancel", state.task.updated_at)


def test_no_second_attempt_is_granted_while_one_has_not_ended() -> None:
    state = after("grant", "withdraw", "retry")
    assert state.task.status is TaskStatus.QUEUED

    with pytest.raises(Conflict, match="has not ended"):
        grant(state, now=state.task.updated_at)


def test_nothing_is_granted_before_its_time() -> None:
    state = after("grant", "start", "fail: agent_error")
    assert state.task.not_before is not None

    with pytest.raises(Conflict, match="not to start before"):
        grant(state, now=state.task.not_before - timedelta(microseconds=1))

    assert grant(state, now=state.task.not_before).task.status is TaskStatus.ASSIGNED


def test_a_start_said_twice_is_one() -> None:
    state = after("grant", "start")

    assert perform(state, "start", state.task.updated_at) == ()


def test_a_grant_is_an_attempt_with_the_next_number_and_a_lease() -> None:
    state = after("grant", "release")
    now = state.task.updated_at + timedelta(days=1)

    made = lifecycle.grant(
        state,
        transport=Transport.SSH_CLI,
        owner="orchestrator",
        host="workstation",
        adapter="codex",
        lease_ttl=TTL,
        now=now,
    )

    assert made.attempt is not None
    assert (made.attempt.number, made.attempt.status) == (2, AttemptStatus.GRANTED)
    assert made.attempt.lease_expires_at == now + TTL
    assert made.task.assigned_host == "workstation"


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (1, 10), (2, 20), (3, 40), (6, 320), (7, 600), (10**6, 600)]
)
def test_the_backoff_doubles_up_to_its_cap(failures: int, seconds: int) -> None:
    assert Backoff().after(EPOCH, failures) == EPOCH + timedelta(seconds=seconds)


def test_an_older_reading_says_nothing() -> None:
    state = after(*READY)
    older = replace(state.task.view, version=state.task.view.version - 1, head="9" * 40)

    assert lifecycle.apply_view(state, older, now=EPOCH, actor="reconciler") == ()


def test_a_pull_request_of_a_head_that_was_sent_back_does_not_end_its_revision() -> None:
    revision = (*DELIVERED, "request changes", "grant", "start")

    assert after(*revision, "see: ready").task.status is TaskStatus.RUNNING


def test_a_revision_that_is_asked_for_twice_counts_once() -> None:
    state = after(*SENT_BACK, "grant", "release", "see: closed", "see: ready", "grant")

    assert state.task.review_count == 1

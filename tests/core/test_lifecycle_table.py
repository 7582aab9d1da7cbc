"""The table against the functions: what one allows and what the others do is the same set.

The state space is explored breadth first, with small limits and with states told apart only by
what the rules look at. So it is a search for surprises and a proof of reachability in one.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import cache

import msgspec
import pytest

from agent_fleet.core.errors import Conflict, IllegalTransition
from agent_fleet.core.faults import CONSEQUENCES, Reason
from agent_fleet.core.lifecycle import ATTEMPT, ENDED, SETTLED, TASK, Change, State, Verb
from agent_fleet.core.lifecycle.transitions import attempt_moves, task_moves
from agent_fleet.core.model import AttemptStatus, Outcome, TaskStatus
from tests.core.strategies import LATER, STEPS, after, new_task, perform, submitted

LIMITS = {"max_attempts": 3, "review_limit": 1}
MOST = 2500
ROOTS = (
    submitted(new_task(**LIMITS, max_tries=2)),
    submitted(new_task(**LIMITS, max_tries=1)),
    submitted(new_task(**LIMITS, max_tries=2, retry="always")),
    submitted(new_task(**LIMITS, max_tries=1, deliverable="none")),
    submitted(new_task(review_limit=0)),
    # A revision that was given back, and then its pull request became ready: deep in the tree.
    after(
        *("queue limit", "request changes", "see: a push", "grant", "release", "see: ready"),
        task=new_task(**LIMITS),
    ),
)

# One reason for each consequence: the functions know no more of a reason than its row.
REASONS = {row: reason for reason, row in CONSEQUENCES.items()}
EXPLORED = sorted(
    STEPS.keys() - {f"fail: {reason}" for reason in set(Reason) - {*REASONS.values()}}
)

# The verb that a step is about; the others say what is seen, of which any verb may come of itself.
VERBS = {
    Verb.GRANT: "grant",
    Verb.START: "start",
    Verb.TAKE_OVER: "take over",
    Verb.RELEASE: "release",
    Verb.SUCCEED: "succeed",
    Verb.FAIL: "fail: agent_error",
    Verb.LOSE: "lose, nothing pushed",
    Verb.LATE_RECEIPT: "late receipt",
    Verb.SETTLE: "settle, nothing pushed",
    Verb.CANCEL: "cancel",
    Verb.RETRY: "retry",
    Verb.APPROVE: "approve",
    Verb.REQUEST_CHANGES: "request changes",
    Verb.QUEUE_LIMIT: "queue limit",
    Verb.WITHDRAW: "withdraw",
    Verb.OBSERVE: "see: a push",
    Verb.PULL_READY: "see: ready",
    Verb.MERGE: "see: merged",
    Verb.CLOSE: "see: closed",
}
COMMANDS = {step for step in VERBS.values() if not step.startswith("see")}


def _aspects(state: State) -> tuple[object, ...]:
    """What the rules look at: states that agree in it go the same ways."""
    task, attempt, view = state.task, state.attempt, state.task.view
    return (
        (task.max_tries, task.retry, task.deliverable),
        (task.status, task.attempts, task.tries, task.held, task.fresh, task.cancel_requested),
        (task.reason in {"changes_requested", "review_limit", "closed"} and task.reason),
        (task.review_count, task.round_head == view.head, bool(task.feedback), view.state),
        any(r.head == view.head for r in view.reviews),
        attempt and (attempt.status, attempt.outcome is Outcome.LOST),
    )


class Exploration(msgspec.Struct):
    """The states that were met, and every single step that was taken or refused."""

    states: list[State] = []
    steps: list[Change] = []
    refused: list[tuple[State, str, Conflict]] = []


@cache
def explored() -> Exploration:
    found = Exploration()
    waiting = deque(ROOTS)
    met = {_aspects(state) for state in ROOTS}
    while waiting and len(found.states) < MOST:
        state = waiting.popleft()
        found.states.append(state)
        now = state.task.updated_at + LATER
        for name in EXPLORED:
            try:
                changes = perform(state, name, now)
            except Conflict as refusal:
                found.refused.append((state, name, refusal))
                continue
            found.steps.extend(changes)
            if changes and (new := _aspects(changes[-1].state)) not in met:
                met.add(new)
                waiting.append(changes[-1].state)
    return found


def _entries() -> Iterator[tuple[TaskStatus | None, Verb, TaskStatus]]:
    for before, row in TASK.items():
        for verb, targets in row.items():
            for target in targets:
                yield before, verb, target


def _status_before(change: Change) -> AttemptStatus | None:
    old, new = change.before.attempt, change.attempt
    return old.status if old and new and old.number == new.number else None


def test_every_entry_of_the_task_table_happens_and_nothing_else_does() -> None:
    found = explored()

    happened = {(c.event.before, c.event.verb, c.event.after) for c in found.steps}

    assert happened == {entry for entry in _entries() if entry[1] is not Verb.SUBMIT}


def test_every_entry_of_the_attempt_table_happens_and_nothing_else_does() -> None:
    found = explored()

    happened = {
        (_status_before(c), c.event.verb, c.attempt.status) for c in found.steps if c.attempt
    }

    table = {(b, v, a) for b, row in ATTEMPT.items() for v, after in row.items() for a in after}
    assert happened == {entry for entry in table if entry[1] is not Verb.RENEW}


def test_every_status_is_reached() -> None:
    assert {state.task.status for state in explored().states} == set(TaskStatus)


def test_no_refusal_is_a_hole_in_the_table() -> None:
    """A verb that the table lists for a status is refused for other reasons than its target."""
    refusals = explored().refused

    holes = [
        (state.task.status, name, str(refusal))
        for state, name, refusal in refusals
        if isinstance(refusal, IllegalTransition)
        and str(refusal).startswith("a task")
        and any(f" cannot {verb} to " in str(refusal) for verb in TASK[state.task.status])
        # The attempt's table refuses these, whatever the task's says.
        and not (name == "release" and state.unended and state.unended.status == "live")
    ]

    assert holes == []


def test_nothing_leads_out_of_completed() -> None:
    assert {a for b, _, a in _entries() if b is TaskStatus.COMPLETED} == {TaskStatus.COMPLETED}


def test_no_entry_but_a_commands_retry_cancel_or_forge_leads_out_of_an_ended_status() -> None:
    leaving = {verb for before, verb, after in _entries() if before in ENDED and after not in ENDED}

    assert leaving == {Verb.RETRY, Verb.REOPEN}


def test_settled_is_ended_or_waiting_for_a_person() -> None:
    assert {TaskStatus.REVIEW_PENDING, TaskStatus.NEEDS_HUMAN} == SETTLED - ENDED


@pytest.mark.parametrize("before", [None, *TaskStatus])
def test_a_verb_without_an_entry_is_an_illegal_transition_of_a_task(
    before: TaskStatus | None,
) -> None:
    for verb in Verb:
        for target in set(TaskStatus) - TASK[before].get(verb, set()):
            with pytest.raises(IllegalTransition):
                task_moves(before, verb, target)


@pytest.mark.parametrize("before", [None, *AttemptStatus])
def test_a_verb_without_an_entry_is_an_illegal_transition_of_an_attempt(
    before: AttemptStatus | None,
) -> None:
    for verb in Verb:
        for target in set(AttemptStatus) - ATTEMPT[before].get(verb, set()):
            with pytest.raises(IllegalTransition):
                attempt_moves(before, verb, target)


@pytest.mark.parametrize("status", list(TaskStatus))
def test_a_function_never_applies_a_verb_that_its_status_does_not_list(status: TaskStatus) -> None:
    states = [state for state in explored().states if state.task.status is status][:200]
    unlisted = [step for verb, step in VERBS.items() if verb not in TASK[status]]

    for state in states:
        before = msgspec.json.encode(state)
        for step in unlisted:
            made: tuple[Change, ...] = ()
            with suppress(Conflict):
                made = perform(state, step, state.task.updated_at + LATER)
            assert not made or step not in COMMANDS
            assert all(c.event.verb in TASK[c.before.task.status] for c in made)
        assert msgspec.json.encode(state) == before

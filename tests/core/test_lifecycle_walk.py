"""Random walks of verbs over one task: what must hold after every step of any of them."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent_fleet.core import lifecycle
from agent_fleet.core.errors import Conflict
from agent_fleet.core.faults import FREE_FAILURES_IN_A_ROW
from agent_fleet.core.history import comparable, replay
from agent_fleet.core.lifecycle import ATTEMPT, ENDED, TASK, Change, State
from agent_fleet.core.model import Attempt, AttemptStatus, Event, TaskStatus
from tests.core.strategies import Clock, new_task, perform, step_names

WORK = ("grant", "start", "take over", "succeed", "lose, nothing pushed", "due", "see: a review")
"""Steps that keep a walk going; drawn as often as all others together."""


class Walk(RuleBasedStateMachine):
    """One task, walked by any verb at any time; refused steps change nothing."""

    state: State
    clock: Clock
    events: list[Event]
    attempts: dict[int, Attempt]
    changes: list[Change]
    cancelled: bool
    given: list[int]

    @initialize(
        tries=st.integers(1, 3),
        attempts=st.integers(1, 8),
        reviews=st.integers(0, 3),
        deliverable=st.sampled_from(["branch", "branch", "none"]),
        retry=st.sampled_from(["unpushed", "never", "always"]),
    )
    def submit(self, tries: int, attempts: int, reviews: int, deliverable: str, retry: str) -> None:
        task = new_task(
            max_tries=tries,
            max_attempts=attempts,
            review_limit=reviews,
            deliverable=deliverable,
            retry=retry,
        )
        made = lifecycle.submit(task, actor="ada")
        self.state, self.clock = made.state, Clock()
        self.events, self.attempts, self.changes = [made.event], {}, []
        self.cancelled = False
        self.given = []

    @rule(name=st.one_of(step_names, st.sampled_from(WORK)))
    def step(self, name: str) -> None:
        before = self.state
        try:
            made = perform(before, name, self.clock.tick())
        except Conflict:
            assert self.state is before
            return
        for change in made:
            self._take(change)
        self._watch_the_cancel(before, name)

    @precondition(lambda self: self.state.task.status is TaskStatus.QUEUED)
    @rule()
    def begin(self) -> None:
        for name in ("grant", "start"):
            self.step(name)

    def _take(self, change: Change) -> None:
        before, task, attempt = change.before.task, change.task, change.attempt
        assert change.before.task is self.state.task
        assert task.status in TASK[before.status][lifecycle.Verb(change.event.verb)]
        assert task.revision == before.revision + 1
        assert (change.event.before, change.event.after) == (before.status, task.status)
        if attempt is not None:
            old = self.attempts.get(attempt.number)
            verb = lifecycle.Verb(change.event.verb)
            assert attempt.status in ATTEMPT[old.status if old else None][verb]
            if old is None:
                self.given.append(attempt.number)
                assert not self._unended()
                assert not self.cancelled
            self.attempts[attempt.number] = attempt
        if attempt is not None and attempt.status is AttemptStatus.ENDED and not attempt.started_at:
            assert task.tries <= before.tries
        self.events.append(change.event)
        self.state = change.state

    def _watch_the_cancel(self, before: State, name: str) -> None:
        if name == "cancel":
            self.cancelled = True
        if name == "retry" and self.state is not before:
            self.cancelled = False
        task = self.state.task
        if self.cancelled and not self.state.unended:
            assert task.status in {TaskStatus.CANCELLED, TaskStatus.COMPLETED}

    def _unended(self) -> list[int]:
        return [n for n, a in self.attempts.items() if a.status is not AttemptStatus.ENDED]

    @invariant()
    def replaying_the_events_gives_the_state(self) -> None:
        task, attempts = replay(self.events)
        assert comparable(task) == comparable(self.state.task)
        assert {n: comparable(a) for n, a in attempts.items()} == {
            n: comparable(a) for n, a in self.attempts.items()
        }

    @invariant()
    def attempts_are_numbered_in_order_and_at_most_one_has_not_ended(self) -> None:
        assert self.given == list(range(1, len(self.given) + 1))
        assert self.state.task.attempts == len(self.given)
        assert self._unended() == [a.number for a in [self.state.unended] if a]

    @invariant()
    def tries_attempts_failures_and_rounds_are_bounded(self) -> None:
        task = self.state.task
        assert task.tries <= task.max_tries
        assert task.attempts <= task.max_attempts
        assert task.review_count <= task.review_limit
        if task.status is TaskStatus.QUEUED:
            assert task.free_failures <= FREE_FAILURES_IN_A_ROW

    @invariant()
    def a_queued_task_can_be_granted_again(self) -> None:
        task = self.state.task
        if task.status is TaskStatus.QUEUED and not self.state.unended and not task.held:
            assert task.attempts < task.max_attempts
            assert task.tries < task.max_tries

    @invariant()
    def only_a_queued_task_is_held_and_no_ended_one_has_an_attempt_but_a_merged(self) -> None:
        task = self.state.task
        assert not task.held or task.status is TaskStatus.QUEUED
        if task.status in ENDED and self.state.unended:
            assert task.status is TaskStatus.COMPLETED

    @invariant()
    def an_executor_is_told_what_becomes_of_its_attempt(self) -> None:
        told = lifecycle.directive(self.state)
        assert (told == "stop") is (self.state.task.status is TaskStatus.COMPLETED)
        if self.state.task.cancel_requested and told != "stop":
            assert told == "cancel"


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=150, stateful_step_count=40)

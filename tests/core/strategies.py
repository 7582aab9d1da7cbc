"""Tasks, verbs and forge histories for the tests of the core: one model clock, small bounds.

`perform` is the whole vocabulary: every call of the state machine that the program makes, with
plausible arguments, by name. The table is explored with it and the random walks draw from it.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypedDict

import msgspec
from hypothesis import strategies as st
from msgspec.structs import replace

from agent_fleet.core import lifecycle
from agent_fleet.core.faults import Reason
from agent_fleet.core.lifecycle import OPERATOR_REVIEW, Backoff, Change, State
from agent_fleet.core.model import (
    ForgeView,
    PullState,
    Review,
    Session,
    Task,
    TaskStatus,
    Transport,
)

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
LATER = timedelta(days=1)
"""Longer than any backoff: a step of the model clock, so that a queued task may be granted."""

BACKOFF = Backoff()
TTL = timedelta(seconds=90)
PREPARE = timedelta(minutes=15)
BASE = "b" * 40
HEADS = tuple(letter * 40 for letter in "1234")


def new_task(**fields: object) -> Task:
    """A task that has just been submitted."""
    task = Task(
        id=7,
        status=TaskStatus.QUEUED,
        repo="local/demo",
        title="Fix the login",
        slug="fix-the-login",
        goal="Users can log in again.",
        base="main",
        requester="ada",
        review_limit=3,
        max_tries=3,
        run_limit_s=7200.0,
        silence_limit_s=900.0,
        created_at=EPOCH,
        updated_at=EPOCH,
    )
    return replace(task, **fields)


class Clock(msgspec.Struct):
    """The model clock: it goes on by a day with each reading."""

    now: datetime = EPOCH

    def tick(self) -> datetime:
        self.now += LATER
        return self.now


def grant(state: State, *, now: datetime, owner: str = "laptop") -> Change:
    return lifecycle.grant(
        state,
        transport=Transport.HTTP_PULL,
        owner=owner,
        host=None,
        adapter="raw",
        lease_ttl=TTL,
        now=now,
    )


class Fence(TypedDict):
    attempt: int
    epoch: int


def fence(state: State) -> Fence:
    """The number and epoch of the latest attempt; a pair that none ever had before the first."""
    latest = state.attempt
    return Fence(attempt=latest.number, epoch=latest.epoch) if latest else Fence(attempt=1, epoch=1)


def reading(state: State, *, head: str | None = None, pull: PullState | None = None) -> ForgeView:
    """What the forge would say now: the last reading, with a new head or pull request state.

    Closed or merged without ever a pull request is what plain Git shows of a branch.
    """
    known = state.task.view
    return ForgeView(
        version=known.version + 1,
        head=head or known.head,
        pull=1 if pull in {PullState.DRAFT, PullState.OPEN} else known.pull,
        state=pull or known.state,
        reviews=tuple(r for r in known.reviews if not r.id.startswith(OPERATOR_REVIEW)),
    )


def next_head(state: State) -> str:
    """A commit that the branch did not have yet."""
    known = state.task.view.head
    return HEADS[(HEADS.index(known) + 1) % len(HEADS)] if known in HEADS else HEADS[0]


def fail(
    state: State, reason: Reason, now: datetime, named: Fence, *, alternatives: bool = True
) -> Change:
    return lifecycle.fail(
        state,
        **named,
        reason=reason,
        message="it went wrong",
        alternatives=alternatives,
        backoff=BACKOFF,
        now=now,
        actor="laptop",
    )


def _start(state: State, now: datetime, named: Fence) -> Change | None:
    return lifecycle.start(state, **named, base_sha=BASE, now=now, actor="laptop")


def _release(state: State, now: datetime, named: Fence) -> Change:
    return lifecycle.release(
        state, **named, message="not now", backoff=BACKOFF, now=now, actor="laptop"
    )


def _take_over(state: State, now: datetime, named: Fence) -> Change:
    return lifecycle.take_over(state, **named, owner="second", lease_ttl=TTL, now=now)


def _succeed(state: State, now: datetime, named: Fence) -> Change:
    delivered = next_head(state)
    return succeed(state, now, named, view=reading(state, head=delivered))


def succeed(state: State, now: datetime, named: Fence, *, view: ForgeView) -> Change:
    """The attempt hands in the head that `view` shows."""
    return lifecycle.succeed(
        state,
        **named,
        head_sha=view.head,
        view=view,
        summary="done",
        receipt_id="receipt-0001",
        session=Session("s1", "raw", "laptop"),
        now=now,
        actor="laptop",
    )


def _lose(state: State, now: datetime, named: Fence, *, view: ForgeView | None) -> Change:
    return lifecycle.lose(state, **named, view=view, backoff=BACKOFF, now=now, actor="sweeper")


def _lose_pushed(state: State, now: datetime, named: Fence) -> Change:
    return _lose(state, now, named, view=reading(state, head=next_head(state)))


def _lose_ready(state: State, now: datetime, named: Fence) -> Change:
    view = reading(state, head=next_head(state), pull=PullState.OPEN)
    return _lose(state, now, named, view=view)


def late_receipt(state: State, *, now: datetime, head: str | None = None) -> Change:
    attempt = fence(state)["attempt"]
    delivered = head or next_head(state)
    return lifecycle.late_receipt(
        state,
        attempt=attempt,
        head_sha=delivered,
        view=reading(state, head=delivered),
        summary="done, late",
        receipt_id="receipt-0002",
        now=now,
        actor="laptop",
    )


def operator_review(state: State, text: str = "use a lock") -> Review:
    number = len(state.task.view.reviews) + state.task.revision
    return Review(f"{OPERATOR_REVIEW}{number}", state.task.view.head or "", text, "ada")


Step = Callable[[State, datetime], tuple[Change, ...]]


def _one(call: Callable[[State, datetime], Change | None]) -> Step:
    def step(state: State, now: datetime) -> tuple[Change, ...]:
        made = call(state, now)
        return (made,) if made else ()

    return step


def _settle(state: State, now: datetime, *, moved: bool, pull: PullState | None = None) -> Change:
    view = reading(state, head=next_head(state) if moved else None, pull=pull)
    return lifecycle.settle(state, view=view, backoff=BACKOFF, now=now, actor="reconciler")


def _see(*, pull: PullState | None = None, moved: bool = False, review: bool = False) -> Step:
    def step(state: State, now: datetime) -> tuple[Change, ...]:
        seen = reading(state, head=next_head(state) if moved else None, pull=pull)
        if review:
            asked = Review(f"r{seen.version}", seen.head or "", "use a lock", "bob")
            seen = replace(seen, reviews=(*seen.reviews, asked))
        return lifecycle.apply_view(state, seen, now=now, actor="reconciler")

    return step


Word = Callable[[State, datetime, Fence], Change | None]

EXECUTOR: dict[str, Word] = {
    "start": _start,
    "release": _release,
    "take over": _take_over,
    "succeed": _succeed,
    "lose, the forge is silent": partial(_lose, view=None),
    "lose, nothing pushed": lambda state, now, named: _lose(state, now, named, view=reading(state)),
    "lose, commits pushed": _lose_pushed,
    "lose, pull request ready": _lose_ready,
    "fail, no other account": lambda state, now, named: fail(
        state, Reason.AUTH, now, named, alternatives=False
    ),
    **{
        f"fail: {reason}": lambda state, now, named, reason=reason: fail(state, reason, now, named)
        for reason in Reason
    },
}
"""What an executor, or the sweeper in its place, says of the attempt that it names."""

OTHERS: dict[str, Step] = {
    "grant": _one(lambda state, now: grant(state, now=now)),
    "late receipt": _one(lambda state, now: late_receipt(state, now=now)),
    "late receipt, head known": _one(
        lambda state, now: late_receipt(state, now=now, head=state.task.view.head)
    ),
    "settle, nothing pushed": _one(lambda state, now: _settle(state, now, moved=False)),
    "settle, commits pushed": _one(lambda state, now: _settle(state, now, moved=True)),
    "settle, pull request ready": _one(
        lambda state, now: _settle(state, now, moved=True, pull=PullState.OPEN)
    ),
    "cancel": _one(lambda state, now: lifecycle.cancel(state, now=now, actor="ada")),
    "retry": _one(lambda state, now: lifecycle.retry(state, now=now, actor="ada")),
    "approve": _one(lambda state, now: lifecycle.approve(state, merge=False, now=now, actor="ada")),
    "request changes": _one(
        lambda state, now: lifecycle.request_changes(state, review=operator_review(state), now=now)
    ),
    "queue limit": _one(lambda state, now: lifecycle.queue_limit(state, now=now, actor="janitor")),
    "withdraw": _one(
        lambda state, now: lifecycle.withdraw(
            state, message="the issue was closed", now=now, actor="reconciler"
        )
    ),
    "due": _one(lambda state, now: lifecycle.due(state, now=now, actor="reconciler")),
    "see: a push": _see(moved=True),
    "see: a draft": _see(pull=PullState.DRAFT),
    "see: ready": _see(pull=PullState.OPEN),
    "see: a review": _see(review=True),
    "see: closed": _see(pull=PullState.CLOSED),
    "see: merged": _see(pull=PullState.MERGED),
}


def _of_the_latest(word: Word) -> Step:
    return _one(lambda state, now: word(state, now, fence(state)))


STEPS: dict[str, Step] = {
    **OTHERS,
    **{name: _of_the_latest(word) for name, word in EXECUTOR.items()},
}


def perform(state: State, name: str, now: datetime) -> tuple[Change, ...]:
    """The changes that the named step makes of `state`; raises what the state machine raises."""
    return STEPS[name](state, now)


def submitted(task: Task | None = None) -> State:
    return lifecycle.submit(task or new_task(), actor="ada").state


def after(*names: str, task: Task | None = None, clock: Clock | None = None) -> State:
    """The state after these steps from a submit, each of which must be legal."""
    state, clock = submitted(task), clock or Clock()
    for name in names:
        for made in perform(state, name, clock.tick()):
            state = made.state
    return state


step_names = st.sampled_from(sorted(STEPS))

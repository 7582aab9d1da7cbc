"""Readings of the forge: any order, duplication or loss of them ends as in-order delivery does.

A reading replaces the last one whole, and one that is older than the last says nothing. So every
delivery comes down to some of the readings in their order, the last of them among these.

The law has bounds, where a person did something and took it back between two readings of which
both were lost. Then nothing was seen, and nothing happened; seen, it had its effect:

- closed and reopened, of a task that was waiting for something else than a review: reopening puts
  it into review (here only tasks in review, or closed already, see both);
- ready, draft and ready again: likewise (here ready stays ready);
- a review that answered the question of a task in needs_human, taken back: the question is not put
  again (here such a task sees reviews of its last head only, and none dismissed).
"""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent_fleet.core import lifecycle
from agent_fleet.core.lifecycle import ENDED, OPERATOR_REVIEW, State
from agent_fleet.core.model import ForgeView, PullState, Review, TaskStatus
from tests.core.strategies import HEADS, LATER, after, new_task

DELIVERED = ("grant", "start", "succeed")
SENT_BACK = (*DELIVERED, "see: ready", "see: a review")

PULLS: dict[str, State] = {
    "new": after(),
    "granted": after("grant"),
    "running": after("grant", "start"),
    "running, with a draft": after("grant", "start", "see: a push", "see: a draft"),
    "running, ready": after("grant", "start", "see: a push", "see: ready"),
    "delivered": after(*DELIVERED),
    "in review": after(*DELIVERED, "see: ready"),
    "in review, no rounds left": after(*DELIVERED, "see: ready", task=new_task(review_limit=0)),
    "sent back": after(*SENT_BACK),
    "a revision granted": after(*SENT_BACK, "grant"),
    "a revision given back": after(*SENT_BACK, "grant", "release"),
    "a revision running": after(*SENT_BACK, "grant", "start"),
    "a revision failed": after(*SENT_BACK, "grant", "start", "fail: agent_error"),
    "failed once": after("grant", "start", "fail: agent_error"),
    "failed once, ready": after("grant", "start", "see: a push", "see: ready", "fail: stalled"),
    "held": after("grant", "start", "lose, the forge is silent"),
    "lost": after("grant", "start", "lose, nothing pushed"),
    "unfinished": after("grant", "start", "lose, commits pushed"),
    "a question": after(*SENT_BACK, "grant", "start", "fail: no_changes"),
    "beyond the limit": after(*SENT_BACK, task=new_task(review_limit=0)),
    "closed": after(*DELIVERED, "see: ready", "see: closed"),
    "cancelled": after("cancel"),
    "being cancelled": after("grant", "start", "cancel"),
    "failed": after("grant", "start", "fail: invalid_task"),
}

BRANCHES: dict[str, State] = {
    **{name: PULLS[name] for name in ("new", "granted", "running", "delivered", "failed once")},
    **{name: PULLS[name] for name in ("held", "lost", "unfinished", "cancelled", "failed")},
    "sent back": after(*DELIVERED, "request changes"),
    "a revision running": after(*DELIVERED, "request changes", "grant", "start"),
    "branch gone": after(*DELIVERED, "see: closed"),
}


class History(msgspec.Struct, frozen=True):
    state: State
    readings: tuple[ForgeView, ...]


Act = Callable[[ForgeView], ForgeView]


def _push(view: ForgeView) -> ForgeView:
    known = HEADS.index(view.head) if view.head in HEADS else -1
    return replace(view, head=HEADS[(known + 1) % len(HEADS)])


def _review(view: ForgeView) -> ForgeView:
    asked = Review(f"r{view.version}", view.head or "", f"point {view.version}", "bob")
    return replace(view, reviews=(*view.reviews, asked))


def _dismiss(view: ForgeView) -> ForgeView:
    return replace(view, reviews=view.reviews[1:])


def _pull(state: PullState) -> Act:
    return lambda view: replace(view, state=state, pull=1, head=view.head or HEADS[0])


def _branch(state: PullState) -> Act:
    return lambda view: replace(view, state=state, head=view.head or HEADS[0])


def _pull_acts(state: State, view: ForgeView) -> list[Act]:
    """What may happen next to a pull request, or to a branch without one yet."""
    answers = state.task.status is TaskStatus.NEEDS_HUMAN and state.task.reason != "review_limit"
    reopens = state.task.status is TaskStatus.REVIEW_PENDING or state.task.reason == "closed"
    match view.state:
        case PullState.NONE:
            return [_push, _pull(PullState.DRAFT), _pull(PullState.OPEN)]
        case PullState.CLOSED:
            return [_pull(PullState.OPEN)] if reopens else []
        case PullState.DRAFT:
            return [_pull(PullState.OPEN), _review if answers else _push]
        case PullState.OPEN:
            acts = [_review, _review, _pull(PullState.CLOSED), _pull(PullState.MERGED)]
            return acts if answers else [*acts, _push, _dismiss]
        case PullState.MERGED:
            return []


def _branch_acts(state: State, view: ForgeView) -> list[Act]:
    """What may happen next to a branch on a remote without pull requests."""
    reopens = state.task.status is TaskStatus.REVIEW_PENDING or state.task.reason == "branch_gone"
    match view.state:
        case PullState.MERGED:
            return []
        case PullState.CLOSED:
            return [_branch(PullState.NONE)] if reopens else []
        case _:
            merge, gone = _branch(PullState.MERGED), _branch(PullState.CLOSED)
            return [_push, _push, gone, merge] if view.head else [_push]


@st.composite
def histories(draw: st.DrawFn, *, pulls: bool) -> History:
    """A task somewhere in its life, and what then happens on its forge, reading by reading."""
    states, choose = (PULLS, _pull_acts) if pulls else (BRANCHES, _branch_acts)
    state = states[draw(st.sampled_from(sorted(states)))]
    reviews = tuple(r for r in state.task.view.reviews if not r.id.startswith(OPERATOR_REVIEW))
    view = replace(state.task.view, reviews=reviews, consumed=())
    readings: list[ForgeView] = []
    for _ in range(draw(st.integers(1, 7))):
        acts = choose(state, view)
        if not acts:
            break
        view = draw(st.sampled_from(acts))(replace(view, version=view.version + 1))
        readings.append(view)
    return History(state, tuple(readings))


def deliver(state: State, readings: tuple[ForgeView, ...]) -> State:
    now = state.task.updated_at
    for seen in readings:
        now += LATER
        for change in lifecycle.apply_view(state, seen, now=now, actor="reconciler"):
            state = change.state
    return state


def outcome(state: State) -> tuple[object, ...]:
    """What must not depend on the deliveries; once a task has ended, its counts mean nothing."""
    task = state.task
    if task.status in ENDED:
        return (task.status, task.reason, task.view.state)
    counts = (task.review_count, task.tries, task.feedback, task.held)
    return (task.status, task.reason, *counts, task.view.state, task.view.reviews)


@st.composite
def deliveries(draw: st.DrawFn, readings: tuple[ForgeView, ...]) -> tuple[ForgeView, ...]:
    """Any of the readings, in any order and number; at the end the last, as a reconciler reads."""
    if not readings:
        return ()
    some = draw(st.lists(st.sampled_from(readings), max_size=2 * len(readings)))
    return (*some, readings[-1])


@pytest.mark.parametrize("pulls", [True, False], ids=["pull requests", "plain Git"])
@given(data=st.data())
def test_any_order_duplication_or_loss_of_readings_ends_the_same(
    data: st.DataObject, *, pulls: bool
) -> None:
    history = data.draw(histories(pulls=pulls))
    in_order = deliver(history.state, history.readings)

    otherwise = deliver(history.state, data.draw(deliveries(history.readings)))

    assert outcome(otherwise) == outcome(in_order)

"""Placement: the rules one by one. What holds for every snapshot is tested beside this file."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from agent_fleet.core.model import Mode, Session, Task, TaskStatus
from agent_fleet.core.placement import (
    AccountState,
    AgentState,
    HostState,
    Placement,
    Plan,
    Snapshot,
    Why,
    explain,
    plan,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
HOST = HostState(name="box", slots=1, adapters=("codex",), disk_free_bytes=10**10)
AGENT = AgentState(name="ann", slots=1, last_seen=NOW)


def make_task(number: int = 1, **fields: object) -> Task:
    task = Task(
        id=number,
        status=TaskStatus.QUEUED,
        repo="home/acme/api",
        title="Fix it",
        slug="fix-it",
        goal="Fix it.",
        base="main",
        requester="ann",
        review_limit=3,
        max_tries=3,
        run_limit_s=7200,
        silence_limit_s=900,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(task, **fields)


def make_snapshot(**fields: object) -> Snapshot:
    snapshot = Snapshot(
        now=NOW,
        tasks=(make_task(),),
        hosts=(HOST,),
        default_adapter="codex",
        disk_floor_bytes=10**9,
    )
    return replace(snapshot, **fields)


def places(planned: Plan) -> dict[int, str]:
    return {placement.task: placement.host for placement in planned.placements}


def codes(reasons: tuple[Why, ...]) -> list[tuple[str, str]]:
    return [(why.subject, why.code) for why in reasons]


def test_a_task_goes_to_a_host_that_has_all_it_needs():
    assert plan(make_snapshot()) == Plan((Placement(1, "box", "codex"),), {})


def test_a_task_that_names_its_adapter_is_run_by_it():
    host = replace(HOST, adapters=("claude", "codex"))

    planned = plan(make_snapshot(tasks=(make_task(adapter="claude"),), hosts=(host,)))

    assert planned.placements == (Placement(1, "box", "claude"),)


@pytest.mark.parametrize(
    ("host", "code"),
    [
        (replace(HOST, up=False), "down"),
        (replace(HOST, draining=True), "draining"),
        (replace(HOST, backoff_until=LATER), "backoff"),
        (replace(HOST, adapters=("claude",)), "adapter"),
        (replace(HOST, capabilities=("tpu",)), "capability"),
        (replace(HOST, disk_free_bytes=10**9 - 1), "disk"),
        (replace(HOST, used=1), "full"),
        (replace(HOST, slots=0), "full"),
    ],
)
def test_a_host_that_fails_one_test_gets_no_task_and_why_names_the_test(host: HostState, code: str):
    able = host if code == "capability" else replace(host, capabilities=("gpu",))
    task = make_task(capabilities=("gpu",), execution_mode=Mode.SSH_CLI)
    snapshot = make_snapshot(tasks=(task,), hosts=(able,))

    planned = plan(snapshot)

    assert planned.placements == ()
    assert planned.waiting[1]
    assert codes(explain(task, snapshot)) == [("box", code)]


@pytest.mark.parametrize(
    ("account", "code", "until"),
    [
        (AccountState("box", "codex", stopped=True), "account_stopped", None),
        (AccountState("box", "codex", cooldown_until=LATER), "account_cooldown", LATER),
    ],
)
def test_an_account_that_is_stopped_or_cools_down_holds_its_adapter_on_its_host(
    account: AccountState, code: str, until: datetime | None
):
    free = replace(HOST, name="free")

    blocked = plan(make_snapshot(accounts=(account,)))
    elsewhere = plan(make_snapshot(accounts=(account,), hosts=(HOST, free)))

    assert [(why.code, why.until) for why in blocked.waiting[1]] == [(code, until)]
    assert places(elsewhere) == {1: "free"}


def test_what_lay_in_the_past_keeps_nothing_waiting():
    past = AccountState("box", "codex", cooldown_until=NOW)
    host = replace(HOST, backoff_until=NOW)

    planned = plan(
        make_snapshot(tasks=(make_task(not_before=NOW),), hosts=(host,), accounts=(past,))
    )

    assert places(planned) == {1: "box"}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"held": True}, "held"),
        ({"not_before": LATER}, "not_before"),
        ({"cancel_requested": True}, "cancel_requested"),
        ({"status": TaskStatus.NEEDS_HUMAN}, "needs_human"),
        ({"status": TaskStatus.RUNNING}, "running"),
    ],
)
def test_a_task_that_may_not_run_anywhere_says_so(fields: dict[str, Any], code: str):
    task = make_task(execution_mode=Mode.SSH_CLI, **fields)
    snapshot = make_snapshot(tasks=(task,))

    assert [why.code for why in plan(snapshot).waiting[1]] == [code]
    assert codes(explain(task, snapshot)) == [("", code)]


def test_a_task_whose_last_attempt_has_not_ended_gets_no_other():
    planned = plan(make_snapshot(unended=frozenset({1})))

    assert [why.code for why in planned.waiting[1]] == ["unended"]


def test_the_host_with_the_smallest_share_of_taken_slots_is_chosen():
    small = replace(HOST, name="small", slots=2, used=1)
    large = replace(HOST, name="large", slots=8, used=5)

    assert places(plan(make_snapshot(hosts=(small, large)))) == {1: "large"}


def test_between_equal_shares_the_load_decides_and_then_the_name():
    busy = replace(HOST, name="a", load_per_core=0.9)
    idle = [replace(HOST, name=name, load_per_core=0.1) for name in ("c", "b")]

    assert places(plan(make_snapshot(hosts=(busy, *idle)))) == {1: "b"}


def test_what_the_plan_places_counts_for_what_it_places_next():
    hosts = tuple(replace(HOST, name=name, slots=2) for name in ("a", "b"))
    tasks = tuple(make_task(n) for n in (1, 2, 3, 4, 5))

    planned = plan(make_snapshot(tasks=tasks, hosts=hosts))

    assert places(planned) == {1: "a", 2: "b", 3: "a", 4: "b"}
    assert [why.code for why in planned.waiting[5]] == ["full"]


def test_the_higher_priority_goes_first_and_then_the_older_task():
    tasks = (
        make_task(1, created_at=LATER),
        make_task(2),
        make_task(3, priority=1, created_at=LATER),
    )

    def order(slots: int) -> list[int]:
        hosts = (replace(HOST, slots=slots),)
        return [p.task for p in plan(make_snapshot(tasks=tasks, hosts=hosts)).placements]

    assert [order(slots) for slots in (1, 2, 3)] == [[3], [3, 2], [3, 2, 1]]


def test_a_revision_goes_where_its_session_is_even_if_that_host_has_more_to_do():
    home = replace(HOST, name="home", slots=4, used=3)
    task = make_task(session=Session(id="s", adapter="codex", host="home"))

    assert places(plan(make_snapshot(tasks=(task,), hosts=(HOST, home)))) == {1: "home"}


@pytest.mark.parametrize(
    "change",
    [
        {"fresh": True},
        {"session": Session(id="s", adapter="claude", host="home")},
        {"session": Session(id="s", adapter="codex", host="gone")},
        {"session": Session(id="s", adapter="codex", host="full")},
    ],
)
def test_a_session_that_cannot_be_resumed_draws_nothing(change: dict[str, object]):
    home = replace(HOST, name="home", slots=4, used=3)
    full = replace(HOST, name="full", used=1)
    task = make_task(session=Session(id="s", adapter="codex", host="home"))

    planned = plan(make_snapshot(tasks=(replace(task, **change),), hosts=(HOST, home, full)))

    assert places(planned) == {1: "box"}


def test_a_task_that_is_bound_to_a_host_waits_for_it():
    full = replace(HOST, name="full", used=1)
    task = make_task(host="full", execution_mode=Mode.SSH_CLI)
    snapshot = make_snapshot(tasks=(task,), hosts=(HOST, full))

    assert plan(snapshot).placements == ()
    assert codes(explain(task, snapshot)) == [("full", "full")]


def test_a_task_that_is_bound_to_an_unknown_host_says_so():
    task = make_task(host="nowhere", execution_mode=Mode.SSH_CLI)

    (why,) = explain(task, make_snapshot(tasks=(task,)))

    assert why.code == "no_host"
    assert "nowhere" in why.text
    assert why.remedy


def test_without_any_host_that_is_the_reason():
    planned = plan(make_snapshot(hosts=()))

    assert [why.code for why in planned.waiting[1]] == ["no_host"]


def test_a_task_for_agents_is_never_placed_on_a_host():
    task = make_task(execution_mode=Mode.HTTP_PULL)

    planned = plan(make_snapshot(tasks=(task,)))

    assert planned.placements == ()
    assert [why.code for why in planned.waiting[1]] == ["http_pull"]


@pytest.mark.parametrize(
    ("agent", "code"),
    [
        (AGENT, "unasked"),
        (replace(AGENT, last_seen=None), "silent"),
        (replace(AGENT, last_seen=NOW - timedelta(hours=1)), "silent"),
        (replace(AGENT, draining=True), "draining"),
        (replace(AGENT, repos=("home/acme/web",)), "repo"),
        (replace(AGENT, adapters=("claude",)), "adapter"),
        (replace(AGENT, capabilities=()), "capability"),
        (replace(AGENT, used=1), "full"),
    ],
)
def test_why_says_of_each_agent_what_it_lacks(agent: AgentState, code: str):
    able = agent if code == "capability" else replace(agent, capabilities=("gpu",))
    task = make_task(execution_mode=Mode.HTTP_PULL, capabilities=("gpu",))

    reasons = explain(task, make_snapshot(tasks=(task,), agents=(able,)))

    assert codes(reasons) == [("ann", code)]


def test_without_any_agent_that_is_the_reason():
    task = make_task(execution_mode=Mode.HTTP_PULL)

    (why,) = explain(task, make_snapshot(tasks=(task,)))

    assert why.code == "no_agent"


def test_why_tells_all_that_fails_at_once_of_hosts_and_of_agents():
    bad = replace(HOST, draining=True, adapters=(), disk_free_bytes=0)
    task = make_task(held=True)

    reasons = explain(task, make_snapshot(tasks=(task,), hosts=(HOST, bad), agents=(AGENT,)))

    assert codes(reasons) == [
        ("", "held"),
        ("box", "draining"),
        ("box", "adapter"),
        ("box", "disk"),
        ("ann", "unasked"),
    ]


def test_a_free_slot_that_goes_to_an_earlier_task_is_told_from_a_taken_one():
    taken = replace(HOST, name="taken", used=1)
    tasks = (make_task(1), make_task(2, execution_mode=Mode.SSH_CLI))

    reasons = explain(tasks[1], make_snapshot(tasks=tasks, hosts=(HOST, taken)))

    assert codes(reasons) == [("box", "behind"), ("taken", "full")]


def test_nothing_keeps_a_task_that_the_next_plan_places():
    assert explain(make_task(), make_snapshot()) == ()
    assert explain(make_task(), make_snapshot(tasks=())) == ()

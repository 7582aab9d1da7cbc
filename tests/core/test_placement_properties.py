"""Placement: what holds for every snapshot."""

from datetime import datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent_fleet.core.model import Mode, Session, Task
from agent_fleet.core.placement import AccountState, HostState, Snapshot, explain, plan
from tests.core.test_placement import AGENT, LATER, NOW, make_snapshot, make_task

ADAPTERS, CAPABILITIES, NAMES = ("codex", "claude"), ("gpu", "tpu"), ("a", "b", "c")
moments = st.sampled_from([None, NOW - timedelta(seconds=1), NOW, LATER])
some_capabilities = st.lists(st.sampled_from(CAPABILITIES), unique=True).map(tuple)
hosts = st.builds(
    HostState,
    name=st.sampled_from(NAMES),
    slots=st.integers(0, 3),
    used=st.integers(0, 3),
    capabilities=some_capabilities,
    adapters=st.lists(st.sampled_from(ADAPTERS), unique=True).map(tuple),
    load_per_core=st.sampled_from([0.0, 0.5]),
    disk_free_bytes=st.sampled_from([0, 10**9, 10**10, 10**10]),
    up=st.integers(0, 4).map(bool),
    draining=st.integers(0, 4).map(lambda n: n == 0),
    backoff_until=moments,
)
accounts = st.builds(
    AccountState,
    st.sampled_from(NAMES),
    st.sampled_from(ADAPTERS),
    st.booleans(),
    moments,
)
sessions = st.builds(Session, st.just("s"), st.sampled_from(ADAPTERS), st.sampled_from(NAMES))
tasks = st.builds(
    make_task,
    st.integers(1, 12),
    priority=st.integers(0, 1),
    created_at=st.sampled_from([NOW, LATER]),
    execution_mode=st.sampled_from([Mode.SSH_CLI, Mode.EITHER, Mode.EITHER, Mode.HTTP_PULL]),
    adapter=st.sampled_from([None, None, *ADAPTERS]),
    host=st.sampled_from([None, None, None, "a", "nowhere"]),
    capabilities=some_capabilities,
    held=st.integers(0, 5).map(lambda n: n == 0),
    not_before=moments,
    session=st.none() | sessions,
)
snapshots = st.builds(
    make_snapshot,
    tasks=st.lists(tasks, max_size=12, unique_by=lambda task: task.id).map(tuple),
    unended=st.frozensets(st.integers(1, 12), max_size=2),
    hosts=st.lists(hosts, max_size=3, unique_by=lambda host: host.name).map(tuple),
    accounts=st.lists(accounts, max_size=2, unique_by=lambda a: (a.host, a.adapter)).map(tuple),
    agents=st.just((AGENT,)),
)


def may(task: Task, host: HostState, snapshot: Snapshot) -> bool:
    """The musts, written a second time and without slots: the tests' own reading of the design."""
    adapter = task.adapter or "codex"
    account = {(a.host, a.adapter): a for a in snapshot.accounts}.get((host.name, adapter))
    ready = [
        task.execution_mode != Mode.HTTP_PULL,
        not task.held and task.id not in snapshot.unended,
        task.not_before is None or task.not_before <= NOW,
        task.host in (None, host.name),
        host.up and not host.draining,
        host.backoff_until is None or host.backoff_until <= NOW,
        adapter in host.adapters and set(task.capabilities) <= set(host.capabilities),
        host.disk_free_bytes >= snapshot.disk_floor_bytes,
        account is None or not account.stopped,
        account is None or account.cooldown_until is None or account.cooldown_until <= NOW,
    ]
    return all(ready)


def precedence(task: Task) -> tuple[int, datetime, int]:
    return (-task.priority, task.created_at, task.id)


@given(snapshots)
def test_each_task_is_placed_once_or_waits_for_a_reason(snapshot: Snapshot):
    planned = plan(snapshot)

    placed = [placement.task for placement in planned.placements]
    assert sorted([*placed, *planned.waiting]) == sorted(task.id for task in snapshot.tasks)
    assert all(planned.waiting.values())


@given(snapshots)
def test_slots_are_never_exceeded_and_no_must_is_broken(snapshot: Snapshot):
    by_id = {task.id: task for task in snapshot.tasks}

    planned = plan(snapshot)

    for host in snapshot.hosts:
        here = [p for p in planned.placements if p.host == host.name]
        assert not here or host.used + len(here) <= host.slots
        assert all(may(by_id[p.task], host, snapshot) for p in here)
        assert all(p.adapter == (by_id[p.task].adapter or "codex") for p in here)


@given(snapshots)
def test_no_task_waits_beside_a_free_slot_or_behind_a_later_task(snapshot: Snapshot):
    by_id = {task.id: task for task in snapshot.tasks}

    planned = plan(snapshot)

    for host in snapshot.hosts:
        here = [by_id[p.task] for p in planned.placements if p.host == host.name]
        for task in (by_id[number] for number in planned.waiting):
            if may(task, host, snapshot):
                assert host.used + len(here) >= host.slots
                assert all(precedence(other) < precedence(task) for other in here)


@given(snapshots, st.randoms())
def test_the_order_in_which_a_snapshot_was_read_does_not_matter(snapshot: Snapshot, random: Random):
    shuffled = {
        name: tuple(random.sample(values, len(values)))
        for name, values in (("tasks", snapshot.tasks), ("hosts", snapshot.hosts))
    }

    assert plan(replace(snapshot, **shuffled)).placements == plan(snapshot).placements


@given(snapshots)
def test_why_has_an_answer_for_exactly_the_tasks_that_wait(snapshot: Snapshot):
    planned = plan(snapshot)

    for task in snapshot.tasks:
        assert bool(explain(task, snapshot)) == (task.id in planned.waiting)

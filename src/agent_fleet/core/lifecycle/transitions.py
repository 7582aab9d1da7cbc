"""The transition tables: which verb may lead where. Nothing else decides that.

They are meant to be checked by eye. The diagrams in docs/lifecycle.md are generated from them, the
property tests walk them, and `lifecycle` looks every change of a status up in them. A verb that is
not listed for a status is an `IllegalTransition` and changes nothing.
"""

from enum import StrEnum

from agent_fleet.core.errors import IllegalTransition
from agent_fleet.core.model import AttemptStatus, TaskStatus


class Verb(StrEnum):
    """What can happen to a task: commands, an executor's word, and what is seen on the forge."""

    SUBMIT = "submit"
    GRANT = "grant"
    START = "start"
    RENEW = "renew"
    TAKE_OVER = "take_over"
    RELEASE = "release"
    SUCCEED = "succeed"
    FAIL = "fail"
    LOSE = "lose"
    LATE_RECEIPT = "late_receipt"
    SETTLE = "settle"
    CANCEL = "cancel"
    RETRY = "retry"
    APPROVE = "approve"
    REQUEST_CHANGES = "request_changes"
    QUEUE_LIMIT = "queue_limit"
    WITHDRAW = "withdraw"
    OBSERVE = "observe"
    PULL_READY = "pull_ready"
    MERGE = "merge"
    CLOSE = "close"
    REOPEN = "reopen"


V = Verb
QUEUED, ASSIGNED, RUNNING = TaskStatus.QUEUED, TaskStatus.ASSIGNED, TaskStatus.RUNNING
REVIEW, HUMAN = TaskStatus.REVIEW_PENDING, TaskStatus.NEEDS_HUMAN
COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED
GRANTED, LIVE, OVER = AttemptStatus.GRANTED, AttemptStatus.LIVE, AttemptStatus.ENDED

ENDED = frozenset({COMPLETED, FAILED, CANCELLED})
SETTLED = ENDED | {REVIEW, HUMAN}

TASK: dict[TaskStatus | None, dict[Verb, set[TaskStatus]]] = {
    None: {V.SUBMIT: {QUEUED}},
    QUEUED: {
        V.GRANT: {ASSIGNED},
        # An attempt can outlive the status that it was granted under (retry while a host is lost).
        V.START: {QUEUED},
        V.TAKE_OVER: {QUEUED},
        V.RELEASE: {QUEUED},
        V.SUCCEED: {REVIEW, COMPLETED, CANCELLED},
        V.FAIL: {QUEUED, HUMAN, FAILED, CANCELLED},
        V.LOSE: {QUEUED, REVIEW, HUMAN, FAILED, CANCELLED},
        # Sent back since it was lost, it stays queued.
        V.LATE_RECEIPT: {REVIEW, COMPLETED, QUEUED},
        V.SETTLE: {QUEUED, REVIEW, HUMAN, FAILED},
        # More of what was asked for already; of another head it may be one revision too many.
        V.REQUEST_CHANGES: {QUEUED, HUMAN},
        V.CANCEL: {CANCELLED, QUEUED},
        V.QUEUE_LIMIT: {HUMAN},
        V.WITHDRAW: {CANCELLED, HUMAN},
        V.OBSERVE: {QUEUED},
        V.PULL_READY: {REVIEW},
        V.MERGE: {COMPLETED},
        V.CLOSE: {CANCELLED},
    },
    ASSIGNED: {
        V.START: {RUNNING},
        V.TAKE_OVER: {ASSIGNED},
        V.RELEASE: {QUEUED, HUMAN},
        V.FAIL: {QUEUED, HUMAN, FAILED, CANCELLED},
        V.CANCEL: {CANCELLED},
        V.WITHDRAW: {HUMAN},
        V.OBSERVE: {ASSIGNED},
        V.PULL_READY: {REVIEW},
        V.MERGE: {COMPLETED},
    },
    RUNNING: {
        V.TAKE_OVER: {RUNNING},
        V.SUCCEED: {REVIEW, COMPLETED, CANCELLED},
        V.FAIL: {QUEUED, HUMAN, FAILED, CANCELLED},
        V.LOSE: {QUEUED, REVIEW, HUMAN, FAILED, CANCELLED},
        V.CANCEL: {RUNNING},
        V.WITHDRAW: {HUMAN},
        V.OBSERVE: {RUNNING},
        V.PULL_READY: {REVIEW},
        V.MERGE: {COMPLETED},
    },
    REVIEW: {
        V.APPROVE: {REVIEW},
        # With a live attempt it is recorded, and applied when that ends.
        V.REQUEST_CHANGES: {QUEUED, HUMAN, REVIEW},
        V.START: {REVIEW},
        V.TAKE_OVER: {REVIEW},
        V.RELEASE: {REVIEW},
        V.SUCCEED: {REVIEW, COMPLETED, CANCELLED},
        V.FAIL: {QUEUED, HUMAN, FAILED, CANCELLED},
        V.LOSE: {REVIEW, CANCELLED},
        V.LATE_RECEIPT: {REVIEW, COMPLETED},
        V.CANCEL: {CANCELLED, REVIEW},
        V.WITHDRAW: {HUMAN},
        V.OBSERVE: {REVIEW},
        V.MERGE: {COMPLETED},
        V.CLOSE: {CANCELLED},
    },
    HUMAN: {
        V.REQUEST_CHANGES: {QUEUED, HUMAN},
        V.RETRY: {QUEUED},
        V.START: {HUMAN},
        V.TAKE_OVER: {HUMAN},
        V.RELEASE: {HUMAN},
        V.SUCCEED: {REVIEW, COMPLETED, CANCELLED},
        V.FAIL: {HUMAN, CANCELLED},
        V.LOSE: {HUMAN, CANCELLED},
        V.LATE_RECEIPT: {REVIEW, COMPLETED, HUMAN},
        V.CANCEL: {CANCELLED, HUMAN},
        V.WITHDRAW: {HUMAN, CANCELLED},
        V.OBSERVE: {HUMAN},
        V.PULL_READY: {REVIEW},
        V.MERGE: {COMPLETED},
        V.CLOSE: {CANCELLED},
    },
    FAILED: {
        V.RETRY: {QUEUED},
        V.LATE_RECEIPT: {FAILED},
        V.OBSERVE: {FAILED},
        V.MERGE: {COMPLETED},
    },
    CANCELLED: {
        V.RETRY: {QUEUED},
        V.CANCEL: {CANCELLED},
        V.LATE_RECEIPT: {CANCELLED},
        V.OBSERVE: {CANCELLED},
        V.MERGE: {COMPLETED},
        V.REOPEN: {REVIEW},
    },
    COMPLETED: {
        # A live attempt is told to stop; however it ends, the task stays as it is.
        V.TAKE_OVER: {COMPLETED},
        V.SUCCEED: {COMPLETED},
        V.FAIL: {COMPLETED},
        V.LOSE: {COMPLETED},
        V.LATE_RECEIPT: {COMPLETED},
    },
}

ATTEMPT: dict[AttemptStatus | None, dict[Verb, set[AttemptStatus]]] = {
    None: {V.GRANT: {GRANTED}},
    GRANTED: {
        V.RENEW: {GRANTED},
        V.START: {LIVE},
        V.TAKE_OVER: {GRANTED},
        V.RELEASE: {OVER},
        V.FAIL: {OVER},
        V.CANCEL: {OVER},
        V.MERGE: {OVER},
    },
    LIVE: {
        V.RENEW: {LIVE},
        V.TAKE_OVER: {LIVE},
        V.SUCCEED: {OVER},
        V.FAIL: {OVER},
        V.LOSE: {OVER},
    },
    OVER: {V.LATE_RECEIPT: {OVER}},
}


def task_moves(before: TaskStatus | None, verb: Verb, after: TaskStatus) -> TaskStatus:
    """`after`, if the table allows it; IllegalTransition otherwise."""
    if after not in TASK.get(before, {}).get(verb, ()):
        raise IllegalTransition(f"a task that is {before or 'new'} cannot {verb} to {after}")
    return after


def attempt_moves(before: AttemptStatus | None, verb: Verb, after: AttemptStatus) -> AttemptStatus:
    """`after`, if the table allows it; IllegalTransition otherwise."""
    if after not in ATTEMPT.get(before, {}).get(verb, ()):
        raise IllegalTransition(f"an attempt that is {before or 'new'} cannot {verb} to {after}")
    return after

"""The state machine: one function per verb, state + command + now -> Change, or a typed error.

Every change of a status in the program goes through here and is looked up in `transitions`.
`running` holds what an executor says while it works, `ending` how an attempt ends, `losing` what
becomes of one that fell silent, `commands` what people ask for, `observing` what is seen on the
forge. Nothing is mutated, nothing is read but the arguments.
"""

from agent_fleet.core.lifecycle.change import (
    OPERATOR_REVIEW,
    Backoff,
    Change,
    State,
    own,
    pending_reviews,
)
from agent_fleet.core.lifecycle.commands import (
    approve,
    cancel,
    queue_limit,
    request_changes,
    retry,
    submit,
    withdraw,
)
from agent_fleet.core.lifecycle.ending import fail, release, succeed
from agent_fleet.core.lifecycle.losing import late_receipt, lose, settle
from agent_fleet.core.lifecycle.observing import apply_view, due, observe
from agent_fleet.core.lifecycle.running import directive, grant, renew, start, take_over
from agent_fleet.core.lifecycle.transitions import ATTEMPT, ENDED, SETTLED, TASK, Verb

__all__ = [
    "ATTEMPT",
    "ENDED",
    "OPERATOR_REVIEW",
    "SETTLED",
    "TASK",
    "Backoff",
    "Change",
    "State",
    "Verb",
    "apply_view",
    "approve",
    "cancel",
    "directive",
    "due",
    "fail",
    "grant",
    "late_receipt",
    "lose",
    "observe",
    "own",
    "pending_reviews",
    "queue_limit",
    "release",
    "renew",
    "request_changes",
    "retry",
    "settle",
    "start",
    "submit",
    "succeed",
    "take_over",
    "withdraw",
]

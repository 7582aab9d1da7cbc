"""The failure table: a typed reason says whose fault it was and what happens next.

A reason without a row here cannot exist: `CONSEQUENCES` is checked for totality by a test,
and the state machine reads its decisions from it and from nowhere else.
"""

from enum import StrEnum

import msgspec


class Reason(StrEnum):
    """Why an attempt did not succeed."""

    HOST_UNREACHABLE = "host_unreachable"
    WORKSPACE_ERROR = "workspace_error"
    DISK_FULL = "disk_full"
    START_TIMEOUT = "start_timeout"
    CLI_NOT_FOUND = "cli_not_found"
    HOST_LOST = "host_lost"
    AUTH = "auth"
    RATE_LIMITED = "rate_limited"
    PROVIDER_ERROR = "provider_error"
    KILLED = "killed"
    PERMISSION_DENIED = "permission_denied"
    AGENT_ERROR = "agent_error"
    OUTPUT_UNPARSABLE = "output_unparsable"
    VALIDATION_FAILED = "validation_failed"
    UNVERIFIED = "unverified"
    NO_CHANGES = "no_changes"
    PUSH_FAILED = "push_failed"
    FOREIGN_PUSH = "foreign_push"
    RUN_TIMEOUT = "run_timeout"
    STALLED = "stalled"
    LOST = "lost"
    INVALID_TASK = "invalid_task"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


class Fault(StrEnum):
    """Whose failure it was."""

    HOST = "host"
    ACCOUNT = "account"
    AGENT = "agent"
    TASK = "task"
    UNKNOWN = "unknown"
    NOBODY = "nobody"


class Next(StrEnum):
    """What becomes of the task."""

    AGAIN = "again"
    NEEDS_HUMAN = "needs_human"
    FAILED = "failed"
    ASK_FORGE = "ask_forge"
    CANCEL = "cancel"


class Penalty(StrEnum):
    """What the fault costs the host or the account it happened on."""

    NONE = "none"
    HOST_BACKOFF = "host_backoff"
    ACCOUNT_BACKOFF = "account_backoff"
    ACCOUNT_COOLDOWN = "account_cooldown"
    ACCOUNT_STOP = "account_stop"


class Consequence(msgspec.Struct, frozen=True):
    """One row of the failure table.

    `charged`: a try is consumed, once the attempt really started. `feedback`: the failure's text
    goes into the next prompt.
    """

    fault: Fault
    next: Next
    charged: bool = False
    feedback: bool = False
    penalty: Penalty = Penalty.NONE


_HOST_AGAIN = Consequence(Fault.HOST, Next.AGAIN, penalty=Penalty.HOST_BACKOFF)
_AGENT_AGAIN = Consequence(Fault.AGENT, Next.AGAIN, charged=True, feedback=True)

CONSEQUENCES: dict[Reason, Consequence] = {
    Reason.HOST_UNREACHABLE: _HOST_AGAIN,
    Reason.WORKSPACE_ERROR: _HOST_AGAIN,
    Reason.DISK_FULL: _HOST_AGAIN,
    Reason.START_TIMEOUT: _HOST_AGAIN,
    Reason.CLI_NOT_FOUND: Consequence(Fault.HOST, Next.AGAIN, penalty=Penalty.ACCOUNT_BACKOFF),
    Reason.HOST_LOST: Consequence(Fault.HOST, Next.NEEDS_HUMAN, penalty=Penalty.HOST_BACKOFF),
    Reason.AUTH: Consequence(Fault.ACCOUNT, Next.AGAIN, penalty=Penalty.ACCOUNT_STOP),
    Reason.RATE_LIMITED: Consequence(Fault.ACCOUNT, Next.AGAIN, penalty=Penalty.ACCOUNT_COOLDOWN),
    Reason.PROVIDER_ERROR: Consequence(Fault.ACCOUNT, Next.AGAIN, penalty=Penalty.ACCOUNT_BACKOFF),
    Reason.KILLED: Consequence(Fault.HOST, Next.AGAIN),
    Reason.PERMISSION_DENIED: _AGENT_AGAIN,
    Reason.AGENT_ERROR: _AGENT_AGAIN,
    Reason.OUTPUT_UNPARSABLE: _AGENT_AGAIN,
    Reason.VALIDATION_FAILED: _AGENT_AGAIN,
    Reason.UNVERIFIED: _AGENT_AGAIN,
    Reason.NO_CHANGES: Consequence(Fault.AGENT, Next.NEEDS_HUMAN, charged=True),
    Reason.PUSH_FAILED: Consequence(Fault.HOST, Next.AGAIN, penalty=Penalty.HOST_BACKOFF),
    Reason.FOREIGN_PUSH: Consequence(Fault.UNKNOWN, Next.NEEDS_HUMAN),
    Reason.RUN_TIMEOUT: _AGENT_AGAIN,
    Reason.STALLED: _AGENT_AGAIN,
    Reason.LOST: Consequence(Fault.UNKNOWN, Next.ASK_FORGE, charged=True),
    Reason.INVALID_TASK: Consequence(Fault.TASK, Next.FAILED),
    Reason.CANCELLED: Consequence(Fault.NOBODY, Next.CANCEL),
    Reason.SUPERSEDED: Consequence(Fault.NOBODY, Next.CANCEL),
}

FREE_FAILURES_IN_A_ROW = 5
"""So many free failures of one task running; the next one asks for a human."""

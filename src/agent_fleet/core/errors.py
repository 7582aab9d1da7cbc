"""Every error that agent-fleet raises on purpose.

    FleetError
    ├── InvalidInput          a field is wrong: names its path and the remedy
    ├── NotFound              no such task, attempt, host, agent, token, repository
    ├── Unauthenticated       no token, or one that is not (or no longer) valid
    ├── Forbidden             a valid token of the wrong kind
    ├── Conflict              the state does not admit the request
    │   ├── IllegalTransition    the table has no such row
    │   ├── LeaseLost            the attempt is no longer the caller's to write
    │   ├── Superseded           a late receipt of an attempt with a successor
    │   ├── LogGap               bytes of a log are missing before the ones that were sent
    │   ├── IdempotencyMismatch  the same key, another body
    │   └── MergeConflict        the branch cannot be merged as it is
    ├── Unavailable           something outside does not answer; the same request may succeed later
    └── AttemptFailed         an attempt ended badly, with a typed reason

Expected outcomes are return values; these are broken contracts. They are translated once, at the
boundary (HTTP, command line).
"""

from typing import ClassVar

from agent_fleet.core.faults import Reason


class FleetError(Exception):
    """The base: `slug` is the stable name of the kind, on the wire and in logs."""

    slug: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(FleetError):
    """A field has the wrong type or range, is unknown or is missing.

    `path` is the field's path in the reader's own terms: `hosts.local.slots`, `$.priority`,
    `--mode`. `remedy` says what would be right.
    """

    slug = "invalid-input"
    status = 400

    def __init__(self, path: str, message: str, *, remedy: str) -> None:
        super().__init__(f"{path}: {message}; {remedy}")
        self.path = path
        self.remedy = remedy


class NotFound(FleetError):
    slug = "not-found"
    status = 404


class Unauthenticated(FleetError):
    slug = "unauthenticated"
    status = 401


class Forbidden(FleetError):
    slug = "forbidden"
    status = 403


class Conflict(FleetError):
    slug = "conflict"
    status = 409


class IllegalTransition(Conflict):
    """The verb is not in the table for this state. Nothing has changed."""

    slug = "illegal-transition"


class LeaseLost(Conflict):
    """The attempt has ended, or changed its owner. Stop, and push nothing more."""

    slug = "lease-lost"

    def __init__(self, message: str, *, current_attempt: int | None = None) -> None:
        super().__init__(message)
        self.current_attempt = current_attempt


class Superseded(Conflict):
    """A late receipt of an attempt that has a successor: kept, and without effect."""

    slug = "superseded"

    def __init__(self, message: str, *, current_attempt: int) -> None:
        super().__init__(message)
        self.current_attempt = current_attempt


class LogGap(Conflict):
    """Bytes are missing before the ones sent: send again from `offset`."""

    slug = "log-gap"
    status = 416

    def __init__(self, offset: int) -> None:
        super().__init__(f"the log is known up to byte {offset}; send from there")
        self.offset = offset


class IdempotencyMismatch(Conflict):
    slug = "idempotency-mismatch"
    status = 422


class MergeConflict(Conflict):
    slug = "merge-conflict"


class Unavailable(FleetError):
    slug = "unavailable"
    status = 503
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class AttemptFailed(FleetError):
    """An attempt ended badly. `retry_after_s`: seconds until a reported usage limit resets."""

    slug = "attempt-failed"

    def __init__(self, reason: Reason, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s

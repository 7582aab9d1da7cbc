"""The nouns: frozen values, the same in the database, on the wire and in the program.

All times are UTC-aware datetimes with microseconds; all durations are seconds (float) unless the
name says otherwise. A status is assigned by `lifecycle` and by nothing else.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from agent_fleet.core.faults import Reason


class Mode(StrEnum):
    """By which transport a task may be carried out."""

    SSH_CLI = "ssh_cli"
    HTTP_PULL = "http_pull"
    EITHER = "either"


class Transport(StrEnum):
    """By which transport an attempt is carried out."""

    SSH_CLI = "ssh_cli"
    HTTP_PULL = "http_pull"


class TaskStatus(StrEnum):
    QUEUED = "queued"
    ASSIGNED = "assigned"
    RUNNING = "running"
    REVIEW_PENDING = "review_pending"
    NEEDS_HUMAN = "needs_human"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptStatus(StrEnum):
    GRANTED = "granted"
    LIVE = "live"
    ENDED = "ended"


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"
    RELEASED = "released"


class PullState(StrEnum):
    """A pull request as the forge has it; `NONE` where there is none (always, in plain Git)."""

    NONE = "none"
    DRAFT = "draft"
    OPEN = "open"
    CLOSED = "closed"
    MERGED = "merged"


class Review(msgspec.Struct, frozen=True):
    """A review that asks for changes, by somebody who may, about one head."""

    id: str
    head: str
    text: str
    author: str = ""


class ForgeView(msgspec.Struct, frozen=True):
    """What was last read of a task's branch and pull request.

    `version` orders readings of the same branch: the forge's `updated_at` in microseconds, or the
    reading's own time where the forge has none. `merged_sha` is the commit of the base branch that
    contains the work. `consumed` are the reviews that have been turned into a revision.
    """

    version: int = 0
    head: str | None = None
    pull: int | None = None
    state: PullState = PullState.NONE
    merged_sha: str | None = None
    reviews: tuple[Review, ...] = ()
    consumed: tuple[str, ...] = ()


class Session(msgspec.Struct, frozen=True):
    """An agent CLI's resumable conversation, and where it can be resumed."""

    id: str
    adapter: str
    host: str


Slug = Annotated[str, Meta(min_length=1, max_length=40, pattern="^[a-z0-9][a-z0-9-]*$")]
Retry = Literal["never", "unpushed", "always"]
Deliverable = Literal["branch", "none"]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of work for a coding agent.

    `validation` are commands that the fleet runs, from the configuration or an operator; `checks`
    is what the request itself says about checking the work: text for the prompt, never run.
    `attempts` is the number of the latest attempt, `tries` those of this round that started and
    were charged, `free_failures` the free ones in a row, `started` whether any attempt of this
    generation ever started. `feedback` is what the next prompt must carry: a review, or the text
    of a failure; it is cleared when an attempt has worked it off. `held` means that the forge has
    yet to say what a lost attempt left behind; no grant until then. `fresh` means that the next
    grant takes a new branch generation. `base_sha` is the head of the base branch from which the
    current generation began. `review_count` counts the revisions begun; `round_head` is the head
    that the latest one answers.
    """

    id: int
    status: TaskStatus
    repo: str
    title: str
    slug: Slug
    goal: str
    constraints: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    issue: str = ""
    execution_mode: Mode = Mode.EITHER
    adapter: str | None = None
    model: str | None = None
    host: str | None = None
    capabilities: tuple[str, ...] = ()
    priority: int = 0
    deliverable: Deliverable = "branch"
    retry: Retry = "unpushed"
    base: str
    base_sha: str | None = None
    requester: str
    review_limit: int
    max_tries: int
    max_attempts: int = 20
    run_limit_s: float
    silence_limit_s: float
    created_at: datetime
    updated_at: datetime
    not_before: datetime | None = None
    revision: int = 1
    attempts: int = 0
    tries: int = 0
    free_failures: int = 0
    started: bool = False
    generation: int = 1
    fresh: bool = False
    held: bool = False
    review_count: int = 0
    round_head: str | None = None
    cancel_requested: bool = False
    reason: str | None = None
    message: str = ""
    feedback: str = ""
    session: Session | None = None
    assigned_host: str | None = None
    pr_title: str = ""
    last_activity_at: datetime | None = None
    view: ForgeView = ForgeView()

    @property
    def branch_name(self) -> str:
        """The branch of the current generation: `task/12-fix-login`, then `task/12-fix-login.2`."""
        suffix = "" if self.generation == 1 else f".{self.generation}"
        return f"task/{self.id}-{self.slug}{suffix}"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a task by one agent; its number is the fence.

    `owner` is an agent's name (http_pull) or an orchestrator's (ssh_cli); `epoch` rises when an
    ssh_cli run changes its owner. `start_head` is the remote head the attempt builds on.
    """

    task: int
    number: int
    epoch: int = 1
    status: AttemptStatus
    transport: Transport
    owner: str
    incarnation: str = ""
    host: str | None = None
    adapter: str
    request_key: str | None = None
    branch: str
    generation: int
    base_sha: str | None = None
    start_head: str | None = None
    granted_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    lease_expires_at: datetime
    phase: str = "granted"
    progress: str = ""
    outcome: Outcome | None = None
    reason: Reason | None = None
    message: str = ""
    head_sha: str | None = None
    receipt_id: str | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a task: a verb, who said it, and the fields that it changed.

    `task_changes` and `attempt_changes` hold the new values by field name, so that folding the
    events of a task from the first gives its present state (`lifecycle.replay`). `id` is given by
    the store and is dense enough to be a cursor; it is 0 until then.
    """

    id: int = 0
    task: int
    verb: str
    at: datetime
    actor: str
    attempt: int | None = None
    before: TaskStatus | None = None
    after: TaskStatus
    task_changes: dict[str, object] = field(default_factory=dict[str, object])
    attempt_changes: dict[str, object] = field(default_factory=dict[str, object])


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be done outside, committed with the change that wants it.

    `key` makes it idempotent: two effects with the same key are one. `awaited`: whoever wants it
    carries it out at once and waits for it; others only take it up if that one does not.
    """

    key: str
    kind: Literal["merge"]
    task: int
    payload: dict[str, object] = field(default_factory=dict[str, object])
    awaited: bool = False


# The largest integer that JSON numbers hold exactly everywhere.
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an attempt consumed, as its CLI reported it.

    Where the attempt resumed a session, Codex tells what the session consumed from its beginning:
    the last receipt of a session counts, not their sum. Claude tells what the run consumed.
    """

    input_tokens: Count = 0
    output_tokens: Count = 0
    cost_micro_usd: Count | None = None
    model: Annotated[str, Meta(max_length=200)] | None = None


class ValidationResult(msgspec.Struct, frozen=True):
    command: Annotated[str, Meta(max_length=4_000)]
    exit_code: Annotated[int, Meta(ge=-1_000, le=1_000)]
    seconds: Annotated[float, Meta(ge=0)]
    output_sha256: Sha256


class LogDigest(msgspec.Struct, frozen=True):
    bytes: Count = 0
    sha256: Sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The immutable evidence that an attempt hands in. `retry_after_s`: a usage limit's reset."""

    receipt_id: Annotated[str, Meta(min_length=8, max_length=64, pattern="^[A-Za-z0-9_-]+$")]
    task: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    attempt: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    outcome: Outcome
    reason: Reason | None = None
    exit_code: Annotated[int, Meta(ge=-1_000, le=1_000)] | None = None
    summary: Annotated[str, Meta(max_length=20_000)] = ""
    branch: Annotated[str, Meta(max_length=200)] | None = None
    base_sha: Annotated[str, Meta(pattern=r"^[0-9a-f]{40,64}$(?!\n)")] | None = None
    head_sha: Annotated[str, Meta(pattern=r"^[0-9a-f]{40,64}$(?!\n)")] | None = None
    pull_request: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    validation: tuple[ValidationResult, ...] = ()
    usage: Usage = Usage()
    session: Annotated[str, Meta(max_length=200)] | None = None
    log: LogDigest = LogDigest()
    timings: dict[str, float] = field(default_factory=dict[str, float])
    retry_after_s: Annotated[float, Meta(ge=0, le=2_592_000)] | None = None


class Lease(msgspec.Struct, frozen=True):
    """The right to work on an attempt: for `ttl_s` seconds, renewed every `heartbeat_s`."""

    ttl_s: float
    heartbeat_s: float


class Credentials(msgspec.Struct, frozen=True):
    """What opens a repository over HTTPS. Never shown: its representation names the user only."""

    username: str
    token: str

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, token=<hidden>)"


class Identity(msgspec.Struct, frozen=True):
    """Who commits, where the agent did not."""

    name: str
    email: str


class Limits(msgspec.Struct, frozen=True):
    """Time limits of one attempt, in seconds, and of its output, in bytes."""

    run_s: float
    silence_s: float
    prepare_s: float = 900.0
    validation_s: float = 1800.0
    output_bytes: int = 64 * 1024 * 1024


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """All that an executor needs to carry out one attempt, whatever its transport.

    `start_head` is the head that the remote branch is known to have; None for a branch that must
    not exist yet. `epoch` and `fleet_epoch` fence; `session` is what to resume, where it can be.
    """

    task: int
    attempt: int
    epoch: int
    fleet_epoch: str
    lease: Lease
    title: str
    prompt: str
    adapter: str
    model: str | None = None
    repo: str
    url: str
    base: str
    branch: str
    start_head: str | None = None
    deliverable: Deliverable = "branch"
    validation: tuple[str, ...] = ()
    commit: Literal["auto", "never"] = "auto"
    identity: Identity
    limits: Limits
    session: str | None = None

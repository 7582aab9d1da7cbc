"""What goes over the wire: the bodies of requests and answers, one type for both sides.

Requests refuse unknown fields; answers may grow, so clients ignore what they do not know.
Times are durations in seconds, or UTC timestamps where something is told rather than demanded.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agent_fleet.core.model import (
    Attempt,
    Deliverable,
    Event,
    Grant,
    Lease,
    Mode,
    Receipt,
    Retry,
    Task,
    TaskStatus,
)
from agent_fleet.core.obstacles import Why
from agent_fleet.core.registry import Account, Agent, Host, Token, TokenKind

Name = Annotated[str, Meta(min_length=1, max_length=60, pattern="^[a-z0-9][a-z0-9._-]*$")]
Label = Annotated[str, Meta(min_length=1, max_length=60, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")]
RepoName = Annotated[
    str, Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+$")
]
Line = Annotated[str, Meta(min_length=1, max_length=2_000)]
Text = Annotated[str, Meta(max_length=200_000)]
Command = Annotated[str, Meta(min_length=1, max_length=4_000, pattern=r"^[^\x00]*$")]
ModelName = Annotated[str, Meta(min_length=1, max_length=200, pattern="^[A-Za-z0-9][!-~]*$")]
BranchName = Annotated[
    str, Meta(min_length=1, max_length=200, pattern="^[A-Za-z0-9._][A-Za-z0-9._/-]*$")
]
CommitId = Annotated[str, Meta(pattern=r"^[0-9a-f]{40,64}$(?!\n)")]
RunSeconds = Annotated[float, Meta(ge=1, le=604_800)]
ReviewLimit = Annotated[int, Meta(ge=0, le=20)]
MaxTries = Annotated[int, Meta(ge=1, le=20)]
Priority = Annotated[int, Meta(ge=-100, le=100)]


class Submission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new task: `body` (an issue's Markdown), or `goal` with its parts, or both halves of it.

    `validation` are commands that the fleet will run: an operator's privilege. What is left out
    comes from the repository's configuration or the defaults.
    """

    repo: RepoName
    title: Annotated[str, Meta(min_length=1, max_length=300)] | None = None
    body: Text | None = None
    goal: Text | None = None
    constraints: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    validation: Annotated[tuple[Command, ...], Meta(max_length=50)] | None = None
    mode: Mode = Mode.EITHER
    adapter: Name | None = None
    model: ModelName | None = None
    host: Name | None = None
    capabilities: Annotated[tuple[Label, ...], Meta(max_length=50)] = ()
    priority: Priority = 0
    deliverable: Deliverable = "branch"
    retry: Retry | None = None
    base: BranchName | None = None
    review_limit: ReviewLimit | None = None
    max_tries: MaxTries | None = None
    run_limit_s: RunSeconds | None = None
    silence_limit_s: RunSeconds | None = None


class Comment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why: with a request for changes, a cancel, a release."""

    text: Annotated[str, Meta(min_length=1, max_length=20_000)]


class Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`merge`: the fleet merges; `head`: only if the branch is still there."""

    merge: bool = False
    head: CommitId | None = None


class TaskDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A task with the branch it delivers to and its attempts, the first one first."""

    task: Task
    branch_name: str
    attempts: tuple[Attempt, ...] = ()


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks, the newest first; `next` is the cursor of the next page, None at the end."""

    tasks: tuple[Task, ...]
    next: int | None = None


class WhyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every reason; none for a task that runs or has ended, which `status` then says."""

    status: TaskStatus
    reasons: tuple[Why, ...] = ()


class DequeueRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An agent asks for work: at most `capacity` tasks, waiting `wait_s` seconds for the first.

    `adapters` empty: it runs anything. `incarnation` is new with each start of the worker.
    """

    incarnation: Annotated[str, Meta(min_length=8, max_length=64, pattern="^[A-Za-z0-9_-]+$")]
    capacity: Annotated[int, Meta(ge=1, le=100)] = 1
    wait_s: Annotated[float, Meta(ge=0, le=50)] = 25.0
    adapters: Annotated[tuple[Name, ...], Meta(max_length=50)] = ()


class DequeueAnswer(msgspec.Struct, frozen=True, kw_only=True):
    grants: tuple[Grant, ...]


class StatusReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An executor's word: `preparing` and `running` renew the lease, the first `running` starts.

    `base_sha`, with the start: the base branch's head that the work began from.
    """

    attempt: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    epoch: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    status: Literal["preparing", "running", "released"]
    phase: Annotated[str, Meta(max_length=60, pattern="^[ -~]*$")] | None = None
    message: Annotated[str, Meta(max_length=2_000)] | None = None
    base_sha: CommitId | None = None


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, and the lease as renewed."""

    directive: Literal["continue", "cancel", "stop"]
    lease: Lease


class LogAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The offset up to which the log is known."""

    offset: int


class ReceiptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt as kept: the SHA-256 of its canonical JSON, and what came of it."""

    receipt: Receipt
    sha256: str
    verdict: Literal["accepted", "late", "superseded", "kept"]


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new token. For an agent it registers the agent of that name as well."""

    kind: TokenKind
    name: Name
    expires_in_s: Annotated[float, Meta(ge=60, le=315_360_000)] | None = None
    slots: Annotated[int, Meta(ge=1, le=100)] = 1
    capabilities: Annotated[tuple[Label, ...], Meta(max_length=50)] = ()
    repos: Annotated[tuple[RepoName, ...], Meta(max_length=500)] = ()


class TokenIssued(msgspec.Struct, frozen=True, kw_only=True):
    """The only time that the secret is told."""

    secret: str
    token: Token


class TokenList(msgspec.Struct, frozen=True, kw_only=True):
    tokens: tuple[Token, ...]


class AgentState(msgspec.Struct, frozen=True, kw_only=True):
    """An agent, the slots that it uses, and its accounts that are not well."""

    agent: Agent
    used: int
    accounts: tuple[Account, ...] = ()


class AgentList(msgspec.Struct, frozen=True, kw_only=True):
    agents: tuple[AgentState, ...]


class HostState(msgspec.Struct, frozen=True, kw_only=True):
    """A host, the slots that it uses, and its accounts that are not well."""

    host: Host
    used: int
    accounts: tuple[Account, ...] = ()


class HostList(msgspec.Struct, frozen=True, kw_only=True):
    hosts: tuple[HostState, ...]


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events in the order of their commits; ask again from behind the last one's id."""

    events: tuple[Event, ...]


class ReceiptList(msgspec.Struct, frozen=True, kw_only=True):
    receipts: tuple[ReceiptAnswer, ...]


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The server answers, and so does its database."""

    version: str
    orchestrator: str
    fleet_epoch: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error: RFC 9457, with what a program needs to go on.

    `field` is the path of the field that is wrong and `remedy` what would be right; `offset` is
    where a log must be sent again from; `current_attempt` the one that may write.
    """

    type: str
    title: str
    status: int
    detail: str = ""
    retryable: bool = False
    retry_after_s: float | None = None
    field: str | None = None
    remedy: str | None = None
    current_attempt: int | None = None
    offset: int | None = None

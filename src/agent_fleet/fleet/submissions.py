"""A submission becomes a task: its text read, its gaps filled from the configuration."""

from datetime import datetime
from typing import TypeVar

from agent_fleet.core.errors import InvalidInput
from agent_fleet.core.issue import read_issue
from agent_fleet.core.messages import Submission
from agent_fleet.core.model import Mode, Task, TaskStatus
from agent_fleet.core.text import slug
from agent_fleet.fleet.rules import Rules

T = TypeVar("T")


def new_task(
    submission: Submission, *, rules: Rules, number: int, requester: str, now: datetime
) -> Task:
    """The task; InvalidInput with the path of the field that makes none."""
    repo = rules.repo(submission.repo)
    adapter = submission.adapter or repo.adapter
    if adapter is not None and submission.mode is Mode.SSH_CLI and adapter not in rules.adapters:
        known = ", ".join(sorted(rules.adapters))
        raise InvalidInput(
            "$.adapter", f"no host has an adapter {adapter!r}", remedy=f"use one of: {known}"
        )
    if submission.body is None and submission.goal is None:
        raise InvalidInput(
            "$.goal", "is missing", remedy="say what is to be done, in `goal` or in `body`"
        )
    brief = read_issue(submission.body or submission.goal or "", title=submission.title)
    own_goal = submission.goal is not None
    goal = submission.goal if submission.goal is not None else brief.goal
    if own_goal and submission.body is not None:
        goal = f"{goal}\n\n{brief.goal}"
    return Task(
        id=number,
        status=TaskStatus.QUEUED,
        repo=repo.name,
        title=submission.title or brief.title,
        slug=slug(submission.title or brief.title),
        goal=goal,
        constraints=submission.constraints or brief.constraints,
        validation=(*repo.validation, *(submission.validation or ())),
        checks=brief.validation,
        execution_mode=submission.mode,
        adapter=adapter,
        model=submission.model,
        host=submission.host,
        capabilities=submission.capabilities,
        priority=submission.priority,
        deliverable=submission.deliverable,
        retry=submission.retry or rules.retry,
        base=submission.base or repo.base,
        requester=requester,
        review_limit=_either(submission.review_limit, rules.review_limit),
        max_tries=_either(submission.max_tries, rules.max_tries),
        max_attempts=rules.max_attempts,
        run_limit_s=_either(submission.run_limit_s, rules.run_limit_s),
        silence_limit_s=_either(submission.silence_limit_s, rules.silence_limit_s),
        created_at=now,
        updated_at=now,
    )


def _either(given: T | None, otherwise: T) -> T:
    return otherwise if given is None else given

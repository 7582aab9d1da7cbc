"""A submission becomes a task: its text read, its gaps filled from the configuration."""

import asyncio
from datetime import datetime
from typing import TypeVar

from agent_fleet.core.errors import InvalidInput, Unavailable
from agent_fleet.core.issue import Brief, read_issue
from agent_fleet.core.messages import Submission
from agent_fleet.core.model import Mode, Task, TaskStatus
from agent_fleet.core.text import clean, shorten, slug
from agent_fleet.fleet.context import Context
from agent_fleet.fleet.rules import Rules

T = TypeVar("T")

BASE_ASKED_S = 5.0
"""So long the forge is asked for a base branch; then the one that was named is believed."""


async def read_brief(submission: Submission) -> Brief:
    """What is to be done. A `body` is read as an issue's Markdown, a `goal` is taken as it is.

    InvalidInput where there is neither. Control characters are taken out.
    """
    goal = clean(submission.goal or "").strip()
    title = shorten(clean(submission.title or "")) or None
    constraints = tuple(filter(None, (clean(line).strip() for line in submission.constraints)))
    if submission.body is None:
        if not goal:
            raise InvalidInput(
                "$.goal", "is missing", remedy="say what is to be done, in `goal` or in `body`"
            )
        return Brief(
            title=title or shorten(goal), goal=goal, constraints=constraints, validation=()
        )
    # In a thread: a page of 200 kB takes seconds, and others want the loop.
    try:
        brief = await asyncio.to_thread(read_issue, submission.body, title=title)
    except InvalidInput as error:
        said = error.message.removeprefix(f"{error.path}: ").removesuffix(f"; {error.remedy}")
        raise InvalidInput(f"$.{error.path}", said, remedy=error.remedy) from None
    return Brief(
        title=brief.title,
        goal=f"{goal}\n\n{brief.goal}".strip(),
        constraints=(*constraints, *brief.constraints),
        validation=brief.validation,
    )


async def find_missing_base(context: Context, submission: Submission) -> InvalidInput | None:
    """What is wrong with the base branch that was named: the forge does not have it.

    While the forge does not answer the name is believed, and the attempt finds out.
    """
    rules = context.rules.repos.get(submission.repo)
    if rules is None or submission.base in {None, rules.base}:
        return None
    forge, repo, _ = context.forge_of(rules.name)
    try:
        async with asyncio.timeout(BASE_ASKED_S):
            heads = await forge.heads(repo)
    except (Unavailable, TimeoutError):
        return None
    if submission.base in heads:
        return None
    return InvalidInput(
        "$.base",
        f"{repo.name} has no branch {submission.base}",
        remedy=f"push that branch first, or leave it out for {repo.base}",
    )


def new_task(
    submission: Submission,
    brief: Brief,
    *,
    rules: Rules,
    number: int,
    requester: str,
    now: datetime,
) -> Task:
    """The task. InvalidInput for an unknown repository, or an adapter that no host has."""
    repo = rules.repos.get(submission.repo)
    if repo is None:
        raise InvalidInput(
            "$.repo",
            f"there is no repository {submission.repo!r} in the configuration",
            remedy=f"use one of: {', '.join(sorted(rules.repos)) or 'none is configured'}",
        )
    adapter = submission.adapter or repo.adapter
    if adapter is not None and submission.mode is Mode.SSH_CLI and adapter not in rules.adapters:
        known = ", ".join(sorted(rules.adapters))
        raise InvalidInput(
            "$.adapter", f"no host has an adapter {adapter!r}", remedy=f"use one of: {known}"
        )
    return Task(
        id=number,
        status=TaskStatus.QUEUED,
        repo=repo.name,
        title=brief.title,
        slug=slug(brief.title),
        goal=brief.goal,
        constraints=brief.constraints,
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

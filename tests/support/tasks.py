"""A task that has just been submitted, for tests that care about a few of its fields."""

import subprocess
from datetime import UTC, datetime
from typing import Any

from agent_fleet.core.model import Grant, Task, TaskStatus

SUBMITTED = datetime(2026, 11, 1, 12, tzinfo=UTC)


def new_task(**overrides: Any) -> Task:
    """A queued task; `overrides` are its fields by name."""
    fields: dict[str, Any] = {
        "id": 1,
        "status": TaskStatus.QUEUED,
        "repo": "home/acme/api",
        "title": "Fix the login",
        "slug": "fix-the-login",
        "goal": "The login accepts an address with a plus sign.",
        "base": "main",
        "requester": "robin",
        "review_limit": 3,
        "max_tries": 3,
        "run_limit_s": 7200.0,
        "silence_limit_s": 900.0,
        "created_at": SUBMITTED,
        "updated_at": SUBMITTED,
    }
    return Task(**(fields | overrides))


def base_of(grant: Grant) -> str:
    """The head of the base branch that an agent sees which clones what it was granted."""
    command = ("git", "-C", grant.url, "rev-parse", f"refs/heads/{grant.base}")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

"""The seam to a forge: what the loops and the commands ask of it, whatever its kind.

It has the questions that have a caller now. A forge with pull requests answers the same ones.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from agent_fleet.core.model import ForgeView, Identity, Task


class RepoRef(msgspec.Struct, frozen=True):
    """A configured repository: its name (`local/demo`), its address, and its base branch."""

    name: str
    url: str
    base: str


class Forge(Protocol):
    """A place that keeps branches. Each call may raise `Unavailable`: asking again may succeed."""

    async def heads(self, repo: RepoRef) -> dict[str, str]:
        """All branches and their commits."""
        ...

    async def branch_head(self, repo: RepoRef, branch: str) -> str | None:
        """The commit of one branch; None where there is no such branch."""
        ...

    async def view(
        self, repo: RepoRef, task: Task, *, heads: Mapping[str, str], version: int
    ) -> ForgeView:
        """Read the task's branch, given the `heads` just read; `version` orders the readings."""
        ...

    async def merge(
        self,
        repo: RepoRef,
        *,
        branch: str,
        expected_head: str,
        base: str,
        message: str,
        identity: Identity,
    ) -> str:
        """Merge the branch into `base`; return the commit of `base` that contains it.

        Raises MergeConflict where the two do not merge by themselves, Conflict where the branch is
        not at `expected_head` or the remote refuses, NotFound where there is no such base. None of
        these changes anything. What is merged already is merged once.
        """
        ...

    async def diff(self, repo: RepoRef, *, base: str, head: str, limit_bytes: int) -> bytes:
        """What `head` adds since it left `base`: a summary and the patch, at most `limit_bytes`.

        Both are commits or branches. Raises NotFound where the repository has no such thing.
        """
        ...

"""Questions to one bare repository of ours, and the objects that a merge needs.

Each is one git command over commits that are known to be there; a question that git could not
answer is `Unavailable`, never a guess.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from agent_fleet.core.errors import Unavailable
from agent_fleet.core.model import Identity
from agent_fleet.forges.gitcommand import Git, Output


class Merged(msgspec.Struct, frozen=True):
    """What merging two commits gives: a tree, and the files that conflict in it."""

    tree: str
    conflicts: tuple[str, ...] = ()


class Objects:
    """The commits of the bare repository at `path`."""

    def __init__(self, git: Git, path: Path, *, environ: dict[str, str] | None = None) -> None:
        self._git = git
        self._path = path
        self._environ = environ

    @contextmanager
    def throwaway(self) -> Generator["Objects"]:
        """The same commits; what is written goes to a directory that is removed at the end.

        Trial merges of every open branch at every move of the base would fill the repository.
        """
        with TemporaryDirectory(prefix="fleet-trial-", ignore_cleanup_errors=True) as scratch:
            environ = {
                "GIT_OBJECT_DIRECTORY": scratch,
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self._path / "objects"),
            }
            yield Objects(self._git, self._path, environ=environ)

    async def missing(self, *commits: str) -> set[str]:
        """Which of these are not commits of this repository."""
        if not self._path.exists():
            return set(commits)
        asked = "".join(f"{commit}^{{commit}}\n" for commit in commits)
        output = await self._run("cat-file", "--batch-check=%(objecttype)", stdin=asked.encode())
        if output.code != 0:
            raise self._failed("cat-file", output)
        kinds = output.text.splitlines()
        return {commit for commit, kind in zip(commits, kinds, strict=True) if kind != "commit"}

    async def commits(self, *arguments: str) -> list[str]:
        """The lines of `git rev-list`."""
        return (await self._ask("rev-list", *arguments, "--")).splitlines()

    async def contains(self, commit: str, ancestor: str) -> bool:
        """Whether `ancestor` is `commit` or one of its ancestors."""
        output = await self._run("merge-base", "--is-ancestor", ancestor, commit)
        if output.code not in (0, 1):
            raise self._failed("merge-base", output)
        return output.code == 0

    async def merge_base(self, one: str, other: str) -> str | None:
        """Where the two parted; None where they have nothing in common."""
        output = await self._run("merge-base", one, other)
        if output.code not in (0, 1):
            raise self._failed("merge-base", output)
        return output.text or None

    async def tree(self, commit: str) -> str:
        """The name of the commit's tree: equal trees have equal names."""
        return await self._ask("rev-parse", "--verify", f"{commit}^{{tree}}")

    async def merge_tree(self, ours: str, theirs: str) -> Merged | None:
        """Merge without a work tree; None where the histories are unrelated."""
        output = await self._run(
            "merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", ours, theirs
        )
        if output.code not in (0, 1) or not output.out:
            if await self.merge_base(ours, theirs) is None:
                return None
            raise self._failed("merge-tree", output)
        tree, *names = output.out.decode(errors="replace").rstrip("\0").split("\0")
        conflicts = tuple(name for name in names if name) if output.code else ()
        return Merged(tree=tree, conflicts=conflicts)

    async def commit(
        self, tree: str, *, parents: tuple[str, ...], message: str, identity: Identity
    ) -> str:
        """Write a commit by `identity`, which is both its author and its committer."""
        environ = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", identity.name), ("EMAIL", identity.email))
        }
        arguments = [argument for parent in parents for argument in ("-p", parent)]
        output = await self._run(
            "commit-tree", tree, *arguments, stdin=message.encode(), environ=environ
        )
        if output.code != 0:
            raise self._failed("commit-tree", output)
        return output.text

    async def _ask(self, *arguments: str) -> str:
        output = await self._run(*arguments)
        if output.code != 0 or output.cut:
            raise self._failed(arguments[0], output)
        return output.text

    async def _run(
        self, *arguments: str, stdin: bytes = b"", environ: dict[str, str] | None = None
    ) -> Output:
        merged = (self._environ or {}) | (environ or {})
        return await self._git.local(self._path, *arguments, stdin=stdin, environ=merged)

    def _failed(self, command: str, output: Output) -> Unavailable:
        return Unavailable(f"git {command} failed in {self._path}: {self._git.said(output)}")

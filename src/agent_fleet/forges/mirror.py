"""Our own bare copy of a repository: a cache that may be thrown away at any time.

It has the base branch, the task branches, and under `refs/seen/<task>/<generation>` the last head
of each task branch that was outside the base, so that a branch which is merged and deleted
between two readings can still be judged. Processes share it: whoever changes its refs holds a
file lock, and so does the git child that does the work; it is released by the kernel when the last
of them is gone. Hence a git lock file that is found while the lock is held was left by the dead.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from agent_fleet.core.errors import Unavailable
from agent_fleet.forges.forge import RepoRef
from agent_fleet.forges.gitcommand import TRANSFER_S, Git, Output
from agent_fleet.forges.objects import Objects

_LOCK_WAIT_S = 120.0
_LOCK_PAUSE_S = 0.05
_LOCKED = ".lock': File exists"
_SEEN = "refs/seen"
_TASK_BRANCHES = "refs/heads/task/*"


JUST_SEEN = 2**62
"""What this process has seen itself is of no earlier task."""


class Head(msgspec.Struct, frozen=True):
    """A commit, and the second in which it was made; or `JUST_SEEN`."""

    commit: str
    at: int


Seen = dict[tuple[int, int], Head]


class Mirror:
    """The copy of one repository under `root`; made when first needed."""

    def __init__(self, git: Git, root: Path, repo: RepoRef) -> None:
        self.repo = repo
        self.path = root / f"{hashlib.sha256(repo.url.encode()).hexdigest()[:24]}.git"
        self.objects = Objects(git, self.path)
        self._git = git
        self._seen: Seen | None = None
        self._alone = asyncio.Lock()

    async def fetch(self, branches: Sequence[str]) -> None:
        """Bring in these branches, which must exist, and all task branches."""
        specs = [f"+refs/heads/{name}:refs/heads/{name}" for name in branches]
        specs.append(f"+{_TASK_BRANCHES}:{_TASK_BRANCHES}")
        flags = ("--quiet", "--no-tags", "--prune", "--no-write-fetch-head")
        async with self._locked() as lock:

            async def attempt() -> Output:
                return await self._git.remote(
                    self.repo.url,
                    *("fetch", *flags, "--no-recurse-submodules", "--", self.repo.url, *specs),
                    timeout_s=TRANSFER_S,
                    path=self.path,
                    holding=lock,
                )

            output = await attempt()
            if output.code != 0 and _LOCKED in output.err:
                self._remove_stale_locks()
                output = await attempt()
        if output.code != 0:
            raise Unavailable(f"{self.repo.name} cannot be fetched: {self._git.said(output)}")

    async def seen(self) -> Seen:
        """The last heads outside the base, by task and generation."""
        if self._seen is None:
            self._seen = await self._read_seen() if self.path.exists() else {}
        return self._seen

    async def remember(self, task: int, generation: int, head: str) -> None:
        """Keep this head, and its objects, whatever becomes of the branch."""
        async with self._locked():
            name = f"{_SEEN}/{task}/{generation}"
            output = await self._git.local(self.path, "update-ref", name, head)
            if output.code != 0 and _LOCKED in output.err:
                self._remove_stale_locks()
                output = await self._git.local(self.path, "update-ref", name, head)
        if output.code != 0:
            raise Unavailable(f"{name} cannot be kept: {self._git.said(output)}")
        (await self.seen())[task, generation] = Head(head, JUST_SEEN)

    async def _read_seen(self) -> Seen:
        output = await self._git.local(
            self.path,
            "for-each-ref",
            "--format=%(objectname) %(committerdate:unix) %(refname:lstrip=2)",
            _SEEN,
        )
        if output.code != 0:
            raise Unavailable(f"{self.path} cannot be read: {self._git.said(output)}")
        found: Seen = {}
        for line in output.text.splitlines():
            commit, at, name = line.split(" ", 2)
            task, generation = name.split("/")
            found[int(task), int(generation)] = Head(commit, int(at))
        return found

    @asynccontextmanager
    async def _locked(self) -> AsyncGenerator[int]:
        """Be the only one, in this process and among all, to change the refs of this copy."""
        async with self._alone:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                await self._take(lock)
                await self._make()
                yield lock
            finally:
                os.close(lock)  # not LOCK_UN: a git child that lives on goes on holding it

    async def _take(self, lock: int) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if loop.time() > deadline:
                    raise Unavailable(
                        f"{self.path} has been in use for {_LOCK_WAIT_S:g} s by another process"
                    ) from None
                await asyncio.sleep(_LOCK_PAUSE_S)
            else:
                return

    async def _make(self) -> None:
        """Make the repository, whole or not at all."""
        if self.path.exists():
            return
        draft = self.path.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        output = await self._git.local(draft, "init", "--quiet", "--bare", "--template=")
        if output.code != 0:
            raise Unavailable(f"{self.path} cannot be made: {self._git.said(output)}")
        draft.rename(self.path)
        self._seen = {}

    def _remove_stale_locks(self) -> None:
        for place in (self.path.glob("*.lock"), (self.path / "refs").rglob("*.lock")):
            for lock in place:
                lock.unlink(missing_ok=True)
        for lock in (self.path / "objects").glob("[ip]*/**/*.lock"):
            lock.unlink(missing_ok=True)

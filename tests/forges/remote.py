"""A bare repository with a first commit, and somebody's work tree of it."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agent_fleet.core.model import ForgeView, Identity, PullState, Task, TaskStatus
from agent_fleet.forges.forge import RepoRef
from agent_fleet.forges.git import GitForge

BRANCH = "task/7-fix-it"
FLEET = Identity(name="Fleet", email="fleet@example.org")
_THEN = datetime(2026, 1, 1, tzinfo=UTC)


def clean_environ(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home)}


class Remote(msgspec.Struct, frozen=True):
    bare: Path
    work: Path
    environ: dict[str, str]

    @classmethod
    def make(cls, root: Path) -> "Remote":
        environ = clean_environ(root) | {
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{who}_NAME": "A Person" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "person@example.org" for who in ("AUTHOR", "COMMITTER")},
        }
        remote = cls(bare=root / "demo.git", work=root / "work", environ=environ)
        remote.git("init", "-q", "--bare", "-b", "main", str(remote.bare), at=root)
        remote.git("clone", "-q", str(remote.bare), str(remote.work), at=root)
        remote.git("checkout", "-q", "-b", "main")
        remote.commit("app.txt", "one\ntwo\nthree\nfour\nfive\nsix\nseven\n")
        remote.push("main")
        return remote

    @property
    def repo(self) -> RepoRef:
        return RepoRef(name="local/demo", url=str(self.bare), base="main")

    def git(self, *arguments: str, at: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=at or self.work,
            env=self.environ,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, name: str, content: str, message: str = "") -> str:
        (self.work / name).write_text(content)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message or f"write {name}")
        return self.head()

    def head(self, name: str = "HEAD") -> str:
        return self.git("rev-parse", name)

    def push(self, *names: str) -> None:
        self.git("push", "-q", "--force", "origin", *names)

    def branch(self, *edits: tuple[str, str], name: str = BRANCH) -> str:
        """A pushed branch off main with one commit per edit; main is checked out again."""
        self.git("checkout", "-q", "-b", name, "main")
        for path, content in edits:
            self.commit(path, content)
        head = self.head()
        self.push(name)
        self.git("checkout", "-q", "main")
        return head

    def on_main(self, name: str, content: str) -> str:
        self.git("checkout", "-q", "main")
        head = self.commit(name, content)
        self.push("main")
        return head

    def there(self, name: str) -> str:
        """A commit as the remote has it."""
        return self.git("rev-parse", name, at=self.bare)


def make_task(
    base_sha: str | None,
    *,
    head: str | None = None,
    generation: int = 1,
    status: TaskStatus = TaskStatus.RUNNING,
) -> Task:
    return Task(
        id=7,
        status=status,
        repo="local/demo",
        title="Fix it",
        slug="fix-it",
        goal="fix it",
        base="main",
        base_sha=base_sha,
        requester="me",
        review_limit=3,
        max_tries=3,
        run_limit_s=60,
        silence_limit_s=60,
        created_at=_THEN,
        updated_at=_THEN,
        generation=generation,
        view=ForgeView(head=head),
    )


async def read(forge: GitForge, remote: Remote, task: Task) -> ForgeView:
    heads = await forge.heads(remote.repo)
    return await forge.view(remote.repo, task, heads=heads, version=1)


async def is_merged(forge: GitForge, remote: Remote, task: Task) -> bool:
    view = await read(forge, remote, task)
    assert (view.merged_sha is not None) == (view.state is PullState.MERGED)
    return view.state is PullState.MERGED

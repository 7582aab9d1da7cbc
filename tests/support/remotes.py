"""A real remote and real workspaces on this machine, with a Git environment of their own.

Nothing of the user's or the system's Git configuration is read; HOME lies in the test's directory.
"""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from agent_fleet.core.model import Grant, Identity, Lease, Limits
from agent_fleet.execution import workspace as workspaces
from agent_fleet.execution.local import LocalMachine
from agent_fleet.execution.workspace import Workspace

AGENT = Identity(name="Agent", email="agent@example.net")
BRANCH = "task/12-fix-login"


@dataclass
class Bench:
    """A bare remote with one commit on `main`, a root for workspaces, and somebody's clone."""

    directory: Path
    machine: LocalMachine = field(init=False)

    def __post_init__(self) -> None:
        home = self.directory / "home"
        home.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Somebody",
            "GIT_AUTHOR_EMAIL": "somebody@example.net",
            "GIT_COMMITTER_NAME": "Somebody",
            "GIT_COMMITTER_EMAIL": "somebody@example.net",
        }
        self.machine = LocalMachine(environment=self.environment)
        self.git("init", "-q", "--bare", "-b", "main", str(self.remote), at=self.directory)
        self.git("clone", "-q", str(self.remote), str(self.clone), at=self.directory)
        self.commit(self.clone, "README.md", "hello\n")
        self.git("push", "-q", "origin", "HEAD:refs/heads/main", at=self.clone)

    @property
    def remote(self) -> Path:
        return self.directory / "remote.git"

    @property
    def clone(self) -> Path:
        return self.directory / "clone"

    @property
    def root(self) -> str:
        return str(self.directory / "root")

    def git(self, *args: str, at: Path | str) -> str:
        """Run git as a person would, in the directory `at`; its stdout, stripped."""
        done = subprocess.run(
            ["git", *args],
            cwd=at,
            env=self.environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"git {' '.join(args)}: {done.stderr.decode()}")
        return done.stdout.decode().strip()

    def commit(self, at: Path | str, name: str, text: str) -> str:
        """Write a file and commit it; the new head."""
        target = Path(at) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        self.git("add", "--", name, at=at)
        self.git("commit", "-q", "-m", f"change {name}", at=at)
        return self.git("rev-parse", "HEAD", at=at)

    def push_as_somebody(self, name: str, text: str, *, branch: str, base: str = "main") -> str:
        """A person commits on top of the remote's `base` and pushes to `branch`; the new head."""
        self.git("fetch", "-q", "origin", at=self.clone)
        self.git("checkout", "-q", "--detach", f"origin/{base}", at=self.clone)
        head = self.commit(self.clone, name, text)
        self.git("push", "-q", "origin", f"HEAD:refs/heads/{branch}", at=self.clone)
        return head

    def heads(self) -> dict[str, str]:
        """The remote's branches and their heads."""
        lines = self.git(
            "for-each-ref", "--format=%(refname:short) %(objectname)", at=self.remote
        ).splitlines()
        return dict(line.rsplit(" ", 1) for line in lines)

    def kept(self, workspace: Workspace) -> list[str]:
        """The commits under refs/kept."""
        return self.git(
            "for-each-ref", "--format=%(objectname)", "refs/kept", at=workspace.path
        ).split()

    def grant(
        self,
        *,
        task: int = 12,
        attempt: int = 1,
        url: str | None = None,
        base: str = "main",
        branch: str = BRANCH,
        start_head: str | None = None,
    ) -> Grant:
        return Grant(
            task=task,
            attempt=attempt,
            epoch=1,
            fleet_epoch="f",
            lease=Lease(ttl_s=60, heartbeat_s=10),
            title="Fix the login",
            prompt="Fix it.",
            adapter="raw",
            repo="home/api",
            url=url or str(self.remote),
            base=base,
            branch=branch,
            start_head=start_head,
            identity=AGENT,
            limits=Limits(run_s=60, silence_s=60),
        )

    async def prepare(self, grant: Grant | None = None) -> Workspace:
        return await workspaces.prepare(
            self.machine,
            root=self.root,
            grant=grant or self.grant(),
            credentials=None,
            timeout_s=60,
        )

    async def push(self, workspace: Workspace) -> str:
        return await workspaces.push(self.machine, workspace, credentials=None, timeout_s=60)

"""What an agent wrote into its workspace is never executed by the fleet's own Git commands."""

import subprocess
from pathlib import Path

import pytest

from agent_fleet.execution.workspace import Workspace, collect, commit_leftovers, inspect_work
from tests.support.remotes import AGENT, BRANCH, Bench

HOOKS = (
    "pre-commit",
    "prepare-commit-msg",
    "post-commit",
    "post-checkout",
    "post-merge",
    "post-index-change",
    "pre-push",
    "pre-auto-gc",
    "reference-transaction",
)

CONFIG = """
[core]
    repositoryformatversion = 0
    fsmonitor = {evil}
    hooksPath = {hooks}
    sshCommand = {evil}
    askPass = {evil}
    gitProxy = {evil}
    pager = {evil}
    editor = {evil}
[filter "x"]
    clean = {evil}
    smudge = {evil}
    required = true
[diff]
    external = {evil}
[diff "x"]
    command = {evil}
    textconv = {evil}
[credential]
    helper = !{evil}
[commit]
    gpgSign = true
[gpg]
    program = {evil}
[url "ext::{evil} "]
    insteadOf = {remote}
[protocol "ext"]
    allow = always
[remote "origin"]
    url = {remote}
    receivepack = {evil}
    uploadpack = {evil}
[include]
    path = {included}
"""


class Trap:
    """Everything in a workspace that Git could be made to run, leading to one sentinel file."""

    def __init__(self, bench: Bench, made: Workspace) -> None:
        self.bench = bench
        self.made = made
        self.sentinel = bench.directory / "sentinel"
        self.evil = bench.directory / "evil"
        self.evil.write_text(f'#!/bin/sh\necho "$0 $*" >>{self.sentinel}\ncat\n')
        self.evil.chmod(0o755)
        self._write(Path(made.path))
        self._nest(Path(made.path, "nested"))

    def _write(self, work: Path) -> None:
        hooks = self.bench.directory / "hooks"
        included = self.bench.directory / "included"
        for directory in (hooks, work / ".git" / "hooks"):
            directory.mkdir(exist_ok=True)
            for name in HOOKS:
                (directory / name).symlink_to(self.evil)
        config = CONFIG.format(
            evil=self.evil, hooks=hooks, included=included, remote=self.bench.remote
        )
        included.write_text(f'[filter "y"]\n    clean = {self.evil}\n')
        (work / ".git" / "config").write_text(config)
        (work / ".git" / "config.worktree").write_text(config)
        (work / ".git" / "info").mkdir(exist_ok=True)
        (work / ".git" / "info" / "attributes").write_text("* filter=x diff=x\n")
        (work / ".gitattributes").write_text("* filter=x diff=x\n*.y filter=y\n")
        (work / "README.md").write_text("changed\n")

    def _nest(self, nested: Path) -> None:
        """A repository inside, which the outer one calls a submodule that must be looked into."""
        self.bench.git("init", "-q", str(nested), at=self.made.path)
        self.bench.commit(nested, "f", "1\n")
        config = CONFIG.format(evil=self.evil, hooks="", included="", remote="")
        (nested / ".git" / "config").write_text(config)
        (nested / ".gitattributes").write_text("* filter=x\n")
        (nested / "f").write_text("2\n")
        Path(self.made.path, ".gitmodules").write_text(
            '[submodule "nested"]\n\tpath = nested\n\turl = ./nested\n\tignore = none\n'
        )

    def stage_nested(self) -> None:
        self.spring("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},nested")
        self.sentinel.unlink(missing_ok=True)

    def spring(self, *args: str) -> None:
        """Run plain git in the workspace, as nobody should."""
        subprocess.run(
            ["git", *args],
            cwd=self.made.path,
            env=self.bench.environment,
            capture_output=True,
            check=False,
            timeout=20,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_the_trap_is_one(bench: Bench) -> None:
    trap = Trap(bench, await bench.prepare())

    trap.spring("status")

    assert trap.sentinel.exists()


@pytest.mark.parametrize("staged", [False, True])
async def test_looking_committing_and_pushing_run_nothing_of_the_agents(
    bench: Bench, *, staged: bool
) -> None:
    made = await bench.prepare()
    trap = Trap(bench, made)
    if staged:
        trap.stage_nested()

    await inspect_work(bench.machine, made)
    committed = await commit_leftovers(bench.machine, made, identity=AGENT, message="Left over")
    work = await inspect_work(bench.machine, made)
    head = await bench.push(made)

    assert not trap.sentinel.exists()
    assert committed
    assert not work.dirty
    assert bench.heads()[BRANCH] == head
    assert bench.git("show", f"{head}:README.md", at=bench.remote) == "changed"


@pytest.mark.parametrize("staged", [False, True])
async def test_the_next_preparation_runs_nothing_and_leaves_a_clean_configuration(
    bench: Bench, *, staged: bool
) -> None:
    made = await bench.prepare()
    trap = Trap(bench, made)
    if staged:
        trap.stage_nested()

    again = await bench.prepare(bench.grant(attempt=2))

    assert not trap.sentinel.exists()
    assert len(bench.kept(again)) == 1
    config = Path(again.path, ".git", "config").read_text()
    assert "evil" not in config
    assert str(bench.remote) in config


@pytest.mark.parametrize("staged", [False, True])
async def test_collecting_runs_nothing_of_the_agents(bench: Bench, *, staged: bool) -> None:
    made = await bench.prepare()
    trap = Trap(bench, made)
    if staged:
        trap.stage_nested()

    kept = await collect(
        bench.machine,
        root=bench.root,
        workspace_path=made.path,
        keep_dir=str(bench.directory / "keep"),
    )

    assert kept
    assert not trap.sentinel.exists()


async def test_a_git_directory_that_leads_elsewhere_is_not_followed(bench: Bench) -> None:
    made = await bench.prepare()
    trap = Trap(bench, made)
    elsewhere = bench.directory / "elsewhere"
    Path(made.path, ".git").rename(elsewhere)
    Path(made.path, ".git").write_text(f"gitdir: {elsewhere}\n")

    again = await bench.prepare(bench.grant(attempt=2))

    assert not trap.sentinel.exists()
    assert Path(again.path, ".git").is_dir()


async def test_a_replaced_commit_is_not_taken_for_the_real_one(bench: Bench) -> None:
    made = await bench.prepare()
    bench.commit(made.path, "a.txt", "a\n")
    head = bench.git("rev-parse", "HEAD", at=made.path)
    bench.git("replace", head, made.start_sha, at=made.path)

    work = await inspect_work(bench.machine, made)

    assert (work.head_sha, work.changed) == (head, True)

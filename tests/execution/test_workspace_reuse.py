"""The next attempt goes on where the last one stopped, and nothing of it is lost."""

import subprocess
from pathlib import Path

import pytest

from agent_fleet.core.errors import AttemptFailed
from agent_fleet.core.faults import Reason
from agent_fleet.execution.workspace import Workspace, commit_leftovers, inspect_work
from tests.support.remotes import AGENT, BRANCH, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def conflict(bench: Bench, made: Workspace, *, command: str) -> str:
    """The agent's `command` against another branch stops at a conflict; its last own head."""
    bench.git("checkout", "-q", "-b", "other", at=made.path)
    bench.commit(made.path, "README.md", "theirs\n")
    bench.git("checkout", "-q", BRANCH, at=made.path)
    bench.commit(made.path, "a.txt", "a\n")
    head = bench.commit(made.path, "README.md", "ours\n")
    done = subprocess.run(
        ["git", command, "other"],
        cwd=made.path,
        env=bench.environment,
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert done.returncode != 0
    return head


async def test_uncommitted_work_is_put_aside_whole(bench: Bench) -> None:
    made = await bench.prepare()
    Path(made.path, "README.md").unlink()
    Path(made.path, "new").mkdir()
    Path(made.path, "new", "ä b.txt").write_text("new\n")

    again = await bench.prepare(bench.grant(attempt=2))

    (kept,) = bench.kept(again)
    assert bench.git("status", "--porcelain", at=again.path) == ""
    assert Path(again.path, "README.md").exists()
    assert bench.git("ls-tree", "-r", "-z", "--name-only", kept, at=again.path) == "new/ä b.txt\0"
    assert bench.git("show", f"{kept}:new/ä b.txt", at=again.path) == "new"


async def test_a_directory_that_became_a_link_is_put_aside_as_one(bench: Bench) -> None:
    made = await bench.prepare()
    bench.commit(made.path, "lib/a.txt", "a\n")
    Path(made.path, "lib").rename(Path(made.path, "src"))
    Path(made.path, "lib").symlink_to("src")

    committed = await commit_leftovers(bench.machine, made, identity=AGENT, message="moved")

    assert committed
    listed = bench.git("ls-tree", "-r", "--name-only", "HEAD", at=made.path)
    assert listed.splitlines() == ["README.md", "lib", "src/a.txt"]
    assert bench.git("status", "--porcelain", at=made.path) == ""


async def test_ignored_files_stay_where_they_are(bench: Bench) -> None:
    bench.push_as_somebody(".gitignore", "build/\n", branch="main")
    made = await bench.prepare()
    Path(made.path, "build").mkdir()
    Path(made.path, "build", "cache").write_text("expensive")
    Path(made.path, "a.txt").write_text("a")

    again = await bench.prepare(bench.grant(attempt=2))

    assert Path(again.path, "build", "cache").read_text() == "expensive"
    assert not Path(again.path, "a.txt").exists()


async def test_commits_of_an_earlier_try_are_built_on_though_the_base_moved(
    bench: Bench,
) -> None:
    made = await bench.prepare()
    head = bench.commit(made.path, "a.txt", "a\n")
    base = bench.push_as_somebody("b.txt", "b\n", branch="main")

    again = await bench.prepare(bench.grant(attempt=2))

    assert bench.git("rev-parse", "HEAD", at=again.path) == head
    assert (again.base_sha, again.start_sha) == (base, made.start_sha)
    work = await inspect_work(bench.machine, again)
    assert (work.commits, work.changed) == (1, True)


async def test_a_workspace_without_commits_follows_the_base(bench: Bench) -> None:
    await bench.prepare()
    base = bench.push_as_somebody("b.txt", "b\n", branch="main")

    again = await bench.prepare(bench.grant(attempt=2))

    assert again.start_sha == base
    assert Path(again.path, "b.txt").exists()
    assert bench.kept(again) == []


async def test_commits_on_a_base_that_was_rewritten_are_kept_and_not_delivered(
    bench: Bench,
) -> None:
    bench.push_as_somebody("secret.txt", "secret\n", branch="main")
    made = await bench.prepare()
    head = bench.commit(made.path, "a.txt", "a\n")
    first = bench.git("rev-parse", "main~1", at=bench.remote)
    bench.git("update-ref", "refs/heads/main", first, at=bench.remote)
    base = bench.push_as_somebody("b.txt", "b\n", branch="main")

    again = await bench.prepare(bench.grant(attempt=2))

    assert bench.git("rev-parse", "HEAD", at=again.path) == base
    assert bench.kept(again) == [head]


async def test_unpushed_commits_beside_the_remote_branch_are_kept(bench: Bench) -> None:
    made = await bench.prepare()
    mine = bench.commit(made.path, "a.txt", "a\n")
    theirs = bench.push_as_somebody("b.txt", "b\n", branch=BRANCH)

    again = await bench.prepare(bench.grant(attempt=2, start_head=theirs))

    assert bench.git("rev-parse", "HEAD", at=again.path) == theirs
    assert bench.kept(again) == [mine]


async def test_the_work_on_another_branch_is_the_work(bench: Bench) -> None:
    made = await bench.prepare()
    before = bench.commit(made.path, "a.txt", "a\n")
    bench.git("checkout", "-q", "--orphan", "mine", at=made.path)
    bench.git("commit", "-q", "-m", "all anew", at=made.path)
    bench.git("checkout", "-q", "-b", "other", made.start_sha, at=made.path)
    head = bench.commit(made.path, "b.txt", "b\n")

    again = await bench.prepare(bench.grant(attempt=2))

    assert bench.git("rev-parse", "HEAD", at=again.path) == head
    assert bench.git("branch", "--show-current", at=again.path) == BRANCH
    assert bench.kept(again) == [before]


async def test_a_rebase_left_in_the_middle_is_undone_and_its_pieces_kept(bench: Bench) -> None:
    made = await bench.prepare()
    head = conflict(bench, made, command="rebase")

    again = await bench.prepare(bench.grant(attempt=2))

    assert bench.git("rev-parse", "HEAD", at=again.path) == head
    assert bench.git("status", "--porcelain", at=again.path) == ""
    assert "rebase" not in bench.git("status", at=again.path)
    assert len(bench.kept(again)) == 2


async def test_a_merge_left_in_the_middle_is_undone_and_kept(bench: Bench) -> None:
    made = await bench.prepare()
    head = conflict(bench, made, command="merge")

    again = await bench.prepare(bench.grant(attempt=2))

    assert bench.git("rev-parse", "HEAD", at=again.path) == head
    assert not Path(again.path, ".git", "MERGE_HEAD").exists()
    (kept,) = bench.kept(again)
    assert "<<<<<<<" in bench.git("show", f"{kept}:README.md", at=again.path)


async def test_locks_of_killed_git_processes_are_removed(bench: Bench) -> None:
    made = await bench.prepare()
    for name in ("index.lock", "HEAD.lock", "config.lock", f"refs/heads/{BRANCH}.lock"):
        lock = Path(made.path, ".git", name)
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    Path(made.path, "a.txt").write_text("a\n")

    again = await bench.prepare(bench.grant(attempt=2))

    assert len(bench.kept(again)) == 1
    bench.commit(again.path, "b.txt", "b\n")


@pytest.mark.parametrize("part", ["HEAD", "objects", "refs", "index"])
async def test_a_damaged_workspace_is_moved_aside_whole(bench: Bench, part: str) -> None:
    made = await bench.prepare()
    Path(made.path, "a.txt").write_text("a\n")
    target = Path(made.path, ".git", part)
    target.rename(target.with_name("gone"))
    target.write_text("nonsense")

    again = await bench.prepare(bench.grant(attempt=2))

    assert bench.git("status", "--porcelain", at=again.path) == ""
    (aside,) = Path(bench.root, "aside").iterdir()
    assert Path(aside, "a.txt").read_text() == "a\n"


async def test_leftovers_are_committed_without_what_is_ignored(bench: Bench) -> None:
    made = await bench.prepare()
    Path(made.path, ".gitignore").write_text("*.log\n")
    Path(made.path, "x.log").write_text("log\n")
    Path(made.path, "a.txt").write_text("a\n")

    first = await commit_leftovers(bench.machine, made, identity=AGENT, message="Left over")
    second = await commit_leftovers(bench.machine, made, identity=AGENT, message="Left over")

    assert (first, second) == (True, False)
    shown = bench.git("log", "-1", "--format=%s %an", "--name-only", at=made.path)
    assert shown.split() == ["Left", "over", "Agent", ".gitignore", "a.txt"]
    work = await inspect_work(bench.machine, made)
    assert (work.commits, work.changed, work.dirty) == (1, True, False)


async def test_a_merge_that_is_resolved_is_concluded(bench: Bench) -> None:
    made = await bench.prepare()
    conflict(bench, made, command="merge")
    Path(made.path, "README.md").write_text("both\n")
    bench.git("add", "README.md", at=made.path)

    await commit_leftovers(bench.machine, made, identity=AGENT, message="Merge")

    parents = bench.git("log", "-1", "--format=%P", at=made.path).split()
    assert len(parents) == 2
    work = await inspect_work(bench.machine, made)
    assert (work.dirty, work.unfinished) == (False, "")


@pytest.mark.parametrize("command", ["merge", "rebase"])
async def test_conflicts_are_not_committed(bench: Bench, command: str) -> None:
    made = await bench.prepare()
    conflict(bench, made, command=command)

    work = await inspect_work(bench.machine, made)
    with pytest.raises(AttemptFailed) as failed:
        await commit_leftovers(bench.machine, made, identity=AGENT, message="Left over")

    assert work.unfinished == command
    assert failed.value.reason is Reason.AGENT_ERROR
    assert "README.md" in failed.value.message


async def test_an_untouched_workspace_shows_no_work(bench: Bench) -> None:
    made = await bench.prepare()

    work = await inspect_work(bench.machine, made)

    assert (work.head_sha, work.commits, work.changed, work.dirty) == (
        made.start_sha,
        0,
        False,
        False,
    )


async def test_commits_that_cancel_each_other_change_nothing(bench: Bench) -> None:
    made = await bench.prepare()
    bench.commit(made.path, "README.md", "other\n")
    bench.commit(made.path, "README.md", "hello\n")

    work = await inspect_work(bench.machine, made)

    assert (work.commits, work.changed) == (2, False)

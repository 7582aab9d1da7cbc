"""Reading a remote: what it costs, how much it gives, and what survives."""

import asyncio
import fcntl
import os
import sys
from pathlib import Path

import pytest

from agent_fleet.core.errors import NotFound, Unavailable
from agent_fleet.forges.forge import RepoRef
from agent_fleet.forges.git import GitForge
from tests.forges.remote import BRANCH, Remote, clean_environ, is_merged, make_task, read
from tests.forges.wrapped import calls, wrap_git
from tests.support.waiting import eventually

READER = """
import asyncio, sys
from pathlib import Path
from agent_fleet.forges.git import GitForge
from tests.forges.remote import Remote, make_task, read, clean_environ
root, path, start = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
remote = Remote(bare=root / "demo.git", work=root / "work", environ={})
forge = GitForge(root / "mirrors", environ=clean_environ(root) | {"PATH": path})
print(asyncio.run(read(forge, remote, make_task(start))).head)
"""


async def start_reader(root: Path, path: str, start: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", READER, str(root), path, start),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


async def test_all_heads_are_read_with_one_command(tmp_path: Path, remote: Remote) -> None:
    head = remote.branch(("new.txt", "new\n"))
    forge = GitForge(tmp_path / "mirrors", environ=wrap_git(tmp_path, ""))

    heads = await forge.heads(remote.repo)

    assert heads == {"main": remote.head(), BRANCH: head}
    assert calls(tmp_path) == ["ls-remote"]


async def test_one_branch_is_read_and_a_missing_one_is_none(
    forge: GitForge, remote: Remote
) -> None:
    head = remote.branch(("new.txt", "new\n"))

    assert await forge.branch_head(remote.repo, BRANCH) == head
    assert await forge.branch_head(remote.repo, "fix-it") is None


async def test_a_reading_without_news_runs_nothing_but_the_first_question(
    tmp_path: Path, remote: Remote
) -> None:
    start = remote.head()
    remote.branch(("new.txt", "new\n"))
    forge = GitForge(tmp_path / "mirrors", environ=wrap_git(tmp_path, ""))
    await read(forge, remote, make_task(start))
    before = len(calls(tmp_path))

    for _ in range(3):
        await read(forge, remote, make_task(start))

    assert calls(tmp_path)[before:] == ["ls-remote"] * 3


async def test_a_task_without_a_branch_costs_nothing(tmp_path: Path, remote: Remote) -> None:
    forge = GitForge(tmp_path / "mirrors", environ=wrap_git(tmp_path, ""))

    await read(forge, remote, make_task(remote.head()))

    assert calls(tmp_path) == ["ls-remote"]


async def test_a_deleted_branch_that_was_never_seen_is_asked_for_once(
    tmp_path: Path, remote: Remote
) -> None:
    task = make_task(remote.head(), head="1" * 40)
    forge = GitForge(tmp_path / "mirrors", environ=wrap_git(tmp_path, ""))

    merged = [await is_merged(forge, remote, task) for _ in range(2)]

    assert merged == [False, False]
    assert calls(tmp_path).count("fetch") == 1


async def test_a_branch_rewritten_after_the_reading_is_judged_at_the_next(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    remote.branch(("new.txt", "new\n"))
    stale = {"main": start, BRANCH: "1" * 40}

    view = await forge.view(remote.repo, make_task(start), heads=stale, version=1)

    assert (view.head, view.merged_sha) == ("1" * 40, None)


async def test_a_remote_that_is_away_is_unavailable(forge: GitForge, tmp_path: Path) -> None:
    away = RepoRef(name="local/away", url=str(tmp_path / "nowhere.git"), base="main")

    with pytest.raises(Unavailable, match=r"local/away does not answer: .*not appear to be a git"):
        await forge.heads(away)


async def test_a_difference_is_a_summary_and_a_patch_from_where_they_parted(
    forge: GitForge, remote: Remote
) -> None:
    head = remote.branch(("new.txt", "new\n"))
    remote.on_main("other.txt", "other\n")

    text = (await forge.diff(remote.repo, base="main", head=head, limit_bytes=100_000)).decode()

    assert "new.txt | 1 +" in text
    assert "+++ b/new.txt\n@@ -0,0 +1 @@\n+new\n" in text
    assert "other.txt" not in text


async def test_a_large_difference_is_cut_and_says_so(forge: GitForge, remote: Remote) -> None:
    remote.branch(("big.txt", "line of text\n" * 50_000))

    text = await forge.diff(remote.repo, base="main", head=BRANCH, limit_bytes=1000)

    assert len(text) == 1000
    assert text.endswith(b"[cut: the difference is larger]\n")


@pytest.mark.parametrize("head", ["nobody", "2" * 40, "--output=x"])
async def test_a_difference_of_what_is_not_there_is_not_found(
    forge: GitForge, remote: Remote, head: str
) -> None:
    with pytest.raises(NotFound, match=f"no branch or commit {head}"):
        await forge.diff(remote.repo, base="main", head=head, limit_bytes=1000)


async def test_several_processes_share_one_copy(tmp_path: Path, remote: Remote) -> None:
    start = remote.head()
    head = remote.branch(("new.txt", "new\n"))

    readers = [await start_reader(tmp_path, os.environ["PATH"], start) for _ in range(3)]
    said = [await reader.communicate() for reader in readers]

    assert [out.decode().strip() for out, _ in said] == [head] * 3
    copies = [path.name for path in (tmp_path / "mirrors").iterdir() if path.is_dir()]
    assert len(copies) == 1


async def test_a_copy_whose_user_was_killed_in_the_middle_is_usable(
    tmp_path: Path, remote: Remote
) -> None:
    start = remote.head()
    remote.branch(("new.txt", "new\n"))
    refs = "$GIT_DIR/refs/heads"
    locks = f": > $GIT_DIR/packed-refs.lock; mkdir -p {refs}; : > {refs}/main.lock"
    environ = wrap_git(tmp_path, f'[ "$1" = fetch ] && {{ {locks}; kill -9 $PPID; kill -9 $$; }}')
    reader = await start_reader(tmp_path, environ["PATH"], start)
    await reader.communicate()
    assert reader.returncode == -9

    forge = GitForge(tmp_path / "mirrors", environ=clean_environ(tmp_path))
    remote.git("merge", "-q", "--no-ff", "-m", "merge", BRANCH)
    remote.push("main")

    assert await is_merged(forge, remote, make_task(start))


async def test_the_fetch_of_a_killed_process_keeps_its_lock_while_it_runs(
    tmp_path: Path, remote: Remote
) -> None:
    start = remote.head()
    head = remote.branch(("new.txt", "new\n"))
    os.mkfifo(tmp_path / "gate")
    environ = wrap_git(
        tmp_path, f'[ "$1" = fetch ] && {{ kill -9 $PPID; read _ < {tmp_path}/gate; }}'
    )
    orphaned = await start_reader(tmp_path, environ["PATH"], start)
    await orphaned.wait()
    (lock,) = (tmp_path / "mirrors").glob("*.lock")

    forge = GitForge(tmp_path / "mirrors", environ=clean_environ(tmp_path))
    reading = asyncio.create_task(read(forge, remote, make_task(start)))
    with lock.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    await asyncio.to_thread((tmp_path / "gate").write_text, "go\n")

    assert (await reading).head == head
    eventually(lambda: _is_free(lock), 10, "the orphan to end")


def _is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

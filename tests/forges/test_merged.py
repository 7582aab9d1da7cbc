"""When the work of a branch counts as merged, however it got into the base."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from agent_fleet.core.model import PullState, TaskStatus
from agent_fleet.forges.git import GitForge
from tests.forges.remote import BRANCH, Remote, clean_environ, is_merged, make_task, read

CHANGED = "one\nTWO\nthree\nfour\nfive\nsix\nseven\n"


async def test_an_open_branch_is_read_and_not_merged(forge: GitForge, remote: Remote) -> None:
    start = remote.head()
    head = remote.branch(("new.txt", "new\n"))

    view = await read(forge, remote, make_task(start))

    assert (view.head, view.state, view.version) == (head, PullState.NONE, 1)


async def test_a_merge_commit_is_named(forge: GitForge, remote: Remote) -> None:
    start = remote.head()
    remote.branch(("new.txt", "new\n"))
    remote.git("merge", "-q", "--no-ff", "-m", "merge", BRANCH)
    merge = remote.head()
    remote.on_main("later.txt", "later\n")

    view = await read(forge, remote, make_task(start))

    assert (view.state, view.merged_sha) == (PullState.MERGED, merge)


async def test_a_fast_forward_of_a_branch_seen_before_is_merged(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    head = remote.branch(("new.txt", "new\n"))
    assert not await is_merged(forge, remote, make_task(start))

    remote.git("merge", "-q", "--ff-only", BRANCH)
    remote.push("main")
    view = await read(forge, remote, make_task(start))

    assert (view.state, view.merged_sha) == (PullState.MERGED, head)


async def test_a_fast_forward_nobody_saw_is_merged_if_the_head_was_accepted(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    head = remote.branch(("new.txt", "new\n"))
    remote.git("merge", "-q", "--ff-only", BRANCH)
    remote.push("main")

    merged = await is_merged(
        forge, remote, make_task(start, head=head, status=TaskStatus.REVIEW_PENDING)
    )

    assert merged


async def test_a_fast_forward_after_one_more_commit_is_merged(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    remote.branch(("new.txt", "new\n"))
    assert not await is_merged(forge, remote, make_task(start))

    remote.git("checkout", "-q", BRANCH)
    remote.commit("more.txt", "more\n")
    remote.git("checkout", "-q", "main")
    remote.git("merge", "-q", "--ff-only", BRANCH)
    remote.push("main", BRANCH)

    assert await is_merged(forge, remote, make_task(start))


async def test_a_branch_that_only_followed_the_base_is_not_merged(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    remote.on_main("other.txt", "other\n")
    remote.branch()
    remote.on_main("another.txt", "another\n")

    assert not await is_merged(forge, remote, make_task(start))


async def test_a_branch_reset_to_the_base_has_dropped_its_work(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    remote.branch(("new.txt", "new\n"))
    assert not await is_merged(forge, remote, make_task(start))

    remote.on_main("other.txt", "other\n")
    remote.git("branch", "-f", BRANCH, "main")
    remote.push(BRANCH)

    assert not await is_merged(forge, remote, make_task(start))


async def test_a_squash_with_another_message_is_merged(forge: GitForge, remote: Remote) -> None:
    start = remote.head()
    remote.branch(("app.txt", CHANGED), ("new.txt", "new\n"))
    remote.git("merge", "-q", "--squash", BRANCH)
    remote.git("commit", "-q", "-m", "Fix it (#3)")
    remote.push("main")

    view = await read(forge, remote, make_task(start))

    assert (view.state, view.merged_sha) == (PullState.MERGED, remote.head())


async def test_a_rebase_is_merged_although_the_commits_have_new_names(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    head = remote.branch(("app.txt", CHANGED), ("new.txt", "new\n"))
    remote.on_main("other.txt", "other\n")
    remote.git("cherry-pick", f"{start}..{head}")
    remote.on_main("app.txt", CHANGED.replace("TWO", "2"))

    assert await is_merged(forge, remote, make_task(start))


async def test_a_squash_is_merged_even_if_the_base_changed_the_same_lines_since(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    remote.branch(("app.txt", CHANGED), ("new.txt", "new\n"))
    remote.git("merge", "-q", "--squash", BRANCH)
    remote.git("commit", "-q", "-m", "Fix it (#3)")
    remote.on_main("app.txt", CHANGED.replace("TWO", "2"))

    assert await is_merged(forge, remote, make_task(start))


async def test_a_part_that_was_picked_is_not_the_whole(forge: GitForge, remote: Remote) -> None:
    start = remote.head()
    remote.branch(("app.txt", CHANGED), ("new.txt", "new\n"))
    remote.git("cherry-pick", f"{BRANCH}~1")
    remote.push("main")

    assert not await is_merged(forge, remote, make_task(start))


async def test_an_empty_branch_is_never_merged(forge: GitForge, remote: Remote) -> None:
    start = remote.head()
    remote.branch()
    remote.on_main("other.txt", "other\n")

    assert not await is_merged(forge, remote, make_task(start))


async def test_a_branch_that_took_its_work_back_has_nothing_to_find(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    remote.branch(("new.txt", "new\n"))
    remote.git("checkout", "-q", BRANCH)
    remote.git("revert", "--no-edit", "HEAD")
    remote.push(BRANCH)
    remote.on_main("other.txt", "other\n")

    assert not await is_merged(forge, remote, make_task(start))


async def test_without_a_recorded_start_nothing_is_merged(forge: GitForge, remote: Remote) -> None:
    remote.branch(("new.txt", "new\n"))
    remote.git("merge", "-q", "--no-ff", "-m", "merge", BRANCH)
    remote.push("main")

    assert not await is_merged(forge, remote, make_task(None))


async def test_a_branch_seen_before_and_deleted_after_its_squash_is_merged(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    head = remote.branch(("new.txt", "new\n"))
    assert not await is_merged(forge, remote, make_task(start))

    remote.git("merge", "-q", "--squash", BRANCH)
    remote.git("commit", "-q", "-m", "Fix it (#3)")
    remote.push("main", f":{BRANCH}")
    remote.git("gc", "--prune=now", "-q", at=remote.bare)
    view = await read(forge, remote, make_task(start, head=head))

    assert (view.head, view.state) == (None, PullState.MERGED)


async def test_a_branch_deleted_unmerged_is_not_merged(forge: GitForge, remote: Remote) -> None:
    start = remote.head()
    head = remote.branch(("new.txt", "new\n"))
    assert not await is_merged(forge, remote, make_task(start))

    remote.push(f":{BRANCH}")

    assert not await is_merged(forge, remote, make_task(start, head=head))


async def test_a_merge_counts_although_it_was_reverted_since(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    remote.branch(("new.txt", "new\n"))
    remote.git("merge", "-q", "--squash", BRANCH)
    remote.git("commit", "-q", "-m", "Fix it (#3)")
    remote.git("revert", "--no-edit", "HEAD")
    remote.push("main")

    assert await is_merged(forge, remote, make_task(start))


async def test_a_branch_that_merged_the_base_in_between_is_found_by_patch(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    remote.branch(("new.txt", "new\n"))
    remote.on_main("other.txt", "other\n")
    remote.git("checkout", "-q", BRANCH)
    remote.git("merge", "-q", "--no-edit", "main")
    remote.commit("app.txt", CHANGED)
    remote.push(BRANCH)
    remote.git("checkout", "-q", "main")
    remote.git("cherry-pick", f"{BRANCH}~1^1", BRANCH)
    remote.on_main("app.txt", CHANGED.replace("TWO", "2"))

    assert await is_merged(forge, remote, make_task(start))


async def test_work_hidden_in_a_merge_commit_keeps_a_branch_open(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    remote.branch(("new.txt", "new\n"))
    remote.on_main("other.txt", "other\n")
    remote.git("checkout", "-q", BRANCH)
    remote.git("merge", "-q", "--no-commit", "--no-ff", "main")
    remote.commit("hidden.txt", "hidden\n")
    remote.push(BRANCH)
    remote.git("checkout", "-q", "main")
    remote.git("cherry-pick", f"{BRANCH}^1")
    remote.push("main")

    assert not await is_merged(forge, remote, make_task(start))


async def test_a_rewritten_base_does_not_make_an_empty_branch_merged(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.on_main("bad.txt", "bad\n")
    remote.branch()
    remote.git("reset", "-q", "--hard", "HEAD~1")
    remote.on_main("good.txt", "good\n")

    assert not await is_merged(forge, remote, make_task(start))


async def test_work_rebased_onto_a_rewritten_base_is_merged(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.on_main("bad.txt", "bad\n")
    head = remote.branch(("new.txt", "new\n"))
    remote.git("reset", "-q", "--hard", "HEAD~1")
    remote.on_main("good.txt", "good\n")
    assert not await is_merged(forge, remote, make_task(start))

    remote.git("cherry-pick", head)
    remote.push("main")

    assert await is_merged(forge, remote, make_task(start))


async def test_a_merge_of_an_older_generation_counts(forge: GitForge, remote: Remote) -> None:
    start = remote.head()
    remote.branch(("new.txt", "new\n"))
    assert not await is_merged(forge, remote, make_task(start))

    remote.branch(("again.txt", "again\n"), name=f"{BRANCH}.2")
    remote.git("merge", "-q", "--no-ff", "-m", "merge", BRANCH)
    remote.push("main")

    assert await is_merged(forge, remote, make_task(start, generation=2))


async def test_a_base_that_is_missing_leaves_the_branch_readable(
    forge: GitForge, remote: Remote
) -> None:
    start = remote.head()
    head = remote.branch(("new.txt", "new\n"))
    remote.git("update-ref", "-d", "refs/heads/main", at=remote.bare)

    view = await read(forge, remote, make_task(start))

    assert (view.head, view.state) == (head, PullState.NONE)


async def test_what_was_seen_of_an_older_task_of_that_number_is_none_of_it(
    tmp_path: Path, forge: GitForge, remote: Remote
) -> None:
    of_old = make_task(remote.there("main"))
    remote.branch(("new.txt", "a\n"))
    await read(forge, remote, of_old)
    remote.git("merge", "-q", "--squash", BRANCH)
    remote.git("commit", "-q", "-m", "squashed")
    remote.push("main")
    remote.git("push", "-q", "origin", f":{BRANCH}")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    task = replace(make_task(remote.there("main")), slug="another", created_at=tomorrow)
    started_anew = GitForge(tmp_path / "mirrors", environ=clean_environ(tmp_path))

    seen = await read(started_anew, remote, task)

    assert seen.state is PullState.NONE

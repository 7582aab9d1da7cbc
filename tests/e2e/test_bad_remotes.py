"""Remotes that misbehave under a running fleet: each is told clearly, and nothing is lost."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent_fleet.core.errors import InvalidInput, MergeConflict, Unavailable
from agent_fleet.core.faults import Reason
from agent_fleet.core.messages import TaskDetail
from agent_fleet.core.model import TaskStatus
from tests.support.composed import COMMIT, REPO, Running, composed
from tests.support.waiting import eventually_async

S = TaskStatus

FIRST = "task/1-write-the-answer"


# -- empty branches ------------------------------------------------------------------------------


async def test_an_agent_that_commits_nothing_leaves_a_question_and_no_branch(
    tmp_path: Path,
) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        stage.cli("echo it is fixed already")

        detail = await fleet.until(await fleet.submit(), S.NEEDS_HUMAN)

        assert detail.task.reason == Reason.NO_CHANGES
        assert "it is fixed already" in detail.task.message
        assert set(stage.heads()) == {"main"}


async def test_an_empty_commit_is_no_delivery(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        stage.cli('git commit -q --allow-empty -m "Nothing"')

        detail = await fleet.until(await fleet.submit(), S.NEEDS_HUMAN)

        assert detail.task.reason == Reason.NO_CHANGES
        assert set(stage.heads()) == {"main"}


async def test_a_branch_that_equals_its_base_is_not_taken_for_a_merged_one(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        stage.cli(f"tell started; wait_for go; {COMMIT}")
        task = await fleet.submit()
        await fleet.until(task, S.RUNNING)

        stage.git("push", "-q", "origin", f"main:refs/heads/{FIRST}")
        await fleet.fleet.watch.look()

        assert (await fleet.fleet.tasks.show(task)).task.status is S.RUNNING
        stage.tell("go")
        detail = await fleet.until(task, S.NEEDS_HUMAN)
        assert detail.task.reason == Reason.FOREIGN_PUSH


# -- branches of somebody else -------------------------------------------------------------------


async def test_a_branch_that_was_there_before_the_first_attempt_is_left_alone(
    tmp_path: Path,
) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        theirs = stage.push(FIRST, name="theirs.txt", text="mine\n")

        task = await fleet.submit()
        detail = await fleet.until(task, S.NEEDS_HUMAN)

        assert detail.task.reason == Reason.FOREIGN_PUSH
        assert FIRST in detail.task.message
        assert "delete or rename" in detail.task.message
        assert stage.heads()[FIRST] == theirs
        stage.git("push", "-q", "origin", f":refs/heads/{FIRST}")
        await fleet.retry(task)
        await fleet.becomes(task, S.REVIEW_PENDING)


async def test_a_push_during_an_attempt_is_neither_overwritten_nor_lost(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        stage.cli(f"tell started; wait_for go; {COMMIT}")
        task = await fleet.submit()
        await stage.told("started")
        theirs = stage.push(FIRST, name="theirs.txt", text="mine\n")
        stage.tell("go")

        detail = await fleet.until(task, S.NEEDS_HUMAN)

        assert detail.task.reason == Reason.FOREIGN_PUSH
        assert "the work stays in" in detail.task.message
        assert stage.heads()[FIRST] == theirs


async def test_after_a_foreign_push_a_retry_goes_on_from_it(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        stage.cli(f"tell started; wait_for go; {COMMIT}")
        task = await fleet.submit()
        await stage.told("started")
        theirs = stage.push(FIRST, name="theirs.txt", text="mine\n")
        stage.tell("go")
        await fleet.until(task, S.NEEDS_HUMAN)

        await fleet.retry(task)
        detail = await fleet.becomes(task, S.REVIEW_PENDING)

        assert stage.git("merge-base", theirs, FIRST, at=stage.origin) == theirs
        assert detail.task.view.head == stage.heads()[FIRST]


# -- a remote that is away -----------------------------------------------------------------------


async def test_a_remote_that_is_away_before_the_start_is_waited_for(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        stage.take_away()
        task = await fleet.submit()
        await _has_ended(fleet, task, attempts=2)

        stage.bring_back()
        detail = await fleet.until(task, S.REVIEW_PENDING)

        assert detail.attempts[0].reason is Reason.WORKSPACE_ERROR
        assert detail.task.tries == 0


async def test_a_remote_that_stays_away_is_a_question_after_a_while(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        stage.take_away()
        task = await fleet.submit()

        detail = await fleet.until(task, S.NEEDS_HUMAN)

        assert detail.task.reason == Reason.WORKSPACE_ERROR
        assert "6 times in a row" in detail.task.message
        assert str(stage.origin) in detail.task.message
        stage.bring_back()
        await fleet.retry(task)
        await fleet.becomes(task, S.REVIEW_PENDING)


async def test_work_that_could_not_be_pushed_is_pushed_by_the_next_attempt(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        stage.cli(f"tell started; wait_for go; [ -e answer.txt ] || {{ {COMMIT}; }}")
        task = await fleet.submit()
        await stage.told("started")
        stage.take_away()
        stage.tell("go")
        first = await _has_ended(fleet, task, attempts=1)

        stage.bring_back()
        detail = await fleet.until(task, S.REVIEW_PENDING)

        assert first.attempts[0].reason is Reason.PUSH_FAILED
        assert detail.task.tries == 0
        assert stage.git("show", f"{FIRST}:answer.txt", at=stage.origin).count("\n") == 0


async def test_a_remote_that_goes_away_after_the_push_is_asked_until_it_is_back(
    tmp_path: Path,
) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        hook = stage.origin / "hooks" / "post-update"
        hook.write_text(f"#!/bin/sh\nmv {stage.origin} {tmp_path}/away.git\n")
        hook.chmod(0o755)
        task = await fleet.submit()
        await eventually_async(_exists(tmp_path / "away.git"), 20, "the remote to be away")
        (tmp_path / "away.git/hooks/post-update").unlink()
        assert (await fleet.fleet.tasks.show(task)).task.status is S.RUNNING

        stage.bring_back()
        detail = await fleet.until(task, S.REVIEW_PENDING)

        assert len(detail.attempts) == 1


async def test_a_merge_waits_for_a_remote_that_is_away(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        task = await fleet.submit()
        await fleet.until(task, S.REVIEW_PENDING)
        stage.take_away()

        with pytest.raises(Unavailable, match=REPO):
            await fleet.merge(task)

        stage.bring_back()
        await fleet.until(task, S.REVIEW_PENDING, S.COMPLETED)
        await fleet.becomes(task, S.COMPLETED)
        assert stage.git("log", "--merges", "--oneline", "main", at=stage.origin).count("\n") == 0


async def test_a_merge_by_hand_is_found_when_the_remote_is_back(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        task = await fleet.submit()
        await fleet.until(task, S.REVIEW_PENDING)
        stage.git("fetch", "-q", "origin")
        stage.git("checkout", "-q", "--detach", "origin/main")
        stage.git("merge", "-q", "--no-ff", "-m", "by hand", f"origin/{FIRST}")
        stage.take_away()
        await fleet.fleet.watch.look()
        stage.bring_back()

        stage.git("push", "-q", "origin", "HEAD:main")

        await fleet.until(task, S.REVIEW_PENDING, S.COMPLETED)
        await fleet.becomes(task, S.COMPLETED)


# -- a base branch that is missing ---------------------------------------------------------------


async def test_a_base_that_is_named_and_not_there_is_refused_at_submit(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        with pytest.raises(InvalidInput) as refused:
            await fleet.submit(base="develop")

        assert refused.value.path == "$.base"
        assert "develop" in refused.value.message
        assert "main" in refused.value.remedy


async def test_a_base_is_believed_while_the_remote_is_away(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        stage.take_away()

        task = await fleet.submit(base="develop")

        stage.bring_back()
        detail = await fleet.until(task, S.FAILED)
        assert detail.task.reason == Reason.INVALID_TASK


async def test_a_configured_base_that_is_missing_fails_the_task_with_a_remedy(
    tmp_path: Path,
) -> None:
    async with composed(tmp_path) as stage:
        stage.repos = {REPO: "trunk"}
        async with stage.running() as fleet:
            task = await fleet.submit()
            detail = await fleet.until(task, S.FAILED)

            assert detail.task.reason == Reason.INVALID_TASK
            assert "no branch trunk; create it" in detail.task.message
            stage.git("push", "-q", "origin", "main:refs/heads/trunk")
            await fleet.retry(task)
            await fleet.becomes(task, S.REVIEW_PENDING)


async def test_a_base_that_is_gone_at_the_merge_changes_nothing(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage:
        stage.git("push", "-q", "origin", "main:refs/heads/trunk")
        stage.repos = {REPO: "trunk"}
        async with stage.running() as fleet:
            task = await fleet.submit()
            await fleet.until(task, S.REVIEW_PENDING)
            stage.git("push", "-q", "origin", ":refs/heads/trunk")

            with pytest.raises(Exception, match="no branch trunk"):
                await fleet.merge(task)

            detail = await fleet.until(task, S.REVIEW_PENDING)
            assert detail.task.view.head == stage.heads()[FIRST]
            stage.git("push", "-q", "origin", "main:refs/heads/trunk")
            await fleet.merge(task)
            await fleet.until(task, S.COMPLETED)


async def test_a_repository_that_is_not_configured_is_refused_at_submit(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        with pytest.raises(InvalidInput) as refused:
            await fleet.submit(repo="local/other")

        assert refused.value.path == "$.repo"
        assert REPO in refused.value.remedy


# -- merges --------------------------------------------------------------------------------------


async def test_a_conflict_names_the_files_and_changes_nothing_and_a_push_resolves_it(
    tmp_path: Path,
) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        task = await fleet.submit()
        before = await fleet.until(task, S.REVIEW_PENDING)
        stage.push("main", name="answer.txt", text="another answer\n")
        heads = stage.heads()

        with pytest.raises(MergeConflict, match=r"conflicts in answer\.txt"):
            await fleet.merge(task)

        detail = await fleet.until(task, S.REVIEW_PENDING)
        assert stage.heads() == heads
        assert detail.task.view.head == before.task.view.head
        stage.git("fetch", "-q", "origin")
        stage.git("checkout", "-q", "--detach", f"origin/{FIRST}")
        stage.git("merge", "-q", "-s", "ours", "-m", "Resolve", "origin/main")
        stage.commit("answer.txt", "both answers\n")
        stage.git("push", "-q", "origin", f"HEAD:{FIRST}")
        await fleet.fleet.watch.look()
        await fleet.merge(task)
        await fleet.until(task, S.COMPLETED)
        assert stage.git("show", "main:answer.txt", at=stage.origin) == "both answers"


@pytest.mark.parametrize("how", ["squash", "rebase", "fast-forward", "merge"])
async def test_a_merge_by_hand_completes_the_task(tmp_path: Path, how: str) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        task = await fleet.submit()
        await fleet.until(task, S.REVIEW_PENDING)
        if how != "fast-forward":
            stage.push("main", name="other.txt", text="meanwhile\n")
        stage.git("fetch", "-q", "origin")
        stage.git("checkout", "-q", "--detach", "origin/main")

        if how == "squash":
            stage.git("merge", "-q", "--squash", f"origin/{FIRST}")
            stage.git("commit", "-q", "-m", "squashed")
        elif how == "rebase":
            stage.git("cherry-pick", f"origin/{FIRST}")
        else:
            stage.git("merge", "-q", "--no-edit", f"origin/{FIRST}")
        stage.git("push", "-q", "origin", "HEAD:main")

        detail = await fleet.becomes(task, S.COMPLETED)
        assert detail.task.view.merged_sha == stage.heads()["main"]


async def test_a_merge_and_the_deletion_of_the_branch_at_once_complete_the_task(
    tmp_path: Path,
) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        task = await fleet.submit()
        await fleet.until(task, S.REVIEW_PENDING)
        stage.git("fetch", "-q", "origin")
        stage.git("checkout", "-q", "--detach", "origin/main")
        stage.git("merge", "-q", "--squash", f"origin/{FIRST}")
        stage.git("commit", "-q", "-m", "squashed")

        stage.git("push", "-q", "--atomic", "origin", "HEAD:main", f":{FIRST}")

        await fleet.becomes(task, S.COMPLETED)


async def test_a_deleted_branch_cancels_the_task_and_a_new_push_reopens_it(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        task = await fleet.submit()
        detail = await fleet.until(task, S.REVIEW_PENDING)
        head = detail.task.view.head
        stage.git("fetch", "-q", "origin")

        stage.git("push", "-q", "origin", f":refs/heads/{FIRST}")
        gone = await fleet.becomes(task, S.CANCELLED)
        stage.git("push", "-q", "origin", f"{head}:refs/heads/{FIRST}")

        assert gone.task.reason == "branch_gone"
        await fleet.becomes(task, S.REVIEW_PENDING)
        await fleet.merge(task)
        await fleet.until(task, S.COMPLETED)


async def test_a_task_whose_branch_is_gone_begins_a_new_one_when_it_is_retried(
    tmp_path: Path,
) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        task = await fleet.submit()
        await fleet.until(task, S.REVIEW_PENDING)
        stage.git("push", "-q", "origin", f":refs/heads/{FIRST}")
        await fleet.becomes(task, S.CANCELLED)

        await fleet.retry(task)

        detail = await fleet.becomes(task, S.REVIEW_PENDING)
        assert detail.branch_name == f"{FIRST}.2"
        assert set(stage.heads()) == {"main", f"{FIRST}.2"}


async def test_a_rewritten_branch_is_reviewed_as_it_is_now(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        task = await fleet.submit()
        await fleet.until(task, S.REVIEW_PENDING)
        stage.git("checkout", "-q", "--detach", "origin/main")
        head = stage.commit("answer.txt", "rewritten\n")
        stage.git("push", "-q", "--force", "origin", f"HEAD:refs/heads/{FIRST}")

        await fleet.fleet.watch.look()
        await fleet.merge(task)

        await fleet.until(task, S.COMPLETED)
        assert stage.git("merge-base", "main", head, at=stage.origin) == head


# -- reviews -------------------------------------------------------------------------------------


async def test_the_review_limit_asks_a_person_whose_word_resets_it(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        task = await fleet.submit(review_limit=1)
        await fleet.until(task, S.REVIEW_PENDING)
        await fleet.send_back(task, "Once more, with feeling.")
        await fleet.becomes(task, S.REVIEW_PENDING)
        assert "with feeling" in (stage.signals / "prompt").read_text()

        limited = await fleet.send_back(task, "And again.")
        again = await fleet.send_back(task, "Yes, really.")

        assert limited.task.status is S.NEEDS_HUMAN
        assert limited.task.reason == "review_limit"
        assert again.task.status is S.QUEUED
        detail = await fleet.becomes(task, S.REVIEW_PENDING)
        assert len(detail.attempts) == 3
        assert "Yes, really." in (stage.signals / "prompt").read_text()
        await fleet.merge(task)
        await fleet.until(task, S.COMPLETED)


async def test_a_revision_that_changes_nothing_is_a_question_and_the_branch_stays(
    tmp_path: Path,
) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        task = await fleet.submit()
        before = await fleet.until(task, S.REVIEW_PENDING)
        stage.cli("echo there is nothing to change")

        await fleet.send_back(task, "Is this right?")
        detail = await fleet.becomes(task, S.NEEDS_HUMAN)

        assert detail.task.reason == Reason.NO_CHANGES
        assert stage.heads()[FIRST] == before.task.view.head


# -- without a branch ----------------------------------------------------------------------------


async def test_a_task_without_a_deliverable_pushes_nothing(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        stage.cli(f"{COMMIT}; echo the answer is 42")

        detail = await fleet.until(await fleet.submit(deliverable="none"), S.COMPLETED)

        assert detail.task.message == "the answer is 42"
        assert set(stage.heads()) == {"main"}


async def test_a_task_without_a_deliverable_needs_no_remote_at_its_end(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage, stage.running() as fleet:
        stage.cli("tell started; wait_for go; echo done")
        task = await fleet.submit(deliverable="none")
        await stage.told("started")
        stage.take_away()

        stage.tell("go")

        await fleet.until(task, S.COMPLETED)


# -- several on one remote -----------------------------------------------------------------------


async def test_one_remote_that_is_away_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    async with composed(tmp_path) as stage:
        stage.extra = f'[repos."local/gone"]\nurl = "{tmp_path}/nowhere.git"\n'
        async with stage.running() as fleet:
            gone = await fleet.submit(repo="local/gone")
            await _has_ended(fleet, gone, attempts=1)

            task = await fleet.submit()
            await fleet.until(task, S.REVIEW_PENDING)
            await fleet.merge(task)

            await fleet.until(task, S.COMPLETED)


def _exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def there() -> bool:
        return path.exists()

    return there


async def _has_ended(fleet: Running, task: int, *, attempts: int) -> TaskDetail:
    async def ended() -> TaskDetail | None:
        detail = await fleet.fleet.tasks.show(task)
        done = [a for a in detail.attempts if a.outcome is not None]
        return detail if len(done) >= attempts else None

    detail = await eventually_async(ended, 20, f"{attempts} attempts to end")
    assert detail is not None
    return detail

"""Merging by command: it happens once, whole, and on the commits that were meant."""

from pathlib import Path

import pytest

from agent_fleet.core.errors import Conflict, InvalidInput, MergeConflict, NotFound, Unavailable
from agent_fleet.forges.forge import Forge, RepoRef
from agent_fleet.forges.git import GitForge
from tests.forges.remote import BRANCH, FLEET, Remote, is_merged, make_task
from tests.forges.wrapped import calls, wrap_git


async def merge(forge: Forge, remote: Remote, head: str, repo: RepoRef | None = None) -> str:
    return await forge.merge(
        repo or remote.repo,
        branch=BRANCH,
        expected_head=head,
        base="main",
        message="Merge the fix\n\nof task 7",
        identity=FLEET,
    )


async def test_a_merge_makes_a_commit_with_both_parents(forge: GitForge, remote: Remote) -> None:
    base = remote.head()
    head = remote.branch(("new.txt", "new\n"))

    made = await merge(forge, remote, head)

    assert remote.there("main") == made
    shown = remote.git("show", "-s", "--format=%P|%an|%ce|%s", made, at=remote.bare)
    assert shown == f"{base} {head}|Fleet|fleet@example.org|Merge the fix"
    assert remote.git("show", f"{made}:new.txt", at=remote.bare) == "new"
    assert await is_merged(forge, remote, make_task(base))


async def test_a_second_merge_of_the_same_head_names_the_first(
    forge: GitForge, remote: Remote
) -> None:
    head = remote.branch(("new.txt", "new\n"))
    made = await merge(forge, remote, head)
    remote.git("pull", "-q", "--ff-only", "origin", "main")
    later = remote.on_main("later.txt", "later\n")

    again = await merge(forge, remote, head)

    assert again == made
    assert remote.there("main") == later


async def test_what_is_merged_needs_no_branch_any_more(forge: GitForge, remote: Remote) -> None:
    head = remote.branch(("new.txt", "new\n"))
    made = await merge(forge, remote, head)
    remote.push(f":{BRANCH}")

    assert await merge(forge, remote, head) == made


async def test_a_conflict_names_the_files_and_changes_nothing(
    forge: GitForge, remote: Remote
) -> None:
    head = remote.branch(("app.txt", "mine\n"), ("fine.txt", "fine\n"))
    base = remote.on_main("app.txt", "theirs\n")

    with pytest.raises(MergeConflict, match=r"conflicts in app\.txt$"):
        await merge(forge, remote, head)

    assert (remote.there("main"), remote.there(BRANCH)) == (base, head)


async def test_another_head_than_the_expected_is_not_merged(
    forge: GitForge, remote: Remote
) -> None:
    base = remote.head()
    old = remote.branch(("new.txt", "new\n"))
    remote.git("checkout", "-q", BRANCH)
    new = remote.commit("more.txt", "more\n")
    remote.push(BRANCH)

    with pytest.raises(Conflict, match=f"{BRANCH} is at {new[:12]} and not at {old[:12]}"):
        await merge(forge, remote, old)

    assert remote.there("main") == base


async def test_a_branch_that_is_gone_is_said_to_be_gone(forge: GitForge, remote: Remote) -> None:
    head = remote.branch(("new.txt", "new\n"))
    remote.push(f":{BRANCH}")

    with pytest.raises(Conflict, match="is gone from the remote"):
        await merge(forge, remote, head)


async def test_a_missing_base_is_named(forge: GitForge, remote: Remote) -> None:
    head = remote.branch(("new.txt", "new\n"))
    remote.git("update-ref", "-d", "refs/heads/main", at=remote.bare)

    with pytest.raises(NotFound, match="local/demo has no branch main"):
        await merge(forge, remote, head)


async def test_histories_with_nothing_in_common_do_not_merge(
    forge: GitForge, remote: Remote
) -> None:
    remote.git("checkout", "-q", "--orphan", BRANCH)
    head = remote.commit("new.txt", "new\n")
    remote.push(BRANCH)

    with pytest.raises(Conflict, match="no common history"):
        await merge(forge, remote, head)


async def test_a_base_that_moves_during_the_merge_is_merged_as_it_is_then(
    tmp_path: Path, remote: Remote
) -> None:
    head = remote.branch(("new.txt", "new\n"))
    other = remote.commit("other.txt", "other\n")
    once = f"cd {remote.work} && env -u GIT_DIR git push -q origin {other}:refs/heads/main"
    environ = wrap_git(
        tmp_path, f'[ "$1" = push ] && mkdir {tmp_path}/raced 2>/dev/null && ({once})'
    )
    forge = GitForge(tmp_path / "mirrors", environ=environ)

    made = await merge(forge, remote, head)

    assert calls(tmp_path).count("push") == 2
    assert remote.git("show", "-s", "--format=%P", made, at=remote.bare) == f"{other} {head}"
    assert remote.there("main") == made


async def test_a_base_that_never_stands_still_is_given_up_on(
    tmp_path: Path, remote: Remote
) -> None:
    head = remote.branch(("new.txt", "new\n"))
    more = (
        f"cd {remote.work} && unset GIT_DIR && git commit -q --allow-empty -m x "
        "&& git push -q origin main"
    )
    settings = " ".join(f"{name}='{value}'" for name, value in remote.environ.items())
    environ = wrap_git(tmp_path, f'[ "$1" = push ] && (export {settings}; {more})')
    forge = GitForge(tmp_path / "mirrors", environ=environ)

    with pytest.raises(Unavailable, match="kept moving: 5 merges were overtaken"):
        await merge(forge, remote, head)

    assert remote.there("main") == remote.head()


async def test_a_push_whose_answer_is_lost_is_found_to_have_worked(
    tmp_path: Path, remote: Remote
) -> None:
    head = remote.branch(("new.txt", "new\n"))
    environ = wrap_git(tmp_path, '[ "$1" = push ] && { env PATH="$PATH" git "$@"; exit 1; }')
    forge = GitForge(tmp_path / "mirrors", environ=environ)

    made = await merge(forge, remote, head)

    assert remote.there("main") == made
    assert calls(tmp_path).count("push") == 1


async def test_a_checked_out_base_is_refused_with_the_remedy(
    forge: GitForge, remote: Remote
) -> None:
    head = remote.branch(("new.txt", "new\n"))
    repo = RepoRef(name="local/work", url=str(remote.work), base="main")

    with pytest.raises(Conflict, match=r"checked out.*receive\.denyCurrentBranch updateInstead"):
        await merge(forge, remote, head, repo)

    assert remote.git("status", "--porcelain") == ""


async def test_a_protected_base_is_refused_in_the_words_of_the_remote(
    forge: GitForge, remote: Remote
) -> None:
    head = remote.branch(("new.txt", "new\n"))
    base = remote.there("main")
    hook = remote.bare / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho main is closed >&2\nexit 1\n")
    hook.chmod(0o755)

    with pytest.raises(Conflict, match=r"pre-receive hook declined.*main is closed"):
        await merge(forge, remote, head)

    assert remote.there("main") == base


@pytest.mark.parametrize("url", ["ext::sh -c true", "--upload-pack=x", "https://u:p@h/x.git"])
async def test_an_address_that_is_none_is_refused(forge: GitForge, url: str) -> None:
    with pytest.raises(InvalidInput, match=r"repos\.local/demo\.url") as refused:
        await forge.heads(RepoRef(name="local/demo", url=url, base="main"))

    assert "u:p" not in str(refused.value)

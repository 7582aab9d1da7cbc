"""A workspace begins where the remote is, or says why it cannot."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from agent_fleet.core.errors import AttemptFailed
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Grant
from agent_fleet.execution.local import LocalMachine
from agent_fleet.execution.workspace import inspect_work
from tests.support.parts import require
from tests.support.remotes import AGENT, BRANCH, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def failure(bench: Bench, grant: Grant) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as failed:
        await bench.prepare(grant)
    return failed.value


async def test_a_new_workspace_is_on_its_branch_at_the_head_of_the_base(bench: Bench) -> None:
    main = bench.heads()["main"]

    made = await bench.prepare()

    assert (made.base_sha, made.start_sha, made.remote_head) == (main, main, None)
    assert bench.git("rev-parse", "HEAD", at=made.path) == main
    assert bench.git("branch", "--show-current", at=made.path) == BRANCH
    assert bench.git("status", "--porcelain", at=made.path) == ""
    assert bench.git("remote", "get-url", "origin", at=made.path) == str(bench.remote)


async def test_the_agents_own_commits_have_the_identity_of_the_grant(bench: Bench) -> None:
    made = await bench.prepare()
    Path(made.path, "a.txt").write_text("a\n")

    for name in list(bench.environment):
        if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER")):
            del bench.environment[name]
    bench.git("add", "a.txt", at=made.path)
    bench.git("commit", "-q", "-m", "a", at=made.path)

    author = bench.git("log", "-1", "--format=%an <%ae>", at=made.path)
    assert author == f"{AGENT.name} <{AGENT.email}>"


async def test_a_workspace_has_the_tags_and_can_be_fetched_and_pushed_by_hand(
    bench: Bench,
) -> None:
    bench.git("tag", "v1", at=bench.clone)
    bench.git("push", "-q", "origin", "v1", at=bench.clone)

    made = await bench.prepare()

    assert bench.git("describe", "--tags", at=made.path) == "v1"
    bench.git("fetch", "-q", at=made.path)
    bench.git("fsck", "--strict", at=made.path)


async def test_the_same_attempt_prepared_twice_is_prepared_once(bench: Bench) -> None:
    first = await bench.prepare()
    head = bench.commit(first.path, "a.txt", "a\n")

    second = await bench.prepare()

    assert second == first
    assert bench.git("rev-parse", "HEAD", at=second.path) == head
    assert bench.kept(second) == []


async def test_tasks_prepared_at_once_share_one_cache(bench: Bench) -> None:
    grants = [bench.grant(task=n, branch=f"task/{n}-x") for n in range(1, 7)]

    made = await asyncio.gather(*(bench.prepare(grant) for grant in grants))

    assert len({workspace.path for workspace in made}) == 6
    assert len(list(Path(bench.root, "cache").iterdir())) == 1
    assert list(Path(bench.root, "lock").iterdir()) == []
    assert list(Path(bench.root, "tmp").iterdir()) == []


async def test_many_fetches_leave_few_packs(bench: Bench) -> None:
    await bench.prepare()
    (cache,) = Path(bench.root, "cache").iterdir()
    blob = b""
    for n in range(51):
        blob = subprocess.run(
            ["git", "hash-object", "-w", "--stdin"],
            input=f"{n}".encode(),
            cwd=cache,
            env=bench.environment,
            capture_output=True,
            check=True,
            timeout=10,
        ).stdout
        subprocess.run(
            ["git", "pack-objects", "-q", "objects/pack/pack"],
            input=blob,
            cwd=cache,
            env=bench.environment,
            capture_output=True,
            check=True,
            timeout=10,
        )

    bench.push_as_somebody("b.txt", "b\n", branch="main")
    made = await bench.prepare(bench.grant(task=2, branch="task/2-x"))

    assert len(list(cache.glob("objects/pack/*.pack"))) == 1
    assert bench.git("cat-file", "-t", blob.decode().strip(), at=cache) == "blob"
    bench.git("fsck", at=made.path)


async def test_a_revision_on_another_host_starts_at_the_branch_on_the_remote(
    bench: Bench,
) -> None:
    pushed = bench.push_as_somebody("a.txt", "a\n", branch=BRANCH)

    made = await bench.prepare(bench.grant(attempt=2, start_head=pushed))

    assert (made.start_sha, made.remote_head) == (pushed, pushed)
    assert bench.git("rev-parse", "HEAD", at=made.path) == pushed


async def test_commits_that_somebody_added_to_the_branch_are_adopted(bench: Bench) -> None:
    known = bench.push_as_somebody("a.txt", "a\n", branch=BRANCH)
    newer = bench.push_as_somebody("b.txt", "b\n", branch=BRANCH, base=BRANCH)

    made = await bench.prepare(bench.grant(attempt=2, start_head=known))

    assert made.start_sha == newer
    assert bench.git("rev-parse", "HEAD", at=made.path) == newer


async def test_a_branch_that_was_rewritten_by_somebody_is_left_alone(bench: Bench) -> None:
    known = bench.push_as_somebody("a.txt", "a\n", branch=BRANCH)
    bench.git("push", "-q", "origin", f":{BRANCH}", at=bench.clone)
    other = bench.push_as_somebody("c.txt", "c\n", branch=BRANCH)

    failed = await failure(bench, bench.grant(attempt=2, start_head=known))

    assert failed.reason is Reason.FOREIGN_PUSH
    assert known in failed.message
    assert other in failed.message


async def test_a_branch_of_someone_else_is_left_alone(bench: Bench) -> None:
    theirs = bench.push_as_somebody("a.txt", "a\n", branch=BRANCH)

    failed = await failure(bench, bench.grant())

    assert failed.reason is Reason.FOREIGN_PUSH
    assert BRANCH in failed.message
    assert theirs in failed.message
    assert bench.heads()[BRANCH] == theirs


async def test_a_branch_that_is_gone_is_said_to_be(bench: Bench) -> None:
    known = bench.push_as_somebody("a.txt", "a\n", branch=BRANCH)
    bench.git("push", "-q", "origin", f":{BRANCH}", at=bench.clone)

    failed = await failure(bench, bench.grant(attempt=2, start_head=known))

    assert failed.reason is Reason.FOREIGN_PUSH
    assert "branch gone" in failed.message


async def test_a_missing_base_makes_the_task_invalid(bench: Bench) -> None:
    failed = await failure(bench, bench.grant(base="develop"))

    assert failed.reason is Reason.INVALID_TASK
    assert "no branch develop" in failed.message


async def test_an_empty_repository_makes_the_task_invalid(bench: Bench) -> None:
    empty = bench.directory / "empty.git"
    bench.git("init", "-q", "--bare", str(empty), at=bench.directory)

    failed = await failure(bench, bench.grant(url=str(empty)))

    assert failed.reason is Reason.INVALID_TASK
    assert "is empty" in failed.message


async def test_an_address_that_runs_a_command_makes_the_task_invalid(bench: Bench) -> None:
    sentinel = bench.directory / "ran"

    failed = await failure(bench, bench.grant(url=f"ext::touch {sentinel}"))

    assert failed.reason is Reason.INVALID_TASK
    assert not sentinel.exists()


async def test_a_remote_that_is_away_and_comes_back_costs_nothing(bench: Bench) -> None:
    made = await bench.prepare()
    head = bench.commit(made.path, "a.txt", "a\n")
    Path(made.path, "b.txt").write_text("b\n")
    away = bench.remote.rename(bench.directory / "away.git")

    failed = await failure(bench, bench.grant(attempt=2))
    text = Path(made.path, "b.txt").read_text()
    away.rename(bench.remote)
    again = await bench.prepare(bench.grant(attempt=2))

    assert failed.reason is Reason.WORKSPACE_ERROR
    assert "does not appear to be a git repository" in failed.message
    assert text == "b\n"
    assert bench.git("rev-parse", "HEAD", at=again.path) == head
    assert len(bench.kept(again)) == 1


async def test_a_branch_that_becomes_a_directory_of_branches_can_be_fetched(
    bench: Bench,
) -> None:
    bench.push_as_somebody("a.txt", "a\n", branch="release")
    await bench.prepare(bench.grant(base="release"))
    bench.git("push", "-q", "origin", ":release", at=bench.clone)
    head = bench.push_as_somebody("b.txt", "b\n", branch="release/2")

    made = await bench.prepare(bench.grant(task=2, base="release/2", branch="task/2-x"))

    assert made.base_sha == head


async def test_a_full_disk_is_said_to_be_full(bench: Bench) -> None:
    stub = bench.directory / "bin"
    stub.mkdir()
    git = stub / "git"
    git.write_text("#!/bin/sh\necho 'fatal: write error: No space left on device' >&2\nexit 128\n")
    git.chmod(0o755)
    bench.machine = LocalMachine(environment={"PATH": f"{stub}:{bench.environment['PATH']}"})

    failed = await failure(bench, bench.grant())

    assert failed.reason is Reason.DISK_FULL


@pytest.mark.parts
@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
async def test_every_posix_shell_will_do(bench: Bench, shell: str) -> None:
    name = bench.directory / "bin" / "sh"
    name.parent.mkdir()
    name.symlink_to(require(shell))
    bench.machine = LocalMachine(environment=bench.environment, shell=str(name))

    made = await bench.prepare()
    bench.commit(made.path, "a.txt", "a\n")
    Path(made.path, "b.txt").write_text("b\n")
    again = await bench.prepare(bench.grant(attempt=2))
    head = await bench.push(again)

    assert bench.heads()[BRANCH] == head
    assert (await inspect_work(bench.machine, again)).commits == 1


@pytest.mark.parts
def test_the_scripts_are_clean_to_shellcheck() -> None:
    shellcheck = require("shellcheck")
    scripts = Path(__file__).parents[2] / "src" / "agent_fleet" / "execution" / "scripts"
    names = ("workspace", "remote", "prepare", "leftovers", "inspect", "push", "collect")

    found = subprocess.run(
        [shellcheck, "-s", "sh", *(scripts / f"{name}.sh" for name in names)],
        capture_output=True,
        check=False,
        timeout=50,
    )

    assert found.stdout == b""

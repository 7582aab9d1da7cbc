"""A push moves the task's branch from where it is expected, and touches nothing else."""

from pathlib import Path

import pytest

from agent_fleet.core.errors import AttemptFailed
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Credentials
from agent_fleet.execution import workspace as workspaces
from agent_fleet.execution.local import LocalMachine
from agent_fleet.execution.workspace import Workspace
from tests.support.githttp import GitHttp, serve
from tests.support.remotes import BRANCH, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def failure(bench: Bench, made: Workspace) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as failed:
        await bench.push(made)
    return failed.value


async def test_the_head_is_pushed_and_nothing_else(bench: Bench) -> None:
    host = bench.directory / "home" / ".gitconfig"
    host.write_text("[push]\n\tfollowTags = true\n\trecurseSubmodules = on-demand\n")
    made = await bench.prepare()
    main = bench.heads()["main"]
    head = bench.commit(made.path, "a.txt", "a\n")
    bench.git("tag", "-a", "-m", "v9", "v9", at=made.path)
    bench.git("branch", "other", at=made.path)

    pushed = await bench.push(made)

    assert pushed == head
    assert bench.heads() == {"main": main, BRANCH: head}


async def test_pushing_twice_is_pushing_once(bench: Bench) -> None:
    made = await bench.prepare()
    head = bench.commit(made.path, "a.txt", "a\n")

    first = await bench.push(made)
    second = await bench.push(made)

    assert (first, second) == (head, head)


async def test_a_later_push_of_the_same_attempt_follows_its_earlier_one(bench: Bench) -> None:
    made = await bench.prepare()
    bench.commit(made.path, "a.txt", "a\n")
    await bench.push(made)
    head = bench.commit(made.path, "b.txt", "b\n")

    pushed = await bench.push(made)

    assert bench.heads()[BRANCH] == pushed == head


async def test_a_detached_head_is_the_work_and_the_branch_follows_it(bench: Bench) -> None:
    made = await bench.prepare()
    before = bench.commit(made.path, "a.txt", "a\n")
    bench.git("checkout", "-q", "--detach", made.start_sha, at=made.path)
    head = bench.commit(made.path, "b.txt", "b\n")

    pushed = await bench.push(made)

    assert pushed == head
    assert bench.git("branch", "--show-current", at=made.path) == BRANCH
    assert bench.kept(made) == [before]


async def test_a_branch_that_somebody_took_is_not_overwritten(bench: Bench) -> None:
    made = await bench.prepare()
    mine = bench.commit(made.path, "a.txt", "a\n")
    theirs = bench.push_as_somebody("b.txt", "b\n", branch=BRANCH)

    failed = await failure(bench, made)

    assert failed.reason is Reason.FOREIGN_PUSH
    assert mine in failed.message
    assert theirs in failed.message
    assert bench.heads()[BRANCH] == theirs


async def test_a_branch_that_somebody_moved_is_not_overwritten(bench: Bench) -> None:
    known = bench.push_as_somebody("a.txt", "a\n", branch=BRANCH)
    made = await bench.prepare(bench.grant(attempt=2, start_head=known))
    bench.commit(made.path, "b.txt", "b\n")
    theirs = bench.push_as_somebody("c.txt", "c\n", branch=BRANCH, base=BRANCH)

    failed = await failure(bench, made)

    assert failed.reason is Reason.FOREIGN_PUSH
    assert bench.heads()[BRANCH] == theirs


async def test_a_rebased_branch_may_replace_what_is_expected_there(bench: Bench) -> None:
    known = bench.push_as_somebody("a.txt", "a\n", branch=BRANCH)
    made = await bench.prepare(bench.grant(attempt=2, start_head=known))
    bench.git("reset", "-q", "--hard", made.base_sha, at=made.path)
    head = bench.commit(made.path, "a.txt", "better\n")

    await bench.push(made)

    assert bench.heads()[BRANCH] == head


async def test_a_remote_that_refuses_says_why(bench: Bench) -> None:
    made = await bench.prepare()
    bench.commit(made.path, "a.txt", "a\n")
    hook = bench.remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'closed on Sundays' >&2\nexit 1\n")
    hook.chmod(0o755)

    failed = await failure(bench, made)

    assert failed.reason is Reason.PUSH_FAILED
    assert "closed on Sundays" in failed.message


async def test_a_remote_that_is_away_is_a_failed_push_that_can_be_repeated(bench: Bench) -> None:
    made = await bench.prepare()
    head = bench.commit(made.path, "a.txt", "a\n")
    away = bench.remote.rename(bench.directory / "away.git")

    failed = await failure(bench, made)
    away.rename(bench.remote)
    await bench.push(made)

    assert failed.reason is Reason.PUSH_FAILED
    assert bench.heads()[BRANCH] == head


async def test_credentials_reach_the_server_and_no_file_or_command_line(bench: Bench) -> None:
    bench.git("config", "http.receivepack", "true", at=bench.remote)
    trace = bench.directory / "trace"
    machine = LocalMachine(environment={**bench.environment, "GIT_TRACE": str(trace)})
    with serve(GitHttp(bench.directory, bench.environment)) as server:
        given = Credentials(username=server.username, token=server.token)
        grant = bench.grant(url=f"{server.url}/remote.git")

        made = await workspaces.prepare(
            machine, root=bench.root, grant=grant, credentials=given, timeout_s=60
        )
        head = bench.commit(made.path, "a.txt", "a\n")
        await workspaces.push(machine, made, credentials=given, timeout_s=60)

    assert bench.heads()[BRANCH] == head
    assert server.expected in server.seen
    assert "git-remote-http" in trace.read_text()
    written = [path for path in Path(bench.directory).rglob("*") if path.is_file()]
    assert [path for path in written if server.token.encode() in path.read_bytes()] == []


async def test_wrong_credentials_are_said_to_be_and_not_shown(bench: Bench) -> None:
    with serve(GitHttp(bench.directory, bench.environment)) as server:
        grant = bench.grant(url=f"{server.url}/remote.git")
        given = Credentials(username=server.username, token="wr0ng-t0ken")

        with pytest.raises(AttemptFailed) as failed:
            await workspaces.prepare(
                bench.machine, root=bench.root, grant=grant, credentials=given, timeout_s=60
            )

    assert failed.value.reason is Reason.WORKSPACE_ERROR
    assert "Authentication failed" in failed.value.message
    assert "wr0ng-t0ken" not in failed.value.message


async def test_credentials_do_not_follow_a_redirect_to_another_server(bench: Bench) -> None:
    with (
        serve(GitHttp(bench.directory, bench.environment)) as other,
        serve(GitHttp(bench.directory, bench.environment, redirect=other.url)) as server,
    ):
        grant = bench.grant(url=f"{server.url}/remote.git")
        given = Credentials(username=server.username, token=server.token)

        with pytest.raises(AttemptFailed):
            await workspaces.prepare(
                bench.machine, root=bench.root, grant=grant, credentials=given, timeout_s=60
            )

    assert other.seen == []


async def test_without_credentials_the_hosts_own_helper_is_asked(bench: Bench) -> None:
    with serve(GitHttp(bench.directory, bench.environment)) as server:
        host = bench.directory / "home" / ".gitconfig"
        answer = f"echo username={server.username}; echo password={server.token}"
        host.write_text(f'[credential]\n\thelper = "!f() {{ {answer}; }}; f"\n')

        made = await bench.prepare(bench.grant(url=f"{server.url}/remote.git"))

    assert made.base_sha == bench.heads()["main"]

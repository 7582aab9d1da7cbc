"""After a task has ended its workspace goes, and what the remote lacks is kept first."""

from pathlib import Path

import pytest

from agent_fleet.core.errors import InvalidInput
from agent_fleet.execution.workspace import Workspace, collect
from tests.support.remotes import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def keep(bench: Bench) -> Path:
    return bench.directory / "keep"


async def collect_it(bench: Bench, made: Workspace) -> bool:
    return await collect(
        bench.machine, root=bench.root, workspace_path=made.path, keep_dir=str(keep(bench))
    )


def leftover_entries(bench: Bench) -> list[str]:
    """What is left under the root, beside the cache."""
    entries = Path(bench.root).glob("*/*")
    return [str(entry) for entry in entries if entry.parent.name != "cache"]


async def test_a_workspace_that_is_pushed_leaves_nothing(bench: Bench) -> None:
    made = await bench.prepare()
    bench.commit(made.path, "a.txt", "a\n")
    await bench.push(made)

    kept = await collect_it(bench, made)

    assert not kept
    assert list(keep(bench).iterdir()) == []
    assert leftover_entries(bench) == []


async def test_collecting_twice_is_collecting_once(bench: Bench) -> None:
    made = await bench.prepare()

    await collect_it(bench, made)
    kept = await collect_it(bench, made)

    assert not kept


async def test_unpushed_and_uncommitted_work_can_be_restored(bench: Bench) -> None:
    made = await bench.prepare()
    head = bench.commit(made.path, "a.txt", "a\n")
    Path(made.path, "README.md").write_text("changed\n")
    Path(made.path, "new.bin").write_bytes(bytes(range(256)))

    kept = await collect_it(bench, made)

    assert kept
    assert leftover_entries(bench) == []
    (bundle,) = keep(bench).glob("*.bundle")
    (patch,) = keep(bench).glob("*.patch")
    bench.git("fetch", "-q", str(bundle), "+refs/*:refs/restored/*", at=bench.clone)
    bench.git("checkout", "-q", "--detach", head, at=bench.clone)
    bench.git("apply", "--index", str(patch), at=bench.clone)
    assert (bench.clone / "new.bin").read_bytes() == bytes(range(256))
    tree = bench.git("write-tree", at=bench.clone)
    collected = "refs/restored/kept/collected^{tree}"
    assert bench.git("rev-parse", collected, at=bench.clone) == tree


async def test_what_was_put_aside_and_stashed_is_kept_too(bench: Bench) -> None:
    made = await bench.prepare()
    Path(made.path, "README.md").write_text("stashed\n")
    bench.git("stash", "-q", at=made.path)
    stash = bench.git("rev-parse", "refs/stash", at=made.path)
    Path(made.path, "a.txt").write_text("aside\n")
    again = await bench.prepare(bench.grant(attempt=2))
    (aside,) = bench.kept(again)

    await collect_it(bench, again)

    (bundle,) = keep(bench).glob("*.bundle")
    listed = bench.git("bundle", "list-heads", str(bundle), at=bench.clone)
    assert stash in listed
    assert aside in listed


async def test_a_workspace_that_git_cannot_read_is_kept_whole(bench: Bench) -> None:
    made = await bench.prepare()
    Path(made.path, "a.txt").write_text("a\n")
    Path(made.path, ".git", "HEAD").unlink()

    kept = await collect_it(bench, made)

    assert kept
    (whole,) = keep(bench).iterdir()
    assert (whole / "a.txt").read_text() == "a\n"
    assert leftover_entries(bench) == []


async def test_other_workspaces_live_on(bench: Bench) -> None:
    made = await bench.prepare()
    other = await bench.prepare(bench.grant(task=2, branch="task/2-x"))

    await collect_it(bench, made)

    bench.git("fsck", at=other.path)
    bench.commit(other.path, "a.txt", "a\n")


@pytest.mark.parametrize("path", ["/", "/etc", "{root}", "{root}/work", "{root}/work/../cache"])
async def test_nothing_but_a_workspace_is_ever_removed(bench: Bench, path: str) -> None:
    with pytest.raises(InvalidInput):
        await collect(
            bench.machine,
            root=bench.root,
            workspace_path=path.format(root=bench.root),
            keep_dir=str(keep(bench)),
        )

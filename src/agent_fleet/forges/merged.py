"""Is the work of a branch in the base? Read from the commits alone, whoever put it there.

A branch has delivered when it has been seen with a commit that is in neither the base nor the
commit it was started from. Its work is in the base when one of these holds, asked in this order:

1. its head is an ancestor of the base (merge commit, fast-forward);
2. every commit of it is in the base by patch (rebase, cherry-pick);
3. merging it would leave the base's tree as it is (squash);
4. its whole difference is in the base as one patch (squash, with the base changed since).

Rules 2 to 4 need a difference: a branch that took back what it did has delivered nothing to find.
"""

import msgspec

from agent_fleet.core.model import Identity
from agent_fleet.forges.objects import Objects

_BASE_COMMITS = 500
_MERGES_WITHIN = 50
_TRIAL = Identity(name="trial", email="trial@localhost")


class Branch(msgspec.Struct, frozen=True):
    """What is to be judged: commits only.

    `start` is the commit it was started from; `seen` the last head that was outside the base;
    `accepted` says that this very head was handed in and accepted as work.
    """

    head: str
    base: str
    start: str | None
    seen: str | None = None
    accepted: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """`merged_sha` is the commit of the base that contains the work.

    `outside`: the head has a commit that is neither in the base nor in the start. `settled`: the
    same commits will give the same verdict.
    """

    merged_sha: str | None = None
    outside: bool = False
    settled: bool = True


async def judge(objects: Objects, branch: Branch) -> Verdict:
    """Apply the rules. All commits of `branch` must be in `objects`."""
    before = [f"^{branch.base}"] + ([f"^{branch.start}"] if branch.start else [])
    if await objects.commits("-n", "1", branch.head, *before):
        found = await _find_by_content(objects, branch, branch.head)
        return Verdict(merged_sha=found, outside=True)
    if not await objects.contains(branch.base, branch.head):
        return Verdict()
    if branch.start and await objects.contains(branch.start, branch.head):
        return Verdict()
    container = await find_container(objects, base=branch.base, commit=branch.head)
    if container != branch.head or await _has_delivered(objects, branch):
        return Verdict(merged_sha=container)
    # The head is one of the base's own commits: a fast-forward that nobody saw coming, or a
    # branch that only followed the base. What was seen of it before tells.
    if branch.seen is None:
        return Verdict()
    return Verdict(merged_sha=await _find_by_content(objects, branch, branch.seen))


async def find_container(objects: Objects, *, base: str, commit: str) -> str:
    """The first commit on the base's own line (first parents) that contains its ancestor `commit`.

    This is `commit` itself where that lies on the line.
    """
    line = await objects.commits("--first-parent", "--topo-order", base, "--not", f"{commit}^@")
    if commit in line:
        return commit
    between = set(await objects.commits("--ancestry-path", f"{commit}..{base}"))
    return next((one for one in reversed(line) if one in between), base)


async def _has_delivered(objects: Objects, branch: Branch) -> bool:
    if branch.accepted:
        return True
    return branch.seen is not None and await objects.contains(branch.head, branch.seen)


async def _find_by_content(objects: Objects, branch: Branch, head: str) -> str | None:
    parted = await objects.merge_base(branch.base, head)
    if parted is None or await objects.tree(parted) == await objects.tree(head):
        return None
    horizon = await objects.commits(
        "--first-parent", f"--skip={_BASE_COMMITS}", "-n", "1", branch.base, f"^{parted}"
    )
    before = [f"^{commit}" for commit in horizon]
    with objects.throwaway() as trial:
        own = before + ([f"^{branch.start}"] if branch.start else [])
        if await _all_in_base(trial, head, branch.base, own) and await _merges_add_nothing(
            trial, head, own + [f"^{branch.base}"]
        ):
            return branch.base
        result = await trial.merge_tree(branch.base, head)
        if result and not result.conflicts and result.tree == await trial.tree(branch.base):
            return branch.base
        return await _find_squash(trial, head=head, parted=parted, base=branch.base, before=before)


async def _all_in_base(objects: Objects, head: str, base: str, before: list[str]) -> bool:
    """Whether each commit of `head` (merges apart) has an equal patch in the base, and one has."""
    marked = await objects.commits(
        "--cherry-mark", "--left-only", "--no-merges", f"{head}...{base}", *before
    )
    return bool(marked) and all(line.startswith("=") for line in marked)


async def _merges_add_nothing(objects: Objects, head: str, before: list[str]) -> bool:
    """Whether each merge within the branch is what git makes by itself: it hides no work."""
    merges = await objects.commits(
        "--merges", "--parents", "-n", str(_MERGES_WITHIN + 1), head, *before
    )
    if len(merges) > _MERGES_WITHIN:
        return False
    for line in merges:
        merge, *parents = line.split()
        if len(parents) != 2:
            return False
        made = await objects.merge_tree(parents[0], parents[1])
        if not made or made.conflicts or made.tree != await objects.tree(merge):
            return False
    return True


async def _find_squash(
    objects: Objects, *, head: str, parted: str, base: str, before: list[str]
) -> str | None:
    """Make the squash that might have been merged, and look for its equal."""
    squash = await objects.commit(
        await objects.tree(head), parents=(parted,), message="trial", identity=_TRIAL
    )
    return base if await _all_in_base(objects, squash, base, before) else None

"""The plain Git forge: a remote without an API. Branches are all there is to read.

One `git ls-remote` says whether there is news; objects are fetched only for a question that needs
them, and a verdict on the same commits is given once. A merge is made in our own copy, without a
work tree, and pushed on the condition that the base has not moved.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from agent_fleet.core.errors import Conflict, InvalidInput, MergeConflict, NotFound, Unavailable
from agent_fleet.core.model import Credentials, ForgeView, Identity, PullState, Task, TaskStatus
from agent_fleet.forges.forge import RepoRef
from agent_fleet.forges.gitcommand import ASK_S, TRANSFER_S, Git, Output
from agent_fleet.forges.merged import Branch, Verdict, find_container, judge
from agent_fleet.forges.mirror import Mirror, Seen

_MERGE_TRIES = 5
_VERDICTS = 4096
_CONFLICTS_NAMED = 20
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_CUT = b"\n[cut: the difference is larger]\n"


class GitForge:
    """Implements `Forge`. `mirrors` is the directory of our copies, `environ` what git may see."""

    def __init__(
        self, mirrors: Path, *, environ: Mapping[str, str], credentials: Credentials | None = None
    ) -> None:
        self._git = Git(environ=environ, credentials=credentials)
        self._root = mirrors
        self._mirrors: dict[str, Mirror] = {}
        self._verdicts: OrderedDict[tuple[str, Branch], Verdict] = OrderedDict()

    async def heads(self, repo: RepoRef) -> dict[str, str]:
        return await self._read_heads(repo)

    async def branch_head(self, repo: RepoRef, branch: str) -> str | None:
        return (await self._read_heads(repo, f"refs/heads/{branch}")).get(branch)

    async def view(
        self, repo: RepoRef, task: Task, *, heads: Mapping[str, str], version: int
    ) -> ForgeView:
        """Read one branch. `heads` decides: a branch that is gone is judged by its last head."""
        merged_sha = await self._find_merge(repo, task, heads)
        return ForgeView(
            version=version,
            head=heads.get(task.branch_name),
            state=PullState.MERGED if merged_sha else PullState.NONE,
            merged_sha=merged_sha,
        )

    async def merge(
        self,
        repo: RepoRef,
        *,
        branch: str,
        expected_head: str,
        base: str,
        message: str,
        identity: Identity,
    ) -> str:
        mirror = self._mirror(repo)
        for _ in range(_MERGE_TRIES):
            heads = await self._read_heads(repo)
            tip = heads.get(base)
            if tip is None:
                raise NotFound(f"{repo.name} has no branch {base}")
            await mirror.fetch([name for name in (base, branch) if name in heads])
            missing = await mirror.objects.missing(tip, expected_head)
            if not missing and await mirror.objects.contains(tip, expected_head):
                return await find_container(mirror.objects, base=tip, commit=expected_head)
            _expect(branch, expected_head, found=heads.get(branch))
            if missing:
                continue  # rewritten since it was read
            made = await mirror.objects.merge_tree(tip, expected_head)
            if made is None:
                raise Conflict(f"{branch} and {base} have no common history")
            if made.conflicts:
                raise MergeConflict(_conflict_text(branch, base, made.conflicts))
            commit = await mirror.objects.commit(
                made.tree, parents=(tip, expected_head), message=message, identity=identity
            )
            pushed = await self._push(mirror, commit, base=base, tip=tip)
            if pushed.code == 0:
                return commit
            if await self.branch_head(repo, base) == tip:
                raise self._refusal(repo, base, pushed)
        raise Unavailable(
            f"{base} of {repo.name} kept moving: {_MERGE_TRIES} merges were overtaken"
        )

    async def diff(self, repo: RepoRef, *, base: str, head: str, limit_bytes: int) -> bytes:
        mirror = self._mirror(repo)
        one, other = await self._resolve(mirror, base, head)
        parted = await mirror.objects.merge_base(one, other) or one
        flags = ("--no-color", "--no-ext-diff", "--no-textconv", "--stat=100", "--patch")
        output = await self._git.local(
            mirror.path, "diff", *flags, parted, other, "--", limit_bytes=limit_bytes
        )
        if output.cut:
            return output.out[: max(0, limit_bytes - len(_CUT))] + _CUT
        if output.code != 0:
            raise Unavailable(f"the difference cannot be read: {self._git.said(output)}")
        return output.out

    async def _read_heads(self, repo: RepoRef, *patterns: str) -> dict[str, str]:
        _check_address(repo)
        output = await self._git.remote(
            repo.url, "ls-remote", "--heads", "--", repo.url, *patterns, timeout_s=ASK_S
        )
        if output.code != 0 or output.cut:
            raise Unavailable(f"{repo.name} does not answer: {self._git.said(output)}")
        heads: dict[str, str] = {}
        for line in output.text.splitlines():
            sha, _, name = line.partition("\t")
            heads[name.removeprefix("refs/heads/")] = sha
        return heads

    async def _find_merge(self, repo: RepoRef, task: Task, heads: Mapping[str, str]) -> str | None:
        """The commit that has the work of any generation, the current one first."""
        base = heads.get(task.base)
        if base is None:
            return None
        seen = await self._mirror(repo).seen()
        for generation in range(task.generation, 0, -1):
            known = _known(seen, task, generation)
            current = generation == task.generation
            if task.base_sha is None if current else known is None:
                continue
            name = replace(task, generation=generation).branch_name
            head = heads.get(name) or (task.view.head if current else None) or known
            if head is None or head == task.base_sha:
                continue
            branch = Branch(
                head=head,
                base=base,
                start=task.base_sha if current else None,
                seen=known,
                accepted=current and _is_accepted(task, head),
            )
            verdict = self._recall(repo, branch)
            if verdict is None:
                verdict = await self._judge(repo, branch, base=task.base)
                if verdict.outside and known != head:
                    await self._mirror(repo).remember(task.id, generation, head)
                    branch = replace(branch, seen=head)
                if verdict.settled or name not in heads:  # what is gone will not come any more
                    self._record(repo, branch, verdict)
            if verdict.merged_sha:
                return verdict.merged_sha
        return None

    async def _judge(self, repo: RepoRef, branch: Branch, *, base: str) -> Verdict:
        objects = self._mirror(repo).objects
        named = [sha for sha in (branch.head, branch.base, branch.start, branch.seen) if sha]
        missing = await objects.missing(*named)
        if missing:
            await self._mirror(repo).fetch([base])
            missing = await objects.missing(*named)
        if missing - {branch.start}:
            return Verdict(settled=False)
        if missing:  # the start, after base and branch were both rewritten
            branch = replace(branch, start=None)
        return await judge(objects, branch)

    def _recall(self, repo: RepoRef, branch: Branch) -> Verdict | None:
        verdict = self._verdicts.get((repo.url, branch))
        if verdict is not None:
            self._verdicts.move_to_end((repo.url, branch))
        return verdict

    def _record(self, repo: RepoRef, branch: Branch, verdict: Verdict) -> None:
        self._verdicts[repo.url, branch] = verdict
        while len(self._verdicts) > _VERDICTS:
            self._verdicts.popitem(last=False)

    async def _push(self, mirror: Mirror, commit: str, *, base: str, tip: str) -> Output:
        target = f"refs/heads/{base}"
        lease = f"--force-with-lease={target}:{tip}"
        return await self._git.remote(
            mirror.repo.url,
            *("push", "--porcelain", "--no-verify", "--no-follow-tags", lease),
            *("--", mirror.repo.url, f"{commit}:{target}"),
            timeout_s=TRANSFER_S,
            path=mirror.path,
        )

    def _refusal(self, repo: RepoRef, base: str, pushed: Output) -> Conflict | Unavailable:
        """What a push that changed nothing means: the remote's no, or no answer."""
        refused = re.search(
            r"^!\t\S+\t\[(?:remote )?rejected\] \((.*)\)$", pushed.text, re.MULTILINE
        )
        if refused is None:
            return Unavailable(f"{repo.name} cannot be pushed to: {self._git.said(pushed)}")
        reason = self._git.masked(refused[1])
        if "checked out" in reason:
            remedy = (
                "the remote has a work tree with this branch: use a bare repository, or run there "
                "git config receive.denyCurrentBranch updateInstead"
            )
        else:
            remedy = f"let this user push to {base}, or merge there by hand"
        return Conflict(
            f"{repo.name} refuses the push to {base}: {reason} ({self._git.said(pushed)}); {remedy}"
        )

    async def _resolve(self, mirror: Mirror, *names: str) -> list[str]:
        """Commits for commits or branches, fetched if need be."""
        heads: dict[str, str] = {}
        known = all(_SHA.fullmatch(name) for name in names)
        if not known or await mirror.objects.missing(*names):
            heads = await self._read_heads(mirror.repo)
            wanted = {name for name in (*names, mirror.repo.base) if name in heads}
            await mirror.fetch(sorted(wanted))
        found = [heads.get(name, name) for name in names]
        for name, sha in zip(names, found, strict=True):
            if not _SHA.fullmatch(sha) or await mirror.objects.missing(sha):
                raise NotFound(f"{mirror.repo.name} has no branch or commit {name}")
        return found

    def _mirror(self, repo: RepoRef) -> Mirror:
        _check_address(repo)
        if repo.url not in self._mirrors:
            self._mirrors[repo.url] = Mirror(self._git, self._root, repo)
        return self._mirrors[repo.url]


def _check_address(repo: RepoRef) -> None:
    """Let only addresses pass that are one to connect to, with no password in them."""
    path = f"repos.{repo.name}.url"
    if repo.url.startswith("-") or re.match(r"\w+::", repo.url):
        raise InvalidInput(path, "not a repository's address", remedy="give https, ssh or a path")
    if re.match(r"\w+://[^/@]*:[^/@]*@", repo.url):
        raise InvalidInput(path, "has a password in it", remedy="name it in the forge's section")


def _known(seen: Seen, task: Task, generation: int) -> str | None:
    """The last head outside the base; none that is older than the task itself.

    That one is of another task: the database is new or restored, and its numbers come again.
    """
    head = seen.get((task.id, generation))
    if head is None or head.at < int(task.created_at.timestamp()):
        return None
    return head.commit


def _is_accepted(task: Task, head: str) -> bool:
    return task.status is TaskStatus.REVIEW_PENDING and task.view.head == head


def _expect(branch: str, expected: str, *, found: str | None) -> None:
    if found is None:
        raise Conflict(f"{branch} is gone from the remote")
    if found != expected:
        raise Conflict(f"{branch} is at {found[:12]} and not at {expected[:12]}: look again")


def _conflict_text(branch: str, base: str, files: tuple[str, ...]) -> str:
    named = ", ".join(files[:_CONFLICTS_NAMED])
    more = f" and {len(files) - _CONFLICTS_NAMED} more" if len(files) > _CONFLICTS_NAMED else ""
    return f"{branch} does not merge into {base} by itself: conflicts in {named}{more}"

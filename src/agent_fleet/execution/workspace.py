"""Workspaces: a clone on a machine, for one task and branch generation.

Under a root: `cache/` (one bare object cache per address), `work/` (the workspaces, which borrow
its objects), `own/` (the fleet's side of each workspace: what its Git commands read instead of
the agent's configuration), `lock/`, `tmp/`, and `aside/` (damaged workspaces, until collected).

The law: everything here can be killed at any moment and repeated; nothing that is not on the
remote is lost; nothing that an agent wrote is executed. Submodules and LFS objects are not
fetched, and repositories nested in a workspace are not looked into.

Every function raises AttemptFailed with the reason, and Unavailable as `Machine.run` does.
"""

import hashlib
import re

from msgspec import Struct

from agent_fleet.core.errors import AttemptFailed, InvalidInput
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Credentials, Grant, Identity
from agent_fleet.execution.git import (
    cache_name,
    check_branch,
    check_url,
    config_value,
    git_script,
    remote_settings,
    show_message,
)
from agent_fleet.execution.machine import Machine, run_script

LOCAL_TIMEOUT_S = 600.0
"""Time limit, in seconds, of a script that talks to no remote."""

_FAILED = 10  # the exit code of a script's `fail`
_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


_LIST = b'cd "$1/work" 2>/dev/null || exit 0; for name in *; do printf "%s\\n" "$name"; done'


class Workspace(Struct, frozen=True):
    """A prepared workspace.

    `git_dir` is the fleet's side of it. `base_sha` is the base branch's head at preparation.
    `start_sha` is what a delivery must have commits beyond: the remote branch's head; without one
    the base's head, or where an earlier try's commits forked off it. `remote_head` is the branch's
    head on the remote, which the push expects; None where it is not there.
    """

    path: str
    git_dir: str
    url: str
    base: str
    branch: str
    base_sha: str
    start_sha: str
    remote_head: str | None


class Work(Struct, frozen=True):
    """What a workspace holds beyond its start.

    `commits` are HEAD's that the start does not have; `changed`: the tree differs from the
    start's; `dirty`: something is uncommitted; `unfinished`: the Git operation that was left
    half done (rebase, merge, cherry-pick, revert, bisect), or nothing.
    """

    head_sha: str
    commits: int
    changed: bool
    dirty: bool
    unfinished: str = ""


async def prepare(
    machine: Machine,
    *,
    root: str,
    grant: Grant,
    credentials: Credentials | None,
    timeout_s: float,
) -> Workspace:
    """Make the workspace of `grant` under `root` (absolute), or go on in the one that is there.

    What an earlier attempt left uncommitted, and commits that the new start does not contain, are
    kept under `refs/kept/<attempt>/`. Without credentials the host's own are used.
    Fails as invalid_task (no such base, empty repository), foreign_push (the branch is not where
    the task left it), workspace_error or disk_full.
    """
    _check_grant(grant)
    answer = await _run(
        machine,
        ("workspace", "remote", "prepare"),
        _place(root, _workspace_name(grant), timeout_s=timeout_s)
        | remote_settings(grant.url, credentials)
        | _identity(grant.identity)
        | {
            "base": grant.base,
            "branch": grant.branch,
            "cache_name": cache_name(grant.url),
            # Flat names, so that a branch `a` and a later `a/b` do not get in each other's way.
            "base_ref": f"refs/heads/{grant.base.replace('/', '=')}",
            "branch_ref": f"refs/heads/{grant.branch.replace('/', '=')}",
            "start_head": grant.start_head or "",
            "attempt": str(grant.attempt),
            "config_name": config_value(grant.identity.name),
            "config_email": config_value(grant.identity.email),
            "config_url": config_value(grant.url),
        },
        credentials=credentials,
        timeout_s=timeout_s,
    )
    return Workspace(
        path=answer["path"],
        git_dir=answer["git_dir"],
        url=grant.url,
        base=grant.base,
        branch=grant.branch,
        base_sha=answer["base_sha"],
        start_sha=answer["start_sha"],
        remote_head=answer.get("remote_head"),
    )


async def commit_leftovers(
    machine: Machine, workspace: Workspace, *, identity: Identity, message: str
) -> bool:
    """Commit whatever is uncommitted and not ignored; whether there was something.

    Fails as agent_error where conflicts or a rebase were left unresolved.
    """
    settings = _here(workspace) | _identity(identity) | {"message": message}
    answer = await _run(machine, ("workspace", "leftovers"), settings)
    return answer["committed"] == "yes"


async def inspect_work(machine: Machine, workspace: Workspace) -> Work:
    """What the workspace holds now. Changes nothing."""
    settings = _here(workspace) | {"start_sha": workspace.start_sha}
    answer = await _run(machine, ("workspace", "inspect"), settings)
    return Work(
        head_sha=answer["head"],
        commits=int(answer["commits"]),
        changed=answer["changed"] == "yes",
        dirty=answer["dirty"] == "yes",
        unfinished=answer.get("unfinished", ""),
    )


async def push(
    machine: Machine,
    workspace: Workspace,
    *,
    credentials: Credentials | None,
    timeout_s: float,
) -> str:
    """Push HEAD to the task's branch, if that is where it is expected; the pushed head.

    Succeeds if it is there already. Fails as foreign_push where somebody else moved the branch,
    else as push_failed; agent_error where a rebase was left unfinished.
    """
    settings = (
        _here(workspace, timeout_s=timeout_s)
        | remote_settings(workspace.url, credentials)
        | {
            "base": workspace.base,
            "branch": workspace.branch,
            "expected": workspace.remote_head or "",
        }
    )
    answer = await _run(
        machine,
        ("workspace", "remote", "push"),
        settings,
        credentials=credentials,
        timeout_s=timeout_s,
        otherwise=Reason.PUSH_FAILED,
    )
    return answer["head"]


async def list_workspaces(machine: Machine, *, root: str) -> dict[str, int]:
    """The workspaces under `root`: the path of each, and the number of its task."""
    done = await run_script(machine, _LIST, root, timeout_s=LOCAL_TIMEOUT_S)
    names = done.stdout.decode(errors="replace").splitlines()
    numbered = {name: name.partition("-")[0] for name in names}
    return {f"{root}/work/{name}": int(task) for name, task in numbered.items() if task.isdigit()}


async def collect(machine: Machine, *, root: str, workspace_path: str, keep_dir: str) -> bool:
    """Remove a workspace whose task has ended; whether work was kept in `keep_dir` first.

    Kept are `<name>-<number>.bundle` (all commits that the remote was not seen to have, with the
    uncommitted work as `refs/kept/collected`) and `<name>-<number>.patch` (that work, on HEAD); a
    damaged workspace is kept whole.
    """
    parent, _, name = workspace_path.rpartition("/")
    if parent != f"{root}/work" or not name or name.startswith("."):
        message = f"{workspace_path!r} is not a workspace under {root!r}"
        raise InvalidInput("workspace_path", message, remedy="give the path that `prepare` gave")
    settings = _place(root, name, timeout_s=LOCAL_TIMEOUT_S) | {"keep_dir": keep_dir}
    keeper = Identity(name="agent-fleet", email="agent-fleet@localhost")
    answer = await _run(machine, ("workspace", "collect"), settings | _identity(keeper))
    return answer["kept"] == "yes"


async def _run(
    machine: Machine,
    scripts: tuple[str, ...],
    settings: dict[str, str],
    *,
    credentials: Credentials | None = None,
    timeout_s: float = LOCAL_TIMEOUT_S,
    otherwise: Reason = Reason.WORKSPACE_ERROR,
) -> dict[str, str]:
    """A script's answer. `otherwise` is the reason where the script itself gives none."""
    script = git_script(*scripts, settings=settings)
    done = await run_script(machine, script, timeout_s=timeout_s)
    said = done.stdout.decode(errors="replace")
    if done.exit_code == 0:
        return dict(line.split(" ", 1) for line in said.splitlines())
    errors = done.stderr.decode(errors="replace")
    first, _, message = said.partition("\n")
    reason = Reason(first.removeprefix("failed ")) if done.exit_code == _FAILED else otherwise
    if done.exit_code != _FAILED:
        message = f"{scripts[-1]} ended with exit code {done.exit_code} on {machine.name}: {said}"
    if _FULL.search(message) or _FULL.search(errors):
        reason = Reason.DISK_FULL
    raise AttemptFailed(reason, show_message(f"{message} {errors}", credentials))


def _check_grant(grant: Grant) -> None:
    try:
        check_url(grant.url)
        check_branch(grant.base, path="base")
        check_branch(grant.branch)
    except InvalidInput as error:
        raise AttemptFailed(Reason.INVALID_TASK, error.message) from error
    if grant.base == grant.branch:
        message = f"the task's branch is its base, {grant.base}; name another base branch"
        raise AttemptFailed(Reason.INVALID_TASK, message)
    if grant.start_head is not None and not _OBJECT_ID.fullmatch(grant.start_head):
        raise AttemptFailed(Reason.INVALID_TASK, f"{grant.start_head!r} is not a commit's id")


def _workspace_name(grant: Grant) -> str:
    """Readable, and never the same for another repository or branch under the same root."""
    mark = hashlib.sha256(f"{grant.url}\n{grant.branch}".encode()).hexdigest()[:8]
    slug = grant.branch.rpartition("/")[2].removeprefix(f"{grant.task}-")
    return f"{grant.task}-{slug[:60]}-{mark}"


def _place(root: str, name: str, *, timeout_s: float) -> dict[str, str]:
    # A lock is tried about ten times a second: the script gives up by itself, with the reason.
    return {"root": root, "name": name, "lock_tries": str(int(timeout_s * 8))}


def _here(workspace: Workspace, *, timeout_s: float = LOCAL_TIMEOUT_S) -> dict[str, str]:
    root, name = workspace.path.rsplit("/work/", 1)
    return _place(root, name, timeout_s=timeout_s)


def _identity(identity: Identity) -> dict[str, str]:
    return {"identity_name": identity.name, "identity_email": identity.email}

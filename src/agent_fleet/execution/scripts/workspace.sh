# What every workspace script begins with: the environment of its Git commands, locks, and the one
# way to run Git on what an agent may have written.
#
# The law: no configuration, hook, filter or attribute driver that an agent wrote is read. The
# workspace's HEAD, index, refs and objects are the agent's; the common directory ($own: config,
# hooks, info) is the fleet's, lies outside the workspace and is found by GIT_COMMON_DIR.
# Nested repositories are never entered: Git would run commands under their configuration.
#
# Set before this text: root name (of the workspace) lock_tries, and each script's own.
# Answer: lines `key value` and exit 0; or `failed <reason>`, a message, and exit 10.
# shellcheck shell=sh disable=SC2015,SC2034,SC2154

cd / || exit 1 # no repository around the current directory may have a say
unset GIT_DIR GIT_COMMON_DIR GIT_WORK_TREE GIT_IMPLICIT_WORK_TREE GIT_INDEX_FILE GIT_PREFIX \
    GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_NAMESPACE GIT_SHALLOW_FILE \
    GIT_GRAFT_FILE GIT_REPLACE_REF_BASE GIT_CONFIG GIT_CONFIG_PARAMETERS GIT_EXTERNAL_DIFF \
    GIT_DIFF_OPTS GIT_LITERAL_PATHSPECS GIT_GLOB_PATHSPECS GIT_ICASE_PATHSPECS \
    GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_AUTHOR_DATE \
    GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL GIT_COMMITTER_DATE
export LC_ALL=C GIT_TERMINAL_PROMPT=0 GIT_NO_REPLACE_OBJECTS=1
export GIT_CONFIG_COUNT=5 \
    GIT_CONFIG_KEY_0=core.hooksPath GIT_CONFIG_VALUE_0=/dev/null \
    GIT_CONFIG_KEY_1=core.fsmonitor GIT_CONFIG_VALUE_1=false \
    GIT_CONFIG_KEY_2=gc.auto GIT_CONFIG_VALUE_2=0 \
    GIT_CONFIG_KEY_3=maintenance.auto GIT_CONFIG_VALUE_3=false \
    GIT_CONFIG_KEY_4=submodule.recurse GIT_CONFIG_VALUE_4=false

work=$root/work/$name
own=$root/own/$name
boot=
if [ -r /proc/sys/kernel/random/boot_id ]; then read -r boot </proc/sys/kernel/random/boot_id; fi
workspace_lock=
cache_lock=

fail() {
    printf 'failed %s\n%s\n' "$1" "$2"
    exit 10
}

# Git without the host's configuration: for all that needs no remote.
plain_git() {
    GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null git "$@"
}

# Git on the workspace.
ws() {
    GIT_DIR=$work/.git GIT_COMMON_DIR=$own GIT_WORK_TREE=$work \
        GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null git -C "$work" "$@"
}

# Whether the workspace is one that `ws` may be used on: nothing in it leads elsewhere.
intact() {
    for part in .git .git/refs .git/objects; do
        [ -d "$work/$part" ] && [ ! -h "$work/$part" ] || return 1
    done
    [ -f "$own/config" ]
}

# When process $1 started, or nothing if it is not alive.
started() {
    if [ -r "/proc/$1/stat" ] && read -r line <"/proc/$1/stat"; then
        # shellcheck disable=SC2086
        set -- ${line##*) }
        if [ "$1" != Z ]; then printf '%s' "${20}"; fi
    else
        ps -o lstart= -p "$1" 2>/dev/null | tr -d ' :'
    fi
}

# Whether the holder $1, `pid:start:boot`, lives. A killed script's Git outlives it in its group.
alive() {
    pid=${1%%:*} start=${1#*:}
    [ "${start#*:}" = "$boot" ] || return 1
    if kill -0 "$pid" 2>/dev/null; then
        [ "$(started "$pid")" = "${start%%:*}" ]
    else
        group_alive "$pid"
    fi
}

# Whether the process group $1 has a member that is not a zombie (as far as /proc tells).
group_alive() {
    kill -0 "-$1" 2>/dev/null || return 1
    [ -r /proc/self/stat ] || return 0
    group=$1
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086
        set -- ${line##*) }
        if [ "$3" = "$group" ] && [ "$1" != Z ]; then return 0; fi
    done
    return 1
}

# Take the lock $1: a symbolic link whose text names the holder, so that it never exists without
# one. Two waiters that take over the same dead holder's lock at the same instant could both get
# it; Git's own locks then make one of them fail.
lock() {
    holder=$$:$(started $$):$boot
    tries=0
    [ -d "${1%/*}" ] || mkdir -p "${1%/*}" || fail workspace_error "${1%/*} cannot be made"
    until ln -s "$holder" "$1" 2>/dev/null; do
        tries=$((tries + 1))
        there=$(readlink "$1") || there=
        if [ "$tries" -gt "$lock_tries" ]; then
            fail workspace_error "the lock $1 is held by process ${there%%:*}"
        elif [ -n "$there" ] && ! alive "$there"; then
            mv -f "$1" "$1.$$" 2>/dev/null || continue
            if [ "$(readlink "$1.$$")" = "$there" ]; then rm -f "$1.$$"; else mv -f "$1.$$" "$1"; fi
        elif [ -n "$there" ]; then
            sleep 0.1 2>/dev/null || sleep 1
        fi
    done
}

unlock() {
    if [ -n "$workspace_lock" ]; then rm -f "$workspace_lock" ${cache_lock:+"$cache_lock"}; fi
}

# Nobody else is at work in the workspace: no run is left when this is called, and the lock keeps
# other scripts out. So a Git lock that is there now was left by a killed process.
lock_workspace() {
    trap unlock EXIT
    trap 'exit 11' HUP INT TERM
    lock "$root/lock/$name"
    workspace_lock=$root/lock/$name
    if [ -d "$work/.git" ]; then
        rm -f "$work"/.git/*.lock "$own"/*.lock
        find "$work/.git/refs" -name '*.lock' -exec rm -f {} +
    fi
}

open_workspace() {
    [ -d "$work" ] || fail workspace_error "the workspace $work is gone"
    lock_workspace
    intact || fail agent_error "the workspace's Git directory was removed or replaced"
    head=$(ws rev-parse -q --verify 'HEAD^{commit}') ||
        fail agent_error "the workspace's HEAD is no commit"
}

# What differs from HEAD, in the form of `git status --porcelain`; nested repositories left out.
changes() {
    found=$(ws status --porcelain --untracked-files=all --ignore-submodules=all) || return 1
    if [ -n "$found" ]; then printf '%s\n' "$found" | grep -v '/"\{0,1\}$'; fi
    return 0
}

# What the agent left half done: rebase, merge, cherry-pick, revert, bisect, or nothing.
operation() {
    if [ -d "$work/.git/rebase-merge" ] || [ -d "$work/.git/rebase-apply" ]; then
        echo rebase
    elif [ -f "$work/.git/MERGE_HEAD" ]; then
        echo merge
    elif [ -f "$work/.git/CHERRY_PICK_HEAD" ]; then
        echo cherry-pick
    elif [ -f "$work/.git/REVERT_HEAD" ]; then
        echo revert
    elif [ -f "$work/.git/BISECT_LOG" ]; then
        echo bisect
    fi
}

forget_operation() {
    rm -rf "$work"/.git/rebase-merge "$work"/.git/rebase-apply "$work"/.git/sequencer
    rm -f "$work"/.git/*_HEAD "$work"/.git/BISECT_* "$work"/.git/AUTO_MERGE \
        "$work"/.git/MERGE_* "$work"/.git/SQUASH_MSG
}

# Bring the work tree into the index. `git add` would enter nested repositories.
stage() {
    ws diff-files -z --name-only --diff-filter=D --ignore-submodules=all |
        ws update-index -z --force-remove --stdin || return 1
    {
        ws diff-files -z --name-only --diff-filter=d --ignore-submodules=all
        ws ls-files -z --others --exclude-standard
    } | ws update-index -z --add --remove --replace --stdin
}

# The work tree as a commit on top of HEAD; index and work tree stay as they are. $1: its message.
snapshot() {
    rm -f "$own/index"
    if [ -f "$work/.git/index" ]; then cp "$work/.git/index" "$own/index" || return 1; fi
    (
        export GIT_INDEX_FILE="$own/index"
        stage && ws write-tree
    ) >"$own/tree" || return 1
    read -r tree <"$own/tree"
    as_committer ws commit-tree "$tree" -p HEAD -m "$1"
}

as_committer() {
    GIT_AUTHOR_NAME=$identity_name GIT_AUTHOR_EMAIL=$identity_email \
        GIT_COMMITTER_NAME=$identity_name GIT_COMMITTER_EMAIL=$identity_email
    export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL
    "$@"
}

ancestor() {
    ws merge-base --is-ancestor "$1" "$2" 2>/dev/null
}

# Keep the commit $1 under refs/kept/$2/, whatever happens to branches.
keep() {
    ws update-ref "refs/kept/$2/${1%"${1#????????????}"}" "$1"
}

# Make the task's branch the current one, at the commit $1; its old tip is kept under $2 if the
# commit does not contain it.
take_branch() {
    tip=$(ws rev-parse -q --verify "refs/heads/$branch^{commit}") || tip=
    if [ "$tip" != "$1" ]; then
        if [ -n "$tip" ] && ! ancestor "$tip" "$1"; then keep "$tip" "$2" || return 1; fi
        ws update-ref "refs/heads/$branch" "$1" || return 1
    fi
    read -r now <"$work/.git/HEAD"
    [ "$now" = "ref: refs/heads/$branch" ] || ws symbolic-ref HEAD "refs/heads/$branch"
}

# Remove the directory $1, also where read-only directories were left in it.
discard() {
    rm -rf "$1" 2>/dev/null || {
        chmod -R u+rwx "$1"
        rm -rf "$1"
    }
}

# Remove what killed scripts left: every temporary directory bears its maker's pid.
sweep() {
    for left in "$root"/tmp/*; do
        if [ -e "$left" ] && ! kill -0 "${left##*.}" 2>/dev/null; then discard "$left"; fi
    done
}

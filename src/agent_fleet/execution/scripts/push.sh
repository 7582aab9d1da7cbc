# Push HEAD to the task's branch and to nothing else. After workspace.sh and remote.sh.
#
# Set before this text: base branch expected (the branch's head on the remote, or empty).
# Answer: head.
# shellcheck shell=sh disable=SC2015,SC2034,SC2154

push() {
    open_workspace
    [ "$(operation)" != rebase ] || fail agent_error "a rebase was left unfinished"
    take_branch "$head" push || fail workspace_error "$branch cannot be moved to $head in $work"
    printf '%s\n' "$head" >>"$own/pushing"
    push_onto "$expected" || look_again
    printf '%s\n' "$head" >>"$own/known"
    ws update-ref "refs/remotes/origin/$branch" "$head"
    printf 'head %s\n' "$head"
}

# Push, if the branch is at $1 (nothing: not there). What Git says is in $said.
push_onto() {
    said=$(
        export GIT_DIR="$work/.git" GIT_COMMON_DIR="$own" GIT_WORK_TREE="$work"
        remote_git push --quiet --no-verify --no-follow-tags --recurse-submodules=no \
            --force-with-lease="refs/heads/$branch:$1" "$url" "$head:refs/heads/$branch" 2>&1
    )
}

# A push that failed may still have arrived, may have found an earlier one of this workspace's own
# (whose end nobody saw), or may have been too late.
look_again() {
    ask_remote push_failed
    if [ "$remote_head" = "$head" ]; then return; fi
    if [ "$remote_head" != "$expected" ]; then
        if [ -n "$remote_head" ] && grep -q -x -F "$remote_head" "$own/pushing"; then
            push_onto "$remote_head" && return
        else
            fail foreign_push "$branch was expected at ${expected:-nothing} on $url and is at ${remote_head:-nothing}: somebody else moved it; the work stays in $work, at $head"
        fi
    fi
    fail push_failed "$branch could not be pushed to $url: $said"
}

push </dev/null

# Push HEAD to the task's branch and to nothing else. After workspace.sh and remote.sh.
#
# Set before this text: base branch expected (the branch's head on the remote, or empty).
# Answer: head.
# shellcheck shell=sh disable=SC2015,SC2034,SC2154

push() {
    open_workspace
    [ "$(operation)" != rebase ] || fail agent_error "a rebase was left unfinished"
    take_branch "$head" push || fail workspace_error "$branch cannot be moved to $head in $work"
    said=$(
        export GIT_DIR="$work/.git" GIT_COMMON_DIR="$own" GIT_WORK_TREE="$work"
        remote_git push --quiet --no-verify --no-follow-tags --recurse-submodules=no \
            --force-with-lease="refs/heads/$branch:$expected" \
            "$url" "$head:refs/heads/$branch" 2>&1
    ) || refused "$said"
    printf '%s\n' "$head" >>"$own/known"
    ws update-ref "refs/remotes/origin/$branch" "$head"
    printf 'head %s\n' "$head"
}

# A push that failed may still have arrived, or may have been too late.
refused() {
    ask_remote push_failed
    if [ "$remote_head" = "$head" ]; then return; fi
    if [ "$remote_head" != "$expected" ]; then
        fail foreign_push "$branch was expected at ${expected:-nothing} on $url and is at ${remote_head:-nothing}: somebody else pushed; the work stays in the workspace at $head"
    fi
    fail push_failed "$branch could not be pushed to $url: $1"
}

push </dev/null

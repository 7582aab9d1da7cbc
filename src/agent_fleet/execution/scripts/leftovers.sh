# Commit what the agent left uncommitted. After workspace.sh.
#
# A merge that is resolved but not concluded is concluded. Conflicts and half-done rebases are the
# agent's to finish: committed, they would look like work.
#
# Set before this text: identity_name identity_email message.
# Answer: head, and `committed` yes or no.
# shellcheck shell=sh disable=SC2015,SC2034,SC2154

commit() {
    open_workspace
    left=$(operation)
    conflicts=$(ws diff-files --name-only --diff-filter=U --ignore-submodules=all | head -n 20)
    [ -z "$conflicts" ] || fail agent_error "conflicts were left unresolved: $conflicts"
    [ "$left" != rebase ] || fail agent_error "a rebase was left unfinished"
    dirty=$(changes) || fail workspace_error "git status failed in $work"
    if [ -z "$dirty" ] && [ "$left" != merge ]; then
        printf 'head %s\ncommitted no\n' "$head"
        return
    fi
    said=$(stage 2>&1) || fail agent_error "what was left cannot be committed: $said"
    tree=$(ws write-tree) || fail workspace_error "git write-tree failed in $work"
    set -- -p "$head"
    if [ "$left" = merge ]; then
        while read -r other; do set -- "$@" -p "$other"; done <"$work/.git/MERGE_HEAD"
    elif [ "$tree" = "$(ws rev-parse "$head^{tree}")" ]; then
        printf 'head %s\ncommitted no\n' "$head"
        return
    fi
    new=$(as_committer ws commit-tree "$tree" "$@" -m "$message") &&
        ws update-ref -m 'commit: leftovers' HEAD "$new" "$head" ||
        fail workspace_error "the leftovers in $work could not be committed"
    if [ "$left" != bisect ]; then forget_operation; fi
    printf 'head %s\ncommitted yes\n' "$new"
}

commit </dev/null

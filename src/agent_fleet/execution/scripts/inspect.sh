# What the attempt has done so far. After workspace.sh. Changes nothing but Git's stat cache.
#
# Set before this text: start_sha.
# Answer: head, commits, changed (yes or no), dirty (yes or no), unfinished (absent if nothing is).
# shellcheck shell=sh disable=SC2015,SC2034,SC2154

inspect() {
    open_workspace
    commits=$(ws rev-list --count "$head" "^$start_sha") ||
        fail workspace_error "the commit $start_sha is not in $work"
    trees=$(ws rev-parse "$head^{tree}" "$start_sha^{tree}") ||
        fail workspace_error "a tree is missing in $work"
    changed=yes
    if [ "${trees%%
*}" = "${trees##*
}" ]; then changed=no; fi
    dirty=$(changes) || fail workspace_error "git status failed in $work"
    printf 'head %s\ncommits %s\nchanged %s\n' "$head" "$commits" "$changed"
    if [ -n "$dirty" ]; then echo 'dirty yes'; else echo 'dirty no'; fi
    left=$(operation)
    if [ -n "$left" ]; then printf 'unfinished %s\n' "$left"; fi
}

inspect </dev/null

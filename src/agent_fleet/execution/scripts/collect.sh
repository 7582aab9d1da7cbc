# Remove a workspace whose task has ended; work that is not on the remote is kept first. After
# workspace.sh.
#
# Kept are a bundle of all commits that the remote was not seen to have (the uncommitted work is
# its refs/kept/collected) and, for the eye, the uncommitted work as a patch on HEAD. The names
# are made of what they hold: repeated, the same files come out.
#
# Set before this text: keep_dir identity_name identity_email.
# Answer: kept yes or no.
# shellcheck shell=sh disable=SC2015,SC2034,SC2154

save() {
    dirty=$(changes) || return 1
    put_aside=
    if [ -n "$dirty" ]; then
        put_aside=$(snapshot "Uncommitted work when the workspace was collected") &&
            ws update-ref refs/kept/collected "$put_aside" || return 1
    fi
    set -- HEAD --branches --glob=refs/kept '--glob=refs/stas[h]'
    while read -r sha; do set -- "$@" "^$sha"; done <"$own/known"
    commits=$(ws rev-list --count "$@") || return 1
    if [ "$commits" -eq 0 ]; then return 0; fi
    kept=yes
    stamp=$({
        ws rev-parse HEAD && { [ -z "$put_aside" ] || ws rev-parse "$put_aside^{tree}"; } &&
            ws for-each-ref refs/heads refs/stash 'refs/kept/*/*'
    } | cksum) || return 1
    file=$keep_dir/$name-${stamp%% *}
    if [ -n "$put_aside" ]; then
        ws diff --binary --no-ext-diff --no-textconv --ignore-submodules=all HEAD "$put_aside" \
            >"$file.patch.tmp" && mv -f "$file.patch.tmp" "$file.patch" || return 1
    fi
    ws bundle create --quiet "$file.bundle.tmp" "$@" && mv -f "$file.bundle.tmp" "$file.bundle"
}

collect() {
    lock_workspace
    sweep
    kept=no
    mkdir -p "$keep_dir" "$root/tmp" || fail workspace_error "$keep_dir cannot be written"
    if [ -e "$work" ]; then
        if intact && save; then
            mv "$work" "$root/tmp/$name.$$" || fail workspace_error "$work cannot be removed"
            discard "$root/tmp/$name.$$"
        else
            mkdir -p "$root/aside" && mv "$work" "$root/aside/$name.damaged.$$" ||
                fail workspace_error "$work can neither be saved nor moved"
        fi
    fi
    for whole in "$root/aside/$name".*; do
        if [ -e "$whole" ]; then
            mv "$whole" "$keep_dir/" || fail workspace_error "$whole cannot be moved to $keep_dir"
            kept=yes
        fi
    done
    discard "$own"
    printf 'kept %s\n' "$kept"
}

collect </dev/null

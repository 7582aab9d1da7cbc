# Prepare the workspace of one attempt. After workspace.sh and remote.sh.
#
# A workspace that is there is used again, and nothing unpushed in it is lost; one that is damaged
# is moved aside whole. A new one is made in a temporary directory and renamed into place.
#
# Set before this text: base branch cache_name base_ref branch_ref start_head attempt
# identity_name identity_email.
# Answer: path, git_dir, base_sha, start_sha, remote_head (absent if the branch is not there).
# shellcheck shell=sh disable=SC2015,SC2034,SC2154

cache=$root/cache/$cache_name.git

check_remote() {
    if [ -z "$base_sha" ]; then
        refs=$(remote_git ls-remote -- "$url" 2>&1) ||
            fail workspace_error "$url cannot be read: $refs"
        case $refs in
            *refs/*) fail invalid_task "$url has no branch $base; create it, or name another base branch" ;;
            *) fail invalid_task "$url is empty; push a first commit to $base, then retry" ;;
        esac
    fi
    if [ -z "$start_head" ] && [ -n "$remote_head" ]; then
        fail foreign_push "the branch $branch is already on $url, at $remote_head, and no attempt of this task put it there; delete or rename it there, then retry"
    fi
    if [ -n "$start_head" ] && [ -z "$remote_head" ]; then
        fail foreign_push "branch gone: $branch was at $start_head and is no longer on $url; push it again, or retry on a new branch"
    fi
}

cached() {
    plain_git --git-dir="$cache" "$@"
}

# Whether the base's and the branch's heads are here, as $1 (ws or cached) sees it. The cache keeps
# every fetch as one pack, so that a commit is never there without what it consists of.
has_heads() {
    # shellcheck disable=SC2086
    seen=$(printf '%s\n' "$base_sha" $remote_head | "$1" cat-file --batch-check='%(objecttype)' 2>/dev/null) || return 1
    case $seen in *missing*) return 1 ;; esac
}

here() {
    if intact && has_heads ws; then return; fi
    [ -d "$cache" ] && has_heads cached
}

make_cache() {
    new=$root/tmp/$cache_name.$$
    plain_git init -q --bare --template= --object-format="$format" "$new" || return 1
    plain_git --git-dir="$new" config fetch.unpackLimit 1 || return 1
    mv "$new" "$cache"
}

# Many small packs make every look-up slow. Nothing is ever pruned: workspaces borrow from here.
pack_cache() {
    set -- "$cache"/objects/pack/*.pack
    if [ $# -gt 50 ]; then cached repack -a -d -q --keep-unreachable; fi
}

fetch() {
    lock "$root/lock/$cache_name.git"
    cache_lock=$root/lock/$cache_name.git
    if ! here; then
        mkdir -p "$root/cache"
        [ -d "$cache" ] || make_cache || fail workspace_error "$cache cannot be made"
        rm -f "$cache"/objects/pack/tmp_* "$cache"/objects/pack/*.keep
        find "$cache" -name '*.lock' -exec rm -f {} +
        set -- "+refs/heads/$base:$base_ref"
        if [ -n "$remote_head" ]; then set -- "$@" "+refs/heads/$branch:$branch_ref"; fi
        said=$(remote_git --git-dir="$cache" fetch --quiet --no-write-fetch-head \
            --no-recurse-submodules "$url" "$@" 2>&1) || fail workspace_error "$url cannot be fetched: $said"
        here || fail workspace_error "$url changed while it was fetched"
        pack_cache
    fi
    rm -f "$cache_lock"
    cache_lock=
}

# A branch that somebody pushed to is adopted when it contains the head that is known.
check_descent() {
    if [ -n "$start_head" ] && [ "$start_head" != "$remote_head" ]; then
        look=cached
        if intact && has_heads ws; then look=ws; fi
        "$look" merge-base --is-ancestor "$start_head" "$remote_head" 2>/dev/null ||
            fail foreign_push "$branch is at $remote_head on $url, which does not contain $start_head, the head this task knows; restore it, or retry on a new branch"
    fi
}

# The workspace's configuration $1/.git/config: what `git init` found out, the remote, the identity.
write_config() {
    if [ -e "$1/.git/config.worktree" ]; then rm -rf "$1/.git/config.worktree"; fi
    if [ -e "$1/.git/commondir" ]; then rm -rf "$1/.git/commondir"; fi
    {
        cat "$own/config"
        printf '[user]\n\tname = "%s"\n\temail = "%s"\n' "$config_name" "$config_email"
        printf '[remote "origin"]\n\turl = "%s"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n' "$config_url"
        printf '[branch "%s"]\n\tremote = origin\n\tmerge = refs/heads/%s\n' "$branch" "$branch"
    } >"$1/.git/config.$$" && mv -f "$1/.git/config.$$" "$1/.git/config"
}

borrow() {
    printf '%s\n' "$cache/objects" >"$1/.git/objects/info/alternates"
}

# The fleet's own side of the workspace: everything but the refs and the objects.
make_own() {
    if [ -e "$own" ]; then rm -rf "$own"; fi
    mkdir -p "$own/info" && cp "$1/.git/config" "$own/config" &&
        ln -s "$work/.git/refs" "$work/.git/packed-refs" "$work/.git/objects" "$own/" &&
        ln -s "$work/.git/info/exclude" "$own/info/exclude"
}

make_workspace() {
    start_sha=${remote_head:-$base_sha}
    new=$root/tmp/$name.$$
    plain_git init -q --template= --object-format="$format" -b "$branch" "$new" || return 1
    make_own "$new" && write_config "$new" && borrow "$new" || return 1
    {
        cached for-each-ref --format='%(objectname) %(refname)' refs/tags || return 1
        printf '%s refs/heads/%s\n' "$start_sha" "$branch"
        printf '%s refs/remotes/origin/%s\n' "$base_sha" "$base"
        if [ -n "$remote_head" ]; then printf '%s refs/remotes/origin/%s\n' "$remote_head" "$branch"; fi
    } >"$new/.git/packed-refs"
    plain_git -C "$new" reset -q --hard || return 1
    [ -d "$root/work" ] || mkdir -p "$root/work"
    record && mv "$new" "$work"
}

# Commits that the remote is known to have; the first line is where the attempt begins.
record() {
    printf '%s\n' "$start_sha" "$base_sha" "${remote_head:-$base_sha}" >"$own/known.new" &&
        mv -f "$own/known.new" "$own/known"
}

# Where the attempt begins, and which commit of the workspace ($head) or the remote it goes on from.
# Without a remote branch, commits of an earlier try go on from where they forked off the base,
# unless the base was rewritten under them.
choose_start() {
    if [ -n "$remote_head" ]; then
        start_sha=$remote_head target=$remote_head
        if ancestor "$remote_head" "$head"; then target=$head; fi
        return
    fi
    start_sha=$base_sha target=$base_sha
    if [ "$head" = "$base_sha" ]; then return; fi
    fork=$(ws merge-base "$base_sha" "$head") || return 0
    read -r before <"$own/known" || return 0
    if [ "$fork" != "$head" ] && ancestor "$before" "$fork"; then start_sha=$fork target=$head; fi
}

# Go on in the workspace that is there. Fails if it is damaged.
reuse_workspace() {
    intact && borrow "$work" && write_config "$work" || return 1
    head=$(ws rev-parse -q --verify 'HEAD^{commit}') || return 1
    dirty=$(changes) || return 1
    left=$(operation)
    if [ -n "$dirty" ]; then
        put_aside=$(snapshot "Uncommitted work found before attempt $attempt") &&
            keep "$put_aside" "$attempt" || return 1
    fi
    if [ "$left" = rebase ] && tip=$(ws rev-parse -q --verify "refs/heads/$branch^{commit}"); then
        keep "$head" "$attempt" || return 1
        head=$tip dirty=yes
    fi
    choose_start
    if [ "$target" != "$head" ] && ! ancestor "$head" "$target"; then
        keep "$head" "$attempt" || return 1
    fi
    take_branch "$target" "$attempt" || return 1
    if [ -n "$left" ]; then forget_operation; fi
    if [ "$target" != "$head" ] || [ -n "$dirty$left" ]; then
        ws reset -q --hard && ws clean -q -f -d || return 1
    fi
    {
        printf 'update refs/remotes/origin/%s %s\n' "$base" "$base_sha"
        if [ -n "$remote_head" ]; then
            printf 'update refs/remotes/origin/%s %s\n' "$branch" "$remote_head"
        fi
    } | ws update-ref --stdin || return 1
    record
}

prepare() {
    ask_remote workspace_error
    check_remote
    format=sha1
    if [ ${#base_sha} -eq 64 ]; then format=sha256; fi
    [ -d "$root/tmp" ] || mkdir -p "$root/tmp" || fail workspace_error "$root cannot be written"
    lock_workspace
    sweep
    here || fetch
    check_descent
    if [ -e "$work" ] && ! reuse_workspace; then
        mkdir -p "$root/aside" && mv "$work" "$root/aside/$name.$attempt.$$" ||
            fail workspace_error "the damaged workspace $work cannot be moved aside"
        [ -d "$cache" ] && has_heads cached || fetch
    fi
    [ -e "$work" ] || make_workspace || fail workspace_error "the workspace $work cannot be made"
    printf 'path %s\ngit_dir %s\nbase_sha %s\nstart_sha %s\n' "$work" "$own" "$base_sha" "$start_sha"
    if [ -n "$remote_head" ]; then printf 'remote_head %s\n' "$remote_head"; fi
}

prepare </dev/null

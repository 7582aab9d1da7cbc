# Git that talks to the remote: with the host's own configuration (its proxies, certificates and,
# where no credentials are given, its credentials), never with a repository's that an agent wrote.
#
# Set before this text: url ssh (yes or no) credential_scope git_username git_token.
# The token is in the environment of these Git commands only, and is given only to its own server.
# shellcheck shell=sh disable=SC2015,SC2034,SC2154

export GIT_ALLOW_PROTOCOL=http:https:ssh:file
export GIT_HTTP_LOW_SPEED_LIMIT=1 GIT_HTTP_LOW_SPEED_TIME=60

if [ -n "$git_token" ]; then
    unset SSH_ASKPASS
    export GIT_ASKPASS='' GIT_CONFIG_COUNT=8 \
        GIT_CONFIG_KEY_5=core.askPass GIT_CONFIG_VALUE_5='' \
        GIT_CONFIG_KEY_6=credential.helper GIT_CONFIG_VALUE_6='' \
        GIT_CONFIG_KEY_7="credential.$credential_scope.helper"
    # shellcheck disable=SC2016
    export GIT_CONFIG_VALUE_7='!answer() { test "$1" != get || printf "username=%s\npassword=%s\n" "$FLEET_GIT_USERNAME" "$FLEET_GIT_TOKEN"; }; answer'
fi
if [ "$ssh" = yes ] && [ -z "${GIT_SSH_COMMAND-}${GIT_SSH-}" ] &&
    ! git config --global --get core.sshCommand >/dev/null; then
    export GIT_SSH_COMMAND='ssh -oBatchMode=yes -oConnectTimeout=30 -oServerAliveInterval=20'
fi

remote_git() {
    FLEET_GIT_USERNAME=$git_username FLEET_GIT_TOKEN=$git_token git "$@"
}

# The heads of the base branch and of the task's branch, as the remote has them now.
ask_remote() {
    base_sha='' remote_head=''
    refs=$(remote_git ls-remote -- "$url" "refs/heads/$base" "refs/heads/$branch" 2>&1) ||
        fail "$1" "$url cannot be read: $refs"
    while IFS='	' read -r sha ref; do
        case $ref in
            "refs/heads/$base") base_sha=$sha ;;
            "refs/heads/$branch") remote_head=$sha ;;
        esac
    done <<REFS
$refs
REFS
}

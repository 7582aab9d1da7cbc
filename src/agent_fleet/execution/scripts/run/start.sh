# shellcheck shell=sh disable=SC2154 # set before, by the sender
# Start a run, once: making its directory is the start. The arguments are the CLI's command line.
# Set before: directory, cwd, mark, shell, has_stdin, stdin, environment, supervise.

fail() {
    echo "$1" >&2
    exit 1
}

# give_up MESSAGE: nothing has been started, and nothing is left behind.
give_up() {
    rm -rf "$directory"
    fail "$1"
}

# once DIRECTORY: go on only if there is no such directory.
once() {
    [ ! -d "$1" ] || {
        echo present
        exit 0
    }
}

mask=$(umask)
umask 077
once "$directory"
way=$(detacher "$shell") || exit 1
[ -d "$cwd" ] || fail "$cwd: no such directory"
[ -d "${directory%/*}" ] || mkdir -p "${directory%/*}" || exit 1
now=$(date +%s)
if ! message=$(mkdir "$directory" 2>&1); then
    once "$directory"
    fail "$message"
fi
if ! cd "$directory" || ! echo "$now" >created || ! : >stdout || ! : >stderr; then
    give_up "$directory: cannot write"
fi
if [ -n "$has_stdin" ]; then
    printf '%s' "$stdin" >stdin || give_up "$directory: cannot write the prompt"
fi
printf '%s\n' "$environment" >environment || give_up "$directory: cannot write the environment"
# Within braces, so that it is read whole before any of it runs.
printf '{\n%s\nexit\n}\n' "$supervise" >supervise || give_up "$directory: cannot write the supervisor"
detach "$way" env -i PATH="$PATH" AGENT_FLEET_RUN="$mark" \
    "$shell" "$directory/supervise" "$directory" "$cwd" "$mask" "$@" ||
    give_up "$way could not start the run"
echo started

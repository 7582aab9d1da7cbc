# shellcheck shell=sh disable=SC2154 # sent with processes.sh
# Stand by one CLI: record who this is, run it in the foreground, record its exit code.
# Arguments: directory, cwd, umask, and the CLI's command line.

directory=$1 cwd=$2 mask=$3
shift 3
umask 077
cd "$directory" || exit 1
exec 2>supervisor.log

# Ignored while recording, so that no helper dies of a signal to the group; handled (not ignored,
# which the CLI would inherit) while the CLI runs, so that this process outlives it.
trap '' HUP INT QUIT TERM
look_at $$ || exit 1
look_at_boot
printf '%s\n%s\n%s\n' "$$" "$started" "$this_boot" >process.new || exit 1
mv process.new process || exit 1
environment=$(cat environment) || exit 1
rm -f environment
# Whoever ends the run writes this file before looking for the process: one of the two sees the other.
[ ! -e ended ] || exit 1
input=/dev/null
[ ! -e stdin ] || input=stdin
trap : HUP INT QUIT TERM

(
    cd "$cwd" || exit 126
    umask "$mask"
    unset PATH AGENT_FLEET_RUN OLDPWD SHLVL
    # From here on the variables are the CLI's: an argument remembers where the run's files are.
    set -- "$directory" "$@"
    eval "$environment"
    if ! command -v "$2" >/dev/null 2>&1; then
        : >"$1/not_found"
        printf '%s: not found\n' "$2" >&2
        exit 127
    fi
    shift
    exec "$@"
) <"$input" >>stdout 2>>stderr
code=$?

trap '' HUP INT QUIT TERM
echo "$code" >exit_code.new && mv exit_code.new exit_code

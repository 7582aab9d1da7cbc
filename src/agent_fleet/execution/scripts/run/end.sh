# shellcheck shell=sh disable=SC2034,SC2154 # sent with processes.sh and scan.sh
# End a run: SIGINT, SIGTERM, SIGKILL to all of its processes, and proof that none is left.
# Arguments: directory, workspace, mark, and three graces in tenths of a second.

directory=$1 workspace=$2 mark=$3 interrupt=$4 terminate=$5 kill=$6
pid='' supervisor='' found='' foreground='' targets='' sent=''
physical=$(cd -P "$workspace" 2>/dev/null && pwd -P) && workspace=$physical
cd /
if [ -d "$directory" ]; then
    : >"$directory/ended"
    rm -f "$directory/environment"
fi

# refresh: is the supervisor still there? It may have come only now.
refresh() {
    if [ -z "$pid" ] || [ -n "$supervisor" ]; then look_for_supervisor "$directory"; fi
}

# lives PID:START: is it still the process that it was?
lives() {
    look_at "${1%%:*}" && [ "$started" = "${1#*:}" ]
}

# any_lives: does any of `targets`?
any_lives() {
    for target in $targets; do
        ! lives "$target" || return 0
    done
    return 1
}

# hit SIGNAL: send it to each of `targets` that is still the one it was; remember that it was sent.
hit() {
    for target in $targets; do
        lives "$target" || continue
        kill -s "$1" "${target%%:*}" 2>/dev/null
        case " $sent " in
        *" $1 "*) ;;
        *) sent="$sent $1" ;;
        esac
    done
}

# tick: wait for a tenth of a second, or a second where sleep knows no less.
tick() {
    if sleep 0.1 2>/dev/null; then
        ticks=$((ticks - 1))
    else
        sleep 1
        ticks=$((ticks - 10))
    fi
}

# stage SIGNAL TICKS: succeed as soon as nothing is left. What was forked meanwhile is hit too.
stage() {
    ticks=$2
    while
        refresh
        scan
        [ -n "$found$supervisor" ]
    do
        # As Ctrl-C in a terminal would: a CLI then ends its tools by itself, and claude still
        # reports what it did and its cost, which it does not once a tool was hit too.
        targets=$found
        [ "$1" != INT ] || [ -z "$foreground" ] || targets=$foreground
        hit "$1"
        while
            [ "$ticks" -gt 0 ] || return 1
            tick
            any_lives
        do :; done
    done
}

if ! stage INT "$interrupt" && ! stage TERM "$terminate" && ! stage KILL "$kill"; then
    # The supervisor was spared so that it writes the exit code; it has had its time.
    refresh
    [ -z "$supervisor" ] || kill -s KILL "$supervisor" 2>/dev/null
    stage KILL 10
fi
echo "signals=$sent"
# shellcheck disable=SC2086
echo "survivors=$(printf '%s ' $found $supervisor | sed 's/:[^ ]*//g')"

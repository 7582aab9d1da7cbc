# shellcheck shell=sh disable=SC2034 # its variables are for the scripts that it is sent with
# What identifies a process: its pid, its start time and the machine's boot.

# look_at_boot: set `this_boot` to what changes with every boot.
look_at_boot() {
    this_boot=
    if [ -r /proc/sys/kernel/random/boot_id ]; then
        read -r this_boot </proc/sys/kernel/random/boot_id
    else
        this_boot=$(sysctl -n kern.bootsessionuuid 2>/dev/null || sysctl -n kern.boottime)
    fi
}

# look_at PID: set `started` to its start time; fail if it is gone. A zombie is gone.
look_at() {
    started=
    if [ -r /proc/self/stat ]; then
        stat_line=
        # A command's name may hold a newline or a bracket; what follows the last bracket cannot.
        while IFS= read -r stat_part; do
            stat_line=$stat_part
        done 2>/dev/null <"/proc/$1/stat" || return 1
        # shellcheck disable=SC2086 # the fields are to be split
        set -- ${stat_line##*) }
        [ "$#" -ge 20 ] || return 1
        started=${20}
    else
        # shellcheck disable=SC2046
        set -- $(LC_ALL=C ps -o stat= -o lstart= -p "$1" 2>/dev/null)
        [ "$#" -ge 6 ] || return 1
        started=$2_$3_$4_$5_$6
    fi
    case $1 in
    Z* | X*) return 1 ;;
    esac
}

# look_for_supervisor DIRECTORY: set `pid`, and `supervisor` to the same if it is alive.
look_for_supervisor() {
    pid='' start='' boot='' supervisor=''
    [ -r "$1/process" ] || return 0
    { read -r pid && read -r start && IFS= read -r boot; } <"$1/process" || return 0
    look_at_boot
    if [ "$boot" = "$this_boot" ] && look_at "$pid" && [ "$started" = "$start" ]; then
        supervisor=$pid
    fi
}

# What a machine is. $1: the directory that holds its workspaces, or will.
# Answer: lines of a key and a value.
# shellcheck shell=sh

probe() {
    root=$1
    cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || nproc 2>/dev/null || echo 1)
    load=$(uptime | sed -n 's/.*load average[s]*: *\([0-9]*\)[.,]\([0-9]*\).*/\1.\2/p')
    while [ ! -d "$root" ] && [ "$root" != / ]; do
        root=$(dirname -- "$root")
    done
    disk=$(df -Pk -- "$root" | awk 'NR == 2 { print $4 }')
    printf 'cores %s\nload %s\ndisk_kib %s\n' "$cores" "${load:-0}" "${disk:-0}"
}

probe "$@"

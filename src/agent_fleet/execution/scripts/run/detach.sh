# shellcheck shell=sh disable=SC2016 # programs in single quotes are for others to expand
# How to leave the caller: a process in a group of its own, with default signals, that nobody awaits.

# detacher SHELL: print the first way that this machine offers.
#
# `&` would make the process ignore SIGINT for ever, so no way here uses it without job control. A
# SIGINT that is ignored already can be restored by perl and python3 only: then they come first.
detacher() {
    ways='setsid perl python3 bash'
    [ -z "$("$1" -c 'kill -INT $$; echo ignored' 2>/dev/null)" ] || ways='perl python3 setsid bash'
    for way in $ways; do
        if command -v "$way" >/dev/null 2>&1; then
            echo "$way"
            return 0
        fi
    done
    echo 'no setsid, perl, python3 or bash to detach a run with' >&2
    return 1
}

# detach WAY COMMAND...: start it, away from here, and return at once.
detach() {
    way=$1
    shift
    case $way in
    # The first setsid makes a leader of the second, which therefore forks and returns at once:
    # so --fork, which some lack, is not needed.
    setsid) setsid setsid "$@" ;;
    perl) perl -e 'use POSIX (); defined(my $child = fork) or die; exit if $child;
        POSIX::setsid(); $SIG{$_} = "DEFAULT" for qw(HUP INT QUIT PIPE TERM); exec @ARGV' -- "$@" ;;
    python3) python3 -ISc '
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    for name in ("HUP", "INT", "QUIT", "PIPE", "TERM", "XFSZ"):
        signal.signal(getattr(signal, "SIG" + name), signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])
' "$@" ;;
    # Not bash -m: without a terminal that switches job control off again.
    bash) bash -c 'set -m; "$@" &' bash "$@" ;;
    esac </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
}

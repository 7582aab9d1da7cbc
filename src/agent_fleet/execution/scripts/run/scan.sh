# shellcheck shell=sh disable=SC2034,SC2154 # sent with end.sh
# Find the processes of a run, in one pass over the process table.

# scan: set `found` to pid:start of each living process of the run, without its supervisor, and
# `foreground` to those of them that are in the supervisor's group.
#
# The run's are: the supervisor's group, whoever bears the mark, whoever sits in the workspace and
# whoever was found before; and of all these the descendants, and the groups and sessions they lead.
# Never: this process, what it started, what started it.
# Set before: mark, workspace, pid, supervisor.
scan() {
    listed=$(
        export LC_ALL=C
        FLEET_SELF=$$ FLEET_GROUP=$pid FLEET_SUPERVISOR=$supervisor FLEET_MARK=$mark
        FLEET_WORKSPACE=$workspace FLEET_FOUND=$found
        export FLEET_SELF FLEET_GROUP FLEET_SUPERVISOR FLEET_MARK FLEET_WORKSPACE FLEET_FOUND
        { table; directories; marked; } | awk "$select_ours"
    )
    found='' foreground=''
    for one in $listed; do
        case $one in
        group:*) foreground="$foreground ${one#group:}" ;;
        esac
        found="$found ${one#group:}"
    done
}

# The three sources of `scan`, as lines "process PID PPID GROUP SESSION START", "cwd PID PATH" and
# "mark PID". A process that is not ours to read has none of the last two.
if [ -r /proc/self/stat ]; then
    table() {
        awk 'BEGIN {
            for (i = 1; i < ARGC; i++) {
                line = ""
                while ((getline part < ARGV[i]) > 0) line = part
                close(ARGV[i])
                sub(/.*\) /, "", line)
                n = split(line, field, " ")
                if (n < 20 || field[1] ~ /^[ZX]/) continue
                split(ARGV[i], path, "/")
                print "process", path[3], field[2], field[3], field[4], field[20]
            }
        }' /proc/[0-9]*/stat
    }
    directories() {
        # shellcheck disable=SC2012
        ls -ln /proc/[0-9]*/cwd 2>/dev/null | sed -n 's,^l.* /proc/\([0-9]*\)/cwd -> ,cwd \1 ,p'
    }
    marked() {
        grep -lF "AGENT_FLEET_RUN=$mark" /proc/[0-9]*/environ 2>/dev/null | while read -r environ; do
            # Another mark may begin with this one.
            tr '\0' '\n' 2>/dev/null <"$environ" | grep -Fxq "AGENT_FLEET_RUN=$mark" || continue
            environ=${environ#/proc/}
            echo "mark ${environ%/environ}"
        done
    }
else
    table() {
        ps -A -o pid= -o ppid= -o pgid= -o stat= -o lstart= | awk '$4 !~ /^[ZX]/ {
            print "process", $1, $2, $3, $3, $5 "_" $6 "_" $7 "_" $8 "_" $9
        }'
    }
    directories() {
        lsof -a -d cwd -Fpn 2>/dev/null | sed -n 's/^p//p; s/^n/ /p' | awk '
            /^ / { print "cwd", pid $0; next } { pid = $0 }'
    }
    marked() {
        ps -A -E -ww -o pid= -o command= | awk -v "entry=AGENT_FLEET_RUN=$mark" '
            index($0 " ", " " entry " ") { print "mark", $1 }'
    }
fi

# shellcheck disable=SC2016
select_ours='
function inside(path, root) {
    return root != "" && (path == root || index(path, root "/") == 1 || path == root " (deleted)")
}
$1 == "process" { parent[$2] = $3; group[$2] = $4; session[$2] = $5; start[$2] = $6 }
$1 == "cwd" && inside(substr($0, length($1 $2) + 3), ENVIRON["FLEET_WORKSPACE"]) { sits[$2] = 1 }
$1 == "mark" { ours[$2] = 1 }
END {
    self = ENVIRON["FLEET_SELF"]; run = ENVIRON["FLEET_GROUP"]; supervisor = ENVIRON["FLEET_SUPERVISOR"]
    for (p = self; p > 1 && !(p in not_ours); p = parent[p]) not_ours[p] = 1
    for (p in start) for (q = p; q > 1 && (q in start); q = parent[q]) if (q == self) not_ours[p] = 1

    # A number that was given to others since may be a group again: it is ours while its leader
    # lives, or a member bears the mark.
    trusted = supervisor != ""
    for (p in ours) if (group[p] == run) trusted = 1
    for (p in start) if (run != "" && group[p] == run && trusted) ours[p] = 1
    n = split(ENVIRON["FLEET_FOUND"], before, /[ \n]+/)
    for (i = 1; i <= n; i++) {
        split(before[i], known, ":")
        if (known[1] in start && start[known[1]] == known[2]) ours[known[1]] = 1
    }
    for (p in sits) ours[p] = 1
    if (supervisor != "") ours[supervisor] = 1
    for (p in not_ours) delete ours[p]
    do {
        more = 0
        for (p in start) {
            if ((p in ours) || (p in not_ours)) continue
            if ((parent[p] in ours) || (group[p] in ours) || (session[p] in ours)) { ours[p] = 1; more = 1 }
        }
    } while (more)
    for (p in ours) if ((p in start) && p != supervisor && p > 1) {
        print (run != "" && group[p] == run ? "group:" : "") p ":" start[p]
    }
}'

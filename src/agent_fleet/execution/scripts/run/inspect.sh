# shellcheck shell=sh disable=SC2094,SC2154 # sent with processes.sh
# Say how a run is, and send what it has written: lines of key=value, an empty line, raw output.
# Arguments: directory, stdout offset, stderr offset, most bytes of each.

cd "$1" 2>/dev/null || exit 0
limit=$4

# left SIZE OFFSET: print how many bytes are to be sent.
left() {
    left=$(($1 - $2))
    [ "$left" -gt 0 ] || left=0
    [ "$left" -le "$limit" ] || left=$limit
    echo "$left"
}

# send FILE OFFSET COUNT: whole blocks are skipped by a seek, the rest by the reader.
send() {
    [ "$3" -gt 0 ] || return 0
    dd if="$1" bs=4096 skip="$(($2 / 4096))" count="$(($3 / 4096 + 2))" 2>/dev/null |
        head -c "$(($2 % 4096 + $3))"
}

# The process first and its exit code after: whoever has ended between the two has left its code.
look_for_supervisor .
exit_code=
[ ! -r exit_code ] || read -r exit_code <exit_code
not_found=
[ ! -e not_found ] || not_found=1
now=$(date +%s)
# A starter that was killed right after mkdir left no time: its age counts from here.
[ -s created ] || echo "$now" >created
read -r created <created
stdout_size=0 stderr_size=0
[ ! -r stdout ] || stdout_size=$(wc -c <stdout)
[ ! -r stderr ] || stderr_size=$(wc -c <stderr)
stdout_left=$(left "$stdout_size" "$2")
stderr_left=$(left "$stderr_size" "$3")
cat <<END
pid=$pid
alive=$supervisor
exit_code=$exit_code
not_found=$not_found
age=$((now - created))
stdout_size=$((stdout_size))
stderr_size=$((stderr_size))
stdout_left=$stdout_left
stderr_left=$stderr_left

END
send stdout "$2" "$stdout_left"
send stderr "$3" "$stderr_left"

# shellcheck shell=bash
# steps.sh is read by test.sh: it runs steps in two lanes, goes on when one
# fails, and ends with a table of all.
#
#   step tests NAME COMMAND...   COMMAND prints what `go test -json` does
#   step check NAME COMMAND...   COMMAND is quiet; its output is shown if it fails
#   step live NAME COMMAND...    COMMAND's output is worth watching
#   beside KIND NAME COMMAND...  the same for the other lane
#   alone KIND NAME COMMAND...   the same, when the other lane is through
#   run_steps                    runs them; 1 if one failed
#
# The steps of a lane run one after the other, in the order in which they were
# named. The other lane begins after the steps that were named before its first
# one. Most of what it does is to wait for servers, and its output has a bar at
# the left. A lane that is through takes over what the other one has not begun
# yet, the last first.
#
# A command that cannot be run here exits with $cannot, and says why in the
# last line of its output. No word of a command has a space in it.

: "${scratch:?}" # test.sh has made this folder

cannot=77
kinds=() names=() commands=() lanes=()
lane=front

step() {
  kinds+=("$1") names+=("$2") lanes+=("$lane")
  shift 2
  commands+=("$*")
}

beside() { local lane=beside; step "$@"; }
alone() { local lane=alone; step "$@"; }

# What watch prints beside the progress of tests; see tools/testtable.
watch_flags=()

# started is when run_steps was called.
started=0

# other is the process group of the other lane while it runs.
other=

run_steps() {
  local n=${#names[@]} k
  started=$SECONDS
  go build -C tools/testtable -o "$scratch/testtable" . || return
  logs=$(mktemp -d "${TMPDIR:-/tmp}/clustersql-test.XXXXXX") || return
  for ((k = 0; k < n; k++)); do
    case ${lanes[k]} in
      beside) [ -n "$other" ] || start_beside; continue ;;
      alone) await_beside ;;
    esac
    take_step "$k"
  done
  await_beside
  end_steps
}

# take_step runs a step that neither lane has taken yet. mkdir makes a folder for one
# of two.
take_step() { ! mkdir "$logs/taken$1" 2>/dev/null || run_step "$1"; }

# take_over runs what the lane has not begun yet.
take_over() {
  local k
  for ((k = ${#names[@]} - 1; k >= 0; k--)); do
    [ "${lanes[k]}" != "$1" ] || take_step "$k"
  done
}

# await_beside takes over what the other lane has left, and returns when that is through.
await_beside() {
  [ -z "$other" ] || take_over beside
  [ -z "$other" ] || wait "$other"
  other=
}

# start_beside gives the other lane a process group of its own, so that all of it
# can be ended.
start_beside() {
  set -m
  lane_beside </dev/null &
  other=$!
  set +m
}

lane_beside() {
  local k
  trap - EXIT INT TERM
  set +m
  {
    for ((k = 0; k < ${#names[@]}; k++)); do
      [ "${lanes[k]}" != beside ] || take_step "$k"
    done
    take_over front
  } 2>&1 | sed -u 's/^/| /'
}

end_beside() {
  [ -n "$other" ] || return 0
  kill -TERM -- "-$other" 2>/dev/null
  wait "$other" 2>/dev/null
  other=
}

run_step() {
  local k=$1 kind name log code began seconds
  local -a words
  kind=${kinds[k]} name=${names[k]} log=$logs/$((k + 1)).log
  read -ra words <<<"${commands[k]}"
  printf '\n== %d of %d: %s (%s since the start)\n' $((k + 1)) "${#names[@]}" "$name" "$(minutes_of $((SECONDS - started)))"
  began=$(date +%s%N)
  case $kind in
    tests)
      ("${words[@]}") 2>&1 | tee "$log" | "$scratch/testtable" watch "${watch_flags[@]}"
      code=${PIPESTATUS[0]} ;;
    live)
      ("${words[@]}") 2>&1 | tee "$log"
      code=${PIPESTATUS[0]}
      kind=check ;;
    *)
      ("${words[@]}") >"$log" 2>&1
      code=$? ;;
  esac
  seconds=$(awk -v ns=$(($(date +%s%N) - began)) 'BEGIN { printf "%.1f", ns / 1e9 }')
  case $code in
    0) echo "ok, $seconds s: $name" ;;
    "$cannot") echo "skipped: $name: $(tail -n 1 "$log")" ;;
    *) echo "FAILED, $seconds s: $name" ;;
  esac
  printf '%s\t%d\t%s\t%s\t%s\n' "$kind" "$code" "$seconds" "$log" "$name" >"$logs/$(printf 'step%03d' "$k")"
}

# end_steps says what has run so far, and keeps the logs of what failed.
end_steps() {
  compgen -G "$logs/step[0-9]*" >/dev/null || return 0
  cat "$logs"/step[0-9]* >"$logs/steps"
  "$scratch/testtable" table -seconds "$((SECONDS - started))" "$logs" || return
  rm -rf "$logs"
}

minutes_of() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

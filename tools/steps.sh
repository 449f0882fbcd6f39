# shellcheck shell=bash
# steps.sh is read by test.sh: it runs steps one after the other, goes on when
# one fails, and ends with a table of all.
#
#   step tests NAME COMMAND...   COMMAND prints what `go test -json` does
#   step check NAME COMMAND...   COMMAND is quiet; its output is shown if it fails
#   step live NAME COMMAND...    COMMAND's output is worth watching
#   run_steps                    runs them; 1 if one failed
#
# A command that cannot be run here exits with $cannot, and says why in the
# last line of its output. No word of a command has a space in it.

: "${scratch:?}" # test.sh has made this folder

cannot=77
kinds=() names=() commands=()

step() {
  kinds+=("$1") names+=("$2")
  shift 2
  commands+=("$*")
}

# What watch prints beside the progress of tests; see tools/testtable.
watch_flags=()

run_steps() {
  local n=${#names[@]} k kind name log code began seconds started=$SECONDS
  local -a words
  go build -C tools/testtable -o "$scratch/testtable" . || return
  logs=$(mktemp -d "${TMPDIR:-/tmp}/clustersql-test.XXXXXX") || return
  for ((k = 0; k < n; k++)); do
    kind=${kinds[k]} name=${names[k]} log=$logs/$((k + 1)).log
    read -ra words <<<"${commands[k]}"
    printf '\n== %d of %d: %s (%s since the start)\n' $((k + 1)) "$n" "$name" "$(minutes_of $((SECONDS - started)))"
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
      0) echo "ok, $seconds s" ;;
      "$cannot") echo "skipped: $(tail -n 1 "$log")" ;;
      *) echo "FAILED, $seconds s" ;;
    esac
    printf '%s\t%d\t%s\t%s\t%s\n' "$kind" "$code" "$seconds" "$log" "$name" >>"$logs/steps"
  done
  end_steps
}

# end_steps says what has run so far, and keeps the logs of what failed.
end_steps() {
  [ -s "$logs/steps" ] || return 0
  "$scratch/testtable" table "$logs" || return
  rm -rf "$logs"
}

minutes_of() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

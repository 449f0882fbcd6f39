# shellcheck shell=bash
# repeat.sh is read by test.sh: it runs the short tests again and again, to
# find what fails once in a while.

: "${scratch:?}" # test.sh has made this folder

# What runs beside the script. It ends with the script, however that ends.
children=()

# Where repeat keeps the output of what failed.
folder=

end_children() {
  [ ${#children[@]} -eq 0 ] || kill "${children[@]}" 2>/dev/null
  children=()
}

# busy keeps every core busy. A loop whose script was killed ends by itself.
busy() {
  local script=$$ i
  for ((i = 0; i < $(nproc); i++)); do
    while kill -0 "$script" 2>/dev/null; do
      for ((j = 0; j < 100000; j++)); do :; done
    done &
    children+=($!)
  done
}

# in_background runs a command so that a signal reaches it through its pid: bash
# handles a signal at once while it waits, and not while a command is in front.
in_background() {
  local code
  "$@" &
  children+=($!)
  wait $!
  code=$?
  unset 'children[-1]'
  return "$code"
}

# once runs one test binary in its package's folder. The order of the tests is
# a new one each time, and the simulation takes seeds that nobody has seen.
once() {
  local binary=$1 log=$2 code=0
  local -a run=(env -C "${binary_dirs[$binary]}" "$binary" -test.short -test.v -test.timeout 15m)
  in_background "${run[@]}" -test.shuffle=on \
    -test.skip '^(TestConfiguredClusters|TestSimulation)$' >"$log" 2>&1 || code=1
  if [ -n "${simulates[$binary]:-}" ]; then
    in_background "${run[@]}" -test.run '^TestSimulation$' -simulate.for 1s >>"$log" 2>&1 || code=1
  fi
  return "$code"
}

repeat() {
  local runs=${1:-} dir package binary log k failed=0 bad began
  local -A binary_dirs=() simulates=()
  local -a binaries=() packages=()
  case $runs in
    '' | *[!0-9]* | 0) echo 'usage: ./test.sh repeat N [busy] [norace] [PKG...]' >&2; return 2 ;;
  esac
  shift
  local beside='' race=-race
  if [ "${1:-}" = busy ]; then beside=yes; shift; fi
  if [ "${1:-}" = norace ]; then race=-race=false; shift; fi
  if [ $# -gt 0 ]; then
    packages=("$@")
  else
    short_packages || return
    packages=("${list[@]}")
  fi

  while read -r dir package; do
    echo "compiling the tests of $package"
    binary=$scratch/${package//\//_}.test
    go test "$race" -c -o "$binary" "$package" || return
    [ -x "$binary" ] || continue # it has no tests
    binaries+=("$binary")
    binary_dirs[$binary]=$dir
    if [ -n "$("$binary" -test.list '^TestSimulation$')" ]; then simulates[$binary]=yes; fi
  done < <(go list -f '{{.Dir}} {{.ImportPath}}' "${packages[@]}")
  if [ ${#binaries[@]} -eq 0 ]; then echo 'test.sh: there are no tests in these' >&2; return 2; fi

  # Not local: who interrupts this wants to know where the output is.
  folder=$(mktemp -d "${TMPDIR:-/tmp}/clustersql-repeat.XXXXXX") || return
  if [ -n "$beside" ]; then
    busy
    echo "beside ${#children[@]} busy loops"
  fi
  for ((k = 1; k <= runs; k++)); do
    bad=() began=$SECONDS
    for binary in "${binaries[@]}"; do
      package=$(basename "$binary" .test)
      log=$folder/run-$k-$package.log
      if once "$binary" "$log"; then rm -f "$log"; else bad+=("$log"); fi
    done
    if [ ${#bad[@]} -eq 0 ]; then
      echo "run $k of $runs: ok, $((SECONDS - began)) s"
    else
      failed=$((failed + 1))
      echo "run $k of $runs: FAILED, $((SECONDS - began)) s"
      grep -H -E '^ *--- FAIL|^panic:|WARNING: DATA RACE|^-test.shuffle' "${bad[@]}" | head -n 20
    fi
  done
  end_children
  if [ $failed -gt 0 ]; then
    echo
    echo "The output of the runs that failed is in $folder"
    echo "The number after -test.shuffle in it is the order of the tests: go test -shuffle takes it."
  else
    rm -rf "$folder"
  fi
  echo
  echo "$((runs - failed)) passed, $failed failed"
  [ $failed -eq 0 ]
}

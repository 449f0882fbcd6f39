#!/usr/bin/env bash
# test.sh is the one door to the project's checks.
#
#   ./test.sh              install what the tests need, lint, test every module with -race, bench-quick
#   ./test.sh quick        the root module's tests without real database servers
#   ./test.sh integration  every fault of a node under load, on real servers; ends with a table
#   ./test.sh lint         gofmt, go vet and staticcheck in every module
#   ./test.sh bench        clustersql beside a plain driver and HAProxy; writes bench/RESULTS.md
#   ./test.sh bench-quick  the same in small, into a temporary folder, judging no times
#   ./test.sh microbench [N]  the Go benchmarks, N times (default 1), with allocations
#   ./test.sh fuzz [S]     every fuzz test for S seconds each (default 30)
#   ./test.sh simulate [M]  the simulation of faults on fresh seeds for M minutes (default 10)
#   ./test.sh soak [M]     a ledger under random faults on real servers for M minutes (default 30)
#   ./test.sh install      only install what is missing (Debian's packages)
set -euo pipefail
cd "$(dirname "$0")"

modules=(. demo compat bench tools)

say() { printf '\n== %s\n' "$*"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else echo "test.sh: run as root, or install by hand: $*" >&2; exit 1
  fi
}

# galera_library succeeds where Debian's galera-4 is installed.
galera_library() { dpkg -L galera-4 2>/dev/null | grep -q 'libgalera_smm\.so$'; }

install_packages() {
  local missing=()
  command -v gcc >/dev/null || missing+=(gcc libc6-dev)          # go test -race is cgo
  command -v mariadbd >/dev/null || missing+=(mariadb-server)
  galera_library || missing+=(galera-4)
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || command -v postgres >/dev/null || missing+=(postgresql)
  command -v rsync >/dev/null || missing+=(rsync)                # a joining node's state transfer
  command -v lsof >/dev/null || missing+=(lsof)                  # which the transfer's script asks for
  command -v ps >/dev/null || missing+=(procps)
  command -v ss >/dev/null || missing+=(iproute2)
  [ -x /usr/sbin/haproxy ] || command -v haproxy >/dev/null || missing+=(haproxy)
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "test.sh: not Debian: install these by hand: ${missing[*]}" >&2
    exit 1
  fi
  say "installing ${missing[*]}"
  as_root apt-get update -q
  # The tests start servers of their own; the packaged service stays off.
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -q -y --no-install-recommends "${missing[@]}"
}

lint() {
  local unformatted
  say "gofmt"
  unformatted=$(git ls-files -co --exclude-standard '*.go' | xargs -r gofmt -l)
  [ -z "$unformatted" ] || { echo "gofmt -w these: $unformatted" >&2; return 1; }
  local bin
  bin=$(mktemp -d)
  trap 'rm -rf "$bin"' RETURN
  go build -C tools -o "$bin/staticcheck" honnef.co/go/tools/cmd/staticcheck
  for m in "${modules[@]}"; do
    [ "$m" = tools ] && continue
    say "go vet, staticcheck: $m"
    (cd "$m" && go vet ./... && "$bin/staticcheck" ./...)
  done
}

test_modules() {
  for m in "${modules[@]}"; do
    [ "$m" = tools ] && continue
    say "go test -race: $m"
    (cd "$m" && go test -race -timeout 15m "$@" ./...)
  done
  say "go test: memory and allocations, which -race would falsify"
  go test -count=1 -run 'Small|Alloc' .
}

# What clients see of every fault; the table at the end is the result.
faults() {
  say "go test -race: faults under load"
  go test -race -count=1 -timeout 15m -v -run '^TestFaults$' ./integration
}

bench_quick() {
  say "bench, in small"
  go -C bench run . -quick
}

fuzz() {
  local seconds=${1:-30} pkg name
  for pkg in $(go list ./...); do
    for name in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
      say "$pkg $name, $seconds s"
      go test -run '^$' -fuzz "^$name\$" -fuzztime "${seconds}s" -fuzzminimizetime 2s "$pkg"
    done
  done
}

minutes() {
  case "$2" in ''|*[!0-9]*) echo "test.sh: $1 takes whole minutes, not \"$2\"" >&2; exit 2 ;; esac
}

# simulate says every failing seed with its steps, and how to run it again.
simulate() {
  minutes simulate "$1"
  go test -race -count=1 -timeout "$(($1 + 10))m" -run '^TestSimulation$' . -simulate.for "$1m"
}

# soak says its seed first: the same faults again with -soak.seed.
soak() {
  minutes soak "$1"
  install_packages
  go test -race -count=1 -timeout "$(($1 + 10))m" -v -run '^TestSoak$' ./integration -soak.for "$1m"
}

case "${1:-all}" in
  all)     install_packages; lint; test_modules -count=1 -skip '^TestFaults$'; faults; bench_quick ;;
  quick)   go test -race -short -count=1 -skip '^TestConfiguredClusters$' . ./internal/fakedb ;;
  integration) install_packages; faults ;;
  lint)    lint ;;
  bench)   install_packages; go -C bench run . ;;
  bench-quick) install_packages; bench_quick ;;
  microbench) go test -run '^$' -bench . -benchmem -count "${2:-1}" . ;;
  fuzz)    fuzz "${2:-30}" ;;
  simulate) simulate "${2:-10}" ;;
  soak)    soak "${2:-30}" ;;
  install) install_packages ;;
  *)       sed -n '2,14p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
esac

#!/usr/bin/env bash
# test.sh is the one door to the project's checks.
#
#   ./test.sh              all of it: install what the tests need, lint, the tests of every module
#                          with -race, the oldest Go, faults on real servers, bench-quick
#   ./test.sh quick        the root module's tests without real database servers
#   ./test.sh integration  every fault of a node under load, on real servers, as tables; all of it
#                          has the main ones of Galera
#   ./test.sh sessions [N]  N reads (default 35000) of sessions on each kind of servers that lag and die; none may be stale
#   ./test.sh members      nodes that come back under new addresses, five of them; all of it has three
#   ./test.sh lint         gofmt, vet, staticcheck, other platforms, go.mod files, known vulnerabilities
#   ./test.sh oldest       the quick tests with the oldest Go that go.mod allows
#   ./test.sh bench        clustersql beside a plain driver and HAProxy; writes bench/RESULTS.md
#   ./test.sh bench-quick  the same in small, into a temporary folder, judging no times
#   ./test.sh microbench [N]  the Go benchmarks, N times (default 1), with allocations
#   ./test.sh fuzz [S]     every fuzz test for S seconds each (default 30)
#   ./test.sh simulate [M]  the simulation of faults on fresh seeds for M minutes (default 10)
#   ./test.sh repeat N [busy] [norace] [PKG...]  the quick tests N times with -race, or without;
#                          busy: beside a busy loop on every core
#   ./test.sh soak [M]     a ledger under random faults on real servers for M minutes (default 30)
#   ./test.sh group-replication  three MySQL servers, as a group and as replicas: unpacks
#                          Debian's unstable packages into a folder (CLUSTERSQL_MYSQL names it) and installs nothing;
#                          skipped where that cannot be done, and no part of "all of it"
#   ./test.sh install      only install what is missing (Debian's packages)
#
# A step that fails does not stop the others. What waits for real servers runs
# beside the rest. At the end comes one table, and the exit code is 1 if anything
# failed.
set -u -o pipefail
cd "$(dirname "$0")" || exit

# Each module is tested as it stands, also where a workspace joins them.
export GOWORK=off

# enter goes into a module. One with a workspace of its own has no replace
# directives, so that it can be installed by its version.
enter() {
  cd "$1" || return
  [ ! -e go.work ] || export GOWORK=$PWD/go.work
}

modules=(. demo compat pgx metrics/prometheus metrics/otel cmd/clustersql statuspage/browsertest bench tools tools/testtable)
platforms=(GOOS=darwin GOOS=windows GOARCH=386)

scratch=$(mktemp -d "${TMPDIR:-/tmp}/clustersql-bin.XXXXXX") || exit # what is built on the way
# shellcheck source=tools/steps.sh
. tools/steps.sh
# shellcheck source=tools/repeat.sh
. tools/repeat.sh
# shellcheck source=tools/mysql.sh
. tools/mysql.sh

logs=
trap 'end_beside; end_children; rm -rf "$scratch"' EXIT
trap interrupted INT TERM

interrupted() {
  trap - INT TERM
  printf '\ntest.sh: interrupted\n' >&2
  end_beside
  [ -z "$logs" ] || end_steps
  [ -z "$folder" ] || echo "The output so far is in $folder"
  exit 130
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else echo "test.sh: run as root, or install by hand: $*" >&2; return 1
  fi
}

# galera_library succeeds where Debian's galera-4 is installed.
galera_library() { dpkg -L galera-4 2>/dev/null | grep 'libgalera_smm\.so$' >/dev/null; }

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
  command -v tmux >/dev/null || missing+=(tmux)                  # a terminal for the command's screen
  [ -x /usr/sbin/haproxy ] || command -v haproxy >/dev/null || missing+=(haproxy)
  command -v promtool >/dev/null || missing+=(prometheus)        # the metrics are scraped by a real one
  command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core) # looks at the page
  command -v npm >/dev/null || missing+=(npm)                    # which gets axe-core
  install_missing "${missing[@]}" && install_axe
}

# install_axe gets what judges the page's accessibility. It is no part of the
# repository.
install_axe() {
  [ -e statuspage/browsertest/node_modules/axe-core/axe.min.js ] ||
    (cd statuspage/browsertest && npm ci --ignore-scripts --no-audit --no-fund)
}

install_missing() {
  [ $# -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "test.sh: not Debian: install these by hand: $*" >&2
    return 1
  fi
  echo "installing $*"
  as_root apt-get update -q || return
  # The tests start servers of their own; the packaged service stays off.
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -q -y --no-install-recommends "$@"
}

# These packages of the root module start real servers.
servers='/(integration|internal/galera|internal/pgcluster)$'

# short_packages sets list to the packages of the root module that need no real
# servers. An empty list would be taken for this folder alone.
short_packages() {
  local all
  all=$(go list ./... | grep -v -E "$servers") || return
  mapfile -t list <<<"$all"
}

# ---- lint

# goes_last lets a step have what the others leave of the processors: real servers that
# wait for one lose each other. Each step has a shell of its own.
goes_last() { renice -n 10 -p "$BASHPID" >/dev/null; }

format() {
  local unformatted
  unformatted=$(git ls-files -co --exclude-standard '*.go' | while read -r f; do [ ! -e "$f" ] || echo "$f"; done | xargs -r gofmt -l) || return
  [ -z "$unformatted" ] || { echo "gofmt -w these: $unformatted"; return 1; }
}

# The tools module has no packages of its own. A list that fails is no excuse.
has_packages() {
  local list
  list=$(enter "$1" && go list ./... 2>/dev/null) || return 0
  [ -n "$list" ]
}

vet() {
  local code=0
  goes_last
  [ -x "$scratch/staticcheck" ] || go build -C tools -o "$scratch/staticcheck" honnef.co/go/tools/cmd/staticcheck || return
  enter "$1" || return
  go vet ./... || code=1
  "$scratch/staticcheck" ./... || code=1
  return "$code"
}

# Most of the driver's users run it where no test of ours runs. Nothing of what is
# built here is ever run, so the compiler need not make it fast.
cross() {
  local code=0 plain=-gcflags='all=-N -l'
  goes_last
  export CGO_ENABLED=0 "${1?}"
  go build "$plain" ./... || code=1
  go vet "$plain" ./... || code=1
  return "$code"
}

tidy() {
  local m code=0
  for m in "${modules[@]}"; do
    (cd "$m" && tidy_here) || { echo "go mod tidy: $m"; code=1; }
  done
  return "$code"
}

# tidy_here looks at the module of this folder. "go mod tidy" knows no workspace, so
# it gets the directives of one in a copy of go.mod.
tidy_here() {
  [ -e go.work ] || { go mod tidy -diff; return; }
  local copy
  copy=$(mktemp -d "$scratch/tidy.XXXXXX") || return
  cp go.mod go.sum "$copy/" && sed -n '/^replace (/,/^)/p' go.work >>"$copy/go.mod" || return
  go mod tidy -diff -modfile="$copy/go.mod"
}

# vulnerabilities looks at the module that other programs use. The list of known
# ones is fetched each time, so there is nothing to tell without a network.
vulnerabilities() {
  local code=0 said
  goes_last
  go build -C tools -o "$scratch/govulncheck" golang.org/x/vuln/cmd/govulncheck || return
  said=$(timeout -k 5 90 "$scratch/govulncheck" ./... 2>&1) || code=$?
  printf '%s\n' "$said"
  case $code in
    0)
      grep -q -E '^(No vulnerabilities found|Your code is affected by 0 )' <<<"$said" && return 0
      echo "govulncheck did not say what it has found"
      return 1 ;;
    3)
      grep -q '^ *Module: ' <<<"$said" && return 1
      # Neither the driver nor its user can do anything but build with a newer Go.
      echo "only $(go env GOVERSION) itself has known vulnerabilities: build with a newer Go"
      return "$cannot" ;;
    124 | 137)
      echo "the list of known vulnerabilities did not come within 90 seconds"
      return "$cannot" ;;
  esac
  grep -q 'fetching vulnerabilities' <<<"$said" || return "$code"
  echo "the list of known vulnerabilities is out of reach from here"
  return "$cannot"
}

lint_steps() {
  local m p
  step check "gofmt" format
  for m in "${modules[@]}"; do
    ! has_packages "$m" || step check "vet, staticcheck: $m" vet "$m"
  done
  for p in "${platforms[@]}"; do
    step check "build, vet: $p" cross "$p"
  done
  step check "go mod tidy" tidy
  step check "known vulnerabilities" vulnerabilities
}

# ---- tests

quick() { short_packages && go test -json -race -short -count=1 -skip '^TestConfiguredClusters$' "${list[@]}"; }

# These tests are a target or a step of their own.
apart='^(TestFaults|TestReplicationFaults|TestGroupReplication|TestMySQLReplication|TestSoak)$'

test_module() { enter "$1" && go test -json -race -timeout 15m -count=1 -skip "$apart" ./...; }

# -race makes a test several times as long, and one that draws ten times. So the tests
# have their short form with it, and their full one without it. What is timed on real
# servers goes before what has virtual time, hence nice.
test_short() { short_packages && nice -n 5 go test -json -race -short -timeout 15m -count=1 "${list[@]}"; }

# A cluster at a time is enough.
test_servers() { go test -json -race -p 1 -timeout 15m -count=1 -skip "$apart" ./integration ./internal/galera ./internal/pgcluster; }

# -race also falsifies memory and allocations.
without_race() { short_packages && nice -n 5 go test -json -timeout 15m -count=1 -skip '^TestConfiguredClusters$' "${list[@]}"; }

# What clients see of every fault; the tests' own tables are the result.
faults() { cd "$1" && go test -json -race -count=1 -timeout 15m "$2" "${@:3}"; }

# oldest has no -race: what it is after is what does not compile, or is not
# there yet. The tests have one processor: with more, Go 1.25.0 now and then takes
# two of synctest's bubbles for one (its getOrSetBubbleSpecial lacks a lock).
oldest() {
  local code=0 version
  version=go$(go list -m -f '{{.GoVersion}}') || return
  if ! GOTOOLCHAIN=$version timeout -k 5 300 go version; then
    echo "$version cannot be had: neither is it installed nor does the module proxy give it; install it and put it first in PATH"
    return "$cannot"
  fi
  export GOTOOLCHAIN=$version
  goes_last
  short_packages || return
  go vet "${list[@]}" || code=1
  go test -json -vet=off -cpu 1 -short -count=1 -skip '^TestConfiguredClusters$' "${list[@]}" || code=1
  return "$code"
}

# These modules are in the lane of the servers. pgx has servers too, and is in the
# other one, so that both take about as long.
with_servers=(demo cmd/clustersql compat)

# servers_steps need real servers and little else, so they go beside the rest.
servers_steps() {
  local m
  beside tests "tests of real servers: ." test_servers
  for m in "${with_servers[@]}"; do
    beside tests "tests: $m" test_module "$m"
  done
}

test_steps() {
  local m
  step tests "tests: ." test_short
  for m in "${modules[@]:1}"; do
    case " ${with_servers[*]} " in *" $m "*) continue ;; esac
    ! has_packages "$m" || step tests "tests: $m" test_module "$m"
  done
  step tests "without the race detector" without_race
  step tests "oldest Go" oldest
}

# What the tables show are times, so nothing runs beside them. The run of everything
# has the rows of these faults only.
main_faults='kill_-9|SIGSTOP_and_SIGCONT|rejecting|max_connections|all_frozen|sessions|DelNode_and_AddNode'

main_faults_step() {
  watch_flags=(-show '^TestFaults$')
  alone tests "faults under load: Galera, the main ones" faults . ./integration -run "^TestFaults\$/^($main_faults)\$"
}

faults_steps() {
  watch_flags=(-show '^Test(Replication)?Faults$')
  alone tests "faults under load: Galera" faults . ./integration -run '^TestFaults$'
  alone tests "faults under load: replicas of MariaDB" faults . ./integration -run '^TestReplicationFaults$'
  alone tests "faults under load: PostgreSQL" faults compat ./pgfaults -run '^TestFaults$'
}

# What sessions read on servers that lag, and stay down or come back.
sessions_steps() {
  watch_flags=(-v)
  step tests "sessions: Galera, replicas of MariaDB" faults . ./integration -run '^TestReadYourWrites' -sessions.reads "$1"
  step tests "sessions: PostgreSQL" faults compat . -run '^TestReadYourWrites$' -sessions.reads "$1"
}

bench_quick() { go -C bench run . -quick; }

fuzz_one() { go -C "$1" test -json -run '^$' -fuzz "^$3\$" -fuzztime "$4s" -fuzzminimizetime 2s "$2"; }

fuzz_steps() {
  local m pkg name
  whole "fuzz" seconds "$1"
  echo "looking for fuzz tests"
  for m in . pgx; do
    for pkg in $(go -C "$m" list ./...); do
      for name in $(go -C "$m" test -list '^Fuzz' "$pkg" | grep '^Fuzz'); do
        step tests "$name, $1 s: $pkg" fuzz_one "$m" "$pkg" "$name" "$1"
      done
    done
  done
}

whole() {
  case $3 in '' | *[!0-9]*) echo "test.sh: $1 takes whole $2, not \"$3\"" >&2; exit 2 ;; esac
}

simulation_package() {
  local pkg
  for pkg in ./internal/simulation .; do
    # Not grep -q: it leaves early, and go test would fail for want of a reader.
    if go test -list '^TestSimulation$' "$pkg" 2>/dev/null | grep '^TestSimulation$' >/dev/null; then
      echo "$pkg"
      return
    fi
  done
  echo "test.sh: no package has TestSimulation" >&2
  return 1
}

# simulate says every failing seed with its steps, and how to run it again. The
# race detector keeps some 0.3 MB for each seed until the process ends, so a
# fresh one goes on every two minutes.
simulate() {
  local pkg left failed=0
  pkg=$(simulation_package) || return
  for ((left = $1; left > 0; left -= 2)); do
    go test -json -race -count=1 -timeout 12m -run '^Test((Roles|Causal)?Simulation|SimulationOfHedgedReads)$' "$pkg" \
      -simulate.for "$((left < 2 ? left : 2))m" || failed=1
  done
  return "$failed"
}

# soak says its seed first: the same faults again with -soak.seed.
soak() { go test -json -race -count=1 -timeout "$(($1 + 10))m" -run '^TestSoak$' ./integration -soak.for "$1m"; }

install_step() { step check "install what the tests need" install_packages; }

case "${1:-all}" in
  all) install_step; servers_steps; lint_steps; test_steps; step live "bench, in small" bench_quick; main_faults_step ;;
  quick) step tests "tests without real servers" quick ;;
  integration) install_step; faults_steps ;;
  members)
    install_step
    watch_flags=(-v)
    step tests "members come, go and change: real servers" faults . ./integration -run '^TestMembers$' -members.nodes 5 ;;
  sessions)
    whole sessions reads "${2:-35000}"
    install_step
    sessions_steps "${2:-35000}" ;;
  lint) lint_steps ;;
  oldest) step tests "oldest Go" oldest ;;
  bench-quick) install_step; step live "bench, in small" bench_quick ;;
  fuzz) fuzz_steps "${2:-30}" ;;
  simulate)
    whole simulate minutes "${2:-10}"
    watch_flags=(-v)
    step tests "simulation, ${2:-10} minutes" simulate "${2:-10}" ;;
  soak)
    whole soak minutes "${2:-30}"
    watch_flags=(-v)
    install_step
    step tests "soak, ${2:-30} minutes" soak "${2:-30}" ;;
  group-replication)
    watch_flags=(-v)
    step live "unpack MySQL" unpack_mysql
    step tests "Group Replication, and replicas of MySQL" group_replication ;;
  bench) install_packages && go -C bench run .; exit ;;
  microbench) short_packages && go test -run '^$' -bench . -benchmem -count "${2:-1}" "${list[@]}"; exit ;;
  repeat) shift; repeat "$@"; exit ;;
  install) install_packages; exit ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
# On one line: bash reads no further, so this file may change while it runs.
run_steps && exit 0 || exit 1

package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/galera"
)

// A lab is a real Galera cluster, and files about it.
type lab struct {
	*galera.Cluster
}

// fast are settings with which a cluster finds faults soon.
const fast = "probe_interval = \"300ms\"\nprobe_timeout = \"200ms\"\n"

// file writes a configuration file with a node for each DSN.
func (l lab) file(t *testing.T, settings string, dsns ...string) string {
	t.Helper()
	text := "[[cluster]]\nname = \"app\"\n" + fast + settings
	for i, dsn := range dsns {
		text += fmt.Sprintf("[[cluster.node]]\nname = \"n%d\"\ndsn = %q\n", i+1, dsn)
	}
	return writeFile(t, "config.toml", text)
}

func (l lab) dsns() (all []string) {
	for _, n := range l.Nodes {
		all = append(all, n.DSN(dsnParameters))
	}
	return all
}

const dsnParameters = "timeout=1s&readTimeout=5s"

// set runs statements on a node as its administrator, and others at the test's end.
func (l lab) set(t *testing.T, node int, statement, undo string) {
	t.Helper()
	if _, err := l.Nodes[node].AdminDB().Exec(statement); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := l.Nodes[node].AdminDB().Exec(undo); err != nil && undo != "" {
			t.Error(err)
		}
	})
}

// A fault is what a misconfiguration is found as: a row with this check, node and
// verdict, which has these words in what it has and in its cure.
type fault struct {
	check, node string
	verdict     verdict
	have, cure  string
}

func (f fault) in(rows []row) bool {
	for _, r := range rows {
		if r.Check == f.check && (r.Node == f.node || f.node == "") && (r.Verdict == f.verdict || f.verdict == "") && strings.Contains(r.Have, f.have) && strings.Contains(r.Note, f.cure) {
			return true
		}
	}
	return false
}

// checkRows runs check and returns its rows.
func checkRows(t *testing.T, code int, args ...string) []row {
	t.Helper()
	r := invoke(t, nil, append([]string{"check", "--format=json"}, args...)...)
	var rows []row
	if err := json.Unmarshal([]byte(r.stdout), &rows); err != nil {
		t.Fatalf("%v\n%s%s", err, r.stdout, r.stderr)
	}
	if r.code != code {
		var table strings.Builder
		_ = writeTable(&table, rows)
		t.Errorf("exit code %d, want %d: %s\n%s", r.code, code, r.stderr, &table)
	}
	wantNoSecret(t, r)
	return rows
}

// wantWell wants no row to find a fault. How long something takes on a busy machine is no
// fault of the nodes: connects, failovers and the checks of these names may be slow.
func wantWell(t *testing.T, rows []row, slow ...string) {
	t.Helper()
	for _, r := range rows {
		took := r.Check == "connect" || strings.HasPrefix(r.Check, "failover") || slices.Contains(slow, r.Check)
		if r.Verdict != isOK && !(took && r.Verdict == isWarning) {
			t.Errorf("%+v", r)
		}
	}
}

func wantFaults(t *testing.T, rows []row, faults ...fault) {
	t.Helper()
	missing := false
	for _, f := range faults {
		if !f.in(rows) {
			t.Errorf("not found: %+v", f)
			missing = true
		}
	}
	if missing {
		var b strings.Builder
		_ = writeTable(&b, rows)
		t.Log("\n" + b.String())
	}
}

// wantIllnesses runs doctor, and wants it to find all of these: by rule, if there is one,
// and node, with these words in text and cure.
func wantIllnesses(t *testing.T, file string, all ...illness) {
	t.Helper()
	r := invoke(t, nil, "doctor", "--format=json", "--for=200ms", file)
	wantNoSecret(t, r)
	var found []illness
	if err := json.Unmarshal([]byte(r.stdout), &found); err != nil || r.code != doctorFindings {
		t.Fatalf("%v, exit code %d\n%s%s", err, r.code, r.stdout, r.stderr)
	}
	for _, want := range all {
		if !slices.ContainsFunc(found, func(f illness) bool {
			return (want.Rule == "" || f.Rule == want.Rule) && f.Node == want.Node && strings.Contains(f.Text, want.Text) && strings.Contains(f.Cure, want.Cure)
		}) {
			t.Errorf("not found: %+v, but\n%s", want, r.stdout)
		}
	}
}

// wantNoSecret fails if a password of the tests is in what a command has printed.
func wantNoSecret(t *testing.T, r result) {
	t.Helper()
	for _, secret := range []string{"hunter22", "wrong%pass/42", galera.User + ":" + galera.Password} {
		if strings.Contains(r.stdout+r.stderr, secret) {
			t.Errorf("%q is in the output:\n%s%s", secret, r.stdout, r.stderr)
		}
	}
}

// TestGalera has misconfigurations made on purpose, on real nodes. Each is found,
// with its cure.
func TestGalera(t *testing.T) {
	t.Parallel() // most of it waits
	// With short timeouts two nodes of a busy machine lose each other too.
	l := lab{galera.StartT(t, galera.Options{})}
	t.Run("well", l.well)
	t.Run("settings", l.settings)
	t.Run("nodes", l.wrongNodes)
	t.Run("groups", l.groups)
	t.Run("accounts", l.accounts)
	t.Run("alone", l.alone)
}

// well has a cluster that is as it should be, with the rehearsal.
func (l lab) well(t *testing.T) {
	file := l.file(t, "check = \"galera\"\nrequire = \"writable\"\nstrategy = \"ordered\"\n", l.dsns()...)
	before := l.variables(t)
	rows := checkRows(t, 0, file, "--processes=4", "--pool=10")
	if after := l.variables(t); !slices.EqualFunc(before, after, maps.Equal) {
		t.Errorf("the servers' settings were %v, and are %v", before, after)
	}
	wantWell(t, rows, "causal wait")
	for _, what := range []string{"refuse", "freeze", "slow"} {
		for _, n := range l.Nodes {
			wantFaults(t, rows, fault{"failover: " + what, n.Name, "", "statements", ""})
		}
	}
	for _, n := range l.Nodes { // nothing was left on the servers
		if conns, err := n.AppConns(t.Context()); err != nil || conns > 0 {
			t.Errorf("%s has %d connections, %v", n.Name, conns, err)
		}
	}
}

// variables returns the settings of each server, without the positions, which move.
func (l lab) variables(t *testing.T) (all []map[string]string) {
	t.Helper()
	for _, n := range l.Nodes {
		rows, err := n.AdminDB().Query("SHOW GLOBAL VARIABLES WHERE Variable_name NOT LIKE 'gtid%'")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		values := make(map[string]string)
		for rows.Next() {
			var name, value string
			if err := rows.Scan(&name, &value); err != nil {
				t.Fatal(err)
			}
			values[name] = value
		}
		if err := rows.Err(); err != nil || len(values) < 100 {
			t.Fatalf("%d settings, %v", len(values), err)
		}
		all = append(all, values)
	}
	return all
}

// settings are of a server that is up.
func (l lab) settings(t *testing.T) {
	l.set(t, 0, "SET GLOBAL max_connections = 20", "SET GLOBAL max_connections = 400")
	l.set(t, 0, "SET GLOBAL wait_timeout = 5", "SET GLOBAL wait_timeout = 28800")
	l.set(t, 0, "SET GLOBAL sql_mode = ''", "SET GLOBAL sql_mode = DEFAULT")
	l.set(t, 1, "SET GLOBAL read_only = ON", "SET GLOBAL read_only = OFF")
	l.set(t, 1, "SET GLOBAL time_zone = '+05:00'", "SET GLOBAL time_zone = 'SYSTEM'")
	l.set(t, 2, "SET GLOBAL wsrep_desync = ON", "SET GLOBAL wsrep_desync = OFF")
	l.set(t, 2, "SET GLOBAL init_connect = 'SET timestamp = 1000000'", "SET GLOBAL init_connect = ''")
	rights := l.file(t, "", l.dsns()...)
	rows := checkRows(t, checkFailed, l.file(t, "check = \"galera\"\nrequire = \"writable\"\n", l.dsns()...), "--no-rehearsal", "--processes=4", "--pool=10")
	wantFaults(t, rows,
		fault{"connections", "n1", isFailed, "max_connections = 20", "raise max_connections"},
		fault{"idle", "n1", isWarning, "wait_timeout = 5s", "raise wait_timeout"},
		fault{"sql_mode", "n1", isWarning, `""`, "SET GLOBAL sql_mode"},
		fault{"read_only", "n2", isFailed, "read_only = ON", "SET GLOBAL read_only = OFF"},
		fault{"used", "n2", isFailed, "read-only", "mend"},
		fault{"time_zone", "n2", isWarning, "+05:00", "SET GLOBAL time_zone"},
		fault{"synced", "n3", isWarning, "Donor/Desynced", "wsrep_desync = OFF"},
		fault{"clock", "n3", isWarning, "-", "NTP"},
		fault{"init_connect", "n3", isWarning, "timestamp", "SET GLOBAL init_connect"},
		fault{"spare", "", isOK, "2 of 3", ""},
	)
	wantIllnesses(t, l.file(t, "check = \"galera\"\nrequire = \"writable\"\n", l.dsns()...),
		illness{Node: "n2", Rule: "down", Text: "read-only", Cure: "SET GLOBAL read_only = OFF"},
		illness{Node: "n3", Rule: "donor", Text: "desynced", Cure: "wsrep_desync = OFF"})
	l.set(t, 0, "GRANT SUPER ON *.* TO "+galera.User, "REVOKE SUPER ON *.* FROM "+galera.User)
	rows = checkRows(t, 0, rights, "--no-rehearsal")
	wantFaults(t, rows,
		fault{"rights", "n1", isWarning, "SUPER on *.*", "REVOKE"},
		fault{"read_only", "n2", isWarning, "read_only = ON", "require = \"read-write\""},
		fault{"connections", "n2", isSkipped, "in use", "--pool"},
	)
	if r := invoke(t, nil, "check", rights, "--no-rehearsal", "--strict"); r.code != checkWarnings {
		t.Errorf("with --strict the exit code is %d", r.code)
	}
}

// wrongNodes are those of a file.
func (l lab) wrongNodes(t *testing.T) {
	good := l.dsns()
	account := galera.User + ":" + galera.Password + "@"
	file := l.file(t, "check = \"galera\"\n",
		strings.Replace(good[0], account, galera.User+":${CHECK_WRONG}@", 1),
		strings.Replace(good[1], "/"+galera.Database, "/nosuch", 1),
		good[2], good[2],
		galera.User+":hunter22@tcp("+closedPort(t)+")/"+galera.Database)
	rows := checkRows(t, checkFailed, file, "--no-rehearsal")
	wantFaults(t, rows,
		fault{"reached", "n1", isFailed, "Access denied", "correct user and password"},
		fault{"reached", "n2", isFailed, "to database 'nosuch'", "correct the database in the dsn"},
		fault{"same server", "n4", isFailed, "the server of n3", "take one out"},
		fault{"reached", "n5", isFailed, "refused", "nothing listens"},
	)
	wantIllnesses(t, file,
		illness{Node: "n1", Rule: "down", Text: "Access denied", Cure: "correct user and password"},
		illness{Node: "n2", Rule: "down", Text: "nosuch", Cure: "correct the database in its dsn"},
		illness{Node: "n4", Rule: "same-server", Text: "same server as n3", Cure: "take one out"},
		illness{Node: "n5", Rule: "down", Text: "refused", Cure: "start the server"})
	rows = checkRows(t, 0, l.file(t, "check = \"galera\"\n", good[0], good[1]), "--no-rehearsal")
	wantFaults(t, rows, fault{"members", "", isWarning, "3 in the group, 2 in the file", "[[cluster.node]]"})
	rows = checkRows(t, 0, dsnOfAll(l), "--no-rehearsal")
	wantFaults(t, rows, fault{"members", "", isOK, "3 in the group, 3 in the file", ""})
}

// dsnOfAll is a DSN with the hosts of all nodes.
func dsnOfAll(l lab) string {
	var hosts []string
	for _, n := range l.Nodes {
		hosts = append(hosts, n.Addr())
	}
	return galera.User + ":" + galera.Password + "@tcp(" + strings.Join(hosts, ",") + ")/" + galera.Database +
		"?clustersql.probe_interval=300ms&clustersql.probe_timeout=200ms"
}

// groups are nodes that Galera itself has left out.
func (l lab) groups(t *testing.T) {
	ctx := t.Context()
	l.set(t, 0, "SET GLOBAL wsrep_reject_queries = ALL", "SET GLOBAL wsrep_reject_queries = NONE")
	if err := l.Nodes[2].Isolate(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := l.Nodes[2].AdminDB().Exec("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'"); err != nil {
			t.Error(err)
		}
	})
	waitStatusOf(t, l.Nodes[2], "wsrep_cluster_status", "non-Primary")
	for _, n := range l.Nodes[:2] { // the others go on without it
		waitStatusOf(t, n, "wsrep_cluster_size", "2")
		waitStatusOf(t, n, "wsrep_cluster_status", "Primary")
	}
	rows := checkRows(t, checkFailed, l.file(t, "check = \"galera\"\n", l.dsns()...), "--rehearsal")
	wantFaults(t, rows,
		fault{"works", "n1", isFailed, "1047", "wsrep_reject_queries = NONE"},
		fault{"queries", "n1", isFailed, "ALL", "wsrep_reject_queries = NONE"},
		fault{"works", "n3", isFailed, "1047", "back into its group"},
		fault{"component", "n3", isFailed, "non-Primary", "cut off from the majority"},
		fault{"members", "", isFailed, "2 in the group, 3 in the file", "component"},
		fault{"majority", "", isWarning, "2 members", "garbd"},
		fault{"spare", "", isWarning, "1 of 3", "take the place"},
		fault{"failover", "", isSkipped, "1 usable", "fail over"},
	)
	wantIllnesses(t, l.file(t, "check = \"galera\"\n", l.dsns()...),
		illness{Rule: "no-spare", Text: "1 of 3", Cure: "another node back"},
		illness{Node: "n1", Rule: "down", Text: "1047", Cure: "wsrep_reject_queries"},
		illness{Node: "n3", Rule: "down", Text: "not ready", Cure: "refuses work"})
}

// accounts are of one server: no room there for another connection, and an account
// that is locked.
func (l lab) accounts(t *testing.T) {
	ctx := t.Context()
	if err := l.Heal(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.Nodes[0].MaxConnections(ctx, 10); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Nodes[0].MaxConnections(context.Background(), 0); err != nil {
			t.Error(err)
		}
	})
	db, err := sql.Open("mysql", l.Nodes[0].DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	full := false
	for range 20 {
		conn, err := db.Conn(ctx)
		if err != nil {
			full = strings.Contains(err.Error(), "1040")
			break
		}
		defer conn.Close()
	}
	if !full {
		t.Fatal("there is still room")
	}
	admin, err := l.Nodes[2].AdminDB().Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	alone := func(statement string) { // not on the other nodes
		t.Helper()
		for _, s := range []string{"SET SESSION wsrep_on = OFF", statement, "SET SESSION wsrep_on = ON"} {
			if _, err := admin.ExecContext(ctx, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	alone("ALTER USER " + galera.User + " ACCOUNT LOCK")
	defer alone("ALTER USER " + galera.User + " ACCOUNT UNLOCK")
	file := l.file(t, "check = \"galera\"\n", l.dsns()...)
	wantFaults(t, checkRows(t, checkFailed, file, "--no-rehearsal"),
		fault{"reached", "n1", isFailed, "1040", "raise max_connections"},
		fault{"reached", "n3", isFailed, "4151", "ALTER USER"},
		fault{"spare", "", isWarning, "1 of 3", "take the place"})
	wantIllnesses(t, file,
		illness{Node: "n1", Rule: "full", Text: "1040", Cure: "max_connections"},
		illness{Node: "n3", Rule: "down", Text: "4151", Cure: "ALTER USER"})
}

// alone is a node that was started as a group of its own.
func (l lab) alone(t *testing.T) {
	ctx := t.Context()
	n := l.Nodes[2]
	if err := errors.Join(l.Heal(ctx), n.Shutdown(ctx), n.StartAlone(ctx)); err != nil {
		t.Fatal(err)
	}
	file := l.file(t, "check = \"galera\"\n", l.dsns()...)
	wantFaults(t, checkRows(t, checkFailed, file, "--no-rehearsal"),
		fault{"group", "n3", isFailed, "of 1 nodes", "correct wsrep_cluster_address"},
		fault{"members", "", isFailed, "2 in the group, 3 in the file", "component"})
	// The cluster itself holds it after silence_hold. Its view tells before.
	wantIllnesses(t, file, illness{Node: "n3", Text: "group", Cure: "wsrep_cluster_address"})
}

// waitStatusOf waits until a status variable of a node has a value.
func waitStatusOf(t *testing.T, n *galera.Node, name, value string) {
	t.Helper()
	waitFor(t, func() string {
		got, err := n.Status(t.Context(), name)
		if err != nil || got != value {
			return fmt.Sprintf("%s: %s is %q, want %q: %v", n.Name, name, got, value, err)
		}
		return ""
	})
}

// closedPort returns an address where nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// The exit codes and formats of check that need no server.
func TestCheckWithoutNodes(t *testing.T) {
	l := lab{}
	file := l.file(t, "attempt_timeout = \"500ms\"\n", "app:hunter22@tcp("+closedPort(t)+")/db", "app:hunter22@tcp("+closedPort(t)+")/db")
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"check", file}, checkNoAnswer, "no node answered"},
		{[]string{"check", file, "--cluster=other"}, checkNotTried, `no cluster "other"`},
		{[]string{"check", "none.toml"}, checkNotTried, "create it"},
		{[]string{"check", "--format=yaml", file}, checkNotTried, "--format"},
		{[]string{"check", "http://127.0.0.1:1/"}, checkNotTried, "no URL"},
		{[]string{"check", "app:${CHECK_NOT_SET}@tcp(h1,h2)/db"}, checkNotTried, "CHECK_NOT_SET is not set"},
		{[]string{"check", "app:hunter22@tcp(h1,h2/db"}, checkNotTried, "DSN"},
	} {
		r := inProcess(t, c.args...)
		if r.code != c.code || !strings.Contains(r.stderr, c.say) {
			t.Errorf("%v: exit code %d, want %d with %q:\n%s", c.args, r.code, c.code, c.say, r.stderr)
		}
		wantNoSecret(t, r)
	}
	r := inProcess(t, "check", file, "--format=junit")
	var suites struct {
		Suites []struct {
			Failures int `xml:"failures,attr"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(r.stdout), &suites); err != nil || len(suites.Suites) != 1 || suites.Suites[0].Failures < 4 {
		t.Errorf("junit: %v\n%s", err, r.stdout)
	}
	r = inProcess(t, "check", file, "--format=tsv")
	for i, line := range strings.Split(strings.TrimSpace(r.stdout), "\n") {
		if strings.Count(line, "\t") != 6 {
			t.Errorf("line %d has not seven fields: %s", i, line)
		}
	}
	if strings.Contains(r.stderr, "failed,") {
		t.Errorf("with --format the summary is printed: %s", r.stderr)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// nodesOf returns the tables of nodes, each with its DSN.
func nodesOf(dsns ...string) (text string) {
	for i, dsn := range dsns {
		text += fmt.Sprintf("[[cluster.node]]\nname = \"n%d\"\ndsn = %q\n", i+1, dsn)
	}
	return text
}

const (
	dsn1 = "app:${LINT_PW}@tcp(h1:3306)/db"
	dsn2 = "app:${LINT_PW}@tcp(h2:3306)/db"
	dsn3 = "app:${LINT_PW}@tcp(h3:3306)/db"
)

// lintCases are files, each with the finding that it is about: its line, level and
// rule.
var lintCases = []struct{ name, text, want, say string }{
	{"well", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1, dsn2, dsn3), "", ""},
	{"well of galera", "[[cluster]]\nname = \"a\"\ncheck = \"galera\"\nrequire = \"writable\"\nstrategy = \"ordered\"\n" + nodesOf(dsn1, dsn2, dsn3), "", ""},
	{"syntax", "[[cluster]]\nname = a\n", "2 error syntax", "quotes"},
	{"unknown key", "[[cluster]]\nname = \"a\"\nstrategie = \"race\"\n" + nodesOf(dsn1, dsn2), "3 error unknown-key", "the keys here are"},
	{"wrong value", "[[cluster]]\nname = \"a\"\nstrategy = \"rase\"\n" + nodesOf(dsn1, dsn2), "3 error decode", `use "race"`},
	{"no unit", "probe_interval = 5\n[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1, dsn2), "1 error decode", `write "5s"`},
	{"no nodes", "[[cluster]]\nname = \"a\"\n", "1 error decode", "at least one"},
	{"two of one name", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1, dsn2) + "[[cluster.node]]\nname = \"n1\"\ndsn = \"tcp(h9)/db\"\n", "10 error decode", "rename one"},
	{"conflict", "[[cluster]]\nname = \"a\"\nopen_timeout = \"2s\"\nattempt_timeout = \"5s\"\n" + nodesOf(dsn1, dsn2), "4 error decode", "raise open_timeout"},
	{"no variable", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1, "app:${LINT_NOT_SET}@tcp(h2)/db"), "8 error variable", "LINT_NOT_SET is not set"},
	{"bad DSN", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1, "app:hunter22@tcp(h2/db"), "8 error decode", "as driver"},
	{"clear password", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1, "app:hunter22@tcp(h2:3306)/db"), "8 warning clear-password", "${DB_PASSWORD}"},
	{"clear password of pgx", "[[cluster]]\nname = \"a\"\ndriver = \"clustersql-pgx\"\n" + nodesOf("postgres://app:hunter22@h1/db", "postgres://app:${LINT_PW}@h2/db"), "6 warning clear-password", "${DB_PASSWORD}"},
	{"clear password of the original", "[[Nodes]]\nName = \"a\"\nHostName = \"h1\"\nUserName = \"u\"\nPassword = \"hunter22\"\nDBName = \"db\"\n[[Nodes]]\nName = \"b\"\nHostName = \"h2\"\nUserName = \"u\"\nDBName = \"db\"\n", "1 warning clear-password", "${DB_PASSWORD}"},
	{"same address", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1, dsn2, "app:${LINT_PW}@tcp(H1)/db"), "11 warning same-address", "take one out"},
	{"same variable", "[[cluster]]\nname = \"a\"\n" + nodesOf("${LINT_DSN}", "${LINT_DSN}"), "8 warning same-address", "take one out"},
	{"several hosts", "[[cluster]]\nname = \"a\"\ndriver = \"clustersql-pgx\"\n" + nodesOf("postgres://app@h1,h2/db", "postgres://app@h3/db"), "6 warning several-hosts", "for each"},
	{"one node", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1), "2 warning one-node", "add the others"},
	{"even", "[[cluster]]\nname = \"a\"\ncheck = \"galera\"\n" + nodesOf(dsn1, dsn2), "2 warning even-galera", "garbd"},
	{"writers spread", "[[cluster]]\nname = \"a\"\ncheck = \"galera\"\nrequire = \"writable\"\nstrategy = \"balanced\"\n" + nodesOf(dsn1, dsn2, dsn3), "5 warning require-strategy", "ordered"},
	{"readers on one", "strategy = \"ordered\"\n[[cluster]]\nname = \"a\"\nrequire = \"standby\"\n" + nodesOf(dsn1, dsn2, dsn3), "1 warning require-strategy", "balanced"},
	{"opens end early", "probe_interval = \"20s\"\nopen_timeout = \"5s\"\n[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1, dsn2), "2 warning timeouts", "raise open_timeout"},
	{"dial ends early", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1+"?timeout=20s", dsn2+"?timeout=20s"), "5 warning timeouts", "attempt_timeout"},
	{"reads end early", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1+"?readTimeout=100ms", dsn2+"?readTimeout=100ms"), "5 warning timeouts", "longest statement"},
	{"grace", "[[cluster]]\nname = \"a\"\nloser_grace = \"9s\"\n" + nodesOf(dsn1, dsn2), "3 warning timeouts", "loser_grace"},
	{"age", "[[cluster]]\nname = \"a\"\nmax_age = \"2s\"\n" + nodesOf(dsn1, dsn2), "3 warning timeouts", "max_age"},
	{"lag of writers", "[[cluster]]\nname = \"a\"\nrequire = \"read-write\"\nmax_lag = \"5s\"\n" + nodesOf(dsn1, dsn2), "4 warning lag", "leave max_lag out"},
	{"weights", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1, dsn2) + "weight = 5\n", "9 warning weights", "balanced"},
	{"tiers", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1) + "priority = 1\n" + strings.ReplaceAll(nodesOf(dsn2), "n1", "n2") + "priority = 2\n", "5 warning tiers", "write 0"},
	{"other database", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1, "app:${LINT_PW}@tcp(h2)/other"), "8 warning nodes-differ", "alike"},
	{"several statements", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1+"?multiStatements=true", dsn2+"?multiStatements=true"), "5 warning statements", "multiStatements"},
	{"no autocommit", "[[cluster]]\nname = \"a\"\n" + nodesOf(dsn1+"?autocommit=0", dsn2+"?autocommit=0"), "5 warning statements", "autocommit"},
	{"another driver", "[[cluster]]\nname = \"a\"\ndriver = \"traced-mysql\"\ndialect = \"mysql\"\n" + nodesOf(dsn1, dsn2), "3 warning driver", "does not have the driver"},
}

var lintLine = regexp.MustCompile(`^(.*?)(?::(\d+))?: (error|warning): (.*) \[([a-z-]+)\]$`)

// Every rule of lint has a file that it finds something in, at its line, with the
// cure, and no output holds a password.
func TestLint(t *testing.T) {
	ruled := make(map[string]bool)
	for _, c := range lintCases {
		t.Run(c.name, func(t *testing.T) {
			file := writeFile(t, "config.toml", c.text)
			r := inProcess(t, "lint", file)
			wantNoSecret(t, r)
			code, found := 0, false
			for line := range strings.Lines(r.stdout) {
				m := lintLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
				if m == nil || m[1] != file {
					t.Fatalf("no finding: %q", line)
				}
				if m[3] == levelError {
					code = lintErrors
				}
				if rules[m[5]] == "" {
					t.Errorf("rule %s is not in the table", m[5])
				}
				ruled[m[5]] = true
				found = found || m[2]+" "+m[3]+" "+m[5] == c.want && strings.Contains(m[4], c.say)
			}
			if c.want == "" && r.stdout != "" || c.want != "" && !found {
				t.Errorf("want %q with %q, got\n%s", c.want, c.say, r.stdout)
			}
			if r.code != code {
				t.Errorf("exit code %d, want %d", r.code, code)
			}
			if code == 0 && r.stdout != "" {
				code = lintWarnings
			}
			if r := inProcess(t, "lint", "--fatal-warnings", file); r.code != code {
				t.Errorf("with --fatal-warnings the exit code is %d, want %d", r.code, code)
			}
		})
	}
	for rule := range rules {
		if !ruled[rule] {
			t.Errorf("no file shows the rule %s", rule)
		}
	}
}

// The formats of lint have the same findings, and nothing else is on stdout.
func TestLintFormats(t *testing.T) {
	file := writeFile(t, "config.toml", "probe_interval = 5\n[[cluster]]\nname = \"a\"\n"+nodesOf("app:hunter22@tcp(h1)/db"))
	lines := strings.Count(inProcess(t, "lint", file).stdout, "\n")
	r := inProcess(t, "lint", "--format=json", file)
	wantNoSecret(t, r)
	var findings []finding
	if err := json.Unmarshal([]byte(r.stdout), &findings); err != nil || len(findings) != lines || lines != 3 {
		t.Errorf("%d findings, %d lines, %v", len(findings), lines, err)
	}
	r = inProcess(t, "lint", "--format=sarif", file)
	wantNoSecret(t, r)
	var sarif struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID    string
				Level     string
				Locations []struct {
					PhysicalLocation struct{ Region struct{ StartLine int } }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &sarif); err != nil || sarif.Version != "2.1.0" || len(sarif.Runs) != 1 {
		t.Fatalf("%v\n%s", err, r.stdout)
	}
	run := sarif.Runs[0]
	if len(run.Results) != lines || run.Results[0].Locations[0].PhysicalLocation.Region.StartLine != 1 || run.Results[0].Level != "error" {
		t.Errorf("%+v", run)
	}
	for _, result := range run.Results {
		if !slices.ContainsFunc(run.Tool.Driver.Rules, func(r struct{ ID string }) bool { return r.ID == result.RuleID }) {
			t.Errorf("rule %s is not among the rules", result.RuleID)
		}
	}
	if r := inProcess(t, "lint", "--format=json", writeFile(t, "ok.toml", "[[cluster]]\nname = \"a\"\n"+nodesOf("tcp(h1)/db", "tcp(h2)/db"))); r.stdout != "[]\n" {
		t.Errorf("without findings: %q", r.stdout)
	}
}

// The exit codes of the program itself.
func TestLintExitCodes(t *testing.T) {
	well := writeFile(t, "well.toml", "[[cluster]]\nname = \"a\"\n"+nodesOf(dsn1, dsn2))
	odd := writeFile(t, "odd.toml", "[[cluster]]\nname = \"a\"\n"+nodesOf(dsn1))
	wrong := writeFile(t, "wrong.toml", "[[cluster]]\nname = \"a\"\nstrategy = 1\n"+nodesOf(dsn1))
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{well}, 0},
		{[]string{well, "--fatal-warnings"}, 0},
		{[]string{odd}, 0},
		{[]string{odd, "--fatal-warnings"}, lintWarnings},
		{[]string{odd, "--fatal-warnings", "--format=json"}, lintWarnings},
		{[]string{wrong}, lintErrors},
		{[]string{wrong, "--fatal-warnings"}, lintErrors},
		{[]string{wrong, "--format=sarif"}, lintErrors},
		{[]string{well, "--format=xml"}, exitUsage},
		{[]string{well, odd}, exitUsage},
	} {
		r := inProcess(t, append([]string{"lint"}, c.args...)...)
		if r.code != c.code || (r.stderr != "") != (c.code == exitUsage) {
			t.Errorf("%v: want %d, got %+v", c.args, c.code, r)
		}
	}
}

// Files that are not there, variables that are not asked for, and the environment.
func TestLintFiles(t *testing.T) {
	r := inProcess(t, "lint", "none.toml")
	if r.code != lintErrors || !strings.Contains(r.stdout, "create it") {
		t.Errorf("%+v", r)
	}
	file := writeFile(t, "config.toml", "[[cluster]]\nname = \"a\"\nstrategy = \"ordered\"\n"+nodesOf("${LINT_A}", "app:${LINT_B}@tcp(h2:${LINT_C})/db")+
		"[[cluster]]\nname = \"b\"\ndriver = \"clustersql-pgx\"\n"+nodesOf("${LINT_D}", "postgres://app:${LINT_B}@h2:${LINT_C}/db"))
	if r := inProcess(t, "lint", "--no-env", file); r.code != 0 || r.stdout != "" {
		t.Errorf("%+v", r)
	}
	if r := invoke(t, []string{"DBCONFIG=" + file}, "lint", "--no-env"); r.code != 0 || r.stdout+r.stderr != "" {
		t.Errorf("by DBCONFIG: %+v", r)
	}
	for _, example := range []string{"config.toml", "pgx/config.toml"} {
		if r := inProcess(t, "lint", "--no-env", filepath.Join("..", "..", example)); r.code != 0 {
			t.Errorf("%s: %+v", example, r)
		}
	}
}

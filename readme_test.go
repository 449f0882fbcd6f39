package clustersql

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// blocks returns the README's fenced blocks of a language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(readFile(t, "README.md"), -1) {
		found = append(found, m[1])
	}
	if len(found) == 0 {
		t.Fatalf("the README has no %s block", language)
	}
	return found
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// squeeze folds white space, so that indentation does not count.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// Every Go snippet of the README is a program or an example that is compiled
// and run.
func TestReadmeSnippetsAreCompiled(t *testing.T) {
	program := squeeze(readFile(t, "examples/threeclusters/main.go"))
	examples := squeeze(readFile(t, "example_test.go") + readFile(t, "compat/pgx_test.go"))
	for _, block := range blocks(t, "go") {
		where := examples
		if strings.HasPrefix(block, "package main") {
			where = program
		}
		if !strings.Contains(where, squeeze(block)) {
			t.Errorf("neither an example nor the program:\n%s", block)
		}
	}
}

// The README's config.toml loads, and says the defaults.
func TestReadmeConfigLoads(t *testing.T) {
	t.Setenv("DB_PASSWORD", "secret")
	for _, block := range blocks(t, "toml") {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(block), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		d, ok := r.Driver("write_conn")
		if !ok || len(d.Nodes()) != 2 {
			t.Fatalf("clusters %v, nodes %v", r.Names(), d.Nodes())
		}
		got, want := d.m.cfg, DefaultConfig()
		if got.OpenTimeout != want.OpenTimeout || got.AttemptTimeout != want.AttemptTimeout || got.LoserGrace != want.LoserGrace ||
			got.MaxOpensPerNode != want.MaxOpensPerNode || got.ProbeInterval != want.ProbeInterval || got.ProbeTimeout != want.ProbeTimeout ||
			got.Rise != want.Rise || got.DonorAfter != want.DonorAfter || got.AllowDonor != want.AllowDonor || got.Fall != want.Fall ||
			got.SilenceHold != want.SilenceHold || got.RebalanceAfter != want.RebalanceAfter || got.FailbackAfter != want.FailbackAfter || got.DrainTimeout != want.DrainTimeout ||
			got.Dial != want.Dial || got.Idempotent != want.Idempotent {
			t.Errorf("the README's defaults %+v are not those of the code %+v", got, want)
		}
		for _, key := range []string{"strategy", "open_timeout", "attempt_timeout", "loser_grace", "max_opens_per_node",
			"probe_interval", "probe_timeout", "rise", "fall", "check", "dial", "require", "allow_donor", "donor_after", "silence_hold", "rebalance_after", "failback_after", "drain_timeout", "idempotent", "  priority", "  weight"} {
			if !regexp.MustCompile(`(?m)^` + key + `\s*=`).MatchString(block) {
				t.Errorf("the README does not show %s", key)
			}
		}
	}
}

// The README's commands are those that CI runs, and test.sh knows its targets.
func TestReadmeCommandsAreRun(t *testing.T) {
	readme, ci, script := readFile(t, "README.md"), readFile(t, ".ci/run"), readFile(t, "test.sh")
	for _, command := range []string{"go -C demo run .", "./test.sh"} {
		if !strings.Contains(readme, "\n    "+command+" ") || !strings.Contains(ci, "\n"+command+"\n") {
			t.Errorf("%q is not in both README.md and .ci/run", command)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^    (\S.*?)(?:  .*)?$`).FindAllStringSubmatch(readme, -1) {
		switch m[1] {
		case "go -C demo run .", "./test.sh", "go test -v .":
		default:
			t.Errorf("the README has a command that nothing runs: %q", m[1])
		}
	}
	for _, target := range []string{"lint", "quick", "integration", "bench", "bench-quick", "microbench", "fuzz", "simulate", "soak", "install"} {
		if !strings.Contains(script, "\n  "+target+")") {
			t.Errorf("test.sh has no target %q", target)
		}
	}
}

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql"
)

// diff says a line for each change, and nothing else: no password, and nothing of
// connections, which files do not know.
func TestDiff(t *testing.T) {
	before := writeFile(t, "old.toml", "[[cluster]]\nname = \"a\"\n"+nodesOf("app:hunter22@tcp(h1:3306)/db", "app:${DIFF_PW}@tcp(h2:3306)/db"))
	after := writeFile(t, "new.toml", "[[cluster]]\nname = \"a\"\nstrategy = \"ordered\"\n"+
		nodesOf("app:${DIFF_PW}@tcp(h1:3306)/db", "app:${DIFF_PW}@tcp(h4:3306)/db", "app:${DIFF_PW}@tcp(h3:3306)/db")+"priority = 1\n")
	env := []string{"DIFF_PW=wrong%pass/42"}
	r := invoke(t, env, "diff", before, after)
	wantNoSecret(t, r)
	for _, want := range []string{"~ a: strategy \"race\" -> \"ordered\" (live)\n", "~ a: node n1: password (for new connections)\n", "~ a: node n2: replace", "+ a: node n3: add"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q:\n%s", want, r.stdout)
		}
	}
	if r.code != diffDiffers || r.stderr != "" || strings.Count(r.stdout, "\n") != 4 {
		t.Errorf("%+v", r)
	}
	if r := invoke(t, env, "diff", after, before); r.code != diffDiffers || !strings.Contains(r.stdout, "- a: node n3: remove") {
		t.Errorf("%+v", r)
	}
	r = invoke(t, env, "diff", "--format=json", before, after)
	wantNoSecret(t, r)
	var diff clustersql.Diff
	if err := json.Unmarshal([]byte(r.stdout), &diff); err != nil || len(diff.Changes) != 4 || r.code != diffDiffers {
		t.Errorf("%v, %+v", err, r)
	}
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"diff", "--no-env", before, before}, 0, ""},
		{[]string{"diff", before, after}, exitUsage, "DIFF_PW is not set"},
		{[]string{"diff", before}, exitUsage, "expected"},
		{[]string{"diff", "--no-env", before, "none.toml"}, exitUsage, "create it"},
		{[]string{"diff", "--no-env", before, after}, diffDiffers, ""},
	} {
		if r := invoke(t, nil, c.args...); r.code != c.code || !strings.Contains(r.stderr, c.say) {
			t.Errorf("%v: %+v", c.args, r)
		}
	}
}

package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql"
)

// A program reloads its file when it is told to: it says what has changed, and why
// nothing has.
func TestReload(t *testing.T) {
	t.Parallel()
	l := lab{}
	file := l.file(t, "", "app:hunter22@tcp("+closedPort(t)+")/db", "app:hunter22@tcp("+closedPort(t)+")/db")
	cmd, _, stderr := begin(t, "serve", file, "--listen=127.0.0.1:0", "--every=0s", "--allow-reload")
	address := line(t, stderr, "http://")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	node := "[[cluster.node]]\nname = \"n9\"\ndsn = \"app:hunter22@tcp(" + closedPort(t) + ")/db\"\n"
	for _, c := range []struct {
		text, format   string
		code           int
		stdout, stderr string
	}{
		{"", "text", 0, "", "nothing changes"},
		{"", "json", 0, `{"changes":[]}`, ""},
		{node, "text", 0, "+ app: node n9: add", ""},
		{node + "prioritee = 1\n", "text", reloadRefused, "", "prioritee"},
		{node + "prioritee = 1\n", "json", reloadRefused, "", "nothing was changed"},
		{node, "text", 0, "", "nothing changes"},
		{"", "json", 0, `"kind":"remove"`, ""},
	} {
		if err := os.WriteFile(file, []byte(string(before)+c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := invoke(t, nil, "reload", address, "--format="+c.format)
		stdout := r.stdout
		if c.format == "json" {
			stdout = strings.Join(strings.Fields(stdout), "")
			var diff clustersql.Diff
			if err := json.Unmarshal([]byte(stdout), &diff); err != nil && c.code == 0 {
				t.Error(err)
			}
		}
		if r.code != c.code || !strings.Contains(stdout, c.stdout) || c.stdout == "" && stdout != "" ||
			!strings.Contains(r.stderr, c.stderr) || c.stderr == "" && r.stderr != "" {
			t.Errorf("%q: %+v", c.text, r)
		}
		wantNoSecret(t, r)
	}
	if r := invoke(t, nil, "drain", "n1", address); r.code != exitUsage || !strings.Contains(r.stderr, "AllowDrain") {
		t.Errorf("%+v", r)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if r := invoke(t, nil, "reload", address); r.code != exitUsage || !strings.Contains(r.stderr, "refused") {
		t.Errorf("%+v", r)
	}
}

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/dnstest"
)

// discover says what the name service says, and what comes of it.
func TestDiscover(t *testing.T) {
	dns, err := dnstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Close)
	dns.Set("db.test.", "127.0.0.1", "127.0.0.2", "127.0.1.1")
	file := writeFile(t, "config.toml", "[[cluster]]\nname = \"a\"\ndiscover = \"dns\"\nname_server = \""+dns.Addr()+"\"\ndiscover_networks = \"127.0.0.0/24\"\n"+
		"[[cluster.node]]\nname = \"db\"\ndsn = \"app:hunter22@tcp(db.test:1)/db\"\n[[cluster]]\nname = \"b\"\n"+nodesOf("tcp(h1:1)/db", "tcp(h2:1)/db"))
	r := inProcess(t, "discover", file)
	wantNoSecret(t, r)
	for _, want := range []string{"cluster a\n", "asked    dns db.test", "node     127.0.0.1:1", "node     127.0.0.2:1", "not used 127.0.1.1"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q:\n%s", want, r.stdout)
		}
	}
	if r.code != 0 || r.stderr != "" || strings.Contains(r.stdout, "cluster b") {
		t.Errorf("%+v", r)
	}
	r = inProcess(t, "discover", "--format=json", file, "a")
	wantNoSecret(t, r)
	var all []discovery
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil || len(all) != 1 || len(all[0].Nodes) != 2 || len(all[0].Unused) != 1 || len(all[0].Sources) != 1 {
		t.Errorf("%v, %+v", err, r)
	}
	if r := inProcess(t, "check", file, "--cluster=a", "--no-rehearsal"); r.code != checkNoAnswer || !strings.Contains(r.stdout, "127.0.0.2:1") {
		t.Errorf("check: %+v", r)
	}
	if r := inProcess(t, "lint", file); strings.Contains(r.stdout, "one-node") {
		t.Errorf("lint: %+v", r)
	}
	dns.Fail("db.test.", dnstest.NotFound)
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"discover", file, "a"}, discoverNothing, "nothing was found"},
		{[]string{"discover", file, "b"}, discoverNothing, "no cluster with discover"},
		{[]string{"discover", file, "c"}, exitUsage, "it has a, b"},
		{[]string{"discover", "none.toml"}, exitUsage, "create it"},
	} {
		if r := inProcess(t, c.args...); r.code != c.code || !strings.Contains(r.stderr, c.say) {
			t.Errorf("%v: %+v", c.args, r)
		}
	}
}

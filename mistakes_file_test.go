package clustersql

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Mistakes finds what Load finds, and all of it.
func TestMistakesAreAllFound(t *testing.T) {
	text := `probe_interval = 5
[selftest]
tabel = "x"
[[cluster]]
name = "a"
strategy = "raec"
nodes = 3
  [[cluster.node]]
  name = "n1"
  dsn = "tcp(h:1)/db"
  wieght = 2
  [[cluster.node]]
  dsn = "tcp(h:2)/db"
  [[cluster.node]]
  name = "n3"
  dsn = "app:hunter22@tcp(h:3"
  [[cluster.node]]
  name = "n1"
  dsn = "tcp(h:4)/db"
  priority = -1
[[cluster]]
name = "b"
driver = "oracle"
  [[cluster.node]]
  name = "n1"
  dsn = "x"
[[cluster]]
name = "c"
attempt_timeout = "20s"
open_timeout = "12s"
  [[cluster.node]]
  name = "n1"
  dsn = "app:${MISTAKES_PW}@tcp(h:1)/db"
[[cluster]]
name = "a"
  [[cluster.node]]
  name = "n1"
  dsn = "tcp(h:1)/db"
[[cluster]]
name = "e"
`
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, err := range Mistakes(path, nil) {
		if strings.Contains(err.Error(), "hunter22") {
			t.Errorf("a password is shown: %v", err)
		}
		line, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "clustersql: "+path+":"), ":")
		lines = append(lines, line)
	}
	want := []string{"1", "3", "6", "7", "11", "12", "16", "18", "23", "29", "33", "35", "39"}
	if !slices.Equal(lines, want) {
		t.Errorf("mistakes in lines %v, want %v", lines, want)
		for _, err := range Mistakes(path, nil) {
			t.Log(err)
		}
	}
	known := func(string) (string, bool) { return "x", true }
	if n := len(Mistakes(path, known)); n != len(want)-1 {
		t.Errorf("%d mistakes where the variable is known", n)
	}
	if err := os.WriteFile(path, []byte("[[Nodes]]\nname = \"a\"\nHostName = \"h\"\nPort = 0\n[[nodes]]\nName = \"b\"\nX = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all := Mistakes(path, nil); len(all) != 2 || !strings.Contains(all[0].Error(), "Port") || !strings.Contains(all[1].Error(), "twice") {
		t.Errorf("of an original file: %v", all)
	}
	if first := Mistakes(filepath.Join(t.TempDir(), "none"), nil); len(first) != 1 {
		t.Errorf("%v", first)
	}
}

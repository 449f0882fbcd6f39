package galera

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A recordTB records how a test ended.
type recordTB struct{ end string }

func (r *recordTB) Helper()                        {}
func (r *recordTB) Cleanup(func())                 {}
func (r *recordTB) Fatalf(format string, a ...any) { r.end = "fatal: " + fmt.Sprintf(format, a...) }
func (r *recordTB) Skipf(format string, a ...any)  { r.end = "skip: " + fmt.Sprintf(format, a...) }

func TestAMissingServerSkipsAndFailsInCI(t *testing.T) {
	missing := errors.New("no server; get one")
	for ci, want := range map[string]string{"": "skip: no server; get one", "true": "fatal: no server; get one"} {
		t.Setenv("CI", ci)
		var tb recordTB
		demand(&tb, missing)
		if tb.end != want {
			t.Errorf("CI=%q: %q, want %q", ci, tb.end, want)
		}
		tb.end = ""
		if demand(&tb, nil); tb.end != "" {
			t.Errorf("CI=%q: %q although nothing is missing", ci, tb.end)
		}
	}
}

func TestALongPathIsRefused(t *testing.T) {
	parent := filepath.Join(t.TempDir(), strings.Repeat("x", maxSocketPath))
	if err := os.Mkdir(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := makeFolder(parent, runUser{}); err == nil || !strings.Contains(err.Error(), "too long for a unix socket") {
		t.Errorf("makeFolder: %v", err)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestAFolderTheServerCannotReachIsNamed(t *testing.T) {
	u, err := findUser()
	if err != nil {
		t.Skip(err)
	}
	if !u.switched {
		t.Skip("the server runs as this process's user: run as root to see this")
	}
	parent := t.TempDir()
	if err := os.Chmod(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := makeFolder(parent, u); err == nil || !strings.Contains(err.Error(), "may not enter "+parent) {
		t.Errorf("makeFolder: %v", err)
	}
}

func TestTheSavedStateIsReadAsWritten(t *testing.T) {
	n := &Node{Name: "n1", dir: t.TempDir(), cluster: &Cluster{}}
	if s, err := n.readState(); err != nil || s.uuid != "" || s.crashed() {
		t.Errorf("without a file: %+v, %v", s, err)
	}
	if err := os.Mkdir(n.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	id := newUUID()
	for _, seqno := range []int64{-1, 0, 1 << 40} {
		if err := n.writeState(id, seqno, true); err != nil {
			t.Fatal(err)
		}
		s, err := n.readState()
		if err != nil || s.uuid != id || s.seqno != seqno || s.crashed() != (seqno < 0) {
			t.Errorf("%d: read %+v, %v", seqno, s, err)
		}
	}
}

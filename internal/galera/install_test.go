package galera

import (
	"os"
	"testing"
)

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

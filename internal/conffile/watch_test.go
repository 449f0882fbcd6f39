package conffile

import (
	"os"
	"path/filepath"
	"testing"
)

// A look tells of content that is new and was found twice in a row, and once of each
// reason why there is none.
func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var w Watch
	var read Content
	read.Read("a")
	look := func(changed, failed bool) {
		t.Helper()
		s := w.Look(path, &read)
		if s.Err != nil {
			read.Lost()
		}
		if s.Changed != changed || (s.Err != nil) != failed {
			t.Errorf("%+v", s)
		}
		if s.Changed {
			read.Read(s.Text)
		}
	}
	look(false, true)
	look(false, false) // the same reason again
	write("a")
	look(false, false)
	look(true, false) // it is there again
	look(false, false)
	write("b")
	look(false, false)
	write("c") // somebody is still writing
	look(false, false)
	look(true, false)
	look(false, false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look(false, true)
	write("c")
	look(true, false) // as before it was lost
	look(false, false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look(false, true)
}

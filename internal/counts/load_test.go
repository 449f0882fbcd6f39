package counts

import "testing"

// A conn whose node went down while it was on its way does not count. It does
// not change the connection count of the newer generation.
func TestLoadByGeneration(t *testing.T) {
	var l Load
	of := func(generation uint64) int { load, _ := l.Of(generation); return load }
	first, second := l.Join(1), l.Join(2)
	late := l.Join(1)
	if of(1) != 0 || of(2) != 1 || of(3) != 0 {
		t.Errorf("loads %d, %d, %d", of(1), of(2), of(3))
	}
	first.Leave()
	late.Leave()
	late.Leave()
	if l.Join(2).open != second.open || of(2) != 2 {
		t.Errorf("load %d", of(2))
	}
	l.Planned.Add(1)
	if of(2) != 3 || of(3) != 1 {
		t.Errorf("with one planned: %d, %d", of(2), of(3))
	}
}

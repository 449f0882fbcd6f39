package draw

import "testing"

// A seed and a name decide what is drawn.
func TestSourcesBelongToSeedAndName(t *testing.T) {
	first := New(1, "n1").Uint64()
	if again := New(1, "n1").Uint64(); again != first {
		t.Error("one seed and name draw two numbers")
	}
	if New(1, "n2").Uint64() == first || New(2, "n1").Uint64() == first {
		t.Error("another seed or name draws the same")
	}
	a, b := NewSource(7, ""), NewSource(7, "")
	for range 10 {
		if a.IntN(1000) != b.IntN(1000) || a.Float64() != b.Float64() {
			t.Fatal("two sources of one seed differ")
		}
	}
}

package main

import "testing"

func TestQuantile(t *testing.T) {
	sorted := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for p, want := range map[float64]int{0: 1, 0.5: 6, 0.9: 10, 0.99: 10, 1: 10} {
		if got := quantile(sorted, p); got != want {
			t.Errorf("%v: got %d, want %d", p, got, want)
		}
	}
	if got := quantile([]int(nil), 0.5); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
}

func TestSpread(t *testing.T) {
	if got, want := spreadOf([]float64{4, 1, 3, 2}), (Spread{2, 2.5, 4, 4}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := spreadOf(nil); got.N != 0 || got.String() != "–" {
		t.Errorf("of nothing: %v", got)
	}
}

// The ratios are those of rounds and not of medians. A round that gave nothing
// is left out.
func TestPairedLeavesOutEmptyRounds(t *testing.T) {
	got := paired([]float64{10, 0, 30, 99}, []float64{10, 5, 20, 0})
	if want := (Spread{1, 1.25, 1.5, 2}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

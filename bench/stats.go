package main

import (
	"cmp"
	"slices"
)

// quantile returns the value below which a part p of the sorted values lies.
// Without values it returns the zero value.
func quantile[T cmp.Ordered](sorted []T, p float64) (v T) {
	if len(sorted) == 0 {
		return v
	}
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

// A Spread is the median of some values and their quartiles.
type Spread struct {
	Low, Mid, High float64
	N              int
}

func spreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	return Spread{quantile(sorted, 0.25), middle(sorted), quantile(sorted, 0.75), len(sorted)}
}

func middle(sorted []float64) float64 {
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 0:
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[n/2]
}

// paired returns the spread of the ratios of two series, round by round. It
// leaves out rounds in which one series has nothing.
func paired(values, base []float64) Spread {
	var ratios []float64
	for i := range min(len(values), len(base)) {
		if values[i] > 0 && base[i] > 0 {
			ratios = append(ratios, values[i]/base[i])
		}
	}
	return spreadOf(ratios)
}

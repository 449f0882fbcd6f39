package seedtest

import (
	"fmt"
	"strings"
	"testing"
)

// A failing is a test that fails and keeps what it logs.
type failing struct {
	testing.TB
	name     string
	cleanups []func()
	said     string
}

func (f *failing) Helper()                    {}
func (f *failing) Name() string               { return f.name }
func (f *failing) Failed() bool               { return true }
func (f *failing) Cleanup(c func())           { f.cleanups = append(f.cleanups, c) }
func (f *failing) Logf(s string, args ...any) { f.said += fmt.Sprintf(s, args...) }

func (f *failing) end() {
	for _, c := range f.cleanups {
		c()
	}
}

// A failed test logs its seed. With this seed it draws the same numbers again.
func TestSeedIsSaidAndTakenAgain(t *testing.T) {
	defer func(before uint64) { *given = before }(*given)
	*given = 0
	first := &failing{name: "TestX/part"}
	seed, drawn := Of(first), Rand(first).Uint64()
	first.end()
	if want := fmt.Sprintf("go test -run '^TestX$/^part$' -seed %d", seed); !strings.Contains(first.said, want) {
		t.Errorf("said %q, want %s", first.said, want)
	}
	fresh := &failing{name: "TestX/part"}
	if got := Of(fresh); got == seed { // equal by chance once in 2^64
		t.Error("the next run has the same seed")
	}
	fresh.end()
	*given = seed
	again := &failing{name: "TestX/part"}
	if got := Rand(again).Uint64(); got != drawn {
		t.Errorf("drew %d, want %d", got, drawn)
	}
	again.end()
}

// A test and its subtests have one seed.
func TestPartsShareTheSeed(t *testing.T) {
	seed := Of(t)
	t.Run("part", func(t *testing.T) {
		if got := Of(t); got != seed {
			t.Errorf("seed %d, want the test's %d", got, seed)
		}
	})
}

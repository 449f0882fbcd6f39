package throwaway

import (
	"errors"
	"fmt"
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
		Demand(&tb, missing)
		if tb.end != want {
			t.Errorf("CI=%q: %q, want %q", ci, tb.end, want)
		}
		tb.end = ""
		if Demand(&tb, nil); tb.end != "" {
			t.Errorf("CI=%q: %q although nothing is missing", ci, tb.end)
		}
	}
}

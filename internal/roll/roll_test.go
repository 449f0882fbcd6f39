package roll

import (
	"runtime"
	"testing"
	"time"
	"weak"
)

type thing struct {
	name string
	_    [64]byte // no other object shares its memory
}

// The names are unique among those that are listed, and nothing is kept in memory.
func TestRoll(t *testing.T) {
	var r Roll[thing]
	a, b := &thing{name: "a"}, &thing{name: "b"}
	wa, wb := weak.Make(a), weak.Make(b)
	enter := func(thing weak.Pointer[thing], name string) (id string) {
		r.Enter(thing, name, &id)
		return id
	}
	if id := enter(wa, "x"); id != "x" {
		t.Error(id)
	}
	if id := enter(wb, "x"); id != "x#2" {
		t.Error(id)
	}
	if all := r.Things(); len(all) != 2 {
		t.Error(all)
	}
	r.Strike("x", wb) // of another thing
	if all := r.Things(); len(all) != 2 {
		t.Error(all)
	}
	r.Strike("x", wa)
	if all := r.Things(); len(all) != 1 || all[0] != b {
		t.Error(all)
	}
	if id := enter(wa, "x"); id != "x" {
		t.Error(id)
	}
	runtime.KeepAlive(b)
	b = nil
	for deadline := time.Now().Add(time.Minute); wb.Value() != nil; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("it is kept in memory")
		}
	}
	if all := r.Things(); len(all) != 1 || all[0].name != "a" {
		t.Error(all)
	}
	if id := enter(wa, "x"); id != "x#2" { // x is listed, and the former x#2 is gone
		t.Error(id)
	}
	runtime.KeepAlive(a)
}

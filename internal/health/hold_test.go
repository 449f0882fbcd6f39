package health

import (
	"testing"
	"time"
)

// Every combination of what the other nodes show is compared with the rule,
// which the test writes down a second time.
func TestHolds(t *testing.T) {
	answered := time.Unix(100, 0)
	for _, alone := range []bool{false, true} {
		for nodes := range 3 {
			for _, newest := range []uint64{0, 6, 7, 8} {
				for _, stale := range []bool{false, true} {
					for _, after := range []time.Duration{0, 8*time.Second - 1, 8 * time.Second} {
						for _, last := range []uint64{0, 99, 100, 101} {
							v := &Peers{Count: nodes, Conf: newest, Seqno: last, Stale: stale, Alone: alone, Hold: 8 * time.Second}
							want := true
							if alone || nodes == 0 && after == 8*time.Second || nodes > 0 && !stale && newest <= 7 && last <= 100 {
								want = false
							}
							if got := v.holds(View{Group: "g", Conf: 7, Seqno: 100}, answered, answered.Add(after)); got != want {
								t.Errorf("%+v after %v holds: %v", v, after, got)
							}
						}
					}
				}
			}
		}
	}
}

package health

import (
	"testing"
	"time"
)

// Every combination of what the other nodes show is compared with the rule,
// which the test writes down a second time.
func TestLags(t *testing.T) {
	answered := time.Unix(100, 0)
	for _, alone := range []bool{false, true} {
		for nodes := range 3 {
			for _, newest := range []uint64{6, 7, 8} {
				for _, looked := range []bool{false, true} {
					for _, after := range []time.Duration{0, 8*time.Second - 1, 8 * time.Second} {
						for _, last := range []uint64{0, 99, 100, 101} {
							p := &Peers{Alone: alone, Hold: 8 * time.Second, Nodes: []Peer{
								{View: View{Group: "other", Conf: 99, Seqno: 99999}, Usable: true, Up: true},
								{View: View{Group: "g", Conf: 99, Seqno: 99999}},
							}}
							for range nodes {
								n := Peer{View: View{Group: "g", Conf: newest, Seqno: last}, Usable: true, Up: true}
								if looked {
									n.Looked = answered.Add(1)
								}
								p.Nodes = append(p.Nodes, n)
							}
							want := true
							if alone || nodes == 0 && after == 8*time.Second || nodes > 0 && looked && newest <= 7 && last <= 100 {
								want = false
							}
							got, stale := p.lags(View{Group: "g", Conf: 7, Seqno: 100}, answered, answered.Add(after))
							if got != want || stale != (!alone && nodes > 0 && !looked) {
								t.Errorf("%+v after %v lags: %v, stale %v", p, after, got, stale)
							}
						}
					}
				}
			}
		}
	}
}

package clustersql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// Failures of one cause have one text, so that logs can be grouped by it: no
// time and no port of this machine stands in it.
func TestOneCauseIsOneText(t *testing.T) {
	for name, script := range map[string]func(i int) fakedb.Script{
		"refused": func(i int) fakedb.Script {
			return fakedb.Script{Err: errRefused, Delay: time.Duration(i) * time.Millisecond}
		},
		"silent": func(int) fakedb.Script { return fakedb.Script{Silent: true} },
		"reset": func(i int) fakedb.Script {
			here, there := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 40000 + i}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 3306}
			return fakedb.Script{Err: &net.OpError{Op: "read", Net: "tcp", Source: here, Addr: there, Err: errors.New("reset")}}
		},
		"denied": func(i int) fakedb.Script {
			return fakedb.Script{Err: errDenied, Delay: time.Duration(i%7) * time.Millisecond}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				for k := range 3 { // no node ever works: an open waits for one that has worked
					b.Node(nodeName(k)).Set(script(10 * k))
				}
				d := fakeCluster(t, b, 3)
				db := openDB(t, d)
				var texts, reasons = map[string]int{}, map[string]int{}
				opens := 100
				if testing.Short() {
					opens = 30
				}
				for i := range opens {
					for k := range 3 {
						b.Node(nodeName(k)).Set(script(i + 10*k))
						b.Node(nodeName(k)).SetHealth(script(i).Err, 0, false)
					}
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second+time.Duration(i)*time.Millisecond)
					err := db.PingContext(ctx)
					cancel()
					if err == nil {
						t.Fatal("it worked")
					}
					for _, s := range d.Status().Nodes {
						reasons[s.Reason]++
					}
					if i > 3 { // the states are the same from then on
						texts[err.Error()]++
					}
					time.Sleep(time.Duration(100+i) * time.Millisecond)
				}
				if len(texts) > 1 {
					t.Errorf("%d texts: %s", len(texts), keys(texts))
				}
				if len(reasons) > 3 { // of an open, of a probe, and none before
					t.Errorf("%d reasons: %s", len(reasons), keys(reasons))
				}
			})
		})
	}
}

func keys(m map[string]int) (all string) {
	for k, n := range m {
		all += fmt.Sprintf("\n%d times %q", n, k)
	}
	return all
}

package mysql

import (
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/galeratest"
	"github.com/EnumApps/clustersql/internal/health"
)

// A situation is one combination of what the rules below look at.
type situation struct {
	cluster, ready, state          string
	desync, reject, readOnly       bool
	donorAllowed, writableRequired bool
}

func situations(visit func(situation)) {
	flags := []bool{false, true}
	for _, cluster := range []string{"Primary", "non-Primary", "Disconnected"} {
		for _, ready := range []string{"ON", "OFF"} {
			for _, state := range []string{"0", "1", "2", "3", "4"} {
				for bits := range 1 << 5 {
					on := func(i int) bool { return flags[bits>>i&1] }
					visit(situation{cluster, ready, state, on(0), on(1), on(2), on(3), on(4)})
				}
			}
		}
	}
}

// The next functions are the rules of other programs, as we understand them:
// MaxScale's galeramon, ProxySQL's Galera monitor for writers, and clustercheck
// for HAProxy.
func (s situation) galeramon() bool {
	return s.ready == "ON" && !s.desync && !s.reject && (s.state == "4" || s.state == "2" && s.donorAllowed)
}

func (s situation) proxySQL() bool {
	return s.cluster == "Primary" && !s.desync && s.state == "4" && !s.reject && !(s.readOnly && s.writableRequired)
}

func (s situation) clustercheck() bool {
	return (s.state == "4" || s.state == "2" && s.donorAllowed) && !(s.readOnly && s.writableRequired)
}

// Every combination goes through the checks that a cluster runs. The result
// must be that of our rule in one sentence. Where another program decides
// otherwise, the test names the reason.
func TestGaleraTruthTable(t *testing.T) {
	const (
		onlyAnswer = "clustercheck asks for the state alone, and believes a node that is cut off, not ready or refusing"
		noCluster  = "galeramon counts members itself instead of asking for wsrep_cluster_status"
		noReadOnly = "galeramon leaves read_only to its router"
		noReady    = "ProxySQL does not look at wsrep_ready"
		joinedIn   = "a node that was a donor or desynced does work while it catches up, and its wsrep_ready is ON: it may be the last one; that of a joiner is OFF"
		donorIn    = "a donor or desynced node is put last by us, where they take it out: at every return of a node another is donor"
	)
	fakes := fakedb.New()
	g := galeratest.Node(fakes.Node("n"))
	conn, err := fakes.Driver().Open("n")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	seen, reasons := 0, map[string]int{}
	situations(func(s situation) {
		seen++
		g.Cluster.Store(s.cluster)
		g.Ready.Store(s.ready)
		g.State.Store(s.state)
		g.Reject.Store(s.reject)
		g.ReadOnly.Store(map[bool]string{false: "OFF", true: "ON"}[s.readOnly])
		ctx, found := dialect.WithReport(t.Context(), health.ScopeStatus)
		found.AllowDonor = s.donorAllowed
		err := Galera(ctx, conn)
		if err == nil && s.writableRequired {
			if err = (Dialect{}).Replication(ctx, conn, dialect.DepthAccess); err == nil && found.Replication.Access != health.AccessWrite {
				err = &health.Unfit{Class: health.ReadOnly}
			}
		}
		fit := err == nil

		want := s.cluster == "Primary" && s.ready == "ON" && (s.state == "4" || s.state == "2" || s.state == "3") && !s.reject && !(s.readOnly && s.writableRequired)
		last := want && s.state != "4" && !s.donorAllowed
		if fit != want || fit && found.Donor != last {
			t.Errorf("%+v: fit %v, last %v; want %v, %v", s, fit, found.Donor, want, last)
		}
		explain := func(theirs bool, why ...string) {
			if theirs == fit {
				return
			}
			for _, w := range why {
				if w != "" {
					reasons[w]++
					return
				}
			}
			t.Errorf("%+v: ours %v, theirs %v, and no reason", s, fit, theirs)
		}
		only := func(cond bool, why string) string {
			if cond {
				return why
			}
			return ""
		}
		donor := fit && (s.state == "2" || s.desync)
		joined := only(fit && s.state == "3", joinedIn)
		explain(s.galeramon(), joined, only(donor, donorIn), only(s.cluster != "Primary", noCluster), only(s.readOnly, noReadOnly))
		explain(s.proxySQL(), joined, only(donor, donorIn), only(s.ready != "ON", noReady))
		explain(s.clustercheck(), joined, only(donor, donorIn), only(s.cluster != "Primary" || s.ready != "ON" || s.reject, onlyAnswer))
	})
	if seen != 3*2*5*32 || len(reasons) != 6 {
		t.Errorf("%d situations, reasons %v", seen, reasons)
	}
	if s := fakes.Stats(); s.UsedAfterClose+s.Concurrent != 0 {
		t.Error(s)
	}
}

func TestGaleraCheckNeedsAProvider(t *testing.T) {
	fakes := fakedb.New()
	g := galeratest.Node(fakes.Node("n"))
	g.Provider.Store(false)
	conn, err := fakes.Driver().Open("n")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = Galera(t.Context(), conn)
	if err == nil || !strings.Contains(err.Error(), `use check = "do1"`) || health.Classify(err, classify) != health.Misconfigured {
		t.Errorf("%v, class %v", err, health.Classify(err, classify))
	}
	if _, err := (wsrepStatus{cluster: "Disconnected", ready: "OFF", state: "0"}).verdict(false); health.Classify(err, classify) != health.Misconfigured {
		t.Errorf("a server whose provider is not loaded: %v", err)
	}
}

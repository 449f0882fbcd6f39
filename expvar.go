package clustersql

import (
	"cmp"
	"expvar"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/roll"
)

// expvarClusters is the variable that has, by ID, all of the process's clusters
// as they are now: their status in JSON, without the nodes. In the map of a
// cluster everything but the time is a node, so nothing else can be there.
const expvarClusters = "clustersql.clusters"

// exported is what this process shows in expvar: one map per cluster name. A
// map is published with the first driver of its name and is never removed,
// because expvar cannot remove a name. It shows the newest open driver of the
// name, and keeps none in memory.
var exported = exporter{maps: make(map[string]*exportedMap)}

type exporter struct {
	mu   sync.Mutex // guards what follows
	maps map[string]*exportedMap
}

type exportedMap struct {
	vars   *expvar.Map
	owners []weak.Pointer[manager] // open drivers of the name, the newest last; the map shows the last one
}

// expvarFirst is the key of the time when the first driver of the name was
// made. Its spelling is that of the original.
const expvarFirst = "FirstInstanciated"

// publish makes the map of m's name show m. If the program has published
// another variable under that name, that variable stays and the cluster is not
// shown.
func (x *exporter) publish(m *manager) {
	if !x.claim(m) {
		m.log.Print(logline.Expvar)
	}
}

func (x *exporter) claim(m *manager) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.maps[m.name]
	if e == nil {
		vars := new(expvar.Map)
		if !publishVar(m.name, vars) {
			return false
		}
		vars.Set(expvarFirst, expvarString(timeText(time.Now())))
		publishVar(expvarClusters, expvar.Func(clustersVars))
		e = &exportedMap{vars: vars}
		x.maps[m.name] = e
	}
	e.owners = append(e.owners, weak.Make(m))
	e.show()
	return true
}

// clustersVars returns the status of each cluster, without its nodes.
func clustersVars() any {
	type nodeless struct {
		ClusterStatus
		Nodes any `json:"nodes,omitempty"` // hides the nodes
	}
	all := make(map[string]nodeless)
	for _, d := range Clusters() {
		all[d.m.id] = nodeless{ClusterStatus: d.Status()}
	}
	return all
}

// publishVar publishes v and reports whether the name was free. It recovers
// from the panic of expvar.Publish for a name that is taken.
func publishVar(name string, v expvar.Var) (ok bool) {
	if expvar.Get(name) != nil {
		return false
	}
	defer func() { ok = recover() == nil }()
	expvar.Publish(name, v)
	return true
}

// show fills the map with the nodes of the newest open driver. It keeps the
// time of the name's first driver.
func (e *exportedMap) show() {
	first := e.vars.Get(expvarFirst)
	e.vars.Init()
	e.vars.Set(expvarFirst, first)
	if m := e.shown(); m != nil {
		for _, n := range *m.nodes.Load() {
			e.vars.Set(n.name, n.vars())
		}
	}
}

// shown returns the newest open driver of the name. It returns nil if there is
// none, or if e is nil.
func (e *exportedMap) shown() *manager {
	if e == nil || len(e.owners) == 0 {
		return nil
	}
	return e.owners[len(e.owners)-1].Value()
}

// withdraw removes a driver that is closed, or that nobody can reach any more. If
// it was shown, the newest driver that is still open is shown instead.
func (x *exporter) withdraw(name string, w weak.Pointer[manager]) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.maps[name]
	if e == nil || !slices.Contains(e.owners, w) {
		return
	}
	shown := e.owners[len(e.owners)-1] == w
	e.owners = slices.DeleteFunc(e.owners, func(o weak.Pointer[manager]) bool { return o == w })
	if shown {
		e.show()
	}
}

func (x *exporter) addNode(m *manager, n *node) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.maps[m.name]
	if e.shown() != m {
		return
	}
	nodes := *m.nodes.Load()
	if i, member := findNode(nodes, n.name); member && nodes[i] == n {
		e.vars.Set(n.name, n.vars())
	}
}

// removeNode deletes n, unless another node has taken its name.
func (x *exporter) removeNode(m *manager, n *node) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.maps[m.name]
	if e.shown() != m {
		return
	}
	if _, taken := findNode(*m.nodes.Load(), n.name); !taken {
		e.vars.Delete(n.name)
	}
}

// vars returns the node's map. Its values are read when they are asked for. The
// first five keys are those of the original. There, LastSuccess, LastError and
// LastErrorMessage did not exist before the first success or error; here they
// are null until then. The rest of NodeStatus is one value, so that all of it
// is from the same moment and the node's map stays small.
func (n *node) vars() *expvar.Map {
	vars, shown := new(expvar.Map), weak.Make(n) // expvar keeps no cluster in memory
	for key, value := range map[string]func(s *NodeStatus) any{
		"Connections":      func(s *NodeStatus) any { return s.Won },
		"Errors":           func(s *NodeStatus) any { return s.Errors },
		"LastSuccess":      func(s *NodeStatus) any { return timeOrNull(s.LastSuccess) },
		"LastError":        func(s *NodeStatus) any { return timeOrNull(s.LastError) },
		"LastErrorMessage": func(s *NodeStatus) any { return textOrNull(s.LastErrorMessage) },
		"State":            func(s *NodeStatus) any { return s.State.String() },
		"Reason":           func(s *NodeStatus) any { return textOrNull(s.Reason) },
		"Status":           statusVars,
	} {
		vars.Set(key, expvar.Func(func() any {
			n := shown.Value()
			if n == nil {
				return nil
			}
			s := n.status()
			return value(&s)
		}))
	}
	return vars
}

// statusVars returns the part of the status that has no key of its own.
func statusVars(s *NodeStatus) any {
	vars := map[string]any{
		"Since": timeOrNull(s.Since), "NextCheck": timeOrNull(s.NextCheck), "Added": timeOrNull(s.Added),
		"Address": s.Address, "Origin": s.Origin, "Pending": textOrNull(s.Pending), "Position": textOrNull(s.Position), "Priority": s.Priority, "Weight": s.Weight,
		"Donor": s.Donor, "Full": s.Full, "FullUntil": timeOrNull(s.FullUntil), "Returning": s.Returning, "ReturnedAt": timeOrNull(s.ReturnedAt),
		"HeldUntil": timeOrNull(s.HeldUntil), "SameAs": textOrNull(s.SameAs), "ConfID": s.ConfID,
		"Role": s.Role.String(), "Access": s.Access.String(), "Timeline": s.Timeline, "Lag": nil, "LagUnknown": textOrNull(s.LagUnknown),
		"Good": s.Good, "Rise": s.Rise, "Bad": s.Bad, "Fall": s.Fall, "Generation": s.Generation,
		"OpenConns": s.OpenConns, "IdleConns": s.IdleConns, "RetiredConns": s.RetiredConns, "MostConns": s.MostConns,
		"Cuttable": s.Cuttable, "Load": s.Load, "Attempts": s.Attempts, "Deaf": s.Deaf,
		"Chosen": s.Chosen, "Opens": s.Opens, "Won": s.Won, "Lost": s.Lost, "Errors": s.Errors, "Outrun": s.Outrun,
		"Moved": s.Moved, "Unknown": s.Unknown, "Probes": s.Probes, "Probing": s.Probing, "ProbeErrors": s.ProbeErrors, "Downs": s.Downs, "Downtime": s.Downtime.Seconds(),
		"ErrorsByClass": countsVars(s.ErrorsByClass), "RefusedByClass": countsVars(s.RefusedByClass), "ClosedBy": countsVars(s.ClosedBy),
		"SessionReads": sessionVars(s.SessionReads), "HedgedReads": hedgedVars(s.HedgedReads),
		"ProbeLatency": latencyVars(s.ProbeLatency), "OpenLatency": latencyVars(s.OpenLatency),
	}
	if s.LagUnknown == "" {
		vars["Lag"] = s.Lag.Seconds()
	}
	return vars
}

// countsVars shows that nothing was counted as {} and not as null.
func countsVars(counts map[string]uint64) any {
	if counts == nil {
		return struct{}{}
	}
	return counts
}

// sessionVars returns the counts of sessions.
func sessionVars(r SessionReads) any {
	return map[string]any{
		"Known": r.Known, "Asked": r.Asked, "Waited": r.Waited, "Moved": r.Moved, "WaitSeconds": r.WaitTime.Seconds(),
		"Positions": r.Positions, "Missed": r.Missed,
	}
}

// hedgedVars returns the counts of hedged reads.
func hedgedVars(r HedgedReads) any {
	return map[string]any{"Armed": r.Armed, "Launched": r.Launched, "Won": r.Won, "Lost": r.Lost}
}

// latencyVars returns a latency in milliseconds.
func latencyVars(l Latency) any {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return map[string]any{
		"Count": l.Count(), "MeanMs": ms(l.Mean()), "DeviationMs": ms(l.Deviation()),
		"P50Ms": ms(l.Percentile(0.5)), "P95Ms": ms(l.Percentile(0.95)), "P99Ms": ms(l.Percentile(0.99)),
	}
}

// timeText returns a time in the format of the original.
func timeText(t time.Time) string { return fmt.Sprint(t.Round(0)) }

func timeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return timeText(t)
}

func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func expvarString(s string) *expvar.String {
	v := new(expvar.String)
	v.Set(s)
	return v
}

// enrolled are the clusters of this process that are in use.
var enrolled roll.Roll[manager]

// Clusters returns the clusters of this process that are in use: each one that
// was made and was neither closed nor given up. They may come from NewDriver,
// from a file or from a DSN, and need not be open. They are sorted by
// [ClusterStatus.ID].
//
// Clusters is for what shows or serves all clusters of a program, such as a page,
// metrics or a command: nobody has to hand the clusters around. The list of the
// process keeps no cluster in memory. The returned Drivers do, as any Driver does;
// so ask again for each look. Any goroutine may call it.
func Clusters() []Driver {
	managers := enrolled.Things()
	all := make([]Driver, len(managers))
	for i, m := range managers {
		all[i] = Driver{m: m}
	}
	slices.SortFunc(all, func(a, b Driver) int { return cmp.Compare(a.m.id, b.m.id) })
	return all
}

// enroll lists the cluster, and gives it its ID. When nobody can reach it any more, it is
// taken off the roll, and out of expvar.
func (m *manager) enroll() {
	w := weak.Make(m)
	enrolled.Enter(w, m.name, &m.id)
	id, name := m.id, m.name
	runtime.AddCleanup(m, func(w weak.Pointer[manager]) {
		enrolled.Strike(id, w)
		exported.withdraw(name, w)
	}, w)
}

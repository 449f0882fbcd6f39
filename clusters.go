package clustersql

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"weak"
)

// roll lists the clusters of this process, by ID. It keeps none of them in
// memory.
var roll = clusterRoll{all: make(map[string]weak.Pointer[manager])}

type clusterRoll struct {
	mu  sync.Mutex // guards what follows; never held across a wait
	all map[string]weak.Pointer[manager]
}

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
	roll.mu.Lock()
	defer roll.mu.Unlock()
	all := make([]Driver, 0, len(roll.all))
	for _, w := range roll.all {
		if m := w.Value(); m != nil {
			all = append(all, Driver{m: m})
		}
	}
	slices.SortFunc(all, func(a, b Driver) int { return cmp.Compare(a.m.id, b.m.id) })
	return all
}

// enter adds a cluster, and gives it its ID. When nobody can reach the cluster any
// more, it is taken off the roll, and out of expvar.
func (r *clusterRoll) enter(m *manager) {
	w := weak.Make(m)
	r.mu.Lock()
	m.id = m.name
	for n := 2; ; n++ {
		if other, taken := r.all[m.id]; !taken || other.Value() == nil {
			break
		}
		m.id = fmt.Sprintf("%s#%d", m.name, n)
	}
	r.all[m.id] = w
	r.mu.Unlock()
	id, name := m.id, m.name
	runtime.AddCleanup(m, func(w weak.Pointer[manager]) {
		r.strike(id, w)
		exported.withdraw(name, w)
	}, w)
}

// strike takes a cluster off the roll.
func (r *clusterRoll) strike(id string, w weak.Pointer[manager]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all[id] == w {
		delete(r.all, id)
	}
}

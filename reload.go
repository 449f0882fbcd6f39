package clustersql

import (
	"context"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/members"
	"github.com/EnumApps/clustersql/internal/settings"
)

// A contentSum stands for what a file holds. It is no secret.
type contentSum [sha256.Size]byte

// all returns the clusters.
func (r *Registry) all() []registered {
	if all := r.clusters.Load(); all != nil {
		return *all
	}
	return nil // of the zero Registry
}

func (r *Registry) saw(text string) {
	sum := contentSum(sha256.Sum256([]byte(text)))
	r.sum.Store(&sum)
}

// ReloadStatus says how a cluster's configuration was last changed as a whole: by
// [Registry.Reload], [Registry.Watch] or [Driver.Apply]. The zero value says that it
// was not.
type ReloadStatus struct {
	At      time.Time `json:"at,omitzero"`      // of the last one
	Err     string    `json:"err,omitempty"`    // why it failed; empty if it did not
	Applied time.Time `json:"applied,omitzero"` // of the last one that did not fail
	Changes int       `json:"changes"`          // lines of its Diff about this cluster
	Count   uint64    `json:"count"`            // how many there were
	Failed  uint64    `json:"failed"`           // how many of them failed
}

// These are the causes of an EventReload.
const (
	causeChanged = "changed"
	causeMistake = "mistake"
)

// noteReload notes how a reload of the cluster ended, and tells that to emit.
func (m *manager) noteReload(diff Diff, err error, emit func(Event)) {
	m.setReload(len(diff.Changes), err)
	switch {
	case err != nil:
		emit(Event{Kind: EventReload, Cause: causeMistake, Reason: err.Error()})
	case len(diff.Changes) > 0:
		emit(Event{Kind: EventReload, Cause: causeChanged, Reason: diff.summary()})
	}
}

func (m *manager) setReload(changes int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := ReloadStatus{}
	if old := m.reloaded.Load(); old != nil {
		s = *old
	}
	s.At, s.Err, s.Count = time.Now(), "", s.Count+1
	if err != nil {
		s.Err, s.Failed = err.Error(), s.Failed+1
	} else {
		s.Applied, s.Changes = s.At, changes
	}
	m.reloaded.Store(&s)
}

// Reload reads the configuration file again, and changes the clusters to what it says
// now. It returns what that changes. If path is empty, it reads the file that the
// registry was loaded from.
//
// Clusters and nodes are what they were as long as their names are. What happens to
// nodes and their connections is what [Driver.Apply] says. Settings change as the
// documentation of each says. A cluster that is new in the file is made, and is known
// to database/sql if the others are. A cluster that is not in the file any more stays
// as it is until the restart, because the program may use it. So does one with
// another driver. One that the program has closed is left out.
//
// Reload is all or nothing: it checks the whole file, the variables and every DSN,
// and makes all connectors before it changes anything. After an error all is as it
// was. It waits for no node. ClusterStatus.Reload tells of the last reload.
func (r *Registry) Reload(path string) (Diff, error) {
	if path == "" {
		path = r.path
	}
	r.turn <- struct{}{} // before the file is read: else an older content could come last
	defer func() { <-r.turn }()
	text, path, err := conffile.ReadText(path)
	if err != nil {
		r.unread(path, err)
		return Diff{}, err
	}
	return r.reloadText(path, text)
}

// reloadText is Reload for the text of a file. The caller holds the turn.
func (r *Registry) reloadText(path, text string) (Diff, error) {
	if path == r.path {
		r.saw(text)
		r.lost.Store(false)
	}
	diff, err := r.reload(path, text)
	r.noteReload(diff, err)
	return diff, err
}

// unread notes that a file could not be read.
func (r *Registry) unread(path string, err error) {
	if path == r.path {
		r.lost.Store(true)
	}
	r.noteReload(Diff{}, err)
}

// noteReload notes in every cluster how a reload ended, and emits events about it.
// The log has one line for a mistake, and not one for each cluster.
func (r *Registry) noteReload(diff Diff, err error) {
	for i, c := range r.all() {
		m, mine := c.driver.m, Diff{}
		for _, ch := range diff.Changes {
			if ch.Cluster == m.name {
				mine.add(ch)
			}
		}
		emit := m.emit
		if err != nil && i > 0 {
			emit = m.tell
		}
		m.noteReload(mine, err, emit)
	}
}

// A reloading is a reload under way. The turns of all its clusters are taken.
type reloading struct {
	diff    Diff
	changes []*change
	fresh   []registered // clusters that are new
	all     []registered // with the specs of the new file
	turns   []*manager
}

// reload carries out a reload. The caller holds the turn.
func (r *Registry) reload(path, text string) (diff Diff, err error) {
	if r.closed.Load() {
		return Diff{}, ErrClosed
	}
	_, clusters, err := readSpecs(path, text)
	if err != nil {
		return Diff{}, err
	}
	t := &reloading{all: slices.Clone(r.all())}
	defer func() {
		for _, m := range t.turns {
			<-m.turn
		}
	}()
	for _, spec := range clusters {
		if err == nil {
			err = t.prepare(spec)
		}
	}
	if err == nil && r.known.Load() && len(t.fresh) > 0 {
		registering.Lock()
		err = registerAll(t.fresh)
		registering.Unlock()
	}
	if err != nil {
		t.cancel()
		return Diff{}, err
	}
	for _, c := range t.all {
		if !slices.ContainsFunc(clusters, func(s clusterSpec) bool { return s.name == c.spec.name }) {
			t.diff.add(Change{Cluster: c.spec.name, Kind: ChangeRemove, When: TakesRestart})
		}
	}
	for _, c := range t.changes {
		_ = c.commit() // the only error says that the program has closed the cluster
	}
	t.all = append(t.all, t.fresh...)
	r.clusters.Store(&t.all)
	if r.closed.Load() { // meanwhile
		for _, c := range t.fresh {
			c.driver.Close()
		}
		return Diff{}, ErrClosed
	}
	return t.diff, nil
}

// prepare prepares the change of one cluster.
func (t *reloading) prepare(spec clusterSpec) error {
	i := slices.IndexFunc(t.all, func(c registered) bool { return c.spec.name == spec.name })
	if i < 0 {
		d, err := spec.build()
		if err != nil {
			return err
		}
		t.fresh = append(t.fresh, registered{spec, d})
		t.diff.add(Change{Cluster: spec.name, Kind: ChangeAdd, When: TakesLive, To: fmt.Sprintf("with %d nodes", len(spec.in.Nodes))})
		return nil
	}
	known := &t.all[i]
	if known.spec.driver != spec.driver {
		t.diff.add(driverChange(spec.name, known.spec.driver, spec.driver))
		return nil
	}
	m := known.driver.m
	if m.wasClosed() {
		return nil
	}
	nodes, err := spec.nodes()
	if err != nil {
		return err
	}
	if err := spec.cfg.validateFor(m.backend); err != nil {
		return spec.conflict(err)
	}
	m.turn <- struct{}{}
	t.turns = append(t.turns, m)
	templates, wanted, _ := m.split(&spec.cfg, nodes)
	c, err := m.prepare(&spec.cfg, templates, wanted, func(i int, err error) error {
		at := slices.IndexFunc(nodes, func(n members.Node) bool { return n.Name == wanted[i].Name })
		return spec.wrongNode(max(0, at), err)
	})
	if err != nil {
		return err
	}
	t.changes = append(t.changes, c)
	t.diff.add(c.diff.Changes...)
	known.spec = spec
	return nil
}

// cancel drops what was prepared.
func (t *reloading) cancel() {
	for _, c := range t.changes {
		c.cancel()
	}
	for _, c := range t.fresh {
		c.driver.Close()
	}
}

// Watch reloads the file whenever its content changes, until ctx is done. It looks
// every so often, and reloads what it has found twice in a row: so it does not take a
// file that is being written. It compares the content and not the time of the file,
// because a mounted ConfigMap changes a symbolic link. A reload that fails changes
// nothing and is not tried again before the content changes. It is in
// ClusterStatus.Reload, and in the log once. So is a file that cannot be read; it is
// reloaded when it can be read again. What Reload has read from another file stays
// until the content of this one changes.
//
// Watch returns the cause of the end of ctx, or ErrClosed once the registry is
// closed. Run it in a goroutine of its own.
func (r *Registry) Watch(ctx context.Context, every time.Duration) error {
	if every < time.Millisecond {
		return fmt.Errorf("clustersql: Watch every %s is too often: give a duration of at least a millisecond, such as 5 * time.Second", every)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var before contentSum // at the look before
	missing := ""
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		if r.closed.Load() {
			return ErrClosed
		}
		select { // beside a Reload an older content could come last
		case r.turn <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		before, missing = r.look(before, missing)
		<-r.turn
	}
}

// look looks at the file, and reloads it if it has changed. It returns its content,
// and why it cannot be read. The caller holds the turn.
func (r *Registry) look(before contentSum, missing string) (contentSum, string) {
	text, path, err := conffile.ReadText(r.path)
	if err != nil {
		if err.Error() != missing { // and not at every look
			r.unread(path, err)
		}
		return before, err.Error()
	}
	sum := contentSum(sha256.Sum256([]byte(text)))
	if sum == before && (sum != *r.sum.Load() || r.lost.Load()) {
		_, _ = r.reloadText(path, text) // the error is in the log and in the status
	}
	return sum, ""
}

// settingChanges returns the settings that differ, in the order of the fields.
func settingChanges(cluster string, before, after *Config) []Change {
	var all []Change
	for _, s := range configTable.Differences(before, after, sameStrategy) {
		all = append(all, Change{
			Cluster: cluster, Kind: ChangeSetting, Setting: s.Key, When: Takes(s.When),
			From: settingText(s.A), To: settingText(s.B),
		})
	}
	return all
}

// sameStrategy compares the only setting that is a struct.
func sameStrategy(a, b any) bool { return a.(Strategy).same(b.(Strategy)) }

// settingText returns a value as a file has it.
func settingText(value any) string {
	check, ok := value.(Check)
	if !ok {
		return settings.Text(value)
	}
	for name, known := range namedChecks {
		if reflect.ValueOf(known).Pointer() == reflect.ValueOf(check).Pointer() {
			return strconv.Quote(name)
		}
	}
	if check == nil {
		return "the dialect's"
	}
	return "the program's"
}

// keeping returns the settings with which a running cluster goes on: what changes
// at a restart only is as it was.
func (c *Config) keeping(before *Config) *Config {
	kept := *c
	configTable.Keep(&kept, before, string(TakesRestart))
	return &kept
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
)

// A snapshot is what a command knows of clusters at one moment. It is a part of
// what the page of a program returns for ?format=json.
type snapshot struct {
	Time     time.Time     `json:"time"`
	Process  string        `json:"process,omitempty"`
	Clusters []clusterView `json:"clusters"`
}

// A clusterView is one cluster of a snapshot.
type clusterView struct {
	Status clustersql.ClusterStatus `json:"status"`
	Events []clustersql.Event       `json:"events"` // the last ones, oldest first
}

// A source gives snapshots.
type source interface {
	take(ctx context.Context) (*snapshot, error)
	name() string // without secrets
	close()
}

// openSource opens the page of a running program, or the clusters of a file or a
// DSN, which then probe their nodes.
func openSource(arg string) (source, error) {
	if isURL(arg) {
		return newPage(arg)
	}
	t, err := openTarget(arg)
	if err != nil {
		return nil, err
	}
	return &ownSource{t, t.run()}, nil
}

// An ownSource is clusters of this process.
type ownSource struct {
	*target
	stop func()
}

func (s *ownSource) name() string { return s.target.name }

func (s *ownSource) take(context.Context) (*snapshot, error) {
	snap := &snapshot{Time: time.Now()}
	for _, c := range s.clusters {
		snap.Clusters = append(snap.Clusters, clusterView{c.driver.Status(), c.driver.Events()})
	}
	return snap, nil
}

func (s *ownSource) close() {
	s.stop()
	s.target.close()
}

// ready waits until every node has been judged, or for as long as that may take.
func (s *ownSource) ready(ctx context.Context) {
	for _, c := range s.clusters {
		c.discover(ctx, 2*c.config.AttemptTimeout)
		r := report{cluster: c}
		r.settled(ctx)
	}
}

// A page is the status page of a running program.
type page struct {
	address *url.URL
	client  *http.Client
}

// pageTimeout bounds one request to a page.
const pageTimeout = 10 * time.Second

func newPage(arg string) (*page, error) {
	u, err := url.Parse(arg)
	if err != nil || u.Host == "" {
		return nil, errors.New("the URL cannot be read: write it as http://host:port/path")
	}
	return &page{u, &http.Client{
		Timeout:       pageTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (p *page) name() string { return p.address.Redacted() }
func (p *page) close()       { p.client.CloseIdleConnections() }

// mostJSON bounds what is read of a page: 300 nodes with all their samples take
// some 3 MB.
const mostJSON = 64 << 20

func (p *page) take(ctx context.Context) (*snapshot, error) {
	snap := new(snapshot)
	if err := p.read(ctx, snap); err != nil {
		return nil, p.told(err)
	}
	return snap, nil
}

// read reads the snapshot of the page. Its errors do not name the page.
func (p *page) read(ctx context.Context, snap any) error {
	u := *p.address
	query := u.Query()
	query.Set("format", "json")
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	answer, err := p.client.Do(r)
	if err != nil {
		return noAnswer{withoutURL(err)}
	}
	defer answer.Body.Close()
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch {
	case answer.StatusCode >= 300 && answer.StatusCode < 400:
		return fmt.Errorf("it leads elsewhere (%s): give the URL that it leads to", answer.Status)
	case answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s: give an account in the URL, as in http://user:password@host/", answer.Status)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: give the URL at which the program has mounted statuspage.Handler", answer.Status)
	case kind != "application/json":
		return fmt.Errorf("it is no status page, and answers %q: give the URL at which the program has mounted statuspage.Handler", kind)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, mostJSON)).Decode(snap); err != nil {
		return fmt.Errorf("what it answers cannot be read: is it another version? %w", err)
	}
	return nil
}

// noAnswer is an error of a page that cannot be reached.
type noAnswer struct{ error }

func (e noAnswer) Unwrap() error { return e.error }

// told returns an error with the page's name, and with the cure where the error has none.
func (p *page) told(err error) error {
	var none noAnswer
	if errors.As(err, &none) && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w: start the program, or correct host and port in the URL", p.name(), err)
	}
	return fmt.Errorf("%s: %w", p.name(), err)
}

// withoutURL takes the address off an error of net/http: it may hold a password.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// send sends the form that a button of the page sends. Whoever calls it closes the
// answer's body.
func (p *page) send(ctx context.Context, form url.Values) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.address.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	answer, err := p.client.Do(r)
	if err != nil {
		return nil, p.told(noAnswer{withoutURL(err)})
	}
	return answer, nil
}

// post drains a node, or ends that.
func (p *page) post(ctx context.Context, action, cluster, node string) error {
	answer, err := p.send(ctx, url.Values{"action": {action}, "cluster": {cluster}, "node": {node}})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	switch {
	case answer.StatusCode == http.StatusMethodNotAllowed:
		return fmt.Errorf("%s: the page lets nobody drain: the program must make it with statuspage.AllowDrain()", p.name())
	case answer.StatusCode >= 400:
		return fmt.Errorf("%s: %s: %s", p.name(), answer.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

// only leaves the cluster with a name or ID in the snapshot; "" leaves all.
func (s *snapshot) only(name string) error {
	if name == "" {
		return nil
	}
	var names []string
	var left []clusterView
	for _, c := range s.Clusters {
		names = append(names, c.Status.ID)
		if c.Status.ID == name || c.Status.Name == name {
			left = append(left, c)
		}
	}
	if len(left) == 0 {
		return fmt.Errorf("there is no cluster %q: there are: %s", name, strings.Join(names, ", "))
	}
	s.Clusters = left
	return nil
}

// A follower finds the events of a snapshot that an earlier one did not have.
type follower struct {
	process string
	seen    map[string]uint64 // the last event of each cluster, by ID
}

// news returns the events that are new, by time. Of the first snapshot none is.
func (f *follower) news(s *snapshot) (all []clustersql.Event) {
	first := f.seen == nil
	if first || f.process != s.Process {
		f.seen, f.process = make(map[string]uint64), s.Process
	}
	for _, c := range s.Clusters {
		last, known := f.seen[c.Status.ID]
		latest := uint64(0)
		if n := len(c.Events); n > 0 {
			latest = c.Events[n-1].Seq
		}
		if latest < last {
			last = 0 // the cluster was made again
		}
		if known || !first {
			for _, e := range c.Events {
				if e.Seq > last {
					e.Cluster = c.Status.ID
					all = append(all, e)
				}
			}
		}
		f.seen[c.Status.ID] = latest
	}
	slices.SortStableFunc(all, func(a, b clustersql.Event) int { return cmp.Compare(a.Time.UnixNano(), b.Time.UnixNano()) })
	return all
}

// sentence says what an event is about.
func sentence(e *clustersql.Event) string {
	text := e.Kind.String()
	switch e.Kind {
	case clustersql.EventState:
		text = fmt.Sprintf("%s, was %s", e.To, e.From)
	case clustersql.EventRole:
		text = "its role is " + e.Role.String()
	case clustersql.EventFailback:
		text = "preferred again"
	case clustersql.EventLost, clustersql.EventRetired, clustersql.EventCut:
		text = fmt.Sprintf("%d connections %s", e.Conns, e.Kind)
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

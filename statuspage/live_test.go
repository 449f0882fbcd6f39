package statuspage

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/race"
)

// A viewer is a browser with a stream, in virtual time.
type viewer struct {
	header http.Header
	stop   context.CancelFunc
	ended  chan struct{}

	mu    sync.Mutex // guards the fields below
	text  bytes.Buffer
	bytes int
	seen  map[string]map[string]string // the cells that it shows, by row and key
	news  []news
	at    []time.Time
}

// news is one message.
type news struct {
	Shape   string
	Version uint64
	Now     int64
	Rows    map[string]map[string]string
	Events  []eventData
}

func (v *viewer) Header() http.Header { return v.header }
func (v *viewer) WriteHeader(int)     {}
func (v *viewer) Flush()              {}

func (v *viewer) Write(b []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.bytes += len(b)
	v.text.Write(b)
	for {
		message, rest, whole := strings.Cut(v.text.String(), "\n\n")
		if !whole {
			return len(b), nil
		}
		v.text.Reset()
		v.text.WriteString(rest)
		if data, ok := strings.CutPrefix(message, "data: "); ok {
			v.take(data)
		}
	}
}

func (v *viewer) take(data string) {
	var n news
	if err := json.Unmarshal([]byte(data), &n); err != nil {
		panic(err)
	}
	for row, cells := range n.Rows {
		if v.seen[row] == nil {
			v.seen[row] = make(map[string]string)
		}
		for key, value := range cells {
			v.seen[row][key] = value
		}
	}
	v.news, v.at = append(v.news, n), append(v.at, time.Now())
}

// messages returns what came so far.
func (v *viewer) messages() []news {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.news)
}

func (v *viewer) cell(row, key string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen[row][key]
}

// look opens a stream.
func look(t *testing.T, page http.Handler, target string) *viewer {
	ctx, stop := context.WithCancel(t.Context())
	v := &viewer{header: make(http.Header), stop: stop, ended: make(chan struct{}), seen: make(map[string]map[string]string)}
	go func() {
		defer close(v.ended)
		page.ServeHTTP(v, httptest.NewRequest("GET", target, nil).WithContext(ctx))
	}()
	return v
}

func (v *viewer) leave() {
	v.stop()
	<-v.ended
}

// A node that dies is on the page half a second later at most, with its reason,
// and so is its return.
func TestStreamTellsWithinATick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true, 3)
		page := Handler(Clusters(s.clusters...))
		time.Sleep(3 * time.Second)
		v := look(t, page, "/?stream=0")
		defer v.leave()
		time.Sleep(2 * time.Second)
		if v.cell("0", "level") != "well" || v.cell("1", "summary") != "All 3 nodes are well." || v.cell("3", "kind") != "up" {
			t.Fatalf("it shows %v", v.seen)
		}
		synctest.Wait()
		s.kill("c1/n2")
		for s.clusters[0].Status().Nodes[1].State != clustersql.StateDown {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(tick + time.Millisecond)
		for key, want := range map[string]string{"kind": "down", "level": "bad", "word": "down", "shape": "down"} {
			if got := v.cell("3", key); got != want {
				t.Errorf("%s is %q", key, got)
			}
		}
		if got := v.cell("3", "why"); !strings.Contains(got, "connection refused") {
			t.Errorf("it says %q", got)
		}
		if v.cell("0", "level") != "bad" || v.cell("1", "level") != "bad" || v.cell("1", "summary") != "2 of 3 nodes usable: n2 is down." {
			t.Errorf("the page is %q, and the cluster %q", v.cell("0", "level"), v.cell("1", "summary"))
		}
		s.revive("c1/n2")
		for s.clusters[0].Status().Nodes[1].State != clustersql.StateUp {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(tick + time.Millisecond)
		if got := v.cell("3", "word"); !strings.HasPrefix(got, "up") {
			t.Errorf("the node that is back is %q", got)
		}
	})
}

// After the first message a stream sends what has changed and nothing else. What
// a viewer has put together of it is what the page shows to a new one.
func TestStreamSendsOnlyWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true, 3)
		page := Handler(Clusters(s.clusters...)).(*page)
		time.Sleep(2 * time.Second)
		v := look(t, page, "/?stream=0")
		defer v.leave()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		all := v.messages()
		if first := len(all[0].Rows); first != 5 {
			t.Errorf("the first message has %d rows", first)
		}
		for i, n := range all[1:] {
			if n.Version <= all[i].Version && len(n.Rows) > 0 {
				t.Errorf("version %d came after %d", n.Version, all[i].Version)
			}
			for row, cells := range n.Rows {
				for _, key := range []string{"kind", "word", "since", "why", "weight", "stripup", "added"} {
					if _, sent := cells[key]; sent && i > 10 {
						t.Errorf("message %d has %s of row %s, which has not changed", i, key, row)
					}
				}
			}
		}
		whole := page.hub.fresh(time.Hour)
		for i, r := range whole.rows {
			for j, key := range r.keys {
				if got := v.cell(string(rune('0'+i)), key); got != r.values[j] {
					t.Errorf("row %d shows %s %q, and it is %q", i, key, got, r.values[j])
				}
			}
		}
	})
}

// A stream of a cluster in which nothing happens still says that it is there.
func TestStreamSaysThatItIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := look(t, Handler(Clusters(newStage(t, false, 2).clusters...)), "/?stream=0")
		defer v.leave()
		time.Sleep(time.Minute)
		synctest.Wait()
		v.mu.Lock()
		defer v.mu.Unlock()
		for i := range v.at[1:] {
			if gap := v.at[i+1].Sub(v.at[i]); gap > heartbeat+tick {
				t.Errorf("nothing came for %v", gap)
			}
		}
		if len(v.at) < 12 || len(v.at) > 15 {
			t.Errorf("%d messages came in a minute", len(v.at))
		}
	})
}

// All viewers share one snapshot in a tick, and nobody's look is none.
func TestViewersShareASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true, 2)
		var taken atomic.Int64
		page := Handler(func(p *page) {
			p.source = func() []clustersql.Driver { taken.Add(1); return s.clusters }
		})
		time.Sleep(time.Minute)
		if n := taken.Load(); n != 0 {
			t.Errorf("%d snapshots were taken while nobody looked", n)
		}
		var all []*viewer
		for range 10 {
			all = append(all, look(t, page, "/?stream=0"))
			time.Sleep(130 * time.Millisecond)
		}
		before := taken.Load()
		time.Sleep(time.Minute)
		if n := taken.Load() - before; n > 121 {
			t.Errorf("%d snapshots were taken in a minute", n)
		}
		for _, v := range all {
			v.leave()
		}
		before = taken.Load()
		time.Sleep(time.Hour)
		if n := taken.Load() - before; n != 0 {
			t.Errorf("%d snapshots were taken after all had left", n)
		}
	})
}

// Ten viewers look for an hour, come and go. synctest fails the test if a
// goroutine is left, and what the page remembers does not grow.
func TestTenViewersForAnHourLeaveNothing(t *testing.T) {
	hour := time.Hour
	if testing.Short() || race.Enabled { // without it the hour has a run of its own
		hour = 5 * time.Minute
	}
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true, 3)
		page := Handler(Clusters(s.clusters...)).(*page)
		var all []*viewer
		for range 10 {
			all = append(all, look(t, page, "/?stream=0"))
		}
		for minute := time.Duration(0); minute < hour; minute += time.Minute {
			if minute%(10*time.Minute) == 0 {
				synctest.Wait()
				s.kill("c1/n1")
				time.Sleep(20 * time.Second)
				s.revive("c1/n1")
			}
			time.Sleep(time.Minute)
			i := int(minute/time.Minute) % len(all)
			all[i].leave()
			all[i] = look(t, page, "/?stream=0")
		}
		page.hub.mu.Lock()
		if n := len(page.hub.counts); n > int(rateMemory/tick)+1 {
			t.Errorf("it remembers %d counts", n)
		}
		page.hub.mu.Unlock()
		for _, v := range all {
			v.leave()
			if len(page.servers.known) > 0 {
				t.Error("it remembers a server")
			}
		}
	})
}

// A server that shuts down does not wait for streams.
func TestShutdownEndsStreams(t *testing.T) {
	server := httptest.NewServer(Handler(Clusters(newStage(t, false, 1).clusters...)))
	defer server.Close()
	answer, err := server.Client().Get(server.URL + "?stream=0")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("the stream is %s", got)
	}
	if _, err := answer.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Errorf("the server still had a stream after ten seconds: %v", err)
	}
}

// A server with short timeouts keeps its streams.
func TestStreamOutlivesTheServersTimeouts(t *testing.T) {
	server := httptest.NewUnstartedServer(Handler(Clusters(newStage(t, true, 1).clusters...)))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	server.Start()
	defer server.Close()
	answer, err := server.Client().Get(server.URL + "?stream=0")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	for began, buffer := time.Now(), make([]byte, 1<<16); time.Since(began) < 1500*time.Millisecond; {
		if _, err := answer.Body.Read(buffer); err != nil {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
	}
}

// noFlush is a writer that some middleware puts in between.
type noFlush struct{ w http.ResponseWriter }

func (w noFlush) Header() http.Header         { return w.w.Header() }
func (w noFlush) Write(b []byte) (int, error) { return w.w.Write(b) }
func (w noFlush) WriteHeader(status int)      { w.w.WriteHeader(status) }

// Where a stream cannot be, the browser hears so, and asks.
func TestPageAsksWhereItCannotStream(t *testing.T) {
	s := newStage(t, false, 2)
	page := Handler(Clusters(s.clusters...))
	w := httptest.NewRecorder()
	page.ServeHTTP(noFlush{w}, httptest.NewRequest("GET", "/?stream=0", nil))
	if w.Code != http.StatusNotImplemented {
		t.Errorf("the stream gives %d", w.Code)
	}
	var n news
	if err := json.NewDecoder(ask(page, "GET", "/?news=0").Body).Decode(&n); err != nil {
		t.Fatal(err)
	}
	if len(n.Rows) != 4 || n.Version == 0 || n.Shape == "" {
		t.Errorf("the news are %+v", n)
	}
}

// A page that was loaded before a node was added hears that it has to load
// itself again.
func TestNewsTellOfOtherNodes(t *testing.T) {
	s := newStage(t, false, 2)
	page := Handler(Clusters(s.clusters...)).(*page)
	before := page.hub.fresh(0)
	if again := page.hub.fresh(0); again.shape != before.shape || again.version != before.version {
		t.Error("nothing has changed, and the page is another one")
	}
	if err := s.clusters[0].AddNode("n3", "c1/n3"); err != nil {
		t.Fatal(err)
	}
	if after := page.hub.fresh(0); after.shape == before.shape || after.version <= before.version {
		t.Error("a node was added, and the page is the same")
	}
	if other := newHub(page.source).fresh(0); other.shape == page.hub.fresh(0).shape {
		t.Error("the page of another process is the same")
	}
}

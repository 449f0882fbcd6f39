package browsertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/statuspage"
)

// prefix is where the tests mount the page: it is told to nobody.
const prefix = "/behind/a/prefix/"

// kindOf is an expression for the kind of a node on the page.
func kindOf(cluster, node string) string {
	return fmt.Sprintf("document.querySelector('[data-who=\"%s/%s\"]')?.dataset.kind", cluster, node)
}

// live is true when the page has its stream and has heard something.
const live = `document.querySelector('#link')?.textContent === 'Live.'`

// A node dies and comes back. The page shows each of the two within a second
// after the cluster knows it, without a reload, a console error, a report of the
// policy, or a request elsewhere.
func TestPageFollowsAFault(t *testing.T) {
	s := newStage(t, prefix, map[string]int{"read_conn": 3, "write_conn": 2})
	b := open(t)
	b.do(chromedp.Navigate(s.page))
	b.until(live + " && " + kindOf("read_conn", "node2") + " === 'up'")
	eval[int](b, "window.marker = 1")

	late := b.clock(t, "read_conn", "node2")
	s.kill("read_conn", "node2")
	since := s.until(t, "read_conn", "node2", clustersql.StateDown)
	b.until(kindOf("read_conn", "node2") + " === 'down'")
	late(since)
	words := eval[string](b, `document.querySelector('[data-who="read_conn/node2"] .why').innerText`)
	if !strings.Contains(words, "connection refused") {
		t.Errorf("it says %q", words)
	}
	for expression, want := range map[string]string{
		`document.querySelector('.top').dataset.level`:                  "bad",
		`document.querySelector('#c0').closest('header').dataset.level`: "bad",
		`document.querySelector('#c1').closest('header').dataset.level`: "well",
		`document.querySelector('#c0').closest('header').innerText`:     "2 of 3 nodes usable: node2 is down.",
		`document.title`: "trouble: ",
		`document.querySelector('#icon').getAttribute('href')`:                                   "?asset=bad.svg",
		`document.querySelector('[data-who="read_conn/node2"] .shape use').getAttribute('href')`: "#s-down",
	} {
		if got := eval[string](b, expression); !strings.Contains(got, want) {
			t.Errorf("%s is %q", expression, got)
		}
	}

	b.until(`[...document.querySelectorAll('#eventlist li')].some((e) => e.dataset.level === 'bad' && e.innerText.includes('read_conn node2') && e.innerText.includes('down, was '))`)

	s.revive("read_conn", "node2")
	since = s.until(t, "read_conn", "node2", clustersql.StateUp)
	b.until(kindOf("read_conn", "node2") + " === 'up'")
	late(since)
	b.until(`document.querySelector('.top').dataset.level === 'well'`)
	if eval[int](b, "window.marker") != 1 {
		t.Error("the page was loaded again")
	}
	b.well(s.page)
}

// clock watches the colour of a node. The func that it returns fails the test if
// the page has shown the latest change more than a second after a given time. The
// page gets half a second from the tick, and has another half. The time in which
// this process or the page did not run at all does not count.
func (b *tab) clock(t *testing.T, cluster, node string) (late func(since time.Time)) {
	t.Helper()
	eval[int](b, fmt.Sprintf(`(() => {
		let last = performance.now();
		window.clock = {at: 0, gap: 0};
		setInterval(() => { const now = performance.now(); clock.gap = Math.max(clock.gap, now - last); last = now; }, 20);
		new MutationObserver(() => { clock.at = Date.now(); }).observe(document.querySelector('[data-who="%s/%s"]'), {attributeFilter: ['data-kind']});
		return 1;
	})()`, cluster, node))
	var gap atomic.Int64
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		for last := time.Now(); ; last = time.Now() {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				gap.Store(max(gap.Load(), int64(time.Since(last))))
			}
		}
	}()
	return func(since time.Time) {
		t.Helper()
		took := time.UnixMilli(eval[int64](b, "clock.at")).Sub(since)
		idle := time.Duration(gap.Swap(0)) + time.Duration(eval[float64](b, "clock.gap")*float64(time.Millisecond))
		t.Logf("it was on the page after %v; this process and the page did not run for up to %v", took, idle)
		if took > time.Second+idle {
			t.Errorf("it was on the page after %v", took)
		}
	}
}

// A node that joins or leaves is on the page without a reload, and what was
// opened stays open.
func TestPageFollowsItsNodes(t *testing.T) {
	s := newStage(t, prefix, map[string]int{"read_conn": 2})
	b := open(t)
	b.do(chromedp.Navigate(s.page))
	b.until(live)
	eval[int](b, "window.marker = 1")
	eval[bool](b, `document.querySelector('[data-who="read_conn/node2"]').open = true`)
	if err := s.clusters[0].AddNode("node0", "read_conn/node0"); err != nil {
		t.Fatal(err)
	}
	b.until(kindOf("read_conn", "node0") + " === 'up'")
	if !eval[bool](b, `document.querySelector('[data-who="read_conn/node2"]').open && !document.querySelector('[data-who="read_conn/node0"]').open`) {
		t.Error("what was opened is not")
	}
	if eval[int](b, "window.marker") != 1 {
		t.Error("the page was loaded again")
	}
	s.kill("read_conn", "node0")
	b.until(kindOf("read_conn", "node0") + " === 'down'")
	b.well(s.page)
}

// Without a script the page says the same, and loads itself again.
func TestPageWithoutScript(t *testing.T) {
	t.Parallel()
	s := newStage(t, prefix, map[string]int{"plain_conn": 3})
	b := open(t)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.do(chromedp.Navigate(s.page))
	b.until(`document.querySelector('main').innerText.includes('All 3 nodes are well.')`)
	s.kill("plain_conn", "node2")
	s.until(t, "plain_conn", "node2", clustersql.StateDown)
	b.until(`(() => {
		const text = document.querySelector('main').innerText;
		return text.includes('2 of 3 nodes usable: node2 is down.') && text.includes('connection refused');
	})()`)
	b.do(chromedp.Navigate(s.page + eval[string](b, `document.querySelector('#t-ill').getAttribute('href')`)))
	b.until(`(() => {
		const text = document.querySelector('main').innerText;
		return !text.includes('node1') && text.includes('2 nodes that are well are hidden.');
	})()`)
	b.do(chromedp.Navigate(s.page + eval[string](b, `document.querySelector('#t-pause').getAttribute('href')`)))
	if eval[bool](b, `document.head.innerHTML.includes('refresh')`) {
		t.Error("it cannot be stopped")
	}
	b.well(s.page)
}

// Where nothing can be streamed, the page asks, and shows the same.
func TestPageAsksWhereItCannotStream(t *testing.T) {
	s := newStage(t, prefix, map[string]int{"read_conn": 2})
	plain := statuspage.Handler(statuspage.Clusters(s.clusters...))
	page, _ := serve(t, "/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plain.ServeHTTP(noFlush{w}, r)
	}))
	b := open(t)
	b.do(chromedp.Navigate(page))
	b.until(`document.querySelector('#link').textContent === 'Asks every two seconds.'`)
	s.kill("read_conn", "node1")
	b.until(kindOf("read_conn", "node1") + " === 'down'")
}

// noFlush is a writer that hides what its inner one can.
type noFlush struct{ w http.ResponseWriter }

func (w noFlush) Header() http.Header         { return w.w.Header() }
func (w noFlush) Write(b []byte) (int, error) { return w.w.Write(b) }
func (w noFlush) WriteHeader(status int)      { w.w.WriteHeader(status) }

// The filter says how many nodes it hides, keeps its place in the address, and
// lets a node appear that turns bad.
func TestFilterHidesNothingSilently(t *testing.T) {
	s := newStage(t, prefix, map[string]int{"read_conn": 3})
	b := open(t)
	b.do(chromedp.Navigate(s.page))
	b.until(live + " && " + kindOf("read_conn", "node3") + " === 'up'")
	b.do(chromedp.Click(chromedp.CSS("#t-ill")))
	const visible = `[...document.querySelectorAll('details.node')].filter((n) => n.offsetParent !== null).map((n) => n.dataset.who).join()`
	hidden := `document.querySelector('.clusterhead .hidden').innerText`
	if got, said := eval[string](b, visible), eval[string](b, hidden); got != "" || said != "3 nodes that are well are hidden." {
		t.Errorf("it shows %q and says %q", got, said)
	}
	s.kill("read_conn", "node3")
	b.until(visible + " === 'read_conn/node3'")
	if said := eval[string](b, hidden); said != "2 nodes that are well are hidden." {
		t.Errorf("it says %q", said)
	}
	b.do(chromedp.Reload())
	b.until(live)
	if got := eval[string](b, visible); got != "read_conn/node3" {
		t.Errorf("after a reload it shows %q", got)
	}
	b.do(chromedp.Click(chromedp.CSS("#t-ill")))
	if got := eval[string](b, visible); strings.Count(got, "read_conn") != 3 {
		t.Errorf("without the filter it shows %q", got)
	}
	b.well(s.page)
}

// The page says when it is paused, and when the process no longer answers.
func TestPageSaysThatItIsOld(t *testing.T) {
	s := newStage(t, prefix, map[string]int{"read_conn": 2})
	b := open(t)
	b.do(chromedp.Navigate(s.page))
	b.until(live)
	b.do(chromedp.Click(chromedp.CSS("#t-pause")))
	s.kill("read_conn", "node1")
	s.until(t, "read_conn", "node1", clustersql.StateDown)
	time.Sleep(2*tickOfThePage + 200*time.Millisecond) // that nothing comes can only be waited for; two ticks would have told it
	if got := eval[string](b, kindOf("read_conn", "node1")); got != "up" {
		t.Errorf("while it is paused it shows %q", got)
	}
	if got := eval[string](b, `document.querySelector('#link').textContent`); !strings.HasPrefix(got, "Paused") {
		t.Errorf("it says %q", got)
	}
	b.do(chromedp.Click(chromedp.CSS("#t-pause")))
	b.until(kindOf("read_conn", "node1") + " === 'down'")
	b.well(s.page)
	s.stop()
	b.until(`document.body.classList.contains('stale') && document.querySelector('#link').textContent.startsWith('No answer for')`)
}

// A tab in the background is not told anything after ten seconds, and is told
// again when somebody looks.
func TestHiddenPageCostsNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, prefix, map[string]int{"hidden_conn": 2})
	b := open(t)
	// The ten seconds are over at once here, and no other time is changed.
	call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
		Source: `(() => { const set = setTimeout; window.setTimeout = (f, ms, ...more) => set(f, ms === 10000 ? 200 : ms, ...more); })()`,
	})
	b.do(chromedp.Navigate(s.page))
	b.until(live + " && " + kindOf("hidden_conn", "node1") + " === 'up'")
	hide := func(hidden bool) {
		eval[bool](b, fmt.Sprintf(`Object.defineProperty(document, 'hidden', {value: %v, configurable: true}), document.dispatchEvent(new Event('visibilitychange'))`, hidden))
	}
	hide(true)
	b.until(`document.querySelector('#link').textContent === 'Connecting …'`)
	s.kill("hidden_conn", "node1")
	s.until(t, "hidden_conn", "node1", clustersql.StateDown)
	time.Sleep(2*tickOfThePage + 200*time.Millisecond) // that nothing comes can only be waited for; two ticks would have told it
	if got := eval[string](b, kindOf("hidden_conn", "node1")); got != "up" {
		t.Errorf("while it is hidden it shows %q", got)
	}
	hide(false)
	b.until(kindOf("hidden_conn", "node1") + " === 'down'")
	b.well(s.page)
}

// Everything can be done with the keyboard alone.
func TestKeyboard(t *testing.T) {
	s := newStage(t, prefix, map[string]int{"read_conn": 3}, statuspage.AllowDrain())
	b := open(t)
	b.do(chromedp.Navigate(s.page))
	b.until(live)
	const here = `(document.activeElement.closest('details')?.dataset.who || document.activeElement.id || document.activeElement.textContent).trim()`
	walk := func(keys, want string) {
		t.Helper()
		b.do(chromedp.KeyEvent(keys))
		if got := eval[string](b, here); got != want {
			t.Fatalf("the focus is on %q and not on %q", got, want)
		}
		if !eval[bool](b, `document.activeElement.matches(':focus-visible')`) {
			t.Errorf("the focus on %q cannot be seen", want)
		}
	}
	walk(kb.Tab, "To the clusters")
	for _, want := range []string{"t-ill", "t-all", "t-pause", "events", "words and colours", "JSON", "CSV", "read_conn/node1"} {
		walk(kb.Tab, want)
	}
	walk(kb.ArrowDown, "read_conn/node2")
	walk(kb.End, "read_conn/node3")
	walk(kb.ArrowUp, "read_conn/node2")
	walk(kb.Home, "read_conn/node1")
	walk(kb.Enter, "read_conn/node1")
	b.until(`document.querySelector('[data-who="read_conn/node1"]').open`)
	b.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	s.until(t, "read_conn", "node1", clustersql.StateDraining)
	b.until(live + " && " + kindOf("read_conn", "node1") + " === 'drain'")
	b.well(s.page)
}

// A button drains a node, and another one ends that.
func TestButtons(t *testing.T) {
	s := newStage(t, prefix, map[string]int{"read_conn": 3}, statuspage.AllowDrain())
	b := open(t)
	b.do(chromedp.Navigate(s.page + "?figures=all"))
	b.until(live)
	node := `[data-who="read_conn/node2"] `
	b.do(chromedp.Click(chromedp.CSS(node+".undrained summary")), chromedp.Click(chromedp.CSS(node+".undrained button")))
	s.until(t, "read_conn", "node2", clustersql.StateDraining)
	b.until(live + " && " + kindOf("read_conn", "node2") + " === 'drain'")
	b.do(chromedp.Click(chromedp.CSS(node + ".drained button")))
	s.until(t, "read_conn", "node2", clustersql.StateUp)
	b.until(live + " && " + kindOf("read_conn", "node2") + " !== 'drain'")
	b.well(s.page)
}

// The button of reload calls the program, and the page shows what has come of it:
// by a node that is new, or by the mistake.
func TestReloadButton(t *testing.T) {
	var s *stage
	var mistake atomic.Bool
	s = newStage(t, prefix, map[string]int{"read_conn": 2}, statuspage.AllowReload(func(context.Context) (clustersql.Diff, error) {
		if mistake.Load() {
			return clustersql.Diff{}, errors.New("config.toml:3: there is no setting \"strategie\"")
		}
		return clustersql.Diff{}, s.clusters[0].AddNode("node3", "read_conn/node3")
	}))
	b := open(t)
	press := func() {
		b.do(chromedp.Click(chromedp.CSS(".reload summary")), chromedp.Click(chromedp.CSS(".reload button")))
	}
	b.do(chromedp.Navigate(s.page + "?figures=all"))
	b.until(live)
	press()
	b.until(live + " && " + kindOf("read_conn", "node3") + " === 'up'")
	if got := eval[string](b, "location.search"); got != "?figures=all" {
		t.Errorf("after the button the view is %q", got)
	}
	b.well(s.page)
	mistake.Store(true)
	press()
	b.until(`document.body.innerText.includes('config.toml:3: there is no setting "strategie"')`)
}

// On a phone nothing has to be moved sideways, with long names and all figures.
func TestPhoneHasNoSidewaysScroll(t *testing.T) {
	long := strings.Repeat("a_very_long_name_of_a_cluster_", 4)
	s := newStage(t, prefix, map[string]int{"read_conn": 3, long: 2}, statuspage.AllowDrain())
	s.kill("read_conn", "node2")
	s.until(t, "read_conn", "node2", clustersql.StateDown)
	b := open(t)
	for _, width := range []int64{320, 390, 800, 1024} {
		b.do(chromedp.EmulateViewport(width, 740), chromedp.Navigate(s.page+"?figures=all"))
		b.until(live)
		if got := eval[int64](b, "document.documentElement.scrollWidth"); got > width {
			t.Errorf("at %d pixels the page is %d wide", width, got)
		}
		wide := eval[string](b, `[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('svg')).map((e) => e.tagName + '.' + e.className).slice(0, 5).join()`)
		if wide != "" {
			t.Errorf("at %d pixels these stand out: %s", width, wide)
		}
	}
	b.well(s.page)
}

// 300 nodes scroll and change. A change of all costs the page's thread less than
// half of what it costs to lay them out once, with the scrolling in it. The time is
// that of the CPU, so that it matters little what else runs.
func TestManyNodesStayFluent(t *testing.T) {
	t.Parallel()
	s := newStage(t, prefix, map[string]int{"many_conn": 300})
	b := open(t)
	b.do(chromedp.EmulateViewport(1280, 800), chromedp.Navigate(s.page))
	b.until(live + " && document.querySelectorAll('details.node').length === 300")
	call(b, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks})
	// scroll tells what 3 s of it cost the thread, in seconds of the CPU.
	scroll := func(what string) float64 {
		work := func() (all float64) {
			for _, m := range call(b, performance.GetMetrics, cdp.Empty{}).Metrics {
				switch m.Name {
				case "ScriptDuration", "LayoutDuration", "RecalcStyleDuration":
					all += m.Value
				}
			}
			return all
		}
		before := work()
		frames := get(b, chromedp.Evaluate[int](`new Promise((done) => {
			let frames = 0; const began = performance.now();
			const frame = () => {
				frames++; scrollBy(0, frames % 120 < 60 ? 60 : -60);
				if (performance.now() - began < 3000) requestAnimationFrame(frame); else done(frames);
			};
			requestAnimationFrame(frame);
		})`, chromedp.EvalAwaitPromise))
		took := work() - before
		t.Logf("%s: %d frames in 3 s; the CPU worked for %.3f s on script, style and layout", what, frames, took)
		return took
	}
	once := scroll("for the first time") // which lays out every row
	changing := scroll("changing")
	if ticks := 6.0; changing/ticks > once/2 {
		t.Errorf("a tick costs the page %.0f ms, and all rows for the first time %.0f ms", 1000*changing/ticks, 1000*once)
	}
	b.well(s.page)
}

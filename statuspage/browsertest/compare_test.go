package browsertest

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/statuspage"
)

// Two processes side by side: the page marks what they disagree about as soon as
// they do, says which one has gone, and shuts nobody out.
func TestProcessesSideBySide(t *testing.T) {
	t.Parallel()
	one := newStage(t, prefix, map[string]int{"app_conn": 2})
	two := newStage(t, prefix, map[string]int{"app_conn": 2})
	for _, s := range []*stage{one, two} {
		for _, node := range []string{"node1", "node2"} {
			s.until(t, "app_conn", node, clustersql.StateUp)
		}
	}
	var gone atomic.Bool
	var left statuspage.Process
	process := func(s *stage, name string) statuspage.Process {
		snap := statuspage.Take(s.clusters...)
		snap.Process, snap.Clusters[0].Status.ID = name, "app_conn"
		return statuspage.Process{URL: s.page, Answered: time.Now(), Snapshot: snap}
	}
	left = process(two, "shop on host2, 4711")
	address, _ := serve(t, "/sides/", statuspage.Compare("2 processes", func() []statuspage.Process {
		second := left
		if gone.Load() {
			second.Err = "connection refused"
		} else {
			second = process(two, "shop on host2, 4711")
		}
		return []statuspage.Process{process(one, "shop on host1, 42"), second}
	}))

	b := open(t)
	b.do(chromedp.EmulateViewport(1100, 420), chromedp.Navigate(address))
	b.until(`document.querySelector('.verdict').innerText.includes('All 2 processes answer. They agree.') && !document.querySelector('.differs')`)
	eval[bool](b, `(window.marker = 1, document.querySelectorAll('thead a')[1].focus(), true)`)
	two.kill("app_conn", "node2")
	b.until(`document.querySelector('tbody tr.differs')?.innerText.includes('node2') && document.title.startsWith('trouble')`)
	if !eval[bool](b, `window.marker === 1 && document.activeElement === document.querySelectorAll('thead a')[1]`) {
		t.Error("the page was loaded again, or the focus is lost")
	}
	for _, scheme := range []string{"light", "dark"} {
		call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		picture := get(b, chromedp.CaptureScreenshot())
		if n := coloursOf(t, picture); n < 20 {
			t.Errorf("%s has only %d colours", scheme, n)
		}
		if scheme == "light" && *shots != "" {
			if err := os.WriteFile(filepath.Join(*shots, "page-sides.png"), small(t, picture), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}

	// The arrows go from line to line, and the focus stays on a line that is taken anew.
	walk := func(key, want string) {
		t.Helper()
		b.do(chromedp.KeyEvent(key))
		if got := eval[string](b, "document.activeElement.dataset.who || document.activeElement.className"); got != want {
			t.Errorf("the focus is on %q and not on %q", got, want)
		}
		if !eval[bool](b, `document.activeElement.matches(':focus-visible')`) {
			t.Errorf("the focus on %q cannot be seen", want)
		}
	}
	walk(kb.ArrowDown, "app_conn/node2") // what differs is first
	walk(kb.ArrowDown, "app_conn/")
	walk(kb.End, "app_conn/node1")
	walk(kb.ArrowDown, "app_conn/node1")
	walk(kb.Home, "app_conn/node2")
	walk(kb.ArrowUp, "app_conn/node2")
	walk(kb.ArrowDown, "app_conn/")
	gone.Store(true)
	b.until(`document.querySelectorAll('thead th')[2].innerText.includes('no answer: connection refused. It last answered') && !document.querySelector('.differs') && document.querySelector('td.old') !== null`)
	if got := eval[string](b, "document.activeElement.dataset.who"); got != "app_conn/" {
		t.Errorf("after the news the focus is on %q", got)
	}
	b.well(address)

	b.do(chromedp.Navigate(address + "?refresh=off"))
	b.until(`document.querySelector('td.old') !== null`)
	gone.Store(false)
	time.Sleep(2*time.Second + tickOfThePage) // that nothing comes can only be waited for; it asks every two seconds
	if !eval[bool](b, `document.querySelector('td.old') !== null`) {
		t.Error("it cannot be paused")
	}
	eval[bool](b, `(document.querySelector('.scroll').focus(), true)`)
	walk(kb.ArrowDown, "app_conn/")
	b.well(address)
	gone.Store(true)

	b.do(chromedp.EmulateViewport(390, 740))
	if got := eval[int64](b, "document.documentElement.scrollWidth"); got > 390 {
		t.Errorf("on a phone the page is %d wide", got)
	}
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.do(chromedp.Navigate(address + "?only=differing"))
	b.until(`document.querySelector('main').innerText.includes('They disagree about nothing.')`)
	b.well(address)
}

// Nobody is shut out from several processes side by side: while they disagree, and
// with one that does not answer.
func TestAccessibilitySideBySide(t *testing.T) {
	t.Parallel()
	program := axe(t)
	s := newStage(t, prefix, map[string]int{"side_conn": 3})
	s.kill("side_conn", "node2")
	s.until(t, "side_conn", "node2", clustersql.StateDown)
	address, _ := serve(t, "/sides/", statuspage.Compare("3 processes", func() []statuspage.Process {
		now := statuspage.Take(s.clusters...)
		other := statuspage.Take(s.clusters...)
		other.Clusters[0].Nodes[1].Kind, other.Clusters[0].Nodes[1].Word = statuspage.KindDrain, "draining"
		return []statuspage.Process{
			{URL: "http://one/", Answered: now.Time, Snapshot: now}, {URL: "http://two/", Answered: now.Time, Snapshot: other},
			{URL: "http://three/", Answered: now.Time.Add(-time.Minute), Snapshot: now, Err: "connection refused"},
		}
	}))
	b := open(t)
	call(b, page.SetBypassCSP, page.SetBypassCSPParams{Enabled: true}) // axe-core makes code of strings
	for _, scheme := range []string{"light", "dark"} {
		b.judge(program, scheme, address, `document.querySelector('tr.differs') !== null`)
	}
}

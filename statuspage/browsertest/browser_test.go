package browsertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is the one Chromium of all tests: each has a tab of its own.
var browser struct {
	once sync.Once
	ctx  context.Context
	stop func()
	err  error
}

func TestMain(m *testing.M) {
	os.Args[0] = "shop" // the name of the program on the page, which must not change while a page is served
	status := m.Run()
	if browser.stop != nil {
		browser.stop()
	}
	os.Exit(status)
}

// startBrowser starts Debian's Chromium. It ends with the tests.
func startBrowser() {
	path, err := exec.LookPath("chromium")
	if err != nil {
		browser.err = errors.New("there is no chromium: ./test.sh install gets Debian's")
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stop := chromedp.NewContext(allocator)
	browser.ctx, browser.stop = ctx, func() {
		stop()
		stopAllocator()
	}
	browser.err = chromedp.Do(ctx)
}

// A tab is a page in the browser, and what went wrong in it.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex // guards the fields below
	wrong    []string   // errors of the console, and reports of the policy
	requests []string
}

// open opens a tab.
func open(t *testing.T) *tab {
	t.Helper()
	if browser.once.Do(startBrowser); browser.err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(browser.err)
		}
		t.Skip(browser.err)
	}
	// In a window of its own no other tab hides it.
	ctx, stop := chromedp.NewContext(browser.ctx, chromedp.WithNewWindow(true))
	t.Cleanup(stop)
	b := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	limited, cancel := context.WithTimeout(ctx, 6*time.Minute)
	t.Cleanup(cancel)
	b.ctx = limited
	call(b, log.Enable, cdp.Empty{})
	call(b, runtime.Enable, cdp.Empty{})
	call(b, network.Enable, network.EnableParams{})
	return b
}

// call runs a command of the protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.wrong = append(b.wrong, fmt.Sprintf("exception: %s %v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		b.wrong = append(b.wrong, fmt.Sprintf("console: %s %v", e.Type, e.Args))
	case *log.EventEntryAdded:
		b.wrong = append(b.wrong, fmt.Sprintf("log: %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	}
}

// do runs actions, and ends the test if one fails.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// get runs an action, and returns what it gives.
func get[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// eval returns what an expression is in the page.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	return get(b, chromedp.Evaluate[T](expression))
}

// patience is how long a test waits for what comes at once on a machine that has
// nothing else to do. No test passes because of it.
const patience = time.Minute

// until waits until an expression is true in the page. While a page is loaded it
// may have no value.
func (b *tab) until(expression string) {
	b.t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		is, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		if is && err == nil {
			return
		}
		if time.Since(began) > patience {
			b.t.Fatalf("after %v it is not so that %s (%v); the page says:\n%s", patience, expression, err, eval[string](b, "document.body.innerText"))
		}
	}
}

// well fails the test if the page had an error, or asked for anything that is not
// of the given address.
func (b *tab) well(address string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.wrong {
		b.t.Error(w)
	}
	address, _, _ = strings.Cut(address, "?")
	for _, r := range b.requests {
		if r != "about:blank" && !strings.HasPrefix(r, address) {
			b.t.Errorf("the page asked for %s", r)
		}
	}
	if len(b.requests) == 0 {
		b.t.Error("no request was seen")
	}
}

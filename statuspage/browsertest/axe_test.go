package browsertest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/statuspage"
)

// axe returns the program of axe-core, which npm installs.
func axe(t *testing.T) string {
	t.Helper()
	program, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("there is no axe-core: ./test.sh install gets it")
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(program)
}

// A violation is a rule of axe-core that elements of the page break.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string
		FailureSummary string
	}
}

// Nobody is shut out: in light and in dark, with all figures, a fault, and a
// drained node.
func TestAccessibility(t *testing.T) {
	t.Parallel()
	program := axe(t)
	s := newStage(t, prefix, map[string]int{"axe_conn": 3, "axe_conn_2": 1}, statuspage.AllowDrain(),
		statuspage.AllowReload(func(context.Context) (clustersql.Diff, error) { return clustersql.Diff{}, nil }))
	s.kill("axe_conn", "node2")
	s.until(t, "axe_conn", "node2", clustersql.StateDown)
	if err := s.clusters[0].Drain("node3"); err != nil {
		t.Fatal(err)
	}
	b := open(t)
	call(b, page.SetBypassCSP, page.SetBypassCSPParams{Enabled: true}) // axe-core makes code of strings
	for _, scheme := range []string{"light", "dark"} {
		for _, view := range []string{"?figures=all", "?only=ill"} {
			opened := `(document.querySelector('.reload').open = true)` // what is closed is not judged
			b.judge(program, scheme, s.page+view, live+" && "+opened)
		}
	}
}

// judge has axe-core judge a page in light or in dark, as soon as an expression is
// true there.
func (b *tab) judge(program, scheme, address, ready string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	b.do(chromedp.Navigate(address))
	b.until(ready)
	eval[bool](b, program+"; true")
	found := get(b, chromedp.Evaluate[[]violation](`axe.run().then((r) => r.violations)`, chromedp.EvalAwaitPromise))
	for _, v := range found {
		var where []string
		for _, n := range v.Nodes[:min(3, len(v.Nodes))] {
			where = append(where, n.HTML+"\n"+n.FailureSummary)
		}
		b.t.Errorf("%s, %s: %s (%s, %d times): %s\n%s", scheme, address, v.ID, v.Impact, len(v.Nodes), v.Help, strings.Join(where, "\n"))
	}
}

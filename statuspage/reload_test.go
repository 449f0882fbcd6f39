package statuspage

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql"
)

// noReload changes nothing.
func noReload(context.Context) (clustersql.Diff, error) { return clustersql.Diff{}, nil }

func TestButtonReloads(t *testing.T) {
	s := newStage(t, false, 1)
	var diff clustersql.Diff
	var refused error
	calls := 0
	page := http.StripPrefix("/stripped", Handler(Clusters(s.clusters...), AllowReload(func(ctx context.Context) (clustersql.Diff, error) {
		calls++
		return diff, errors.Join(refused, ctx.Err())
	})))
	html := text(t, ask(page, "GET", "http://host/stripped/?only=ill"))
	if !strings.Contains(html, `value="reload"`) || strings.Contains(html, `value="drain"`) {
		t.Error("the page does not have the button of reload alone")
	}
	r := press(page, "http://host/stripped/?only=ill", "reload", "", "", "Sec-Fetch-Site", "same-origin", "Accept", "text/html,*/*;q=0.8")
	if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "?only=ill" || calls != 1 {
		t.Errorf("it answers %s, Location %q, after %d calls", r.Status, r.Header.Get("Location"), calls)
	}
	r = press(page, "http://host/stripped/", "reload", "", "", "Accept", "application/json")
	if got := text(t, r); r.StatusCode != http.StatusOK || strings.Join(strings.Fields(got), "") != `{"changes":[]}` {
		t.Errorf("it answers %s: %s", r.Status, got)
	}
	diff.Changes = []clustersql.Change{{Cluster: "c1", Node: "n9", Kind: clustersql.ChangeAdd, When: clustersql.TakesLive}}
	r = press(page, "http://host/stripped/", "reload", "", "", "Accept", "application/json")
	var got clustersql.Diff
	if err := json.Unmarshal([]byte(text(t, r)), &got); err != nil || len(got.Changes) != 1 || got.Changes[0] != diff.Changes[0] {
		t.Errorf("%+v, %v", got, err)
	}
	refused = errors.New("config.toml:3: no such key")
	r = press(page, "http://host/stripped/", "reload", "", "")
	if got := text(t, r); r.StatusCode != http.StatusConflict || !strings.Contains(got, "config.toml:3") || calls != 4 {
		t.Errorf("it answers %s after %d calls: %s", r.Status, calls, got)
	}
}

func TestButtonOfReloadIsForThePageAlone(t *testing.T) {
	s := newStage(t, false, 1)
	page := Handler(Clusters(s.clusters...), AllowReload(func(context.Context) (clustersql.Diff, error) {
		t.Error("it was reloaded")
		return clustersql.Diff{}, nil
	}))
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "http://evil"}, {"Origin", "null"},
	} {
		if r := press(page, "http://host/", "reload", "", "", header...); r.StatusCode != http.StatusForbidden {
			t.Errorf("%q: it answers %s", header, r.Status)
		}
	}
	if r := ask(page, "GET", "http://host/?action=reload"); r.StatusCode != http.StatusOK {
		t.Errorf("it answers %s", r.Status)
	}
}

// Each option allows its own buttons. Without one, a button's request is refused as
// any other POST.
func TestEachButtonNeedsItsOption(t *testing.T) {
	s := newStage(t, false, 1)
	for _, tc := range []struct {
		options []Option
		action  string
		status  int
		says    string
	}{
		{nil, "reload", http.StatusMethodNotAllowed, "GET, HEAD"},
		{[]Option{AllowReload(nil)}, "reload", http.StatusMethodNotAllowed, "GET, HEAD"},
		{[]Option{AllowDrain()}, "reload", http.StatusForbidden, "AllowReload"},
		{[]Option{AllowReload(noReload)}, "drain", http.StatusForbidden, "AllowDrain"},
		{[]Option{AllowReload(noReload)}, "undrain", http.StatusForbidden, "AllowDrain"},
		{[]Option{AllowReload(noReload)}, "stop", http.StatusBadRequest, "action=reload"},
		{[]Option{AllowReload(noReload), AllowDrain()}, "stop", http.StatusBadRequest, "action=undrain or action=reload"},
	} {
		r := press(Handler(append(tc.options, Clusters(s.clusters...))...), "http://host/", tc.action, "c1", "n1", "Sec-Fetch-Site", "same-origin")
		if got := text(t, r); r.StatusCode != tc.status || !strings.Contains(got, tc.says) {
			t.Errorf("%s: %s: %s", tc.action, r.Status, got)
		}
	}
	if s.clusters[0].Status().Nodes[0].State == clustersql.StateDraining {
		t.Error("the node was drained")
	}
}

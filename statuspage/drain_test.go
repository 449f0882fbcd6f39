package statuspage

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/EnumApps/clustersql"
)

// press sends the form of a button.
func press(h http.Handler, target, action, cluster, node string, header ...string) *http.Response {
	form := url.Values{"action": {action}, "cluster": {cluster}, "node": {node}}
	r := httptest.NewRequest("POST", target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestButtonsDrainAndUndrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true, 2)
		page := http.StripPrefix("/stripped", Handler(Clusters(s.clusters...), AllowDrain()))
		draining := func() bool {
			synctest.Wait() // for the node's actor
			return s.clusters[0].Status().Nodes[1].State == clustersql.StateDraining
		}
		r := press(page, "http://host/stripped/?only=ill&figures=all", "drain", "c1", "n2", "Sec-Fetch-Site", "same-origin")
		if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "?only=ill&figures=all" {
			t.Errorf("it answers %s, Location %q", r.Status, r.Header.Get("Location"))
		}
		if !draining() {
			t.Error("the node is not drained")
		}
		if r := press(page, "http://host/stripped/", "undrain", "c1", "n2", "Origin", "http://host"); r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "?" {
			t.Errorf("it answers %s, Location %q", r.Status, r.Header.Get("Location"))
		}
		if draining() {
			t.Error("the node is still drained")
		}
	})
}

func TestButtonsAreForThePageAlone(t *testing.T) {
	s := newStage(t, false, 1)
	page := Handler(Clusters(s.clusters...), AllowDrain())
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "http://evil"}, {"Origin", "null"},
	} {
		if r := press(page, "http://host/", "drain", "c1", "n1", header...); r.StatusCode != http.StatusForbidden {
			t.Errorf("%q: it answers %s", header, r.Status)
		}
	}
	if s.clusters[0].Status().Nodes[0].State == clustersql.StateDraining {
		t.Error("the node was drained")
	}
}

func TestButtonsSayWhatIsWrong(t *testing.T) {
	page := Handler(Clusters(newStage(t, false, 1).clusters...), AllowDrain())
	for _, tc := range []struct {
		action, cluster, node string
		status                int
		says                  string
	}{
		{"stop", "c1", "n1", http.StatusBadRequest, "action=drain"},
		{"drain", "c9", "n1", http.StatusNotFound, `no cluster "c9"`},
		{"drain", "c1", "n9", http.StatusNotFound, `no node "n9"`},
	} {
		r := press(page, "http://host/", tc.action, tc.cluster, tc.node)
		if got := text(t, r); r.StatusCode != tc.status || !strings.Contains(got, tc.says) {
			t.Errorf("%+v: %s: %s", tc, r.Status, got)
		}
	}
}

// Without the option a button's request is refused as any other POST.
func TestButtonsNeedTheOption(t *testing.T) {
	s := newStage(t, false, 1)
	if r := press(Handler(Clusters(s.clusters...)), "http://host/", "drain", "c1", "n1", "Sec-Fetch-Site", "same-origin"); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("it answers %s", r.Status)
	}
}

package statuspage

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql"
)

// ask returns the answer of a handler to one request.
func ask(h http.Handler, method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The page finds all of its parts wherever it is mounted, and is told nowhere
// where that is.
func TestPageWorksUnderAnyPrefix(t *testing.T) {
	page := Handler(Clusters(newStage(t, false, 2).clusters...))
	mux := http.NewServeMux()
	mux.Handle("/", page)
	mux.Handle("/exact", page)
	mux.Handle("/debug/clusters/", page)
	mux.Handle("/stripped/", http.StripPrefix("/stripped", page))
	mux.Handle("GET /method/{rest...}", page)
	reference := regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	for _, path := range []string{"/", "/exact", "/debug/clusters/", "/debug/clusters/deeper", "/stripped/", "/method/x/y"} {
		base, err := url.Parse("http://host" + path)
		if err != nil {
			t.Fatal(err)
		}
		answer := ask(mux, "GET", base.String())
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, answer.Status)
		}
		found := 0
		for _, m := range reference.FindAllStringSubmatch(text(t, answer), -1) {
			address := strings.ReplaceAll(m[1], "&amp;", "&")
			if strings.HasPrefix(address, "#") {
				continue
			}
			found++
			if !strings.HasPrefix(address, "?") {
				t.Errorf("%s: the address %q is more than a query", path, address)
				continue
			}
			to, err := base.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			if part := ask(mux, "GET", to.String()); part.StatusCode != http.StatusOK {
				t.Errorf("%s: %s gives %s", path, to, part.Status)
			}
		}
		if found < 6 {
			t.Errorf("%s: only %d addresses were found", path, found)
		}
	}
}

// Whatever the answer is, the browser runs and loads nothing but the page's own.
func TestEveryAnswerHasThePolicy(t *testing.T) {
	page := Handler(Clusters(newStage(t, false, 1).clusters...), AllowDrain(), AllowReload(noReload))
	for _, target := range []string{"/", "/?format=json", "/?format=csv", "/?format=no", "/?asset=page.js", "/?asset=no", "/?news=1"} {
		h := ask(page, "GET", target).Header
		if got := h.Get("Content-Security-Policy"); got != "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'" {
			t.Errorf("%s has the policy %q", target, got)
		}
		for key, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "same-origin", "Vary": "Accept"} {
			if h.Get(key) != want {
				t.Errorf("%s has %s: %q", target, key, h.Get(key))
			}
		}
	}
}

// The policy forbids script and style inside the page. So there is none.
func TestPageHasNoInlineScriptOrStyle(t *testing.T) {
	html := text(t, ask(Handler(Clusters(newStage(t, false, 3, 2).clusters...), AllowDrain(), AllowReload(noReload)), "GET", "/"))
	for _, bad := range []string{`<style`, ` style=`, `<script>`, `javascript:`, `http://`, `https://`, `//`} {
		if strings.Contains(html, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if m := regexp.MustCompile(` on\w+=`).FindString(html); m != "" {
		t.Errorf("the page has%s", m)
	}
}

func TestFormatFollowsTheQueryAndAccept(t *testing.T) {
	page := Handler(Clusters(newStage(t, false, 1).clusters...))
	for _, tc := range []struct {
		target, accept string
		status         int
		kind           string
	}{
		{"/", "", 200, "text/html; charset=utf-8"},
		{"/", "*/*", 200, "text/html; charset=utf-8"},
		{"/", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 200, "text/html; charset=utf-8"},
		{"/", "application/json", 200, "application/json"},
		{"/", "text/html;q=0.1, application/json;q=0.5", 200, "application/json"},
		{"/", "text/csv", 200, "text/csv; charset=utf-8; header=present"},
		{"/", "image/png", 406, "text/plain; charset=utf-8"},
		{"/?format=json", "text/html", 200, "application/json"},
		{"/?format=csv", "text/html", 200, "text/csv; charset=utf-8; header=present"},
		{"/?format=html", "application/json", 200, "text/html; charset=utf-8"},
		{"/?format=yaml", "", 400, "text/plain; charset=utf-8"},
		{"/?asset=page.js", "", 200, "text/javascript; charset=utf-8"},
		{"/?asset=page.css", "", 200, "text/css; charset=utf-8"},
		{"/?asset=bad.svg", "", 200, "image/svg+xml"},
		{"/?asset=../page.html", "", 404, "text/plain; charset=utf-8"},
	} {
		r := ask(page, "GET", tc.target, "Accept", tc.accept)
		if r.StatusCode != tc.status || r.Header.Get("Content-Type") != tc.kind {
			t.Errorf("%s, Accept %q: %s, %s", tc.target, tc.accept, r.Status, r.Header.Get("Content-Type"))
		}
	}
}

func TestPageOnlyReads(t *testing.T) {
	page := Handler(Clusters(newStage(t, false, 1).clusters...))
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		r := ask(page, method, "/")
		if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %s, Allow %q", method, r.Status, r.Header.Get("Allow"))
		}
	}
	if html := text(t, ask(page, "GET", "/")); strings.Contains(html, "<form") || strings.Contains(html, "<button") {
		t.Error("the page has a button")
	}
}

func TestAssetsOfAnEditionAreKept(t *testing.T) {
	page := Handler(Clusters())
	for target, want := range map[string]string{
		"/?asset=page.js&v=" + edition: "max-age=31536000, immutable",
		"/?asset=page.js&v=older":      "no-store",
		"/":                            "no-store",
	} {
		if got := ask(page, "GET", target).Header.Get("Cache-Control"); got != want {
			t.Errorf("%s: %q", target, got)
		}
	}
}

func TestJSONCanBeReadAgain(t *testing.T) {
	s := newStage(t, false, 2, 1)
	var read Snapshot
	if err := json.NewDecoder(ask(Handler(Clusters(s.clusters...)), "GET", "/?format=json").Body).Decode(&read); err != nil {
		t.Fatal(err)
	}
	if len(read.Clusters) != 2 || read.Clusters[0].Status.ID != "c1" || len(read.Clusters[0].Nodes) != 2 || read.Level != LevelWell {
		t.Errorf("it has %+v", read)
	}
	if n := read.Clusters[1].Nodes[0]; n != (Node{"n1", LevelWell, KindUnknown, "not in use", n.Why}) {
		t.Errorf("it has the node %+v", n)
	}
	if n := read.Clusters[1].Status.Nodes[0]; n.Name != "n1" || n.State != clustersql.StateUnknown || n.Weight != 1 {
		t.Errorf("it has the status %+v", n)
	}
}

func TestCSVHasALineForEachNode(t *testing.T) {
	s := newStage(t, false, 2, 0, 1)
	lines, err := csv.NewReader(ask(Handler(Clusters(s.clusters...)), "GET", "/?format=csv").Body).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	cluster, node := slices.Index(lines[0], "cluster_id"), slices.Index(lines[0], "name")
	var got []string
	for _, l := range lines[1:] {
		got = append(got, l[cluster]+"/"+l[node])
	}
	if want := []string{"c1/n1", "c1/n2", "c2/", "c3/n1"}; !slices.Equal(got, want) {
		t.Errorf("it has the lines %q", got)
	}
	for _, want := range []string{"state", "why", "won", "probe_latency_p99_seconds", "last_probe_layer", "downtime_seconds", "cluster_strategy", "cluster_summary", "lag_seconds"} {
		if !slices.Contains(lines[0], want) {
			t.Errorf("there is no column %s", want)
		}
	}
}

func TestSpreadsheetsRunNothing(t *testing.T) {
	for text, want := range map[string]string{"": "", "n1": "n1", "-1.5": "-1.5", "=1+1": "'=1+1", "@x": "'@x", "-a": "'-a", "+b": "'+b"} {
		if got := harmless(text); got != want {
			t.Errorf("%q is written as %q", text, got)
		}
	}
}

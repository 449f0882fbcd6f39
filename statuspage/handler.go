package statuspage

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/EnumApps/clustersql"
)

// An Option changes what [Handler] shows or allows.
type Option func(*page)

// Clusters makes the page show these clusters, instead of all that are in use in
// this process.
func Clusters(clusters ...clustersql.Driver) Option {
	return func(p *page) { p.source = func() []clustersql.Driver { return clusters } }
}

// Title sets the page's heading. Without it the heading is "clusters".
func Title(title string) Option { return func(p *page) { p.title = title } }

// Handler returns a handler that shows clusters. It may be mounted under any
// path, with or without a slash at the end, as it is or behind
// [http.StripPrefix]: all of its addresses differ in the query alone. It may be
// called from any goroutine and has nothing to close. A [http.Server.Shutdown]
// ends its streams at once.
//
// Any writer between it and the server, such as one that logs, must have the
// method Unwrap of [http.ResponseController], or Flush; else the page asks
// every two seconds instead of being told.
//
// The handler answers GET, HEAD and, with [AllowDrain] or [AllowReload], POST.
// ?format=json returns a [Snapshot], ?format=csv the same as a table with a line for each
// node.
func Handler(options ...Option) http.Handler {
	p := &page{source: clustersql.Clusters, title: "clusters", guard: http.NewCrossOriginProtection()}
	for _, o := range options {
		o(p)
	}
	p.hub = newHub(p.source)
	return p
}

// A page is the handler.
type page struct {
	// immutable
	source func() []clustersql.Driver
	title  string
	drain  bool
	reload func(context.Context) (clustersql.Diff, error) // nil if it is not allowed
	guard  *http.CrossOriginProtection
	hub    *hub

	servers servers
}

// policy lets the browser load nothing but what this handler sends, and run no
// script but page.js.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"

// secure sets the headers that every answer has.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "SAMEORIGIN")
	h.Set("Referrer-Policy", "same-origin") // not stricter: without an Origin no button would work over plain HTTP
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept")
}

// ServeHTTP answers one request.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	switch {
	case r.Method == http.MethodPost && p.acts():
		p.post(w, r)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", p.methods())
		refuse(w, http.StatusMethodNotAllowed, "the page answers "+p.methods())
		return
	}
	query := r.URL.Query()
	switch {
	case query.Has("asset"):
		serveAsset(w, r, query.Get("asset"))
	case query.Has("stream") && r.Method == http.MethodGet:
		p.stream(w, r, version(query.Get("stream")))
	case query.Has("news"):
		p.poll(w, r, version(query.Get("news")))
	default:
		p.show(w, r, query.Get("format"))
	}
}

func (p *page) methods() string {
	if p.acts() {
		return "GET, HEAD, POST"
	}
	return "GET, HEAD"
}

// refuse answers with a text.
func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, "statuspage: "+text)
}

// version reads the version that a page has shown. What is none stands for none.
func version(text string) uint64 {
	v, _ := strconv.ParseUint(text, 10, 64)
	return v
}

// show answers with the snapshot in the wanted format.
func (p *page) show(w http.ResponseWriter, r *http.Request, format string) {
	if format == "" {
		format = accepted(r.Header.Get("Accept"))
	}
	f := p.hub.fresh(tick / 2)
	switch format {
	case "html":
		p.html(w, r, f)
	case "json":
		w.Header().Set("Content-Type", "application/json")
		writeJSON(w, f.snap)
	case "csv":
		w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
		writeCSV(w, f.snap)
	case "":
		refuse(w, http.StatusNotAcceptable, "it has text/html, application/json and text/csv")
	default:
		refuse(w, http.StatusBadRequest, fmt.Sprintf("no format %q: write format=html, json or csv", format))
	}
}

// accepted returns the format that an Accept header likes best, or "" if it
// likes none.
func accepted(accept string) string {
	if strings.TrimSpace(accept) == "" {
		return "html"
	}
	best, found := 0.0, ""
	for part := range strings.SplitSeq(accept, ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		format := map[string]string{
			"text/html": "html", "application/xhtml+xml": "html", "*/*": "html", "text/*": "html",
			"application/json": "json", "application/*": "json", "text/csv": "csv",
		}[kind]
		quality, err := strconv.ParseFloat(params["q"], 64)
		if err != nil {
			quality = 1
		}
		if format != "" && quality > best {
			best, found = quality, format
		}
	}
	return found
}

// poll answers a page that asks for news instead of being told.
func (p *page) poll(w http.ResponseWriter, _ *http.Request, from uint64) {
	f := p.hub.fresh(tick / 2)
	w.Header().Set("Content-Type", "application/json")
	w.Write(f.news(from))
}

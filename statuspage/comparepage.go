package statuspage

import (
	"bytes"
	"html/template"
	"net/http"
	"strings"
	"time"
)

// Compare returns a handler that shows what several processes know of their
// clusters beside each other: a line for each cluster and node, with the state in
// each process. Lines in which processes disagree are marked and come first. A
// process that does not answer is shown with what it said last, and when.
//
// The handler asks no process. It calls processes for each request, from any
// goroutine, and that must not block. It keeps to the same rules as [Handler]: any
// path, no script needed, the same policy. It answers GET and HEAD, changes
// nothing, and has a [Comparison] as JSON for ?format=json. ?format=csv returns the same
// as a table with a line for each [Cell].
func Compare(title string, processes func() []Process) http.Handler {
	return &comparer{title, processes}
}

// A comparer is the handler. Its fields are immutable.
type comparer struct {
	title     string
	processes func() []Process
}

// ServeHTTP answers one request.
func (c *comparer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "this page answers GET, HEAD")
		return
	}
	query := r.URL.Query()
	if query.Has("asset") {
		serveAsset(w, r, query.Get("asset"))
		return
	}
	format := query.Get("format")
	if format == "" {
		format = accepted(r.Header.Get("Accept"))
	}
	comparison := compare(time.Now(), c.processes())
	switch {
	case format == "html":
		c.html(w, comparison, compareView{Differing: query.Get("only") == "differing", Paused: query.Get("refresh") == "off"})
	case format == "json":
		w.Header().Set("Content-Type", "application/json")
		writeJSON(w, comparison)
	case format == "csv":
		w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
		comparison.writeCSV(w)
	case query.Has("format"):
		refuse(w, http.StatusBadRequest, "write format=html, json or csv")
	default:
		refuse(w, http.StatusNotAcceptable, "this page has text/html, application/json and text/csv")
	}
}

// A compareView is what the reader has chosen: it is the page's query.
type compareView struct {
	Differing bool // only rows in which processes disagree
	Paused    bool
}

func (v compareView) address() string {
	var parts []string
	if v.Differing {
		parts = append(parts, "only=differing")
	}
	if v.Paused {
		parts = append(parts, "refresh=off")
	}
	return "?" + strings.Join(parts, "&")
}

func (v compareView) WithDiffering() string { v.Differing = !v.Differing; return v.address() }
func (v compareView) WithPaused() string    { v.Paused = !v.Paused; return v.address() }

// What the template gets.
type (
	compareData struct {
		*Comparison
		Title, Edition string
		Zone           string
		Refresh        int // seconds
		View           compareView
		Shown          []Row
		Hidden         int // rows that the view leaves out
	}
	compareHead struct {
		Process
		now time.Time
	}
	compareCell struct {
		Cell
		now time.Time
	}
)

func (d compareData) LevelWord() string { return d.Level.word() }
func (d compareData) TimeText() string  { return d.Time.Format(time.DateTime) }

func (d compareData) Heads() (heads []compareHead) {
	for _, p := range d.Processes {
		heads = append(heads, compareHead{p, d.Time})
	}
	return heads
}

func (d compareData) CellsOf(r Row) (cells []compareCell) {
	for _, c := range r.Cells {
		cells = append(cells, compareCell{c, d.Time})
	}
	return cells
}

// For says how long the states have differed.
func (d compareData) For(r Row) string {
	if r.Since.IsZero() {
		return ""
	}
	return "for " + lasting(d.Time.Sub(r.Since))
}

// Level returns how well the process is itself.
func (h compareHead) Level() Level {
	if h.old() {
		return LevelBad
	}
	return h.Snapshot.Level
}

// State says whether the process answers.
func (h compareHead) State() string {
	switch {
	case h.Snapshot == nil && h.Err == "":
		return "not asked yet"
	case h.Answered.IsZero():
		return "has never answered: " + h.Err
	case h.Err != "":
		return "no answer: " + h.Err + ". It last answered " + lasting(h.now.Sub(h.Answered)) + " ago, at " + h.Answered.Format(time.TimeOnly)
	}
	return "answered " + lasting(h.now.Sub(h.Answered)) + " ago"
}

// Shape names the symbol of the cell.
func (c compareCell) Shape() string {
	if c.Kind != "" {
		return string(c.Kind)
	}
	return c.Level.String()
}

func (c compareCell) For() string {
	if c.Since.IsZero() {
		return ""
	}
	return "for " + lasting(c.now.Sub(c.Since))
}

func (c compareCell) NotesText() string { return strings.Join(c.Notes, ", ") }

// differsText says what the processes disagree about.
func (r Row) differsText() string { return strings.Join(r.Differs, ", ") }

var compareTemplate = template.Must(template.New("compare.html").Funcs(template.FuncMap{
	"differs": Row.differsText,
}).ParseFS(assets, "assets/compare.html", "assets/shapes.html"))

// html answers with the page. It is complete without its script.
func (c *comparer) html(w http.ResponseWriter, comparison *Comparison, v compareView) {
	zone, _ := comparison.Time.Zone()
	d := compareData{Comparison: comparison, Title: c.title, Edition: edition, Zone: zone, Refresh: int(refresh / time.Second), View: v}
	for _, r := range comparison.Rows {
		if v.Differing && len(r.Differs) == 0 {
			d.Hidden++
			continue
		}
		d.Shown = append(d.Shown, r)
	}
	var b bytes.Buffer
	if err := compareTemplate.Execute(&b, d); err != nil {
		refuse(w, http.StatusInternalServerError, "the page cannot be made: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes())
}

package statuspage

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
)

// refresh is the time after which a page without a script loads itself again.
const refresh = 5 * time.Second

//go:embed assets
var assets embed.FS

// An asset is a file that the page loads.
type asset struct {
	kind string
	text []byte
}

// assetFiles are all files that the page loads, by their name in the address.
var assetFiles = map[string]asset{
	"page.css":   load("page.css", "text/css; charset=utf-8"),
	"page.js":    load("page.js", "text/javascript; charset=utf-8"),
	"compare.js": load("compare.js", "text/javascript; charset=utf-8"),
	"well.svg":   load("well.svg", "image/svg+xml"),
	"warn.svg":   load("warn.svg", "image/svg+xml"),
	"bad.svg":    load("bad.svg", "image/svg+xml"),
}

// edition stands for the content of all assets. It is in their addresses, so a
// browser may keep them for ever.
var edition = func() string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(assetFiles)) {
		sum.Write(assetFiles[name].text)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12]
}()

func load(name, kind string) asset {
	text, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // the compiler has put it there
	}
	return asset{kind, text}
}

func serveAsset(w http.ResponseWriter, r *http.Request, name string) {
	a, ok := assetFiles[name]
	if !ok {
		refuse(w, http.StatusNotFound, "there is no such file")
		return
	}
	w.Header().Set("Content-Type", a.kind)
	if r.URL.Query().Get("v") == edition {
		w.Header().Set("Cache-Control", "max-age=31536000, immutable")
	}
	w.Write(a.text)
}

// A view is what the reader has chosen: it is the page's query.
type view struct {
	Ill    bool // only what is not well
	All    bool // all figures of all nodes
	Paused bool // the page does not change by itself
}

func viewOf(query url.Values) view {
	return view{Ill: query.Get("only") == "ill", All: query.Get("figures") == "all", Paused: query.Get("refresh") == "off"}
}

// address returns the relative address of the view. It is never empty, since an
// empty one keeps the query.
func (v view) address() string {
	var parts []string
	for _, p := range []struct {
		on   bool
		text string
	}{{v.Ill, "only=ill"}, {v.All, "figures=all"}, {v.Paused, "refresh=off"}} {
		if p.on {
			parts = append(parts, p.text)
		}
	}
	return "?" + strings.Join(parts, "&")
}

func (v view) WithIll() string    { v.Ill = !v.Ill; return v.address() }
func (v view) WithAll() string    { v.All = !v.All; return v.address() }
func (v view) WithPaused() string { v.Paused = !v.Paused; return v.address() }
func (v view) Address() string    { return v.address() }

// What the template gets.
type (
	pageData struct {
		Title    string
		Edition  string
		Refresh  int // seconds
		Zone     string
		View     view
		Drain    bool
		Reload   bool
		Frame    *frameData
		Legend   []legendEntry
		Help     template.HTML
		Clusters []clusterData
		Events   []eventData

		ClusterFigures []column[clusterRow]
	}
	frameData struct {
		Shape   string
		Version uint64
		Now     int64
		Base    int64
		Began   int64 // when the oldest node was added
		Reach   int   // minutes that the strips show
		Time    string
		Process string
		Row     cells
	}
	clusterData struct {
		Name   string
		Anchor string
		Row    cells
		Nodes  []nodeData
	}
	nodeData struct {
		Cluster, Name, Anchor string
		Row                   cells
		StripBox              string
	}
	legendEntry struct {
		Kind       Kind
		Word, Text string
	}
)

// cells are a row as the template sees it.
type cells struct {
	Number int
	row    row
	now    time.Time
}

// Text returns what stands in a cell.
func (c cells) Text(key string) string {
	i := c.row.index[key]
	return shown(c.row.as[i], c.row.values[i], c.now)
}

// Value returns the value that the browser works with.
func (c cells) Value(key string) string { return c.row.values[c.row.index[key]] }

// As returns how the browser shows the value.
func (c cells) As(key string) string { return string(c.row.as[c.row.index[key]]) }

// These are for the template.
func (c column[T]) Key() string   { return c.key }
func (c column[T]) Label() string { return c.label }

// help says what the figures are. The texts need no escapes but for what
// HTMLEscapeString does.
var help = func() template.HTML {
	text := helpOf("Cluster", clusterFigures)
	for i := range nodeGroups {
		text += helpOf(nodeGroups[i].title, nodeGroups[i].columns)
	}
	return template.HTML(text + helpOf("Times", probeColumns))
}()

func helpOf[T any](title string, columns []column[T]) string {
	var b strings.Builder
	b.WriteString(`<div class="group"><h3>` + title + `</h3><dl>`)
	for i := range columns {
		b.WriteString(`<div><dt>` + columns[i].label + `</dt><dd>` + template.HTMLEscapeString(columns[i].help) + `</dd></div>`)
	}
	b.WriteString("</dl></div>\n")
	return b.String()
}

var legend = []legendEntry{
	{KindUp, "up", "used"},
	{KindStandby, "up, standby", "used when no node of a better tier is usable"},
	{KindGoingDown, "suspect", "one sign of trouble: used last, and being checked"},
	{KindDown, "down", "it refused or was silent: not used"},
	{KindGoingUp, "coming up", "down, and its last check passed"},
	{KindHold, "held", "it answers, and is held back or used last: full, a donor, returning"},
	{KindDrain, "draining", "the program drains it or has removed it"},
	{KindUnknown, "unknown", "never heard of"},
}

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"stripStates": func() []clustersql.State { return stripStates },
	"stripKey":    func(s clustersql.State) string { return "strip" + s.String() },
	"figures":     figures,
}).ParseFS(assets, "assets/page.html", "assets/shapes.html"))

// figures returns all figures of a node. They are most of a page with many nodes,
// and a template would take ten times as long.
func figures(c cells, node string) template.HTML {
	b := make([]byte, 0, 6<<10)
	name := template.HTMLEscapeString(node)
	for i := range nodeGroups {
		b = c.appendGroup(b, nodeGroups[i].title, "", nodeGroups[i].columns)
	}
	b = c.appendGroup(b, "Round trip of probes", "the last 64 round trips of "+name, probeColumns)
	b = c.appendGroup(b, "Time of opens", "the times of the last 64 opens on "+name, openColumns)
	return template.HTML(b)
}

// appendGroup appends a group of figures. Of the columns, a plot stands first,
// under its label, which is escaped. Keys and labels of columns need no escapes.
func (c cells) appendGroup(b []byte, title, plotLabel string, columns []column[nodeRow]) []byte {
	b = append(b, `<div class="group"><h3>`+title+`</h3>`...)
	if plotLabel != "" {
		plot := columns[len(columns)-1].key
		b = append(b, `<svg class="plot big" role="img" aria-label="`+plotLabel+`" viewBox="0 0 64 20" preserveAspectRatio="none"><path data-k="`+
			plot+`" data-as="d" d="`+c.Value(plot)+`"/></svg>`...)
	}
	b = append(b, "<dl>"...)
	for i := range columns {
		column := &columns[i]
		if column.as == asPath {
			continue
		}
		b = append(b, `<div><dt>`+column.label+`</dt><dd data-k="`+column.key...)
		if column.as != asText { // the value is a stamp
			b = append(b, `" data-as="`+string(column.as)+`" data-v="`+c.Value(column.key)...)
		}
		b = append(b, `">`+template.HTMLEscapeString(c.Text(column.key))+`</dd></div>`...)
	}
	return append(b, "</dl></div>\n"...)
}

// html answers with the page. It is complete without its script.
func (p *page) html(w http.ResponseWriter, r *http.Request, f *frame) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p.data(f, viewOf(r.URL.Query()))); err != nil {
		refuse(w, http.StatusInternalServerError, "the page cannot be made: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes())
}

func (p *page) data(f *frame, v view) *pageData {
	now := f.snap.Time
	zone, _ := now.Zone()
	number := 0
	next := func() cells {
		c := cells{number, f.rows[number], now}
		number++
		return c
	}
	d := &pageData{
		Title: p.title, Edition: edition, Refresh: int(refresh / time.Second), Zone: zone, View: v, Drain: p.drain, Reload: p.reload != nil,
		Legend: legend, Help: help,
		ClusterFigures: clusterFigures, Events: newestFirst(f.eventsAfter(0)),
		Frame: &frameData{
			Shape: f.shape, Version: f.version, Now: now.UnixMilli(), Base: p.hub.base.UnixMilli(),
			Time: now.Format(time.DateTime), Process: f.snap.Process, Row: next(),
		},
	}
	began := f.snap.began()
	width := reach(now.Sub(began))
	d.Frame.Began, d.Frame.Reach = began.UnixMilli(), int(width/time.Minute)
	box := fmt.Sprintf("%.1f 0 %.0f 10", (now.Sub(p.hub.base) - width).Seconds(), width.Seconds())
	for i := range f.snap.Clusters {
		c := &f.snap.Clusters[i]
		anchor := "c" + strconv.Itoa(i)
		cluster := clusterData{Name: c.Status.ID, Anchor: anchor, Row: next()}
		for j := range c.Nodes {
			n := &c.Nodes[j]
			cluster.Nodes = append(cluster.Nodes, nodeData{
				Cluster: c.Status.ID, Name: n.Name, Anchor: anchor + "n" + strconv.Itoa(j),
				Row: next(), StripBox: box,
			})
		}
		d.Clusters = append(d.Clusters, cluster)
	}
	return d
}

package statuspage

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/EnumApps/clustersql"
)

// AllowDrain puts buttons on the page that drain a node, and end that. They work
// for requests that come from the page itself: a browser that was sent by
// another site is refused. A program that asks nobody who they are should not
// allow it.
func AllowDrain() Option { return func(p *page) { p.drain = true } }

// AllowReload puts a button on the page that calls reload, such as a func that
// returns what [clustersql.Registry.Reload] of the program's registry does. It works
// for requests that come from the page itself, as the buttons of [AllowDrain] do.
//
// The func is called once for each request, in a goroutine of its own, and so perhaps
// at once with another call. Its ctx is done when whoever has asked is gone. Its error
// means that nothing has changed; the page shows the text, so it must hold no secret.
// The errors of a registry hold none. A nil func allows nothing.
func AllowReload(reload func(ctx context.Context) (clustersql.Diff, error)) Option {
	return func(p *page) { p.reload = reload }
}

// acts reports whether the page has any button.
func (p *page) acts() bool { return p.drain || p.reload != nil }

// post does what a button says, and sends the browser back to the page.
func (p *page) post(w http.ResponseWriter, r *http.Request) {
	if err := p.guard.Check(r); err != nil {
		refuse(w, http.StatusForbidden, "the request comes from another site: use the buttons of the page")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, "no form can be read")
		return
	}
	switch action := r.PostForm.Get("action"); {
	case action == "drain" && p.drain:
		p.change(w, r, clustersql.Driver.Drain)
	case action == "undrain" && p.drain:
		p.change(w, r, clustersql.Driver.Undrain)
	case action == "reload" && p.reload != nil:
		p.follow(w, r)
	case action == "drain" || action == "undrain":
		refuse(w, http.StatusForbidden, "the page lets nobody drain: the program must make it with statuspage.AllowDrain()")
	case action == "reload":
		refuse(w, http.StatusForbidden, "the page lets nobody reload: the program must make it with statuspage.AllowReload")
	default:
		refuse(w, http.StatusBadRequest, "no such action: write "+p.actions())
	}
}

// actions says which actions there are.
func (p *page) actions() string {
	var all []string
	if p.drain {
		all = append(all, "action=drain", "action=undrain")
	}
	if p.reload != nil {
		all = append(all, "action=reload")
	}
	return strings.Join(all, " or ")
}

// change changes the node that the form names.
func (p *page) change(w http.ResponseWriter, r *http.Request, change func(clustersql.Driver, string) error) {
	cluster := r.PostForm.Get("cluster")
	d, ok := p.find(cluster)
	if !ok {
		refuse(w, http.StatusNotFound, fmt.Sprintf("there is no cluster %q", cluster))
		return
	}
	if err := change(d, r.PostForm.Get("node")); err != nil {
		refuse(w, http.StatusNotFound, err.Error())
		return
	}
	back(w, r)
}

// follow has the program reload. Whoever wants JSON gets what that has changed.
func (p *page) follow(w http.ResponseWriter, r *http.Request) {
	diff, err := p.reload(r.Context())
	if err != nil {
		refuse(w, http.StatusConflict, err.Error())
		return
	}
	if accepted(r.Header.Get("Accept")) != "json" {
		back(w, r)
		return
	}
	diff.Changes = append([]clustersql.Change{}, diff.Changes...) // and not null
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, diff)
}

// back sends the browser back to the page. The address is relative: nobody has told
// this handler where it is mounted.
func back(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Location", viewOf(r.URL.Query()).address())
	w.WriteHeader(http.StatusSeeOther)
}

// find returns the cluster with an ID.
func (p *page) find(id string) (d clustersql.Driver, ok bool) {
	for _, d := range p.source() {
		if d.Status().ID == id {
			return d, true
		}
	}
	return clustersql.Driver{}, false
}

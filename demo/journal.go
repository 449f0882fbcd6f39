package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// A journal collects for the screen what happens: what the demo does to the
// nodes, and what clustersql logs through log/slog. All methods may be called
// from any goroutine.
type journal struct {
	began time.Time // immutable

	mu      sync.Mutex // guards the fields below
	entries []entry
}

// An entry is one event.
type entry struct {
	at   time.Duration // since the journal began
	kind kind
	text string
}

type kind uint8

const (
	noticed kind = iota // logged by a cluster
	did                 // done by the demo
	begins              // done by the demo, as the beginning of a new part of the scenario
)

func newJournal() *journal { return &journal{began: time.Now()} }

func (j *journal) add(k kind, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, entry{time.Since(j.began), k, text})
}

// since returns the entries from index n on. The caller must not change them.
func (j *journal) since(n int) []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.entries[n:len(j.entries):len(j.entries)]
}

// A journalHandler makes one entry of each log record. Records of clustersql
// have the cluster and the node as attributes, and messages like "node up".
type journalHandler struct {
	journal *journal
	attrs   []slog.Attr
}

func (h journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h journalHandler) Handle(_ context.Context, r slog.Record) error {
	values := make(map[string]string)
	keep := func(a slog.Attr) bool {
		values[a.Key] = a.Value.String()
		return true
	}
	for _, a := range h.attrs {
		keep(a)
	}
	r.Attrs(keep)
	text := fmt.Sprintf("%s: %s %s", values["cluster"], values["node"], strings.TrimPrefix(r.Message, "node "))
	if reason := values["reason"]; reason != "" {
		text += " (" + reason + ")"
	}
	h.journal.add(noticed, printable(text))
	return nil
}

func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)
	return h
}

// WithGroup ignores the group, because clustersql uses none.
func (h journalHandler) WithGroup(string) slog.Handler { return h }

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
)

const (
	redraw    = 200 * time.Millisecond // of a terminal
	lineEvery = time.Second            // for output that is no terminal
	lastFew   = 8                      // entries that a terminal shows
)

// These are control sequences for a terminal.
const (
	clearLine = "\x1b[K"            // from the cursor to the end of the line
	clearRest = "\x1b[J"            // from the cursor to the end of the screen
	goUp      = "\x1b[%dA"          // by so many lines
	beginLive = "\x1b[?25l\x1b[?7l" // hides the cursor, and does not wrap long lines
	endLive   = "\x1b[?25h\x1b[?7h"
)

// A screen shows what happens in the demo. On a terminal it draws a table again
// and again in the same place; otherwise it prints lines. Only one goroutine
// may use it.
type screen struct {
	// immutable
	out      io.Writer
	live     bool
	paint    paint // nil for no colours
	what     string
	roles    bool // shows what each node is in replication
	app      *application
	clusters []clustersql.Driver
	journal  *journal

	drawn   int // lines of the table that are on the terminal
	printed int // entries of the journal that were printed
	parts   int // parts of the scenario that have begun
}

// isTerminal reports whether a table can be drawn again in the same place on
// out.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// run shows what happens until ctx is done. It then shows the final state.
func (s *screen) run(ctx context.Context) {
	every := lineEvery
	if s.live {
		every = redraw
		io.WriteString(s.out, beginLive)
		defer io.WriteString(s.out, endLive)
	}
	news := time.NewTicker(redraw)
	defer news.Stop()
	var shown time.Time
	for {
		s.printNews()
		if time.Since(shown) > every-redraw/2 {
			shown = time.Now()
			s.show()
		}
		select {
		case <-news.C:
		case <-ctx.Done():
			s.printNews()
			s.show()
			return
		}
	}
}

// frame returns what is to be shown now.
func (s *screen) frame() *frame {
	f := &frame{what: s.what, roles: s.roles, now: time.Now(), at: time.Since(s.journal.began), totals: s.app.soFar()}
	for _, c := range s.clusters {
		f.clusters = append(f.clusters, c.Status())
	}
	f.entries = s.journal.since(0)
	f.entries = f.entries[max(0, len(f.entries)-lastFew):]
	return f
}

func (s *screen) show() {
	f := s.frame()
	if !s.live {
		fmt.Fprintln(s.out, f.line())
		return
	}
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, goUp, s.drawn)
	}
	lines := f.picture(s.paint)
	for _, l := range lines {
		b.WriteString(l + clearLine + "\n")
	}
	b.WriteString(clearRest)
	s.drawn = len(lines)
	io.WriteString(s.out, b.String())
}

// printNews prints the new entries of the journal, for output without a table.
// It prints a table at the end of each part of the scenario.
func (s *screen) printNews() {
	if s.live {
		return
	}
	for _, e := range s.journal.since(s.printed) {
		if e.kind == begins && s.parts > 0 {
			s.printTable()
		}
		if e.kind == begins {
			s.parts++
		}
		fmt.Fprintln(s.out, e)
		s.printed++
	}
}

func (s *screen) printTable() {
	f := s.frame()
	fmt.Fprintf(s.out, "\n%s\n%s\n\n", strings.Join(f.table(nil), "\n"), f.legend())
}

package simulation

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// A book is what is written down of one seed: what has happened, and the first
// violation of a rule.
type book struct {
	began time.Time // immutable

	bookMu    sync.Mutex // guards what follows; never held across a wait
	lines     []string
	violation string
}

func newBook() book { return book{began: time.Now()} }

func (b *book) note(format string, args ...any) {
	b.bookMu.Lock()
	defer b.bookMu.Unlock()
	b.lines = append(b.lines, fmt.Sprintf("%12s %s", time.Since(b.began), fmt.Sprintf(format, args...)))
}

// violate keeps the first violation, and when it was.
func (b *book) violate(format string, args ...any) {
	b.note("VIOLATED: "+format, args...)
	b.bookMu.Lock()
	defer b.bookMu.Unlock()
	if b.violation == "" {
		b.violation = fmt.Sprintf("after %s: %s", time.Since(b.began), fmt.Sprintf(format, args...))
	}
}

// violated returns the first violation, or "".
func (b *book) violated() string {
	b.bookMu.Lock()
	defer b.bookMu.Unlock()
	return b.violation
}

// pages returns all lines.
func (b *book) pages() []string {
	b.bookMu.Lock()
	defer b.bookMu.Unlock()
	return slices.Clone(b.lines)
}

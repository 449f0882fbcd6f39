package integration

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/EnumApps/clustersql"
)

// A fate is what the caller of a write was told of it.
type fate uint8

const (
	pending      fate = iota
	acknowledged      // it is there, once
	refused           // it is not there
	unknown           // it is there at most once
)

// fateOf reads an error as the documentation has it: what carries neither
// ErrUnknownOutcome nor an end of the caller's context was not run.
func fateOf(err error) fate {
	switch {
	case err == nil:
		return acknowledged
	case errors.Is(err, clustersql.ErrUnknownOutcome), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unknown
	}
	return refused
}

// A book has a line for every write of one kind: its fate, and how often it
// was found. A line takes two bytes for good, since a write of unknown outcome
// may turn up late.
type book struct {
	name string // of its user
	what string // inserts or transfers

	mu     sync.Mutex
	fates  []fate
	found  []uint8
	told   map[string]int // writes that failed, by their error
	judged int            // lines before it have been
}

// A verdict counts the lines of a book that must not be.
type verdict struct{ lost, double, denied int }

func (v verdict) ok() bool { return v == verdict{} }

func (v verdict) String() string {
	return fmt.Sprintf("%d acknowledged and lost, %d there twice, %d there although refused", v.lost, v.double, v.denied)
}

// enter begins a line and returns its key.
func (b *book) enter() (line int, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fates, b.found = append(b.fates, pending), append(b.found, 0)
	line = len(b.fates) - 1
	return line, b.name + "/" + strconv.Itoa(line)
}

// settle says what came of a line.
func (b *book) settle(line int, f fate, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fates[line] = f
	if err != nil {
		if b.told == nil {
			b.told = make(map[string]int)
		}
		if text := fmt.Sprintf("%.200s", measured.ReplaceAllString(err.Error(), "…")); len(b.told) < 100 || b.told[text] > 0 {
			b.told[text]++
		}
	}
}

// find notes that a key was found in the database, and reports whether it is
// one of this book's.
func (b *book) find(key string) bool {
	name, number, ok := strings.Cut(key, "/")
	line, err := strconv.Atoi(number)
	if !ok || err != nil || name != b.name {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if line >= len(b.found) {
		return false
	}
	b.found[line]++
	b.judged = min(b.judged, line)
	return true
}

// judge is called when nothing is under way and all that is there was found.
// Only lines that have changed since are looked at.
func (b *book) judge() verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	var v verdict
	for i := b.judged; i < len(b.fates); i++ {
		switch n := b.found[i]; {
		case n > 1:
			v.double++
		case n == 0 && b.fates[i] == acknowledged:
			v.lost++
		case n > 0 && b.fates[i] == refused:
			v.denied++
		}
	}
	b.judged = len(b.fates)
	return v
}

// count is how many lines had a fate.
func (b *book) count(f fate) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, is := range b.fates {
		if is == f {
			n++
		}
	}
	return n
}

func (b *book) String() string {
	return fmt.Sprintf("%d %s acknowledged, %d refused, %d of unknown outcome", b.count(acknowledged), b.what, b.count(refused), b.count(unknown))
}

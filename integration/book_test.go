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

// A fate is what the caller of a write was told about it.
type fate uint8

const (
	pending      fate = iota
	acknowledged      // the row is there, once
	refused           // the row is not there
	unknown           // the row is there at most once
)

// fateOf reads an error as the documentation says. A write was not run if its
// error is neither an ErrUnknownOutcome nor the end of the caller's context.
func fateOf(err error) fate {
	switch {
	case err == nil:
		return acknowledged
	case errors.Is(err, clustersql.ErrUnknownOutcome), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unknown
	}
	return refused
}

// A book has a line for every write of one kind: the write's fate, and how
// often the write was found. A line takes two bytes and is never removed,
// because a write of unknown outcome may be found late.
type book struct {
	name string // the name of the book's user
	what string // inserts or transfers

	mu     sync.Mutex
	fates  []fate
	found  []uint8
	told   map[string]int // the writes that failed, by their error
	judged int            // how many lines were judged already
}

// A verdict counts the lines of a book that must not exist.
type verdict struct{ lost, double, denied int }

func (v verdict) ok() bool { return v == verdict{} }

func (v verdict) String() string {
	return fmt.Sprintf("%d acknowledged and lost, %d there twice, %d there although refused", v.lost, v.double, v.denied)
}

// enter begins a line and returns the key of its write.
func (b *book) enter() (line int, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fates, b.found = append(b.fates, pending), append(b.found, 0)
	line = len(b.fates) - 1
	return line, b.name + "/" + strconv.Itoa(line)
}

// settle records the fate of a line.
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

// find notes that a key was found in the database. It reports whether the key
// is one of this book's.
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

// judge is called when nothing is under way and everything in the database was
// found. It looks only at lines that have changed since the last call.
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

// count returns how many lines have a fate.
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

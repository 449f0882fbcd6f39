package causal

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
)

// A Session is what calls have seen that belong together, such as those of one
// user. Any goroutine may use it. It only ever grows.
type Session struct{ state atomic.Pointer[State] }

// A State is what a session had seen at some moment. It is never changed.
type State struct {
	// Floors are the positions that every call must see, one for each database.
	Floors []Position
	// Unsure are what calls have seen of which no position is known.
	Unsure []Unsure
}

// An Unsure stands for what was seen on a node that could not be asked for its
// position after that.
type Unsure struct {
	Node  any      // the node; nil if it is one of another process
	At    int64    // when, in Unix nanoseconds
	About Position // what is known of the node, to tell databases apart; may be zero
}

// covers reports whether what o stands for is a part of what u stands for.
func (u Unsure) covers(o Unsure) bool {
	return o.Node == u.Node && o.At <= u.At && (u.Node != nil || o.About.String() == u.About.String())
}

// mostUnsure is how many nodes an Unsure is kept for.
const mostUnsure = 16

// State returns what the session has seen.
func (s *Session) State() *State {
	if st := s.state.Load(); st != nil {
		return st
	}
	return &State{}
}

// Saw adds a position that was seen.
func (s *Session) Saw(p Position) {
	s.change(func(st *State) bool {
		for _, f := range st.Floors {
			if f.Has(p) {
				return false
			}
		}
		st.add(p)
		return !p.IsZero()
	})
}

// Doubts notes what was seen of which no position is known. The latest of a node
// stands for those before.
func (s *Session) Doubts(u Unsure) {
	s.change(func(st *State) bool {
		kept := slices.DeleteFunc(slices.Clone(st.Unsure), u.covers)
		if len(kept) == mostUnsure { // nobody is left out: one of no node stands for two
			kept[1] = Unsure{At: max(kept[0].At, kept[1].At)}
			kept = kept[1:]
		}
		st.Unsure = append(kept, u)
		return true
	})
}

// Settles takes note that everything is known of what an Unsure stands for: it is
// in p.
func (s *Session) Settles(u Unsure, p Position) {
	s.change(func(st *State) bool {
		st.add(p)
		st.Unsure = slices.DeleteFunc(slices.Clone(st.Unsure), u.covers)
		return true
	})
}

// add adds a position to a state that nobody else has yet.
func (st *State) add(p Position) {
	if p.IsZero() {
		return
	}
	var apart []Position
	for _, f := range st.Floors {
		if f.Related(p) {
			p = p.Union(f)
		} else {
			apart = append(apart, f)
		}
	}
	st.Floors = append(apart, p)
}

// change replaces the state by one that f has changed, unless f returns false.
func (s *Session) change(f func(st *State) bool) {
	for {
		before := s.state.Load()
		var st State
		if before != nil {
			st = State{slices.Clip(before.Floors), slices.Clip(before.Unsure)}
		}
		if !f(&st) || s.state.CompareAndSwap(before, &st) {
			return
		}
	}
}

// Wants returns what a node at a position must have, of the session's floors. A
// floor of another database is left out. Of a node about which nothing is known
// every floor counts.
func (st *State) Wants(node Position) Position {
	var all Position
	for _, f := range st.Floors {
		if node.IsZero() || node.Related(f) {
			all = all.Union(f)
		}
	}
	return all
}

type key struct{}

// used says that a session has been opened in this process. Before that no context
// has one, and none is looked at.
var used atomic.Bool

// Open returns a context with a session: that of ctx, or a new one.
func Open(ctx context.Context) (context.Context, *Session) {
	if s := In(ctx); s != nil {
		return ctx, s
	}
	return Anew(ctx)
}

// Anew returns a context with a new session.
func Anew(ctx context.Context) (context.Context, *Session) {
	s := new(Session)
	used.Store(true)
	return context.WithValue(ctx, key{}, s), s
}

// In returns the session of ctx, or nil.
func In(ctx context.Context) *Session {
	if !used.Load() {
		return nil
	}
	return carried(ctx)
}

// carried is apart, so that In is inlined.
func carried(ctx context.Context) *Session {
	s, _ := ctx.Value(key{}).(*Session)
	return s
}

// version is what a token begins with.
const version = "1."

// LongestToken is the greatest length of a token, in bytes.
const LongestToken = 8192

// Token returns a text for [Session.Join]. It is empty if nothing was seen.
func (s *Session) Token() string {
	var items []string
	st := s.State()
	for _, f := range st.Floors {
		items = append(items, f.String())
	}
	for _, u := range st.Unsure {
		about := ""
		u.About.Origins(func(origin string, _ []Span) bool {
			about = origin
			return false
		})
		if item := "!" + about; !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	if len(items) == 0 {
		return ""
	}
	return version + strings.Join(items, "~")
}

// The errors of tokens.
var (
	errTokenLong = errors.New("the token is longer than any that Token makes")
	errToken     = errors.New("the token is none that Token has made, or was cut or changed on its way")
)

// Join adds what a token says to the session. at is now, in Unix nanoseconds. With
// an error nothing is added.
func (s *Session) Join(token string, at int64) error {
	if token == "" {
		return nil
	}
	if len(token) > LongestToken {
		return errTokenLong
	}
	text, ok := strings.CutPrefix(token, version)
	if !ok || text == "" {
		return errToken
	}
	var positions []Position
	var doubts []Unsure
	for item := range strings.SplitSeq(text, "~") {
		origin, unsure := strings.CutPrefix(item, "!")
		switch p, err := Parse(origin); {
		case err != nil, item == "":
			return errToken
		case unsure:
			doubts = append(doubts, Unsure{At: at, About: p})
		default:
			positions = append(positions, p)
		}
	}
	for _, p := range positions {
		s.Saw(p)
	}
	for _, u := range doubts {
		s.Doubts(u)
	}
	return nil
}

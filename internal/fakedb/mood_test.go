package fakedb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var errMood = errors.New("a mood")

// The table says what the ledger must say of a statement, depending on the
// node's mood and on how the statement ended.
func TestLedgerKnowsWhatBecameOfAStatement(t *testing.T) {
	cases := map[string]struct {
		mood   Mood
		after  func(n *Node) // called half a second after the statement was sent; nil: nothing
		query  string
		want   Outcome
		broken bool
	}{
		"well":              {Mood{Delay: time.Second}, nil, "INSERT", Answered, false},
		"refused":           {Mood{Refuse: errMood}, nil, "INSERT", Refused, false},
		"refused half way":  {Mood{Refuse: errMood}, nil, "CALL p()", Unanswered, false},
		"read-only":         {Mood{ReadOnly: errMood}, nil, "UPDATE", Refused, false},
		"read of read-only": {Mood{ReadOnly: errMood}, nil, "SELECT", Answered, false},
		"answered too late": {Mood{Late: errMood}, nil, "INSERT", Unanswered, false},
		"silent":            {Mood{Silent: true}, nil, "SELECT", Unanswered, true},
		"silent for a time": {Mood{Silent: true}, func(n *Node) { n.SetMood(Mood{}) }, "SELECT", Answered, false},
		"silent meanwhile":  {Mood{Delay: time.Second}, func(n *Node) { n.SetMood(Mood{Silent: true}) }, "SELECT", Unanswered, true},
		"broken meanwhile":  {Mood{Delay: time.Second}, func(n *Node) { n.Break(errMood, false) }, "SELECT", Unanswered, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := New()
				n := b.Node("n")
				n.SetMood(Mood{})
				conn, err := n.connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				n.SetMood(tc.mood)
				if tc.after != nil {
					time.AfterFunc(500*time.Millisecond, func() { tc.after(n) })
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, err = conn.(*Conn).ExecContext(ctx, tc.query, nil)
				runs := b.Ledger(0)
				if len(runs) != 1 || b.Runs() != 1 || runs[0].Outcome != tc.want || runs[0].Err != err {
					t.Errorf("%v; %v", err, runs)
				}
				if (err == nil) != (tc.want == Answered) {
					t.Errorf("%v, and it was %v", err, tc.want)
				}
				if valid := conn.(*Conn).IsValid(); valid == tc.broken {
					t.Errorf("valid %t", valid)
				}
			})
		})
	}
}

// After a visible loss the next statement is not sent. After a hidden loss it
// is sent and gets the error.
func TestBrokenConnections(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := New()
			n := b.Node("n")
			n.SetMood(Mood{})
			c, err := b.Driver().(driver.DriverContext).OpenConnector("n")
			if err != nil {
				t.Fatal(err)
			}
			db := sql.OpenDB(c)
			defer db.Close()
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
			n.Break(errMood, hidden)
			_, err = db.Exec("INSERT")
			if hidden != errors.Is(err, errMood) || hidden == (err == nil) {
				t.Errorf("hidden %t: %v", hidden, err)
			}
			if _, err := db.Exec("INSERT"); err != nil {
				t.Error(err)
			}
		})
	}
}

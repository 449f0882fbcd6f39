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

// A connect that the name service or a filter holds up is answered when that is
// over. Connections that are there work on meanwhile.
func TestConnectsThatGetNoAnswer(t *testing.T) {
	for name, mood := range map[string]Mood{"name service": {Unnamed: true}, "filter": {Filtered: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := New()
				var told []bool
				b.OnLookup(func(_ context.Context, done bool) { told = append(told, done) })
				n := b.Node("n")
				n.SetMood(Mood{})
				old, err := n.connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer old.Close()
				n.SetMood(mood)
				time.AfterFunc(3*time.Second, func() { n.SetMood(Mood{}) })
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				if _, err := n.connect(ctx); err != context.DeadlineExceeded {
					t.Errorf("a caller who leaves got %v", err)
				}
				if err := old.(*Conn).Ping(t.Context()); err != nil || time.Since(began) != time.Second {
					t.Errorf("the old connection answered %v after %s", err, time.Since(began))
				}
				fresh, err := n.connect(t.Context())
				if err != nil || time.Since(began) != 3*time.Second {
					t.Fatalf("answered with %v after %s", err, time.Since(began))
				}
				defer fresh.Close()
				if mood.Unnamed != (len(told) == 3 && !told[0] && !told[1] && told[2]) {
					t.Errorf("lookups: %v", told)
				}
			})
		})
	}
}

// A connection outlives a timeout of the backend's own, and does not outlive a
// caller who leaves while rows are read. Close returns when the node lets it.
func TestWhatAConnectionOutlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		n := b.Node("n")
		n.SetMood(Mood{})
		conn, err := n.connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c := conn.(*Conn)
		n.SetMood(Mood{Silent: true, Timeout: time.Second})
		if _, err := c.ExecContext(t.Context(), "INSERT", nil); err != ErrTimeout || !c.IsValid() {
			t.Errorf("%v, valid %t", err, c.IsValid())
		}
		n.SetMood(Mood{Delay: time.Second, Rows: 3})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, leave := range []bool{false, true} {
			rows, err := c.QueryContext(ctx, "SELECT", nil)
			if err != nil {
				t.Fatal(err)
			}
			read, began := 0, time.Now()
			for ; rows.Next(make([]driver.Value, 1)) == nil; read++ {
				if leave {
					time.AfterFunc(time.Second/2, cancel)
				}
			}
			want, took := 3, 2*time.Second
			if leave {
				want, took = 1, time.Second/2
			}
			if read != want || time.Since(began) != took || c.IsValid() == leave || c.Broken() != leave {
				t.Errorf("leave %t: %d rows in %s, valid %t, broken %t", leave, read, time.Since(began), c.IsValid(), c.Broken())
			}
			rows.Close()
		}
		if idle := n.Idle(); len(idle) != 1 || idle[0] != c {
			t.Errorf("idle: %v", idle)
		}
		n.SetMood(Mood{Unclosed: true})
		time.AfterFunc(time.Minute, func() { n.SetMood(Mood{}) })
		began := time.Now()
		if err := c.Close(); err != nil || time.Since(began) != time.Minute {
			t.Errorf("Close: %v after %s", err, time.Since(began))
		}
	})
}

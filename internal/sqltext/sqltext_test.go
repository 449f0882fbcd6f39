package sqltext

import (
	_ "embed"
	"fmt"
	"strings"
	"testing"
)

//go:embed testdata/statements.txt
var statements string

// told returns the answers to the four questions of a statement that is sent
// alone, as they stand in the table.
func told(query string) string { return answers(query, Pins(query, true)) }

// toldPostgres is told, with what pins in PostgreSQL alone.
func toldPostgres(query string) string {
	return answers(query, Pins(query, true) || PinsPostgres(query))
}

func answers(query string, pins bool) string {
	answers := []byte("----")
	for i, yes := range []bool{Whole(query), Read(query, true), pins, Leans(query)} {
		if yes {
			answers[i] = "WRPL"[i]
		}
	}
	return string(answers)
}

//go:embed testdata/postgres.txt
var postgresStatements string

// eachStatement calls f with every line of the table.
func eachStatement(table string, f func(want, query string)) (n int) {
	for line := range strings.Lines(table) {
		line = strings.TrimSuffix(line, "\n")
		if want, query, ok := strings.Cut(line, " "); ok && want != "==" {
			f(want, query)
			n++
		}
	}
	return n
}

// What is told of PostgreSQL's statements.
func TestStatementsOfPostgresAreTold(t *testing.T) {
	n := eachStatement(postgresStatements, func(want, query string) {
		if got := toldPostgres(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	})
	if n < 70 {
		t.Errorf("%d statements", n)
	}
}

// What is told of statements of every kind. A statement with a semicolon in it
// pins where it may be two.
func TestStatementsAreTold(t *testing.T) {
	n := eachStatement(statements, func(want, query string) {
		if got := told(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
		second := strings.Contains(strings.TrimRight(query, "; "), ";")
		if pins := Pins(query, false); pins != (second || want[2] == 'P') {
			t.Errorf("%s, maybe two: pins %v", query, pins)
		}
		if read := Read(query, false); read != (!second && want[1] == 'R') {
			t.Errorf("%s, maybe two: a read %v", query, read)
		}
	})
	if n < 150 {
		t.Errorf("%d statements", n)
	}
	allocs := testing.AllocsPerRun(10, func() { eachStatement(statements, func(_, query string) { Pins(query, false) }) })
	if allocs != 0 {
		t.Errorf("%v allocations on the successful path", allocs)
	}
}

// What cannot stand on a line of the table: line ends, bytes that are no text,
// and several statements in one call.
func TestStatementsOfSeveralLines(t *testing.T) {
	for query, want := range map[string]string{
		"":                                       "----",
		" \n\t((SELECT 1) UNION (SELECT 2))":     "WR--",
		"/* a */ -- b\n# c\n(SELECT 1)":          "WR--",
		"--\nSELECT 1":                           "WR--",
		"--\tb\nSELECT 1":                        "WR--",
		"--\x01\nSELECT 1":                       "WR--",
		"--b\nSELECT 1":                          "--P-",
		"#\r\nSELECT 1":                          "WR--",
		"-- a\rDELETE FROM t\nSELECT 1":          "--P-", // servers do not agree on the end of the comment
		"# a\rDELETE FROM t\n SELECT 1":          "--P-",
		"SELECT\n1":                              "WR--",
		"SELECT 1\nINTO\n@x":                     "W-P-",
		"SELECT 1 -- a\nINTO @x":                 "W-P-",
		"SELECT 1 \xa0INTO\xa0@x":                "W-P-", // a blank in latin1
		"SELECT\xa01":                            "--P-",
		"\xef\xbb\xbfSELECT 1":                   "--P-",
		"\x00SELECT 1":                           "--P-",
		"ſELECT 1":                               "--P-",
		"BEGIN\nNOT ATOMIC SELECT 1; END":        "--P-",
		"BEGIN -- a\nNOT ATOMIC SELECT 1; END":   "--P-",
		"SET -- a\nSTATEMENT a=1 FOR CALL p()":   "--P-",
		"SET\nSTATEMENT a=1\nFOR\n(SELECT 1)":    "----",
		"SET STATEMENT a=1 -- FOR\nFOR CALL p()": "--P-",
	} {
		if got := told(query); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	for query, second := range map[string]bool{
		"SELECT 1;": false, "SELECT 1; ; \n": false, "SELECT 1; DELETE FROM t": true, "SELECT ';'": true, "DROP TABLE t; BEGIN": true,
	} {
		if Pins(query, true) || Pins(query, false) != second || second && Read(query, false) {
			t.Errorf("%q: pins %v, %v where it may be two", query, Pins(query, true), Pins(query, false))
		}
	}
}

// Whatever the text, nothing panics, and the first word is a piece of it. What
// comes before it changes nothing, a second statement makes no answer less
// careful, and neither does what follows.
func FuzzStatement(f *testing.F) {
	for _, s := range []string{"/*!", "/*M!*/", "-- ", "((", "/**/\x00", "é", "WITH a", "SELECT 1 -- a\r"} {
		f.Add(s, "INTO @x")
	}
	eachStatement(statements, func(_, query string) { f.Add(query, "FOR UPDATE") })
	f.Fuzz(func(t *testing.T, query, more string) {
		word, rest, ok := firstWord(query)
		if !strings.HasSuffix(query, word+rest) || strings.ContainsAny(word, " \t\r\n;(/*'\"`") || !ok && word != "" {
			t.Errorf("%q: word %q, rest %q, %v", query, word, rest, ok)
		}
		got := told(query)
		for _, before := range []string{" ", "(", "/* a */ -- b\n# c\r\n(", "/*+ a */\t\v"} {
			if other := told(before + query); other != got {
				t.Errorf("%q: %s, after %q %s", query, got, before, other)
			}
		}
		switch {
		case Read(query, false) && !Read(query, true), Pins(query, true) && !Pins(query, false):
			t.Errorf("%q: less careful where there may be two", query)
		case Read(query, true) && (Pins(query, true) || Leans(query) || isOneOf(word, "INSERT", "UPDATE", "DELETE", "CALL", "SET", "DO")):
			t.Errorf("%q is a read", query)
		}
		// An empty statement, a comment without an end, and words that the
		// next word explains say more with more behind them.
		if word == "" || isOneOf(word, "SET", "LOAD", "DO") || strings.Contains(query, "/*") || strings.HasPrefix(more, "(") {
			return
		}
		if problem := lessCareful(got, told(query+" "+more)); problem != "" {
			t.Errorf("%q: %s, with %q behind it", query, problem, more)
		}
	})
}

// lessCareful says which answer, if any, is less careful than it was.
func lessCareful(was, is string) string {
	for i, careful := range []bool{false, false, true, true} {
		if (was[i] != '-') == careful && (is[i] != '-') != careful {
			return fmt.Sprintf("%c was %s, is %s", "WRPL"[i], was, is)
		}
	}
	return ""
}

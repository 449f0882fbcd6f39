package sqltext

import (
	"strings"
	"testing"
)

// For each statement the table says whether it is whole, whether it is a read
// (sent alone, or perhaps not), and whether a transaction may be open after it.
func TestStatementsAreTold(t *testing.T) {
	cases := []struct {
		query                             string
		whole, read, readMaybeTwo, begins bool
	}{
		{"SELECT 1", true, true, true, false},
		{"select 1;", true, true, true, false},
		{"select 1; ; \n", true, true, true, false},
		{"SELECT 1; DELETE FROM t", true, true, false, true},
		{"SELECT ';'", true, true, false, true},
		{" \n\t((SELECT 1) UNION (SELECT 2))", true, true, true, false},
		{"/* a */ -- b\n# c\n(SELECT 1)", true, true, true, false},
		{"/*+ hint */SELECT/**/1", true, true, true, false},
		{"/*!50000 SELECT */ 1", false, false, false, true},
		{"/*M! SELECT */ 1", false, false, false, true},
		{"/* /* */ SELECT 1", false, false, false, true},
		{"/* SELECT 1", false, false, false, true},
		{"--", false, false, false, false},
		{"--SELECT 1", false, false, false, false},
		{"-- SELECT 1", false, false, false, false},
		{"--\nSELECT 1", true, true, true, false},
		{"#\r\nSELECT 1", true, true, true, false},
		{"", false, false, false, false},
		{"((((", false, false, false, false},
		{"SELECTED", false, false, false, false},
		{"SELECT_1", false, false, false, false},
		{"SELECT1", false, false, false, false},
		{"SELECTé", false, false, false, false},
		{"SELECT`a`FROM t", true, true, true, false},
		{"SELECT a INTO OUTFILE 'f' FROM t", true, false, false, false},
		{"INSERT INTO t VALUES (1)", true, false, false, false},
		{"insert into t values (1) returning id", true, false, false, false},
		{"UPDATE t SET a = 1", true, false, false, false},
		{"DELETE FROM t", true, false, false, false},
		{"REPLACE t VALUES (1)", true, false, false, false},
		{"WITH a AS (SELECT 1) SELECT * FROM a", true, true, true, false},
		{"WITH a AS (SELECT 1) DELETE FROM t", true, false, false, false},
		{"with a as (insert into t values (1) returning id) select * from a", true, false, false, false},
		{"WITH a AS (SELECT 1) UPDATE t SET b = 1", true, false, false, false},
		{"SHOW STATUS", true, true, true, false},
		{"DO 1", true, false, false, false},
		{"VALUES (1)", false, true, true, false},
		{"TABLE t", false, true, true, false},
		{"DESCRIBE t", false, true, true, false},
		{"EXPLAIN SELECT 1", false, true, true, false},
		{"EXPLAIN DELETE FROM t", false, true, true, false},
		{"EXPLAIN ANALYZE SELECT 1", false, true, true, false},
		{"EXPLAIN (ANALYZE, BUFFERS) DELETE FROM t", false, false, false, false},
		{"explain analyze insert into t values (1)", false, false, false, false},
		{"SET NAMES utf8mb4", true, false, false, false},
		{"SET @a = 1", true, false, false, false},
		{"SET @@autocommit = 0", true, false, false, true},
		{"set session AutoCommit=0", true, false, false, true},
		{"SET STATEMENT max_statement_time=1 FOR CALL p()", false, false, false, false},
		{"SET /*! STATEMENT a=1 FOR */ CALL p()", false, false, false, false},
		{"BEGIN", true, false, false, true},
		{"begin work ;", true, false, false, true},
		{"BEGIN NOT ATOMIC INSERT INTO t VALUES (1); COMMIT; END", false, false, false, true},
		{"BEGIN /*! NOT ATOMIC */", false, false, false, true},
		{"BEGIN 'x'", false, false, false, true},
		{"/* x */ BEGIN", true, false, false, true},
		{"START TRANSACTION", false, false, false, true},
		{"XA START 'a'", false, false, false, true},
		{"COMMIT", false, false, false, false},
		{"CALL p()", false, false, false, false},
		{"CREATE TABLE t (a INT)", false, false, false, false},
		{"CREATE TABLE t (a INT); BEGIN", false, false, false, true},
	}
	for _, tc := range cases {
		if got := Whole(tc.query); got != tc.whole {
			t.Errorf("%q: whole %v", tc.query, got)
		}
		if got := Read(tc.query, true); got != tc.read {
			t.Errorf("%q, alone: a read %v", tc.query, got)
		}
		if got := Read(tc.query, false); got != tc.readMaybeTwo {
			t.Errorf("%q, maybe two: a read %v", tc.query, got)
		}
		if got := MayBegin(tc.query, false); got != tc.begins {
			t.Errorf("%q: begins %v", tc.query, got)
		}
	}
	if MayBegin("SELECT ';'", true) || MayBegin("CREATE TABLE t (a CHAR DEFAULT ';')", true) {
		t.Error("a semicolon counts in a statement that was sent alone")
	}
	allocs := testing.AllocsPerRun(100, func() {
		for _, tc := range cases {
			MayBegin(tc.query, false)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations on the successful path", allocs)
	}
}

// For any text nothing panics, and the word is a part of the text. White space
// and comments before the text change nothing.
func FuzzStatement(f *testing.F) {
	for _, s := range []string{"SELECT 1", "/*!", "/*M!*/", "-- ", "--", "#", "((", "BEGIN NOT ATOMIC", "SET STATEMENT", "/**/\x00", "é", "WITH a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		word, rest, ok := firstWord(query)
		if !strings.HasSuffix(query, word+rest) || strings.ContainsAny(word, " \t\r\n;(/*'\"`") || !ok && word != "" {
			t.Errorf("%q: word %q, rest %q, %v", query, word, rest, ok)
		}
		for _, single := range []bool{false, true} {
			if Read(query, single) && isOneOf(word, "INSERT", "UPDATE", "DELETE", "CALL") {
				t.Errorf("%q is a read", query)
			}
			if MayBegin(query, true) && !MayBegin(query, false) {
				t.Errorf("%q begins less when there may be two", query)
			}
		}
		if Whole(query) != Whole("/* a */ -- b\n# c\n("+query) {
			t.Errorf("%q is whole or not by what is before it", query)
		}
	})
}

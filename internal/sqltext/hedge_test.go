package sqltext

import (
	"strings"
	"testing"
)

// A read may be sent to two nodes if it matters to nobody on which session and how often
// it is run.
func TestHedge(t *testing.T) {
	for _, query := range []string{
		"SELECT 1", "select a - b, a / c FROM t", "SELECT v FROM t WHERE id = ?", "SELECT v FROM t WHERE id = $1", "(SELECT 1) UNION (SELECT 2);",
		"SELECT COUNT(*), count (DISTINCT a), COALESCE(`b`, 0) FROM t WHERE a IN (1, 2) AND NOT EXISTS (SELECT 1 FROM u)",
		"WITH c AS (SELECT a FROM t) SELECT SUM(a) OVER (PARTITION BY a ORDER BY a) FROM c", "VALUES (1), (2)", "TABLE t",
		"/* a comment */ SELECT NOW(), DATE_ADD(d, INTERVAL 1 DAY)", "SELECT CAST(a AS CHAR(3)), CAST(b AS DECIMAL(9,2)) FROM t USE INDEX (i)",
		"SELECT 'ü', größe FROM t", "SELECT `select`.`x` FROM `select`", "SELECT last_value(a) OVER (ORDER BY a) FROM t", "SELECT * FROM t JOIN (SELECT 1) u USING (id)",
	} {
		if !Hedge(query, true) || !Hedge(query, false) {
			t.Errorf("%s: may not be sent twice", query)
		}
	}
	for _, query := range []string{
		"", "INSERT INTO t VALUES (1)", "UPDATE t SET a = 1", "DELETE FROM t", "REPLACE INTO t VALUES (1)", "DO 1", "CALL p()", "SET x = 1", "BEGIN",
		"SHOW STATUS", "EXPLAIN SELECT 1", "DESCRIBE t", "SELECT 1; SELECT 2", "SELECT 1; DELETE FROM t",
		"SELECT * FROM t FOR UPDATE", "SELECT * FROM t FOR SHARE", "SELECT * FROM t LOCK IN SHARE MODE", "SELECT * FROM t FOR NO KEY UPDATE",
		"SELECT a INTO OUTFILE 'f' FROM t", "SELECT a INTO u FROM t", "SELECT * FROM t PROCEDURE ANALYSE()",
		"SELECT @a", "SELECT @@hostname", "SELECT @a := 1", "SELECT a FROM t WHERE mail = 'x@y'",
		"SELECT GET_LOCK('a', 1)", "SELECT get_lock ('a', 1)", "SELECT RELEASE_LOCK('a')", "SELECT IS_FREE_LOCK('a')", "SELECT IS_USED_LOCK('a')",
		"SELECT pg_advisory_lock(1)", "SELECT pg_try_advisory_xact_lock(1)", "SELECT LAST_INSERT_ID()", "SELECT LAST_INSERT_ID(5)", "SELECT FOUND_ROWS()", "SELECT ROW_COUNT()",
		"SELECT SLEEP(1)", "SELECT BENCHMARK(1, 1)", "SELECT pg_sleep(1)", "SELECT NEXTVAL(s)", "SELECT nextval('s')", "SELECT currval('s')", "SELECT lastval()",
		"SELECT NEXT VALUE FOR s", "SELECT PREVIOUS VALUE FOR s", "SELECT SETVAL(s, 1)", "SELECT CONNECTION_ID()", "SELECT pg_backend_pid()", "SELECT UUID()", "SELECT USER()",
		"SELECT MASTER_GTID_WAIT('a', 1)", "SELECT WAIT_FOR_EXECUTED_GTID_SET('a')", "SELECT WSREP_LAST_SEEN_GTID()", "SELECT LOAD_FILE('f')",
		"SELECT make_order(1)", "SELECT make_order/**/(1)", "SELECT make_order -- x\n(1)", "SELECT `make_order`(1)", "SELECT \"make_order\" (1)",
		"SELECT app.count(1)", "SELECT app . count(1)", "SELECT `app`.`count`(1)", "SELECT \"app\".\"count\"(1)", "SELECT écount(1)", "SELECT my$count(1)", "SELECT a1count(1)",
		"WITH d AS (DELETE FROM t RETURNING a) SELECT a FROM d", "WITH c(a) AS (SELECT 1) SELECT a FROM c",
		"SELECT * FROM information_schema.processlist", "SELECT * FROM performance_schema.threads", "SELECT * FROM pg_stat_activity",
		"SELECT set_config('a', 'b', false)", "SELECT 1 INTO TEMP t", "/*! SELECT */ 1", "SELECT /*! make_order(1) */", "SELECT lo_create(1)", "SELECT dblink('a')",
	} {
		if Hedge(query, true) || Hedge(strings.ToLower(query), false) {
			t.Errorf("%s: may be sent twice", query)
		}
	}
}

// After these statements a session has nothing that others have not.
func TestPlain(t *testing.T) {
	for query, want := range map[string]bool{
		"SELECT 1": true, "insert into t values (1)": true, "UPDATE t SET a = 1": true, "DELETE FROM t": true, "REPLACE INTO t VALUES (1)": true,
		"WITH c AS (SELECT 1) SELECT * FROM c": true, "SHOW TABLES": true, "/* x */ (SELECT 1)": true,
		"SET x = 1": false, "CALL p()": false, "DO 1": false, "CREATE TEMPORARY TABLE t (a INT)": false, "LOCK TABLES t READ": false, "BEGIN": false, "USE db": false,
		"LISTEN a": false, "": false, "/*! SELECT */ 1": false, "PREPARE s FROM 'x'": false, "ALTER TABLE t ADD a INT": false,
	} {
		if got := Plain(query); got != want {
			t.Errorf("%s: %t", query, got)
		}
	}
}

// FuzzHedge looks that a statement which may be sent twice is one that may be run again.
func FuzzHedge(f *testing.F) {
	for _, query := range []string{"SELECT 1", "SELECT f(1)", "WITH c AS (SELECT 1) TABLE c", "SELECT `a`.`count`(1)", "SELECT 1 -- x\n;"} {
		f.Add(query, true)
	}
	f.Fuzz(func(t *testing.T, query string, single bool) {
		if Hedge(query, single) && (!Read(query, single) || Pins(query, single) || Leans(query) || !Whole(query) && !isOneOf(first(query), "VALUES", "TABLE")) {
			t.Errorf("%q may be sent twice", query)
		}
	})
}

func first(query string) string {
	word, _, _ := firstWord(query)
	return word
}

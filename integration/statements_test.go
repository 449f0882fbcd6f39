package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/EnumApps/clustersql/internal/sqltext"
	"github.com/go-sql-driver/mysql"
)

// What the package sqltext says of statements is so on a real server.
func TestStatements(t *testing.T) {
	s := newStatementServer(t)
	t.Run("what leaves or changes something is seen", func(t *testing.T) { s.seesWhatThereIs(t) })
	t.Run("the table", func(t *testing.T) { s.bearsOutTheTable(t) })
}

// What does not pin leaves nothing in the session, and a read changes nothing
// though it runs twice.
func (s *statementServer) bearsOutTheTable(t *testing.T) {
	ran, read, refused := 0, 0, 0
	for _, query := range tableOfStatements(t) {
		if sqltext.Pins(query, true) {
			continue
		}
		is := sqltext.Read(query, true)
		left, changed, err := s.run(query, is, is)
		switch {
		case err != nil:
			refused++
			t.Logf("%s: %v", query, err)
			continue
		case left != "":
			t.Errorf("%s leaves in the session: %s", query, left)
		case is && changed != "":
			t.Errorf("%s is a read, and changes: %s", query, changed)
		}
		ran++
		if is {
			read++
		}
	}
	t.Logf("%d statements ran, %d of them reads; the server refused %d", ran, read, refused)
	if ran < 130 || read < 55 {
		t.Error("too few statements ran to show anything")
	}
}

// What leaves something in the session, or changes something, is seen: else the
// table would be borne out by a test that cannot fail.
func (s *statementServer) seesWhatThereIs(t *testing.T) {
	for _, query := range []string{
		"START TRANSACTION", "BEGIN", "SET autocommit = 0", "CALL p()", "BEGIN NOT ATOMIC START TRANSACTION; END",
		"SELECT 1 INTO @x", "SELECT @x := 1", "SET @x = 1", "CALL q(@x)", "EXECUTE IMMEDIATE 'SET @x = 1'", "SELECT id/*!50000INTO*/@x FROM t LIMIT 1",
		"SELECT GET_LOCK('l', 1)", "DO GET_LOCK('l', 1)", "SELECT /*!50003GET_LOCK('l', 1) */ + 1", "SELECT `get_lock`('l', 1)",
		"LOCK TABLES t WRITE", "LOCK TABLE t READ", "FLUSH TABLES t WITH READ LOCK",
		"CREATE TEMPORARY TABLE tt (id INT)", "CREATE /*!50000TEMPORARY*/ TABLE tt (id INT)", "PREPARE a FROM 'SELECT 1'",
		"SET NAMES latin1", "SET time_zone = '+05:00'", "USE mysql",
	} {
		left, _, err := s.run(query, false, false)
		if err != nil || left == "" || !sqltext.Pins(query, true) {
			t.Errorf("%s: %v; it leaves %q, and pins: %v", query, err, left, sqltext.Pins(query, true))
		}
	}
	for _, query := range []string{
		"INSERT INTO t (b) VALUES ('c')", "UPDATE t SET a = 12", "SELECT NEXTVAL(s)", "SELECT SETVAL(s, 1000)", "SELECT LAST_INSERT_ID(5)",
		"SELECT 1 INTO OUTFILE 'outfile0'", "ANALYZE UPDATE t SET a = 13", "ANALYZE FORMAT=JSON DELETE FROM t", "CREATE TABLE c9 (id INT)",
	} {
		_, changed, err := s.run(query, false, true)
		if err != nil || changed == "" || sqltext.Read(query, true) {
			t.Errorf("%s: %v; it changes %q, and is a read: %v", query, err, changed, sqltext.Read(query, true))
		}
	}
}

func tableOfStatements(t *testing.T) (queries []string) {
	t.Helper()
	table, err := os.ReadFile(filepath.FromSlash("../internal/sqltext/testdata/statements.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if told, query, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok && told != "==" {
			queries = append(queries, query)
		}
	}
	return queries
}

// A statementServer is one server with what the statements are about.
type statementServer struct {
	t       *testing.T
	db      *sql.DB // of the user who may do anything
	watcher *sql.Conn
	dir     string // where the server writes files
}

func newStatementServer(t *testing.T) *statementServer {
	c := galera.StartT(t, galera.Options{Nodes: 1})
	run(t, c, "GRANT ALL ON *.* TO "+galera.User+"@'%' WITH GRANT OPTION", "ALTER DATABASE app DEFAULT CHARACTER SET utf8mb4",
		"CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, a INT, b VARCHAR(64))", "CREATE TABLE app.u (id INT PRIMARY KEY)",
		"INSERT INTO app.t (a, b) VALUES (1, 'a'), (2, 'b')", "CREATE VIEW app.v AS SELECT id AS identity FROM app.t",
		"CREATE TABLE app.d1 (id INT PRIMARY KEY)", "CREATE TABLE app.d2 (id INT PRIMARY KEY)", "CREATE TABLE app.d3 (id INT PRIMARY KEY)",
		"CREATE SEQUENCE app.s NOCACHE", "CREATE FUNCTION app.f(n INT) RETURNS INT DETERMINISTIC RETURN n",
		"CREATE PROCEDURE app.p() START TRANSACTION", "CREATE PROCEDURE app.q(OUT n INT) SET n = 1")
	s := &statementServer{t: t}
	var err error
	if s.db, err = sql.Open("mysql", c.Nodes[0].DSN("")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.db.Close() })
	s.db.SetMaxIdleConns(0) // each statement gets a session of its own
	if s.watcher, err = s.db.Conn(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.watcher.Close() })
	if _, err := s.watcher.ExecContext(t.Context(), "SET lock_wait_timeout = 0"); err != nil {
		t.Fatal(err)
	}
	s.dir = filepath.Join(s.ask(s.watcher, "SELECT @@datadir"), "app")
	return s
}

// run runs a statement, maybe twice, and says what that has left in its
// session. If asked it says what has changed in the world.
func (s *statementServer) run(query string, twice, look bool) (left, changed string, err error) {
	conn, err := s.db.Conn(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	session := s.session(conn)
	var world []string
	if look {
		world = s.world(conn)
	}
	err = runOut(s.t.Context(), conn, query)
	if err == nil && twice {
		err = runOut(s.t.Context(), conn, query)
	}
	if err != nil {
		return "", "", err
	}
	if look {
		changed = difference(world, s.world(conn))
	}
	return difference(session, s.session(conn)), changed, nil
}

// runOut runs a statement to the end of its last result.
func runOut(ctx context.Context, conn *sql.Conn, query string) error {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for {
		for rows.Next() {
		}
		if rows.Err() != nil || !rows.NextResultSet() {
			return rows.Err()
		}
	}
}

// session returns what is known of a session. What every statement sets is left
// out.
func (s *statementServer) session(conn *sql.Conn) []string {
	known := []string{
		"transaction " + s.ask(conn, "SELECT @@in_transaction"), // first: what follows would begin one
		"lock " + s.ask(conn, "SELECT IS_USED_LOCK('l')"),
		"user variables " + s.ask(conn, "SELECT CONCAT_WS(' ', @x, @y, @z, @`x y`)"),
		"database and role " + s.ask(conn, "SELECT CONCAT_WS(' ', DATABASE(), CURRENT_ROLE())"),
		"temporary table " + s.ask(conn, "SELECT COUNT(*) FROM app.tt"),
		"prepared " + s.ask(conn, "SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Com_prepare_sql'"),
		"table locks " + s.ask(s.watcher, "LOCK TABLES app.t WRITE") + s.ask(s.watcher, "UNLOCK TABLES"),
	}
	return append(known, strings.Split(s.ask(conn, `SELECT GROUP_CONCAT(CONCAT(VARIABLE_NAME, ' ', VARIABLE_VALUE) ORDER BY VARIABLE_NAME SEPARATOR '\n')
		FROM information_schema.SESSION_VARIABLES WHERE VARIABLE_NAME NOT IN ('TIMESTAMP', 'LAST_INSERT_ID', 'IDENTITY', 'INSERT_ID',
		'RAND_SEED1', 'RAND_SEED2', 'WARNING_COUNT', 'ERROR_COUNT', 'LAST_GTID') AND VARIABLE_NAME NOT LIKE 'GTID%'`), "\n")...)
}

// world returns what statements may change, on the server and in the id that
// the session inserted last.
func (s *statementServer) world(conn *sql.Conn) []string {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	known := []string{
		"last id " + s.ask(conn, "SELECT LAST_INSERT_ID()"),
		"sequence " + s.ask(s.watcher, "SELECT next_not_cached_value FROM app.s"),
		"users " + s.ask(s.watcher, "SELECT COUNT(*) FROM mysql.global_priv"),
	}
	for _, table := range []string{"t", "u", "d1", "d2"} {
		known = append(known, "rows of "+s.ask(s.watcher, "CHECKSUM TABLE app."+table), "next id of "+table+" "+
			s.ask(s.watcher, "SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'app' AND TABLE_NAME = '"+table+"'"))
	}
	for _, file := range files {
		known = append(known, "file "+file.Name())
	}
	return known
}

// ask returns the first row of an answer, or the number of the server's error.
func (s *statementServer) ask(conn *sql.Conn, query string) string {
	s.t.Helper()
	rows, err := conn.QueryContext(s.t.Context(), query)
	var says *mysql.MySQLError
	switch {
	case errors.As(err, &says):
		return fmt.Sprint("error ", says.Number)
	case err != nil:
		s.t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		s.t.Fatal(err)
	}
	values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	if rows.Next() {
		err = rows.Scan(into...)
	}
	if err = errors.Join(err, rows.Err()); err != nil {
		s.t.Fatal(err)
	}
	text := ""
	for _, v := range values {
		text += v.String + " "
	}
	return strings.TrimSpace(text)
}

// difference names what is in one list and not in the other.
func difference(a, b []string) string {
	var only []string
	for _, line := range a {
		if !slices.Contains(b, line) {
			only = append(only, "was "+line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			only = append(only, "is "+line)
		}
	}
	return strings.Join(only, ", ")
}

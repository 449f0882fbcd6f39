package session

import "database/sql/driver"

//lint:file-ignore SA1019 backends may have the deprecated interfaces

// backendConns are the conns that a backend may have, by their interfaces.
// Interfaces that database/sql looks at together are combined in full. Every
// other interface is present alone, and absent alone.
var backendConns = []func(*fullConn) driver.Conn{
	// how arguments are converted, and whether a statement is prepared
	func(c *fullConn) driver.Conn { return struct{ driver.Conn }{c} },
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Queryer
		}{c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.QueryerContext
		}{c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Execer
		}{c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Execer
			driver.Queryer
		}{c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Execer
			driver.QueryerContext
		}{c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
		}{c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
			driver.Queryer
		}{c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
			driver.QueryerContext
		}{c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.NamedValueChecker
		}{c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Queryer
			driver.NamedValueChecker
		}{c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.QueryerContext
			driver.NamedValueChecker
		}{c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Execer
			driver.NamedValueChecker
		}{c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Execer
			driver.Queryer
			driver.NamedValueChecker
		}{c, c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Execer
			driver.QueryerContext
			driver.NamedValueChecker
		}{c, c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
			driver.NamedValueChecker
		}{c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
			driver.Queryer
			driver.NamedValueChecker
		}{c, c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
			driver.QueryerContext
			driver.NamedValueChecker
		}{c, c, c, c}
	},

	// how a transaction begins, and what happens to the conn after it
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Validator
		}{c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.SessionResetter
		}{c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.SessionResetter
			driver.Validator
		}{c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ConnBeginTx
		}{c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ConnBeginTx
			driver.Validator
		}{c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ConnBeginTx
			driver.SessionResetter
		}{c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ConnBeginTx
			driver.SessionResetter
			driver.Validator
		}{c, c, c, c}
	},

	// interfaces that stand alone
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Pinger
		}{c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ConnPrepareContext
		}{c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ConnPrepareContext
			driver.Pinger
		}{c, c, c}
	},

	// deprecated and new interfaces together
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Execer
			driver.ExecerContext
			driver.Queryer
			driver.QueryerContext
		}{c, c, c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Execer
			driver.ExecerContext
		}{c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Queryer
			driver.QueryerContext
		}{c, c, c}
	},

	// all interfaces, and all but one
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
			driver.QueryerContext
			driver.ConnPrepareContext
			driver.ConnBeginTx
			driver.SessionResetter
			driver.Validator
			driver.NamedValueChecker
			driver.Pinger
		}{c, c, c, c, c, c, c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.QueryerContext
			driver.ConnPrepareContext
			driver.ConnBeginTx
			driver.SessionResetter
			driver.Validator
			driver.NamedValueChecker
			driver.Pinger
		}{c, c, c, c, c, c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
			driver.ConnPrepareContext
			driver.ConnBeginTx
			driver.SessionResetter
			driver.Validator
			driver.NamedValueChecker
			driver.Pinger
		}{c, c, c, c, c, c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
			driver.QueryerContext
			driver.ConnBeginTx
			driver.SessionResetter
			driver.Validator
			driver.NamedValueChecker
			driver.Pinger
		}{c, c, c, c, c, c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
			driver.QueryerContext
			driver.ConnPrepareContext
			driver.SessionResetter
			driver.Validator
			driver.NamedValueChecker
			driver.Pinger
		}{c, c, c, c, c, c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
			driver.QueryerContext
			driver.ConnPrepareContext
			driver.ConnBeginTx
			driver.Validator
			driver.NamedValueChecker
			driver.Pinger
		}{c, c, c, c, c, c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
			driver.QueryerContext
			driver.ConnPrepareContext
			driver.ConnBeginTx
			driver.SessionResetter
			driver.NamedValueChecker
			driver.Pinger
		}{c, c, c, c, c, c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
			driver.QueryerContext
			driver.ConnPrepareContext
			driver.ConnBeginTx
			driver.SessionResetter
			driver.Validator
			driver.Pinger
		}{c, c, c, c, c, c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.ExecerContext
			driver.QueryerContext
			driver.ConnPrepareContext
			driver.ConnBeginTx
			driver.SessionResetter
			driver.Validator
			driver.NamedValueChecker
		}{c, c, c, c, c, c, c, c}
	},
	func(c *fullConn) driver.Conn {
		return struct {
			driver.Conn
			driver.Execer
			driver.Queryer
			driver.ConnPrepareContext
			driver.ConnBeginTx
			driver.SessionResetter
			driver.Validator
			driver.NamedValueChecker
			driver.Pinger
		}{c, c, c, c, c, c, c, c, c}
	},
}

// columnConverter is driver.ColumnConverter under another name. Embedded under
// its own name, it would hide its method of that name.
type columnConverter = driver.ColumnConverter

// backendStmts are the statements that a backend may have, in all combinations.
var backendStmts = []func(*fullStmt) driver.Stmt{
	func(s *fullStmt) driver.Stmt { return struct{ driver.Stmt }{s} },
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			columnConverter
		}{s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.NamedValueChecker
		}{s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.NamedValueChecker
			columnConverter
		}{s, s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.StmtQueryContext
		}{s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.StmtQueryContext
			columnConverter
		}{s, s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.StmtQueryContext
			driver.NamedValueChecker
		}{s, s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.StmtQueryContext
			driver.NamedValueChecker
			columnConverter
		}{s, s, s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.StmtExecContext
		}{s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.StmtExecContext
			columnConverter
		}{s, s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.StmtExecContext
			driver.NamedValueChecker
		}{s, s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.StmtExecContext
			driver.NamedValueChecker
			columnConverter
		}{s, s, s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.StmtExecContext
			driver.StmtQueryContext
		}{s, s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.StmtExecContext
			driver.StmtQueryContext
			columnConverter
		}{s, s, s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.StmtExecContext
			driver.StmtQueryContext
			driver.NamedValueChecker
		}{s, s, s, s}
	},
	func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			driver.StmtExecContext
			driver.StmtQueryContext
			driver.NamedValueChecker
			columnConverter
		}{s, s, s, s, s}
	},
}

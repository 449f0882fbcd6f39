package mysql

import (
	"testing"

	"github.com/EnumApps/clustersql/internal/dialect"
)

func TestSessionOfADSN(t *testing.T) {
	for dsn, want := range map[string]dialect.Session{
		"u:p@tcp(h)/db":                       {Single: true, Exact: true},
		"u:p@tcp(h)/db?multiStatements=false": {Single: true, Exact: true},
		"u:p@tcp(h)/db?multiStatements=true":  {Exact: true},
		"u:p@tcp(h)/db?autocommit=1":          {Single: true, Exact: true},
		"u:p@tcp(h)/db?autocommit=true":       {Single: true, Exact: true},
		"u:p@tcp(h)/db?autocommit=0":          {Single: true, Manual: true, Exact: true},
		"u:p@tcp(h)/db?AutoCommit=%27OFF%27":  {Single: true, Manual: true, Exact: true},
		"no dsn":                              {Manual: true, Exact: true},
	} {
		if got := (Dialect{}).Session(dsn); got != want {
			t.Errorf("%s: %+v, want %+v", dsn, got, want)
		}
	}
}

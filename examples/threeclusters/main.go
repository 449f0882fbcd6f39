// Three clusters in one program: writers, readers and sessions.
package main

import (
	"database/sql"
	"fmt"
	"log"
	"os"

	"github.com/EnumApps/clustersql"
	"github.com/go-sql-driver/mysql"
)

const (
	WriteDriver   = "write_conn"
	ReadDriver    = "read_conn"
	SessionDriver = "sess_conn"
)

func main() {
	mysqlDriver := mysql.MySQLDriver{}

	writerDriver := clustersql.NewDriver(mysqlDriver, WriteDriver)
	readerDriver := clustersql.NewDriver(mysqlDriver, ReadDriver)
	sessionDriver := clustersql.NewDriver(mysqlDriver, SessionDriver)

	for i := 1; i <= 3; i++ {
		name, dsn := fmt.Sprintf("galera%d", i), os.Getenv(fmt.Sprintf("GALERA%d_DSN", i))
		writerDriver.AddNode(name, dsn)
		readerDriver.AddNode(name, dsn)
		sessionDriver.AddNode(name, dsn)
	}

	sql.Register(WriteDriver, writerDriver)
	sql.Register(ReadDriver, readerDriver)
	sql.Register(SessionDriver, sessionDriver)

	for _, name := range []string{WriteDriver, ReadDriver, SessionDriver} {
		db, err := sql.Open(name, "")
		if err != nil {
			log.Fatal(err)
		}
		defer db.Close()
		if err := db.Ping(); err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, "answers")
	}
}

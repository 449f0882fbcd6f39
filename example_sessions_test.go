package clustersql_test

import (
	"database/sql"
	"log"
	"net/http"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/go-sql-driver/mysql"
)

// What a request has written it reads again, on whatever node.
func ExampleReadYourWrites() {
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "shop", clustersql.WithCausalTimeout(500*time.Millisecond))
	defer d.Close()
	db := sql.OpenDB(d.Connector())
	defer db.Close()

	order := func(r *http.Request, id int64, item string) error {
		ctx := clustersql.ReadYourWrites(r.Context())
		if _, err := db.ExecContext(ctx, "INSERT INTO orders (id, item) VALUES (?, ?)", id, item); err != nil {
			return err
		}
		row := db.QueryRowContext(ctx, "SELECT item FROM orders WHERE id = ?", id) // sees it, on any node
		return row.Scan(&item)
	}
	http.HandleFunc("/order", func(w http.ResponseWriter, r *http.Request) {
		if err := order(r, 7, "lamp"); err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
		}
	})
}

// The next request of the same user, to another process, sees what this one has seen.
func ExampleWithToken() {
	http.HandleFunc("/orders", func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("seen")
		if err != nil {
			cookie = &http.Cookie{} // the empty token says nothing
		}
		ctx, err := clustersql.WithToken(r.Context(), cookie.Value)
		if err != nil {
			log.Println(err) // no token of clustersql: the session has seen nothing, and can be used
		}
		// calls with ctx
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: clustersql.Token(ctx)})
	})
}

package clusterpgx_test

import (
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql"
)

import _ "github.com/EnumApps/clustersql/pgx"

// A program gives the driver "clustersql" the URI that libpq takes.
func Example() {
	db, err := sql.Open("clustersql", "postgres://app:pw@h1:5432,h2:5432/db?target_session_attrs=read-write")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	fmt.Println(db.Driver().(clustersql.Driver).Nodes())
	// Output: [h1:5432 h2:5432]
}

// The files of the manual that name the driver load.
func TestDocsTOMLLoads(t *testing.T) {
	t.Setenv("DB_PASSWORD", "secret")
	for _, doc := range []string{"settings.md", "postgresql.md"} {
		text, err := os.ReadFile("../docs/" + doc)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, m := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(m[1], `"clustersql-pgx"`) {
				continue
			}
			found++
			path := filepath.Join(t.TempDir(), "config.toml")
			if err := os.WriteFile(path, []byte(m[1]), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := clustersql.Load(path)
			if err != nil {
				t.Errorf("%s: %v\n%s", doc, err, m[1])
				continue
			}
			r.Close()
		}
		if found == 0 {
			t.Errorf("%s has none", doc)
		}
	}
}

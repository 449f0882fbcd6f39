package clustersql

import (
	"encoding/json"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// What a cluster shows can be written as JSON and read again, and nothing of it
// is lost.
func TestStatusAndEventsAsJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 3)
		db := openDB(t, d)
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		b.Node("n2").SetHealth(errNotReady, 0, false)
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		for _, v := range []any{d.Status(), d.Events(), d.History()} {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			back := reflect.New(reflect.TypeOf(v))
			if err := json.Unmarshal(text, back.Interface()); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			again, err := json.Marshal(back.Elem().Interface())
			if err != nil || string(again) != string(text) {
				t.Errorf("%v\n%s\n%s", err, text, again)
			}
		}
	})
}

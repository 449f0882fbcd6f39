package members

import (
	"database/sql/driver"
	"fmt"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/mysql"
)

// Each way in which a node may change has its kind, and nothing tells a password.
func TestCompare(t *testing.T) {
	const dsn = "app:hunter1@tcp(h1:3306)/db"
	for name, tc := range map[string]struct {
		was    Present
		now    []Node
		remade bool
		want   Kind
		tuned  bool
	}{
		"the same":           {was: Present{Node: Node{DSN: dsn}}, now: []Node{{DSN: dsn}}},
		"written otherwise":  {was: Present{Node: Node{DSN: dsn + "?b=2&a=1"}}, now: []Node{{DSN: "app:hunter1@tcp(H1)/db?a=1&b=2"}}},
		"another parameter":  {was: Present{Node: Node{DSN: dsn + "?b=2&a=1"}}, now: []Node{{DSN: dsn + "?b=2&a=2"}}, want: Replace},
		"password and order": {was: Present{Node: Node{DSN: dsn + "?b=2&a=1"}}, now: []Node{{DSN: "app:hunter2@tcp(h1)/db?a=1&b=2"}}, want: Password},
		"weight 0 is 1":      {was: Present{Node: Node{DSN: dsn}}, now: []Node{{DSN: dsn, Weight: 1}}},
		"another weight":     {was: Present{Node: Node{DSN: dsn}}, now: []Node{{DSN: dsn, Weight: 2}}, tuned: true},
		"another origin":     {was: Present{Node: Node{DSN: dsn}}, now: []Node{{DSN: dsn, Origin: "file"}}, tuned: true},
		"another password":   {was: Present{Node: Node{DSN: dsn}}, now: []Node{{DSN: "app:hunter2@tcp(h1:3306)/db"}}, want: Password},
		"another host":       {was: Present{Node: Node{DSN: dsn}}, now: []Node{{DSN: "app:hunter1@tcp(h2:3306)/db"}}, want: Replace},
		"another address":    {was: Present{Node: Node{DSN: dsn}}, now: []Node{{DSN: dsn, Addr: "10.0.0.1:3306"}}, want: Replace},
		"made anew":          {was: Present{Node: Node{DSN: dsn}}, now: []Node{{DSN: dsn}}, remade: true, want: Dial},
		"gone":               {was: Present{Node: Node{DSN: dsn}}, want: Remove},
		"gone twice":         {was: Present{Node: Node{DSN: dsn}, Departing: true}},
		"stays after all":    {was: Present{Node: Node{DSN: dsn}, Departing: true}, now: []Node{{DSN: dsn}}, want: Keep},
		"is not replaced":    {was: Present{Node: Node{DSN: "x"}, Own: &Node{DSN: dsn}}, now: []Node{{DSN: dsn}}, want: Keep},
		"replaced otherwise": {was: Present{Node: Node{DSN: "x"}, Own: &Node{DSN: "y"}}, now: []Node{{DSN: dsn}}, want: Replace},
	} {
		all := Compare(mysql.Dialect{}, []Present{tc.was}, tc.now, tc.remade)
		var got Change
		if len(all) > 0 {
			got = all[0]
		}
		if got.Kind != tc.want || got.Tuned != tc.tuned || len(all) > 1 {
			t.Errorf("%s: %+v", name, all)
		}
		if text := fmt.Sprintf("%+v %#v %v", all, all, got); strings.Contains(text, "hunter") || strings.Contains(got.What, "app") {
			t.Errorf("%s: a secret in %s", name, text)
		}
	}
	added := Compare(mysql.Dialect{}, nil, []Node{{Name: "b"}, {Name: "a"}}, false)
	if len(added) != 2 || added[0].Name != "a" || added[1].Kind != Add || ChangeOf(added, "b") != &added[1] || ChangeOf(added, "c") != nil {
		t.Errorf("%+v", added)
	}
}

// A connector may hold anything.
type anyConnector struct {
	driver.Connector
	holds any
}

// Connectors are the same if they can be compared and are equal; else never.
func TestConnectorsThatCannotBeCompared(t *testing.T) {
	one, other := &anyConnector{}, &anyConnector{}
	for name, tc := range map[string]struct {
		was, now driver.Connector
		same     bool
	}{
		"one pointer":   {one, one, true},
		"two pointers":  {one, other, false},
		"equal values":  {anyConnector{holds: 1}, anyConnector{holds: 1}, true},
		"holding a map": {anyConnector{holds: map[string]int{}}, anyConnector{holds: map[string]int{}}, false},
	} {
		all := Compare(mysql.Dialect{}, []Present{{Node: Node{Connector: tc.was}}}, []Node{{Connector: tc.now}}, false)
		if (len(all) == 0) != tc.same {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

package health

import "testing"

// A place in a log is shown as PostgreSQL writes it, and several origins each with how
// far they are. Nothing is shown of an origin without a transaction, and not all of many.
func TestPositionsForPeople(t *testing.T) {
	for _, c := range []struct {
		position Position
		want     string
	}{
		{nil, ""},
		{Position{{At: 0x1_0300_00A8}}, "1/30000A8"},
		{Position{{"0", 12}}, "0:12"},
		{Position{{"0", 12}, {"1", 7}}, "0:12, 1:7"},
		{Position{{"a", 1}, {"group", 0}}, "a:1"},
		{Position{{"a", 1}, {"b", 2}, {"c", 3}, {"d", 4}, {"e", 5}, {"f", 6}}, "a:1, b:2, c:3, d:4, and 2 more"},
	} {
		if got := c.position.String(); got != c.want {
			t.Errorf("%#v is %q, want %q", c.position, got, c.want)
		}
		if got := (&Replication{Position: c.position}).Place(View{}); got != c.want {
			t.Errorf("of a node it is %q, want %q", got, c.want)
		}
	}
	if got := (&Replication{Position: at(9)}).Place(View{Seqno: 17}); got != "17" {
		t.Errorf("of a Galera node it is %q", got)
	}
}

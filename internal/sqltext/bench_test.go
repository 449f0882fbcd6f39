package sqltext

import "testing"

var sink bool

func BenchmarkPins(b *testing.B) {
	for _, s := range benchStatements {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sink = Pins(s.query, true)
			}
		})
	}
}

var benchStatements = []struct{ name, query string }{
	{"select", "SELECT id, name, email FROM users WHERE id = ?"},
	{"snake", "SELECT user_id, created_at, order_total, order_code, is_locked FROM user_orders WHERE user_id = ? AND created_at > ?"},
	{"insert", "INSERT INTO orders (id, total, note) VALUES (?, ?, ?)"},
	{"mail", "INSERT INTO users (id, email) VALUES (1, 'somebody@example.org')"},
	{"show", "SHOW STATUS LIKE 'wsrep%'"},
	{"comment", "/* page=3 */ SELECT id, name FROM users WHERE id = ?"},
	{"create", "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(64))"},
}

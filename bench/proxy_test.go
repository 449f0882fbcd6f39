package main

import (
	"strings"
	"testing"
)

// The two set-ups differ in their checks and in what they do with sessions.
func TestProxyConfig(t *testing.T) {
	s := ProxySetup{Addrs: []string{"127.0.0.1:1001", "127.0.0.1:1002"}, Checks: []string{"127.0.0.1:2001", "127.0.0.1:2002"}}
	cases := []struct {
		kind      string
		want, not []string
	}{
		{checkMySQL, []string{"option mysql-check user haproxy", "server n2 127.0.0.1:1002 check"}, []string{"httpchk", "shutdown-sessions", "weight"}},
		{checkWsrep, []string{"option httpchk", "server n2 127.0.0.1:1002 check", "on-marked-down shutdown-sessions port 2002\n"}, []string{"mysql-check", "weight"}},
	}
	for _, c := range cases {
		s.Kind = c.kind
		text := s.config()
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", c.kind, want, text)
			}
		}
		for _, not := range c.not {
			if strings.Contains(text, not) {
				t.Errorf("%s has %q:\n%s", c.kind, not, text)
			}
		}
	}
	s.Weights = []int{2, 1}
	if text := s.config(); !strings.Contains(text, "port 2001 weight 2\n") {
		t.Errorf("no weight:\n%s", text)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/statuspage"
)

// fetch returns what an address answers.
func fetch(t *testing.T, address string) string {
	t.Helper()
	answer, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// serve shows real processes side by side: where they disagree, and one that is
// killed with what it said last.
func TestServeSides(t *testing.T) {
	t.Parallel()
	l := lab{}
	n1, n2 := closedPort(t), closedPort(t)
	dsn := func(at string) string { return "app:hunter22@tcp(" + at + ")/db" }
	_, _, stderr1 := begin(t, "serve", l.file(t, "", dsn(n1), dsn(n2)), "--listen=127.0.0.1:0")
	second, _, stderr2 := begin(t, "serve", l.file(t, "", dsn(n1)), "--listen=127.0.0.1:0")
	one, two := line(t, stderr1, "http://"), line(t, stderr2, "http://")
	secret := strings.Replace(two, "http://", "http://me:hunter22@", 1) + "?token=hunter22"
	_, _, stderr := begin(t, "serve", one, secret, "--listen=127.0.0.1:0", "--interval=100ms")
	page := line(t, stderr, "http://")

	look := func() (c statuspage.Comparison) {
		t.Helper()
		if err := json.Unmarshal([]byte(fetch(t, page+"?format=json")), &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	row := func(c statuspage.Comparison, node string) (r statuspage.Row) {
		for _, r = range c.Rows {
			if r.Node == node {
				return r
			}
		}
		return statuspage.Row{Cells: make([]statuspage.Cell, 2)}
	}
	waitFor(t, func() string {
		c := look()
		r1, r2 := row(c, "n1"), row(c, "n2")
		if c.Rows == nil || r1.Cells[0].Word != "down" || r1.Cells[1].Word != "down" || r2.Cells[0].Word != "down" ||
			slices.Contains(r1.Differs, "state") || !slices.Equal(r2.Differs, []string{"presence"}) || c.Rows[0].Node != "n2" {
			return fmt.Sprintf("%+v", c)
		}
		return ""
	})
	if c := look(); c.Processes[0].Name == "" || c.Processes[0].Name == c.Processes[1].Name || c.Processes[1].URL != two {
		t.Errorf("%+v", c.Processes)
	}
	if err := second.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() string {
		c := look()
		p, r2 := c.Processes[1], row(c, "n2")
		if p.Err == "" || p.Answered.IsZero() || !row(c, "n1").Cells[1].Old || len(r2.Differs) > 0 || !strings.Contains(c.Summary, "1 of 2 processes answer, and not "+two) {
			return fmt.Sprintf("%+v", c)
		}
		return ""
	})
	body := fetch(t, page)
	for _, want := range []string{"It last answered ", "refused", "(old)"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q:\n%s", want, body)
		}
	}
	if all := body + fetch(t, page+"?format=json"); strings.Contains(all, "hunter22") {
		t.Errorf("a secret is shown:\n%s", all)
	}
}

package conffile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestLocate(t *testing.T) {
	text := `# line 1
a = 1   # [x]
"q.r" = """
[[no]]
b = 2
"""
[[cluster]]
  name = 'c#1'
  list = [
    1, # one
    [2,
     3],
  ]
  [[cluster.node]]
  dsn = "x\"]]="
  [[cluster.node]]

  dsn = '''y
'''
[[cluster]]
  node = [{dsn = "p", name = "q"},
    {dsn = "r"}]
[ t . u ]
k.l = 2001-02-03 04:05:06
`
	p := locate(strings.ReplaceAll(text, "\n", "\r\n"))
	clusters := p.key("cluster")
	for what, got := range map[string]struct{ got, want int }{
		"a":                     {p.key("a").line, 2},
		"q.r":                   {p.key("q.r").line, 3},
		"cluster[0]":            {clusters.item(0).line, 7},
		"name":                  {clusters.item(0).key("name").line, 8},
		"list[1]":               {clusters.item(0).key("list").item(1).line, 11},
		"list[1][1]":            {clusters.item(0).key("list").item(1).item(1).line, 12},
		"node[0]":               {clusters.item(0).key("node").item(0).line, 14},
		"node[0].dsn":           {clusters.item(0).key("node").item(0).key("dsn").line, 15},
		"node[1].dsn":           {clusters.item(0).key("node").item(1).key("dsn").line, 18},
		"node[1].missing":       {clusters.item(0).key("node").item(1).key("missing").line, 16},
		"cluster[1]":            {clusters.item(1).line, 20},
		"cluster[1].node[1]":    {clusters.item(1).key("node").item(1).line, 22},
		"cluster[1].node[0].na": {clusters.item(1).key("node").item(0).key("name").line, 21},
		"t.u":                   {p.key("t").key("u").line, 23},
		"t.u.k.l":               {p.key("t").key("u").key("k").key("l").line, 24},
		"no":                    {p.key("no").line, 0},
	} {
		if got.got != got.want {
			t.Errorf("%s is in line %d, want %d", what, got.got, got.want)
		}
	}
}

// FuzzLocate: every value that the decoder finds in a text has a place of its
// own, on a line that holds its key.
func FuzzLocate(f *testing.F) {
	f.Add("a = 1\n[[c]]\nb = '''\n'''\n[[c.d]]\ne.f = [1, {g = 2}]\n")
	f.Add("\xef\xbb\xbf\"a\\\"b\" = \"\"\"x\"\"\"\"\"\r\n[a.b]\n'c' = {}\n")
	f.Add("a=[[[1],[2]],[]]#\n[x]\n[x.y]\n[[x.z]]\n[x.z.w]\nq=inf")
	f.Add("[[Nodes]]\nName = \"n\"\nPort = 3306\n")
	f.Fuzz(func(t *testing.T, text string) {
		p := locate(text)
		var values map[string]any
		if err := decodeQuietly(text, &values); err != nil || strings.Contains(text, `\`) {
			return
		}
		checkPlaces(t, strings.Split(text, "\n"), "", values, p)
	})
}

// decodeQuietly is toml.Unmarshal, but returns its panics as errors.
func decodeQuietly(text string, values *map[string]any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return toml.Unmarshal([]byte(text), values)
}

func checkPlaces(t *testing.T, lines []string, path string, value any, p *place) {
	t.Helper()
	var items []any
	switch value := value.(type) {
	case map[string]any:
		for k, v := range value {
			child, ok := p.keys[k]
			if !ok {
				t.Fatalf("%q: %s.%s has no place", strings.Join(lines, "\n"), path, k)
			}
			if child.line < 1 || child.line > len(lines) || !strings.Contains(lines[child.line-1], k) {
				t.Fatalf("%q: %s.%s is not in line %d", strings.Join(lines, "\n"), path, k, child.line)
			}
			checkPlaces(t, lines, path+"."+k, v, child)
		}
		return
	case []any:
		items = value
	case []map[string]any:
		for _, v := range value {
			items = append(items, v)
		}
	}
	if len(items) != len(p.items) {
		t.Fatalf("%q: %s has %d items, but places for %d", strings.Join(lines, "\n"), path, len(items), len(p.items))
	}
	for i, v := range items {
		checkPlaces(t, lines, fmt.Sprintf("%s[%d]", path, i), v, p.items[i])
	}
}

package statuspage

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
)

func writeJSON(w io.Writer, v any) {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // an error is one of w, whose reader has gone
}

// writeCSV writes a line for each node, and one for a cluster without nodes. The
// columns have the names of the JSON; those of a node's cluster begin with
// cluster_.
func writeCSV(w io.Writer, s *Snapshot) {
	out := csv.NewWriter(w)
	defer out.Flush() // whose error is one of w
	var header []string
	name := func(name, _ string) { header = append(header, name) }
	flatten(reflect.ValueOf(Cluster{}), "cluster_", name)
	flatten(reflect.ValueOf(clustersql.ClusterStatus{}), "cluster_", name)
	flatten(reflect.ValueOf(Node{}), "", name)
	flatten(reflect.ValueOf(clustersql.NodeStatus{}), "", func(field, value string) {
		if field != "name" { // Node has it
			name(field, value)
		}
	})
	_ = out.Write(header)
	for i := range s.Clusters {
		c := &s.Clusters[i]
		var head []string
		value := func(_, value string) { head = append(head, harmless(value)) }
		flatten(reflect.ValueOf(*c), "", value)
		flatten(reflect.ValueOf(c.Status), "", value)
		if len(c.Nodes) == 0 {
			_ = out.Write(append(head, make([]string, len(header)-len(head))...))
		}
		for j := range c.Nodes {
			line := slices.Clone(head)
			value := func(_, value string) { line = append(line, harmless(value)) }
			flatten(reflect.ValueOf(c.Nodes[j]), "", value)
			flatten(reflect.ValueOf(c.Status.Nodes[j]), "", func(field, v string) {
				if field != "name" {
					value(field, v)
				}
			})
			_ = out.Write(line)
		}
	}
}

// writeCSV writes a line for each cell, with what its row and its process have. The
// columns have the names of the JSON; those of the process begin with process_.
func (c *Comparison) writeCSV(w io.Writer) {
	out := csv.NewWriter(w)
	defer out.Flush() // whose error is one of w
	_ = out.Write([]string{
		"cluster", "node", "process_url", "process_name", "process_error", "process_answered",
		"known", "old", "level", "kind", "word", "why", "since", "notes", "differs", "differs_since",
	})
	for i := range c.Rows {
		r := &c.Rows[i]
		for j := range r.Cells {
			cell, p := &r.Cells[j], &c.Processes[j]
			level := ""
			if cell.Known {
				level = cell.Level.String()
			}
			line := []string{
				r.Cluster, r.Node, p.URL, p.Name, p.Err, timeText(p.Answered),
				strconv.FormatBool(cell.Known), strconv.FormatBool(cell.Old), level, string(cell.Kind), cell.Word, cell.Why, timeText(cell.Since), strings.Join(cell.Notes, ", "),
				strings.Join(r.Differs, ", "), timeText(r.Since),
			}
			for k := range line {
				line[k] = harmless(line[k])
			}
			_ = out.Write(line)
		}
	}
}

// flatten calls see with the JSON name and the value of every field of a struct
// that is a number, a word, a time or a map of counts, and of what a Latency and
// the last probe have. Other structs and lists are left out.
func flatten(v reflect.Value, prefix string, see func(name, value string)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		name := prefix + tag
		switch value := v.Field(i).Interface().(type) {
		case time.Time:
			see(name, timeText(value))
		case time.Duration: // the JSON of the status has these names
			see(prefix+strings.ToLower(field.Name)+"_seconds", secondsText(value))
		case clustersql.Latency:
			see(name+"_count", strconv.FormatUint(value.Count(), 10))
			see(name+"_mean_seconds", secondsText(value.Mean()))
			for _, p := range []struct {
				name string
				part float64
			}{{"p50", 0.5}, {"p99", 0.99}, {"max", 1}} {
				see(name+"_"+p.name+"_seconds", secondsText(value.Percentile(p.part)))
			}
		case clustersql.ProbeResult:
			flatten(v.Field(i), name+"_", see)
		case map[string]uint64:
			see(name, countsText(value))
		default:
			if k := v.Field(i).Kind(); k != reflect.Slice && k != reflect.Struct {
				see(name, fmt.Sprint(value))
			}
		}
	}
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

func secondsText(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// countsText lists counts by name, as in "refused 3, silent 1".
func countsText(counts map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, name+" "+count(counts[name]))
	}
	return strings.Join(parts, ", ")
}

// harmless returns a text that a spreadsheet does not take for a formula.
func harmless(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return "'" + text
		}
	}
	return text
}

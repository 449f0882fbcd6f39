package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// writeRows prints the table of check in one of its formats.
func writeRows(to io.Writer, format string, rows []row) error {
	switch format {
	case "json":
		return writeJSON(to, append([]row{}, rows...))
	case "tsv":
		return writeTSV(to, rows)
	case "junit":
		return writeJUnit(to, rows)
	}
	return writeTable(to, rows)
}

func writeTSV(to io.Writer, rows []row) error {
	var b strings.Builder
	b.WriteString("cluster\tcheck\tnode\tverdict\thave\twant\tnote\n")
	for _, r := range rows {
		for i, field := range []string{r.Cluster, r.Check, r.Node, string(r.Verdict), r.Have, r.Want, r.Note} {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(tame(field))
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// The widest that a column of the table may be. The note stands last and is not cut.
const widest = 44

// writeTable prints a table for each cluster. Nodes of which the same can be said
// share a line; rows of one check stand together.
func writeTable(to io.Writer, rows []row) error {
	var b strings.Builder
	for len(rows) > 0 {
		n := slices.IndexFunc(rows, func(r row) bool { return r.Cluster != rows[0].Cluster })
		if n < 0 {
			n = len(rows)
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "cluster %s\n", tame(rows[0].Cluster))
		lines := [][]string{{"", "check", "node", "have", "want", "note"}}
		for _, r := range joined(rows[:n]) {
			lines = append(lines, []string{string(r.Verdict), tame(r.Check), tame(r.Node), tame(r.Have), tame(r.Want), tame(r.Note)})
		}
		writeColumns(&b, lines)
		rows = rows[n:]
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// joined returns the rows of a cluster with those of one check together, and those
// that differ in the node alone as one.
func joined(rows []row) (all []row) {
	for _, r := range rows {
		last := -1
		same := slices.IndexFunc(all, func(o row) bool {
			o.Node = r.Node
			return o == r && r.Node != ""
		})
		if same >= 0 {
			all[same].Node += ", " + r.Node
			continue
		}
		for i := range all {
			if all[i].Check == r.Check {
				last = i
			}
		}
		if last < 0 {
			last = len(all) - 1
		}
		all = slices.Insert(all, last+1, r)
	}
	return all
}

// writeColumns writes lines whose columns stand below each other. A text that is
// too wide for its column moves the rest of its line.
func writeColumns(b *strings.Builder, lines [][]string) {
	var widths []int
	for _, l := range lines {
		for i, text := range l {
			if i >= len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], min(widest, utf8.RuneCountInString(text)))
		}
	}
	for _, l := range lines {
		var line strings.Builder
		for i, text := range l {
			line.WriteString(text)
			if i < len(l)-1 {
				line.WriteString(strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(text))+2))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// writeJUnit writes what CI servers show as tests: a suite for each cluster.
func writeJUnit(to io.Writer, rows []row) error {
	type message struct {
		Message string `xml:"message,attr"`
	}
	type testcase struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		Failure *message `xml:"failure,omitempty"`
		Skipped *message `xml:"skipped,omitempty"`
		Out     string   `xml:"system-out,omitempty"`
	}
	type suite struct {
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	type suites struct {
		XMLName xml.Name `xml:"testsuites"`
		Suites  []*suite `xml:"testsuite"`
	}
	var all suites
	for _, r := range rows {
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != r.Cluster {
			all.Suites = append(all.Suites, &suite{Name: r.Cluster})
		}
		s := all.Suites[len(all.Suites)-1]
		c := testcase{Name: strings.TrimSpace(r.Check + " " + r.Node), Class: "clustersql." + r.Cluster}
		text := fmt.Sprintf("have %s, want %s: %s", r.Have, r.Want, r.Note)
		s.Tests++
		switch r.Verdict {
		case isFailed:
			s.Failures++
			c.Failure = &message{text}
		case isSkipped:
			s.Skipped++
			c.Skipped = &message{r.Note}
		case isWarning:
			c.Out = "warning: " + text
		}
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(to, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(to)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(to, "\n")
	return err
}

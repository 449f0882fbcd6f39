package clustersql

import (
	"fmt"
	"io"
	"strings"
)

// The types here print themselves. By its own means package fmt would print
// their fields, and with them errors and structs of the backend that hold
// secrets.

// format writes a text for a verb. %s, %q, %x and %X are as for a string. Every
// other verb writes the text as it is, whatever the flags.
func format(s fmt.State, verb rune, text string) {
	switch verb {
	case 's', 'q', 'x', 'X':
		fmt.Fprintf(s, fmt.FormatString(s, verb), text)
	default:
		io.WriteString(s, text)
	}
}

// Format prints the text of Error for every verb, so that nothing shows Err.
func (e OpenError) Format(s fmt.State, verb rune) { format(s, verb, e.Error()) }

// MarshalText returns the text of Error, so that a structured log shows nothing
// more.
func (e OpenError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Format prints the text of Error for every verb, so that nothing shows Err.
func (e AttemptError) Format(s fmt.State, verb rune) { format(s, verb, e.Error()) }

// MarshalText returns the text of Error, so that a structured log shows nothing
// more.
func (e AttemptError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Format prints the text of Error for every verb, so that nothing shows Err.
func (e NodeError) Format(s fmt.State, verb rune) { format(s, verb, e.Error()) }

// MarshalText returns the text of Error, so that a structured log shows nothing
// more.
func (e NodeError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Format prints the name of the cluster and those of its nodes, for every verb.
func (d Driver) Format(s fmt.State, verb rune) { format(s, verb, d.text()) }

func (d Driver) text() string {
	if d.m == nil {
		return "clustersql: an empty Driver"
	}
	return fmt.Sprintf("clustersql: cluster %q with the nodes %s", d.m.name, names(d.m.names()))
}

// Format prints what the Driver prints.
func (c *connector) Format(s fmt.State, verb rune) { Driver{m: c.m}.Format(s, verb) }

// Format prints what the Driver prints.
func (c failedConnector) Format(s fmt.State, verb rune) { c.d.Format(s, verb) }

// Format prints the names of the clusters, for every verb.
func (r *Registry) Format(s fmt.State, verb rune) {
	format(s, verb, "clustersql: a Registry of the clusters "+names(r.Names()))
}

// names returns a list of names for people.
func names(all []string) string {
	if len(all) == 0 {
		return "(none)"
	}
	return strings.Join(all, ", ")
}

// redacted returns a text of the program, such as the value of a panic, without
// the secrets of any node.
func redacted(nodes []*node, text string) string {
	for _, n := range nodes {
		text = n.dial.redact.Text(text)
	}
	return text
}

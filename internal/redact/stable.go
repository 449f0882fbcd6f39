package redact

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Stable returns the text of an error without what differs from one
// connection to the next: the port that the connection had on this machine, and the
// time at which a certificate was looked at. An error may hold the text of another
// one, such as that of a question to the name service.
func Stable(err error) string {
	var stable strings.Builder
	text := withoutNow(fmt.Sprint(err))
	for {
		arrow := strings.Index(text, "->")
		if arrow < 0 {
			stable.WriteString(text)
			return stable.String()
		}
		kept := arrow + len("->")
		from := 1 + strings.LastIndexAny(text[:arrow], " \t\n\"'(=")
		if _, err := netip.ParseAddrPort(text[from:arrow]); err == nil {
			kept = from
		}
		stable.WriteString(text[:kept])
		text = text[arrow+len("->"):]
	}
}

// now stands before the time in the error about a certificate that is too old or
// too new.
const now = "current time "

// withoutNow takes that time out.
func withoutNow(text string) string {
	before, after, found := strings.Cut(text, now)
	stamp, rest, _ := strings.Cut(after, " ")
	if _, err := time.Parse(time.RFC3339, stamp); !found || err != nil {
		return text
	}
	return before + now + rest
}

package redact

import (
	"fmt"
	"net/netip"
	"strings"
)

// Stable returns the text of an error without what differs from one
// connection to the next: the port that the connection had on this machine. An
// error may hold the text of another one, such as that of a question to the name
// service.
func Stable(err error) string {
	var stable strings.Builder
	text := fmt.Sprint(err)
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

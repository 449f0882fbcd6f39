package conffile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// An error about the syntax has a line and a kind, and no piece of the file.
func TestSyntaxMistakesQuoteNothing(t *testing.T) {
	const secret = "hunterxyz"
	cases := []struct{ text, kind string }{
		{"a = hunterxyz", noText},
		{"a = ", noText},
		{"a = @hunterxyz", noText},
		{"a = \"hunterxyz", openText},
		{"a = 'hunterxyz\n", openText},
		{"a = \"\"\"hunterxyz", openText},
		{`a = "\hunterxyz"`, wrongEscape},
		{`a = "\uhunterxyz"`, wrongEscape},
		{`a = "\ud800hunterxyz"`, wrongEscape},
		{"hunterxyz = 1\nhunterxyz = 2", keyTwice},
		{"[hunterxyz]\n[hunterxyz]", keyTwice},
		{"hunterxyz = 1\n[hunterxyz.b]", keyTwice},
		{"a = 1__hunterxyz", wrongNumber},
		{"a = 99999999999999999999", wrongNumber},
		{"a = 0123", wrongNumber},
		{"a = 1.hunterxyz", wrongNumber},
		{"a = +hunterxyz", wrongNumber},
		{"a = 0xhunterxyz", wrongNumber},
		{"a = 2001-99-99", wrongDate},
		{"a = 1hunterxyz", afterValue},
		{"a = \"x\"hunterxyz", afterValue},
		{"a = true hunterxyz", afterValue},
		{"hunterxyz", wrongKey},
		{"= hunterxyz", wrongKey},
		{"hunter xyz = 1", wrongKey},
		{"[hunterxyz", wrongTable},
		{"[]", wrongTable},
		{"[[hunterxyz]", wrongTable},
		{"a = [1,, hunterxyz]", wrongList},
		{"a = [1 hunterxyz]", wrongList},
		{"a = {b = 1 hunterxyz}", wrongList},
		{"a = \"\x01hunterxyz\"", wrongLetters},
		{"a = \"\xffhunterxyz\"", wrongLetters},
		{"a\x00hunterxyz", wrongLetters},
	}
	for _, tc := range cases {
		_, err := decodeTOML("x", "# the first line\n"+tc.text)
		var mistake *Mistake
		if !errors.As(err, &mistake) || !strings.Contains(err.Error(), ": "+tc.kind+": ") {
			t.Errorf("%q\ngot  %v\nwant %s", tc.text, err, tc.kind)
			continue
		}
		if mistake.Line < 1 || mistake.Line > 3 {
			t.Errorf("%q: line %d", tc.text, mistake.Line)
		}
		if shown := fmt.Sprintf("%v %+v %#v", err, mistake.Err, err); strings.Contains(shown, secret) || strings.Contains(shown, "@") {
			t.Errorf("%q: the error shows a piece of the file: %s", tc.text, shown)
		}
	}
}

// A name that may be a DSN is not quoted.
func TestQuoteName(t *testing.T) {
	for name, shown := range map[string]bool{
		"galera1": true, "db1:3306": true, "10.0.0.1": true, "shop primary": true, "": true,
		"app:hunter22@tcp(h)/db": false, "host=h password=hunter22": false, "Server=h;Password=hunter22": false,
		"postgres://h/db?user=app&password=hunter22": false,
	} {
		if got := QuoteName(name) != hidden; got != shown {
			t.Errorf("%q is shown: %v", name, got)
		}
	}
}

// A value is quoted only if it cannot be a secret by its looks.
func TestQuote(t *testing.T) {
	for value, shown := range map[string]bool{
		"": true, "fast": true, "read-write": true, "5": true, "5 s": true, "-1.5sec": true, "1h30min": true, "2µs": true,
		"hunter22": false, "5:3": false, "app@h": false, "h/d": false, "1password": false, "123456789": false, "pässwort": false,
		"averyverylongwordofletters": false, "a\nb": false, "5\n": false,
	} {
		if got := Quote(value) != hidden; got != shown {
			t.Errorf("%q is shown: %v", value, got)
		}
	}
}

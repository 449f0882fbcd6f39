package conffile

import (
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"PW": "a${PW}$${b", "_x1": "v", "EMPTY": ""}
	lookup := func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
	cases := []struct{ dsn, want, err string }{
		{"app:pass@tcp(h)/db", "app:pass@tcp(h)/db", ""},
		{"app:${PW}@tcp(h)/db", "app:a${PW}$${b@tcp(h)/db", ""},
		{"${_x1}${_x1}", "vv", ""},
		{"a$b$$c$", "a$b$$c$", ""},
		{"a$${PW}b", "a${PW}b", ""},
		{"a$$${PW}b", "a$${PW}b", ""},
		{"a$${", "a${", ""},
		{"$PW}", "$PW}", ""},
		{"a:${NONE}@", "", `the environment variable NONE is not set: set it, or write $${ for a "${" that is meant literally`},
		{"a:${EMPTY}@", "", `the environment variable EMPTY is empty: give it a value, or take ${EMPTY} out`},
		{"a:${PW@", "", `a "${" is not followed by a variable's name and "}": write ${NAME}, or $${ for a "${" that is meant literally`},
		{"a:${}@", "", `a "${" is not followed by a variable's name and "}": write ${NAME}, or $${ for a "${" that is meant literally`},
		{"a:${1x}@", "", `a "${" is not followed by a variable's name and "}": write ${NAME}, or $${ for a "${" that is meant literally`},
		{"a:${p@ss}@", "", `a "${" is not followed by a variable's name and "}": write ${NAME}, or $${ for a "${" that is meant literally`},
	}
	for _, tc := range cases {
		got, err := expand(tc.dsn, lookup)
		message := ""
		if err != nil {
			message = err.Error()
		}
		if got != tc.want || message != tc.err {
			t.Errorf("%s\ngot  %q, %s\nwant %q, %s", tc.dsn, got, message, tc.want, tc.err)
		}
	}
}

// FuzzExpand: the value of a variable is inserted unchanged wherever it is
// used. A text without "${" is left alone.
func FuzzExpand(f *testing.F) {
	f.Add("app:", "@tcp(h)/db", "${X}$${")
	f.Add("$", "}", "")
	f.Add("$${", "${", "x")
	f.Fuzz(func(t *testing.T, before, after, value string) {
		lookup := func(name string) (string, bool) { return value, name == "V" }
		if got, err := expand(before, lookup); !strings.Contains(before, "${") && (err != nil || got != before) {
			t.Errorf("%q became %q, %v", before, got, err)
		}
		escaped := strings.ReplaceAll(before, "${", "$${") // the dollar signs before it stay as they are
		got, err := expand(escaped, lookup)
		if err != nil || got != before {
			t.Errorf("%q became %q, %v; want %q", escaped, got, err, before)
		}
		if strings.Contains(before, "${") || strings.Contains(after, "${") || strings.HasSuffix(before, "$") || value == "" {
			return
		}
		got, err = expand(before+"${V}"+after, lookup)
		if err != nil || got != before+value+after {
			t.Errorf("%q, %v; want %q", got, err, before+value+after)
		}
	})
}

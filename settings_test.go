package clustersql

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// Every field of Config has a key, or is marked as having none. Every key can
// be set in a file and in a DSN.
func TestSettingsCoverConfig(t *testing.T) {
	values := map[reflect.Type]any{
		reflect.TypeFor[time.Duration](): "1500ms",
		reflect.TypeFor[int]():           int64(7),
		reflect.TypeFor[bool]():          true,
		reflect.TypeFor[string]():        "text",
		reflect.TypeFor[Strategy]():      "race",
		reflect.TypeFor[Check]():         "ping",
		reflect.TypeFor[Rebalance]():     "first",
		reflect.TypeFor[Require]():       "writable",
		reflect.TypeFor[DialMode]():      "backend",
		reflect.TypeFor[Groups]():        "any",
		reflect.TypeFor[Dialect]():       "mysql",
		reflect.TypeFor[Discover]():      "dns",
	}
	texts := map[reflect.Type]string{reflect.TypeFor[int](): "7", reflect.TypeFor[bool](): "true"}
	for i := range reflect.TypeFor[Config]().NumField() {
		field := reflect.TypeFor[Config]().Field(i)
		key := field.Tag.Get("toml")
		if key == "-" {
			continue
		}
		value, ok := values[field.Type]
		if key == "" || !ok {
			t.Errorf("%s: key %q, and no value of type %s to try", field.Name, key, field.Type)
			continue
		}
		text, ok := texts[field.Type]
		if !ok {
			text = value.(string)
		}
		var a, b Config
		if err := a.set(key, value); err != nil {
			t.Error(err)
		}
		if err := b.setText(key, text); err != nil {
			t.Error(err)
		}
		for _, c := range []Config{a, b} {
			if reflect.ValueOf(c).FieldByIndex(field.Index).IsZero() {
				t.Errorf("%s was not set", key)
			}
		}
	}
}

func TestSettingErrors(t *testing.T) {
	cases := []struct {
		key   string
		value any
		want  string
	}{
		{"open_timeout", int64(5), `open_timeout: 5 has no unit: write "5s" for seconds`},
		{"open_timeout", 1.5, `open_timeout: 1.5 has no unit: write "1.5s" for seconds`},
		{"open_timeout", "5", `open_timeout: "5" is not a duration: write one with its unit, as in "1.5s" or "600ms"`},
		{"open_timeout", true, `open_timeout: it is a boolean: write a duration with its unit, as in "1.5s"`},
		{"rise", "2", `rise: "2" is not a number: write one as in 8`},
		{"rise", 1.5, `rise: it is a number: write a whole number as in 8`},
		{"rise", []any{int64(1)}, `rise: it is an array: write a whole number as in 8`},
		{"strategy", int64(1), `strategy: it is a number: write a text in quotes`},
		{"strategy", "rac", `strategy: unknown strategy "rac": use "race", "hedged", "balanced" or "ordered"`},
		{"check", "", `check: unknown check "": use "do1" (mysql's default), "galera" or "ping"`},
	}
	for _, tc := range cases {
		c := DefaultConfig()
		err := c.set(tc.key, tc.value)
		var setting *SettingError
		if !errors.As(err, &setting) || err.Error() != tc.want {
			t.Errorf("\ngot  %v\nwant %s", err, tc.want)
		}
	}
	c := DefaultConfig()
	if err := c.set("no_such", "x"); err == nil {
		t.Error("an unknown key is set")
	}
}

// A choice that does not exist is refused in code as in a file.
func TestUnknownChoicesAreRefused(t *testing.T) {
	for key, opt := range map[string]Option{
		"groups": WithGroups("every"), "require": WithRequire("fast"), "dial": WithDial("nobody"), "rebalance": WithRebalance("now", time.Second), "dialect": WithDialect("oracle"),
	} {
		d := NewDriver(fakedb.New().Driver(), uniqueName(key), quiet, opt)
		var wrong *SettingError
		if err := d.AddNode("n1", "n1"); !errors.As(err, &wrong) || wrong.Key != key {
			t.Errorf("%s: %v", key, err)
		}
		d.Close()
	}
}

// Config shows the settings that a cluster works with, also those that followed
// another.
func TestConfigOfADriver(t *testing.T) {
	d := NewDriver(fakedb.New().Driver(), "", WithStrategy(Ordered), WithOpenTimeout(time.Second))
	defer d.Close()
	if c := d.Config(); c.Strategy.String() != "ordered" || c.AttemptTimeout != time.Second || c.ProbeInterval != time.Second {
		t.Errorf("%s, %s, %s", c.Strategy, c.AttemptTimeout, c.ProbeInterval)
	}
	if c := (Driver{}).Config(); c.OpenTimeout != 0 {
		t.Error("an empty Driver has settings")
	}
}

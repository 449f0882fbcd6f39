package settings

import (
	"slices"
	"testing"
	"time"
)

type some struct {
	Wait  time.Duration `toml:"wait" reload:"live"`
	Rise  int           `toml:"rise" reload:"live"`
	On    bool          `toml:"on" reload:"at restart"`
	Query string        `toml:"query" reload:"live"`
	Seed  uint64        `toml:"-" reload:"at restart"`
}

// Settings are set by their keys, from a file's values and from texts.
func TestSetByKey(t *testing.T) {
	table := Of[some]()
	if !slices.Equal(table.Keys, []string{"wait", "rise", "on", "query"}) || !table.Has("on") || table.Has("-") {
		t.Fatalf("keys: %v", table.Keys)
	}
	var s some
	for key, text := range map[string]string{"wait": "1500ms", "rise": "7", "on": "true", "query": "text"} {
		if err := table.Set(&s, key, table.Value(key, text)); err != nil {
			t.Error(key, err)
		}
	}
	if s != (some{1500 * time.Millisecond, 7, true, "text", 0}) {
		t.Errorf("%+v", s)
	}
	if err := table.Set(&s, "rise", table.Value("rise", "many")); err == nil {
		t.Error("a text is a number")
	}
}

// What differs is found, and what changes at a restart only can be kept.
func TestDifferencesAndKeep(t *testing.T) {
	table := Of[some]()
	a, b := some{Wait: time.Second, Seed: 1}, some{Wait: time.Minute, On: true, Seed: 2}
	all := table.Differences(&a, &b, nil)
	want := []Difference{{"wait", "live", time.Second, time.Minute}, {"on", "at restart", false, true}}
	if !slices.Equal(all, want) {
		t.Errorf("%+v", all)
	}
	table.Keep(&b, &a, "at restart")
	if b != (some{Wait: time.Minute, Seed: 1}) {
		t.Errorf("%+v", b)
	}
	for value, want := range map[any]string{time.Second: `"1s"`, 7: "7", true: "true", "text": `"text"`} {
		if got := Text(value); got != want {
			t.Errorf("%v is %s, want %s", value, got, want)
		}
	}
}

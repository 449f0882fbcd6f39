package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

func TestDefaultsAreValid(t *testing.T) {
	c := DefaultConfig()
	if err := c.validate(); err != nil {
		t.Fatal(err)
	}
}

// Settings that cannot work are an error of the first call that can report it:
// AddNode or sql.Open.
func TestMistunedSettings(t *testing.T) {
	cases := []struct {
		opt  Option
		want string
	}{
		{WithOpenTimeout(0), `open_timeout: 0s is not a positive duration: write one with a unit, as in "1.5s"`},
		{WithOpenTimeout(-time.Second), `open_timeout: -1s is not a positive duration: write one with a unit, as in "1.5s"`},
		{WithLoserGrace(7), `loser_grace: 7ns is under a millisecond: write the duration with its unit, as in "1.5s"`},
		{func(c *Config) { c.OpenTimeout, c.AttemptTimeout = time.Second, time.Minute }, `attempt_timeout: 1m0s is above open_timeout (1s): lower it, or raise open_timeout`},
		{WithProbe(1500*time.Millisecond, 2*time.Second), `probe_timeout: 2s is above probe_interval (1.5s): lower it, or raise probe_interval`},
		{WithProbe(math.MaxInt64, time.Second), `probe_interval: 2562047h47m16.854775807s is too long: write "24h" at most`},
		{WithProbe(700_000*time.Hour, time.Second), `probe_interval: 700000h0m0s is too long: write "24h" at most`},
		{WithAttemptTimeout(25 * time.Hour), `attempt_timeout: 25h0m0s is too long: write "24h" at most`},
		{WithOpenTimeout(math.MaxInt64), `open_timeout: 2562047h47m16.854775807s is too long: write "24h" at most`},
		{WithFailbackAfter(math.MaxInt64), `failback_after: 2562047h47m16.854775807s is too long: write "8760h" at most`},
		{WithMaxAge(math.MaxInt64), `max_age: 2562047h47m16.854775807s is too long: write "8760h" at most`},
		{WithMaxOpensPerNode(65536), `max_opens_per_node: 65536 is too large: write a number from 1 to 65535`},
		{WithRiseFall(1001, 1), `rise: 1001 is too large: write a number from 1 to 1000`},
		{WithRiseFall(1, math.MaxInt32), `fall: 2147483647 is too large: write a number from 1 to 1000`},
		{WithProbe(0, time.Second), `probe_interval: 0s is not a positive duration: write one with a unit, as in "1.5s"`},
		{WithRiseFall(0, 1), `rise: 0 is too small: it must be at least 1`},
		{WithRiseFall(1, -1), `fall: -1 is too small: it must be at least 1`},
		{WithMaxOpensPerNode(0), `max_opens_per_node: 0 is too small: it must be at least 1`},
		{WithSilenceHold(0), `silence_hold: 0s is not a positive duration: write one with a unit, as in "1.5s"`},
		{WithRebalance("", -1), `rebalance_after: -1ns is not a positive duration: write one with a unit, as in "1.5s"`},
		{WithRebalance("all", time.Second), `rebalance: there is no "all": use "shares", "first", "refresh" or "off", or leave it out`},
		{WithFailbackAfter(0), `failback_after: 0s is not a positive duration: write one with a unit, as in "1.5s"`},
		{WithDrainTimeout(0), `drain_timeout: 0s is not a positive duration: write one with a unit, as in "1.5s"`},
		{WithMaxAge(time.Millisecond), `max_age: 1ms is too short: write at least "1s", or "0s" for no limit`},
		{WithMaxAge(-time.Hour), `max_age: -1h0m0s is too short: write at least "1s", or "0s" for no limit`},
		{WithTCPUserTimeout(time.Millisecond), `tcp_user_timeout: 1ms is too short: write at least "1s", or "0s" for no limit`},
		{WithTCPUserTimeout(-time.Second), `tcp_user_timeout: -1s is too short: write at least "1s", or "0s" for no limit`},
		{WithTCPUserTimeout(25 * time.Hour), `tcp_user_timeout: 25h0m0s is too long: write "24h" at most`},
		{WithLateAfter(time.Microsecond), `late_after: 1µs is too short: write at least "1ms", or "0s" for no limit`},
		{WithLateAfter(-time.Second), `late_after: -1s is too short: write at least "1ms", or "0s" for no limit`},
		{WithStrategy(Strategy{}), `strategy: none is set: use clustersql.Race, or leave the default`},
	}
	for _, tc := range cases {
		t.Run(tc.want, func(t *testing.T) {
			d := NewDriver(fakedb.New().Driver(), "mistuned", tc.opt)
			want := `clustersql: cluster "mistuned": ` + tc.want
			name := uniqueName("mistuned")
			sql.Register(name, d)
			_, opened := sql.Open(name, "")
			db := sql.OpenDB(d.Connector())
			defer db.Close()
			for _, err := range []error{d.AddNode("n", "dsn"), opened, db.Ping()} {
				var setting *SettingError
				if err == nil || err.Error() != want || !errors.As(err, &setting) {
					t.Errorf("got  %v\nwant %s", err, want)
				}
			}
		})
	}
}

// Every duration and every count has an upper bound, and works at both ends.
func TestSettingsHaveBounds(t *testing.T) {
	fields := reflect.TypeFor[Config]()
	for i := range fields.NumField() {
		c := DefaultConfig()
		switch field := reflect.ValueOf(&c).Elem().Field(i); field.Interface().(type) {
		case time.Duration, int:
			field.SetInt(math.MaxInt64 >> (64 - field.Type().Bits()))
			var wrong *SettingError
			if err := c.settle(); !errors.As(err, &wrong) || wrong.Key != fields.Field(i).Tag.Get("toml") {
				t.Errorf("%s has no bound: %v", fields.Field(i).Name, err)
			}
		}
	}
}

// A cluster whose durations are as long as they may be, or as short, probes as
// often as they say.
func TestExtremesInVirtualTime(t *testing.T) {
	for _, tc := range []struct {
		interval, lasts time.Duration
		least, most     int64
	}{
		{24 * time.Hour, 100 * 24 * time.Hour, 83, 128},
		{time.Millisecond, time.Second, 500, 1300},
	} {
		synctest.Test(t, func(t *testing.T) {
			var probes atomic.Int64
			d := fakeCluster(t, fakedb.New(), 1, func(c *Config) {
				c.Check = func(context.Context, driver.Conn) error { probes.Add(1); return nil }
				c.ProbeInterval, c.OpenTimeout, c.AttemptTimeout, c.LoserGrace = tc.interval, longestWait, longestWait, longestWait
				c.DonorAfter, c.SilenceHold, c.RebalanceAfter = longestDelay, longestDelay, longestDelay
				c.FailbackAfter, c.MaxAge, c.DrainTimeout = longestDelay, longestDelay, longestDelay
				c.MaxOpensPerNode, c.Rise, c.Fall = mostOpens, mostChecks, mostChecks
			})
			db := openDB(t, d)
			if err := db.Ping(); err != nil {
				t.Error(err)
			}
			time.Sleep(tc.lasts)
			if n := probes.Load(); n < tc.least || n > tc.most {
				t.Errorf("probed %d times in %s every %s", n, tc.lasts, tc.interval)
			}
			db.Close()
		})
	}
}

// A limit that was not set follows the one that was, whichever way that was
// set.
func TestLimitsFollow(t *testing.T) {
	cases := []struct {
		settings               map[string]string
		open, attempt          time.Duration
		probeInterval, timeout time.Duration
	}{
		{map[string]string{"open_timeout": "2s"}, 2e9, 2e9, 1e9, 6e8},
		{map[string]string{"open_timeout": "5s"}, 5e9, 3e9, 1e9, 6e8},
		{map[string]string{"attempt_timeout": "15s"}, 15e9, 15e9, 1e9, 6e8},
		{map[string]string{"probe_interval": "200ms"}, 10e9, 3e9, 2e8, 2e8},
		{map[string]string{"probe_timeout": "4s"}, 10e9, 3e9, 4e9, 4e9},
		{map[string]string{"open_timeout": "2s", "attempt_timeout": "3s"}, 2e9, 2e9, 1e9, 6e8}, // 3s is the default
	}
	for _, tc := range cases {
		for way, d := range clusterIn(t, tc.settings) {
			c := d.m.cfg()
			if c.OpenTimeout != tc.open || c.AttemptTimeout != tc.attempt || c.ProbeInterval != tc.probeInterval || c.ProbeTimeout != tc.timeout || d.m.invalid != nil {
				t.Errorf("%s, %v: open %s, attempt %s, probe %s every %s, %v", way, tc.settings,
					c.OpenTimeout, c.AttemptTimeout, c.ProbeTimeout, c.ProbeInterval, d.m.invalid)
			}
		}
	}
}

// clusterIn returns one cluster for each way to make one with the settings.
func clusterIn(t *testing.T, settings map[string]string) map[string]Driver {
	t.Helper()
	name := uniqueName("follow")
	code := NewDriver(fakedb.New().Driver(), name, func(c *Config) {
		for key, value := range settings {
			if err := c.setText(key, value); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Cleanup(func() { code.Close() })
	var top, in, query strings.Builder
	for key, value := range settings {
		fmt.Fprintf(&top, "%s = %q\n", key, value)
		fmt.Fprintf(&in, "%s = %q\n", key, value)
		fmt.Fprintf(&query, "clustersql.%s=%s&", key, value)
	}
	backend, _ := registerChoosy(nil)
	cluster := fmt.Sprintf("[[cluster]]\nname = %q\ndriver = %q\n", name, backend)
	const node = "[[cluster.node]]\nname = \"n1\"\ndsn = \"a\"\n"
	inFile(t, top.String()+cluster+node)
	atTop, _ := load(t, "").Driver(name)
	inFile(t, cluster+in.String()+node)
	inCluster, _ := load(t, "").Driver(name)
	byDSN, err := clusterOf("app@tcp(h1,h2)/db?" + strings.TrimSuffix(query.String(), "&"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { byDSN.Close() })
	return map[string]Driver{"code": code, "top of the file": atTop, "cluster of the file": inCluster, "DSN": byDSN}
}

package clustersql

import (
	"database/sql"
	"errors"
	"testing"
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
		{WithAttemptTimeout(time.Minute), `attempt_timeout: 1m0s is above open_timeout (10s): lower it, or raise open_timeout`},
		{WithProbe(time.Second, 2*time.Second), `probe_timeout: 2s is above probe_interval (1s): lower it, or raise probe_interval`},
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

package pgcluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Set changes a setting of the server by ALTER SYSTEM, and waits until the
// server has read it. It is for settings that need no restart.
func (n *Node) Set(ctx context.Context, name, value string) error {
	n.mu.Lock()
	n.changed[name] = true
	n.mu.Unlock()
	return n.alter(ctx, "SET "+name+" = '"+strings.ReplaceAll(value, "'", "''")+"'")
}

// Reset undoes Set.
func (n *Node) Reset(ctx context.Context, name string) error {
	n.mu.Lock()
	delete(n.changed, name)
	n.mu.Unlock()
	return n.alter(ctx, "RESET "+name)
}

// resetAll undoes every Set.
func (n *Node) resetAll(ctx context.Context) error {
	n.mu.Lock()
	names := slices.Sorted(maps.Keys(n.changed))
	n.mu.Unlock()
	for _, name := range names {
		if err := n.Reset(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) alter(ctx context.Context, how string) error {
	n.log("%s", how)
	return n.reload(ctx, "ALTER SYSTEM "+how)
}

// Reload has the server read its files, pg_hba.conf among them. It returns when
// new sessions have what they say. Others have it before their next statement.
func (n *Node) Reload(ctx context.Context) error { return n.reload(ctx) }

// reload runs the statements first.
func (n *Node) reload(ctx context.Context, first ...string) error {
	was, err := n.Query(ctx, append(first, "SELECT pg_conf_load_time()")...)
	if err != nil {
		return err
	}
	// The session that asks has read the files when the time changes. The
	// postmaster had done so before.
	return n.until(ctx, "reading its settings", "pg_conf_load_time() > '"+was+"'", "SELECT pg_reload_conf()")
}

// ConnLimit limits the connections of a role on each node. Below 0 there is no
// limit. The administrator has none.
func (c *Cluster) ConnLimit(ctx context.Context, role string, limit int) error {
	c.log.Printf("%s: connection limit %d", role, limit)
	return c.Exec(ctx, fmt.Sprintf("ALTER ROLE %s CONNECTION LIMIT %d", role, limit))
}

// PauseReplay stops a standby's replay. The standby still receives.
func (n *Node) PauseReplay(ctx context.Context) error {
	n.log("pause replay")
	return n.until(ctx, "pausing replay", "pg_get_wal_replay_pause_state() = 'paused'", "SELECT pg_wal_replay_pause()")
}

// ResumeReplay undoes PauseReplay. It does not wait until the standby has caught
// up.
func (n *Node) ResumeReplay(ctx context.Context) error {
	n.log("resume replay")
	return n.until(ctx, "resuming replay", "pg_get_wal_replay_pause_state() = 'not paused'", "SELECT pg_wal_replay_resume()")
}

// Delay has a standby replay each commit that long after the primary's. 0 undoes
// it.
func (n *Node) Delay(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return n.Reset(ctx, "recovery_min_apply_delay")
	}
	return n.Set(ctx, "recovery_min_apply_delay", fmt.Sprintf("%dms", d.Milliseconds()))
}

// WaitReplayed waits until a standby streams, and has replayed what the primary
// has now. Without a deadline it waits for at most 30 s.
func (n *Node) WaitReplayed(ctx context.Context) error {
	at, err := n.cluster.Primary().Query(ctx, "SELECT pg_current_wal_flush_lsn()")
	if err != nil {
		return err
	}
	return n.until(ctx, "replaying", n.streams()+" AND pg_last_wal_replay_lsn() >= '"+at+"'")
}

// streams is that a standby receives from the node that it follows.
func (n *Node) streams() string {
	l := n.way()
	if l == nil {
		return "false"
	}
	return fmt.Sprintf("EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming' AND sender_port = %d)", l.Port())
}

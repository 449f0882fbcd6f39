package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/EnumApps/clustersql"
)

const doctorFindings = 1

func init() {
	register(40, "doctor", "Say in sentences what is odd about clusters, and which setting changes it.", func() runner { return &doctorCommand{} })
}

type doctorCommand struct {
	Target  string        `arg:"" optional:"" name:"url-or-file" help:"The URL of a program's status page, a file, or a DSN."`
	Cluster string        `help:"Only the cluster of this name."`
	For     time.Duration `default:"3s" help:"How long to look: rates are worked out from two looks."`
	Format  string        `enum:"text,json" default:"text" help:"text or json."`
	Bundle  string        `placeholder:"F.tar.gz" help:"Also write what was seen into this archive, without secrets, for somebody who helps."`
}

// An illness is something odd about a cluster or a node.
type illness struct {
	Cluster string `json:"cluster"`
	Node    string `json:"node,omitempty"`
	Rule    string `json:"rule"`
	Text    string `json:"text"` // what it is, with numbers
	Cure    string `json:"cure"` // the setting that changes it, or what to do
}

func (i illness) String() string {
	where := i.Cluster
	if i.Node != "" {
		where += ": " + i.Node
	}
	return tame(fmt.Sprintf("%s: %s: %s [%s]", where, i.Text, i.Cure, i.Rule))
}

// Run looks twice, and says what is odd.
func (c *doctorCommand) Run(e *env) error {
	s, err := openSource(c.Target)
	if err != nil {
		return exitf(exitUsage, "%v", err)
	}
	defer s.close()
	var configs map[string]*clustersql.Config
	if own, ok := s.(*ownSource); ok {
		if err := own.only(c.Cluster); err != nil {
			return exitf(exitUsage, "%v", err)
		}
		own.ready(e.ctx)
		configs = make(map[string]*clustersql.Config)
		for _, cl := range own.clusters {
			configs[cl.driver.Status().ID] = &cl.config
		}
	}
	before, now, err := c.look(e.ctx, s)
	if err != nil {
		return exitf(exitUsage, "%v", err)
	}
	all := []illness{}
	for i := range now.Clusters {
		v := &now.Clusters[i]
		all = append(all, diagnose(v, before.cluster(v.Status.ID), now.Time.Sub(before.Time), configs[v.Status.ID])...)
	}
	if c.Bundle != "" {
		if err := writeBundle(c.Bundle, s, now, all); err != nil {
			return exitf(exitUsage, "%s: %v: name a file that can be written", c.Bundle, err)
		}
		e.note("%s has what was seen, without passwords; look through it before you send it", c.Bundle)
	}
	switch c.Format {
	case "json":
		err = writeJSON(e.stdout, all)
	default:
		for _, i := range all {
			if _, err = fmt.Fprintln(e.stdout, i); err != nil {
				break
			}
		}
		if len(all) == 0 {
			e.note("nothing odd about %d clusters", len(now.Clusters))
		}
	}
	if err != nil {
		return err
	}
	if len(all) > 0 {
		return finish(doctorFindings)
	}
	return nil
}

// look takes two snapshots.
func (c *doctorCommand) look(ctx context.Context, s source) (before, now *snapshot, err error) {
	for i := range 2 {
		if i == 1 {
			pause(ctx, c.For)
		}
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("interrupted")
		}
		if now, err = s.take(ctx); err == nil {
			err = now.only(c.Cluster)
		}
		if err != nil {
			return nil, nil, err
		}
		if i == 0 {
			before = now
		}
	}
	return before, now, nil
}

// cluster returns the cluster with an ID, or nil.
func (s *snapshot) cluster(id string) *clusterView {
	for i := range s.Clusters {
		if s.Clusters[i].Status.ID == id {
			return &s.Clusters[i]
		}
	}
	return nil
}

// hostname is that of this machine.
func hostname() string {
	name, _ := os.Hostname()
	return name
}

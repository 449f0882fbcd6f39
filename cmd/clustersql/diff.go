package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/conffile"
)

const diffDiffers = 1

func init() {
	register(15, "diff", "Say what a running program would do if one file took the place of another.", func() runner { return &diffCommand{} })
}

type diffCommand struct {
	Old    string `arg:"" help:"The file that the program runs with."`
	New    string `arg:"" help:"The file that it is to reload."`
	Format string `enum:"text,json" default:"text" help:"text or json."`
	Env    bool   `negatable:"" default:"true" help:"A variable that is not set here is a mistake."`
}

// Run prints a line for each change, and what a reload makes of it.
func (c *diffCommand) Run(e *env) error {
	before, err := describe(c.Old, c.Env)
	if err != nil {
		return exitf(exitUsage, "%v", err)
	}
	after, err := describe(c.New, c.Env)
	if err != nil {
		return exitf(exitUsage, "%v", err)
	}
	diff := clustersql.Plan(before, after)
	if c.Format == "json" {
		diff.Changes = append([]clustersql.Change{}, diff.Changes...)
		err = writeJSON(e.stdout, diff)
	} else {
		for _, change := range diff.Changes {
			if _, err = fmt.Fprintln(e.stdout, sign(change.Kind), changeText(change)); err != nil {
				break
			}
		}
	}
	if err != nil || diff.Empty() {
		return err
	}
	return finish(diffDiffers)
}

// describe returns the clusters of a file.
func describe(path string, env bool) ([]clustersql.Description, error) {
	f, err := conffile.Read(path, fileKeys)
	if err != nil {
		return nil, err
	}
	for i := range f.Clusters {
		if _, err := lendDriver(&f.Clusters[i]); err != nil {
			return nil, err
		}
	}
	if !env {
		lookup := standIns(f)
		for i := range f.Clusters {
			for _, n := range f.Clusters[i].Nodes {
				for _, m := range variable.FindAllString(n.DSN, -1) {
					if name := strings.Trim(m, "${}"); !strings.HasPrefix(m, "$$") {
						value, _ := lookup(name)
						if err := os.Setenv(name, value); err != nil {
							return nil, err
						}
					}
				}
			}
		}
	}
	r, err := clustersql.Load(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.Describe(), nil
}

// sign is what stands before a change: + for what comes, - for what goes, ~ for the
// rest.
func sign(k clustersql.ChangeKind) string {
	switch k {
	case clustersql.ChangeAdd:
		return "+"
	case clustersql.ChangeRemove:
		return "-"
	}
	return "~"
}

// changeText is a change in words. Files tell nothing of connections, so neither
// does it.
func changeText(c clustersql.Change) string {
	text := c.String()
	if i := strings.LastIndex(text, "; moves"); i >= 0 {
		text = text[:i] + ")"
	}
	return text
}

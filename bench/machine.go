package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// A Machine describes the machine and software of a run.
type Machine struct {
	Date                      time.Time
	CPU, Memory, Kernel, Go   string
	Cores                     int
	Server, Provider, HAProxy string
	MySQLDriver, Commit       string
	LoadBefore, LoadAfter     string
}

func (r *rig) machine(ctx context.Context) (m Machine, err error) {
	m = Machine{
		Date: time.Now().UTC(), Go: runtime.Version(), Cores: runtime.NumCPU(),
		CPU:    firstField("/proc/cpuinfo", "model name"),
		Memory: firstField("/proc/meminfo", "MemTotal"),
		Kernel: firstLine("/proc/sys/kernel/osrelease"), LoadBefore: loadAverage(),
		Commit: commit(ctx), MySQLDriver: version("github.com/go-sql-driver/mysql"),
	}
	db := r.cluster.Nodes[0].AdminDB()
	if err := db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&m.Server); err != nil {
		return m, err
	}
	if m.Provider, err = r.cluster.Nodes[0].Status(ctx, "wsrep_provider_version"); err != nil {
		return m, err
	}
	program, err := haproxy()
	if err != nil {
		return m, err
	}
	text, err := exec.CommandContext(ctx, program, "-v").Output()
	line, _, _ := strings.Cut(string(text), "\n")
	m.HAProxy, _, _ = strings.Cut(strings.TrimPrefix(line, "HAProxy version "), " ")
	return m, err
}

func loadAverage() string {
	fields := strings.Fields(firstLine("/proc/loadavg"))
	if len(fields) == 0 {
		return "unknown"
	}
	return fields[0]
}

func firstLine(file string) string {
	text, _ := os.ReadFile(file)
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// firstField returns what follows a name and a colon in a file.
func firstField(file, name string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Version
		}
	}
	return "unknown"
}

// commit names the commit that is measured, and says if there are changes
// beside it.
func commit(ctx context.Context) string {
	head, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	name := strings.TrimSpace(string(head))
	changed, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no", "--", "..").Output()
	if err != nil || len(changed) > 0 {
		return fmt.Sprintf("%s, with changes", name)
	}
	return name
}

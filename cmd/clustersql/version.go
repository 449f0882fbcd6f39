package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

func init() {
	register(90, "version", "Say which version this is.", func() runner { return &versionCommand{} })
}

type versionCommand struct{}

// Run prints the versions of this program, of Go and of the drivers.
func (versionCommand) Run(e *env) error {
	fmt.Fprintf(e.stdout, "clustersql %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, d := range info.Deps {
		switch d.Path {
		case "github.com/go-sql-driver/mysql", "github.com/jackc/pgx/v5":
			fmt.Fprintln(e.stdout, d.Path, d.Version)
		}
	}
	return nil
}

// version returns the module's version, or the commit that was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	if version == "" || version == "(devel)" {
		version = "devel"
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				version += "-" + s.Value[:12]
			}
		}
	}
	return version
}

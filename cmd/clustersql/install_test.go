package main

import (
	"archive/zip"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// unreleased is the version by which the modules of this repository require each
// other. A release puts its own in place of it.
const unreleased = "v0.0.0-00010101000000-000000000000"

// The command can be installed by its version, as a release has it: from a module
// proxy that has the modules of this working copy, and with no file of it but
// those. It is found, loaded and planned, and not compiled: from another folder that
// would take a minute, and its files are those that are compiled here.
func TestGoInstall(t *testing.T) {
	t.Parallel()
	const version = "v0.0.0-test"
	proxy := t.TempDir()
	for path, folder := range map[string]string{
		"github.com/EnumApps/clustersql":                "../..",
		"github.com/EnumApps/clustersql/pgx":            "../../pgx",
		"github.com/EnumApps/clustersql/cmd/clustersql": ".",
	} {
		publish(t, proxy, path, folder, version)
	}
	goEnv := func(name string) string {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	// The modules of others come from the module cache, which has the form of a
	// proxy. A cache of its own keeps this version out of the user's.
	proxies := "file://" + filepath.ToSlash(proxy) + ",file://" + filepath.ToSlash(goEnv("GOMODCACHE")) + "/cache/download," + goEnv("GOPROXY")
	cmd := exec.Command("go", "install", "-n", "github.com/EnumApps/clustersql/cmd/clustersql@"+version)
	cmd.Dir = t.TempDir() // where there is no module
	cmd.Env = append(os.Environ(), "GOPROXY="+proxies, "GOMODCACHE="+t.TempDir(), "GOFLAGS=-modcacherw",
		"GOSUMDB=off", "GOWORK=", "GOTOOLCHAIN=local")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "-p github.com/EnumApps/clustersql/statuspage ") {
		t.Fatalf("go install: %v\n%s", err, out)
	}
}

// publish puts a module of the working copy into the folder of a proxy.
func publish(t *testing.T, proxy, path, folder, version string) {
	t.Helper()
	at := filepath.Join(proxy, strings.NewReplacer("E", "!e", "A", "!a").Replace(path), "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	goMod, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	goMod = []byte(strings.ReplaceAll(string(goMod), unreleased, version))
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("list", version+"\n")
	write(version+".info", fmt.Sprintf(`{"Version": %q, "Time": "2026-01-02T15:00:00Z"}`, version))
	write(version+".mod", string(goMod))
	f, err := os.Create(filepath.Join(at, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	err = filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(name, "go.mod"))
			if relative != "." && (err == nil || strings.HasPrefix(d.Name(), ".")) {
				return fs.SkipDir // another module, or none of its files
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text := goMod
		if relative != "go.mod" {
			if text, err = os.ReadFile(name); err != nil {
				return err
			}
		}
		w, err := z.Create(path + "@" + version + "/" + filepath.ToSlash(relative))
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	})
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

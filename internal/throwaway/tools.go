package throwaway

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// SearchPath is PATH and the folders of servers, which are often not in a
// user's PATH. The folders in front come first.
func SearchPath(front ...string) string {
	dirs := append(front, filepath.SplitList(os.Getenv("PATH"))...)
	dirs = append(dirs, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
	return strings.Join(dirs, string(filepath.ListSeparator))
}

// Lookup returns the file of a program, or "" if it is not in the path.
func Lookup(name, path string) string {
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if file, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return file
		}
	}
	return ""
}

func shellIn(path string) (string, error) {
	if shell := Lookup("sh", path); shell != "" {
		return shell, nil
	}
	return "", errors.New("missing sh")
}

// Tail returns the last lines of a log under a heading, or "" if there are
// none.
func Tail(file string) string {
	const keep = 20
	text, err := os.ReadFile(file)
	if err != nil || len(text) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	lines = lines[max(0, len(lines)-keep):]
	return "\nthe end of " + file + ":\n\t" + strings.Join(lines, "\n\t")
}

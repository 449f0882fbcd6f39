package main

import (
	"os/exec"
	"strings"
	"testing"
)

// A shell completes commands, flags and the words that a flag takes. bash is here;
// of the other scripts only what they name is looked at.
func TestCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("no bash: ", err)
	}
	script := writeFile(t, "completion", inProcess(t, "completion", "bash").stdout)
	for words, want := range map[string]string{
		"clustersql|wat":                "watch",
		"clustersql|lint|--fat":         "--fatal-warnings",
		"clustersql|check|--format|=|j": "json junit",
		"clustersql|check|--format|=":   "table json tsv junit",
		"clustersql|completion|z":       "zsh",
		"clustersql|check|nothing":      "",
	} {
		list := strings.Split(words, "|")
		set := ""
		for _, w := range list {
			set += " '" + w + "'"
		}
		out, err := exec.Command(bash, "-c", `set -u; . "$1"; COMP_WORDS=(`+set+`); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _clustersql; echo "${COMPREPLY[*]-}"`, "bash", script).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, want %q: %v", words, got, want, err)
		}
	}
	for _, shell := range []string{"zsh", "fish"} {
		r := inProcess(t, "completion", shell)
		for _, c := range commands {
			if !strings.Contains(r.stdout, c.name) {
				t.Errorf("%s: %s is missing", shell, c.name)
			}
		}
	}
	if r := inProcess(t, "completion", "tcsh"); r.code != exitUsage {
		t.Errorf("of an unknown shell: %+v", r)
	}
}

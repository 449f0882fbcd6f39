package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

const manualPath = "../../docs/commands.md"

func manual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(manualPath)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parser returns a parser of the command line that runs nothing.
func parser(t *testing.T) *kong.Kong {
	t.Helper()
	var options []kong.Option
	for _, c := range commands {
		options = append(options, kong.DynamicCommand(c.name, c.help, "", c.make()))
	}
	p, err := kong.New(&struct{}{}, append(options, kong.Exit(func(int) { t.Fatal("the parser ends the program") }))...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Every command line of the manual is one that the program takes.
func TestManualCommandLines(t *testing.T) {
	found := 0
	shown := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^clustersql (.*)$`).FindAllStringSubmatch(manual(t), -1) {
		found++
		line, _, _ := strings.Cut(m[1], "  #")
		args := words(line)
		shown[args[0]] = true
		if _, err := parser(t).Parse(args); err != nil {
			t.Errorf("%s: %v", m[0], err)
		}
	}
	if found < 5 {
		t.Errorf("only %d command lines were found", found)
	}
	text := manual(t)
	for _, c := range commands {
		if !shown[c.name] && c.name != "version" && c.name != "completion" {
			t.Errorf("the manual shows no line of %s", c.name)
		}
		if !regexp.MustCompile("(?m)^\\| .*`" + c.name + "`.* \\|").MatchString(text) {
			t.Errorf("the table of the manual does not have %s", c.name)
		}
	}
}

// words splits a line as a shell does; quotes are single ones.
func words(line string) (all []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			all = append(all, part)
			continue
		}
		all = append(all, strings.Fields(part)...)
	}
	return all
}

// Every rule and every check of the manual is one of the program, and the other way
// round.
func TestManualRules(t *testing.T) {
	text := manual(t)
	for rule := range rules {
		if !strings.Contains(text, "`"+rule+"`") {
			t.Errorf("the manual does not have the rule %s", rule)
		}
	}
	var flags []string
	for _, c := range parser(t).Model.Children {
		for _, f := range c.Flags {
			flags = append(flags, "--"+f.Name, "--no-"+f.Name)
		}
	}
	for _, m := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(text, -1) {
		if !slices.Contains(flags, m) {
			t.Errorf("the manual has the flag %s, which no command has", m)
		}
	}
}

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

func init() {
	register(95, "completion", "Print a script with which a shell completes this program's commands and flags.", func() runner { return &completionCommand{} })
}

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints the script.
func (c *completionCommand) Run(e *env) error {
	switch c.Shell {
	case "fish":
		return completeFish(e.stdout, e.kong.Model.Node)
	case "zsh":
		if _, err := io.WriteString(e.stdout, "#compdef clustersql\nautoload -U +X bashcompinit && bashcompinit\n"); err != nil {
			return err
		}
	}
	return completeBash(e.stdout, e.kong.Model.Node)
}

// flagsOf returns a command's flags as they are written. Those that take one of some
// words are written with each of them.
func flagsOf(n *kong.Node) (all []string) {
	for _, f := range n.Flags {
		name := "--" + f.Name
		switch {
		case f.Hidden:
		case f.Tag != nil && f.Tag.Negatable != "":
			all = append(all, name, "--no-"+f.Name)
		case f.Enum != "":
			for _, word := range f.EnumSlice() {
				all = append(all, name+"="+word)
			}
		case f.IsBool():
			all = append(all, name)
		default:
			all = append(all, name+"=")
		}
	}
	return append(all, "--help")
}

// bash parts a flag from its value at the equals sign: they are words of their own.
const bashBegin = `_clustersql() {
  local word=${COMP_WORDS[COMP_CWORD]} words= flag=
  compopt -o default 2>/dev/null
  if [ "$word" = "=" ]; then flag=${COMP_WORDS[COMP_CWORD-1]} word=
  elif [ "${COMP_WORDS[COMP_CWORD-1]}" = "=" ]; then flag=${COMP_WORDS[COMP_CWORD-2]}
  fi
`

const bashEnd = `  esac; fi
  if [ -n "$flag" ]; then
    words=$(for w in $words; do case $w in "$flag"=?*) echo "${w#*=}" ;; esac; done)
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  case ${COMPREPLY[0]-} in *=) compopt -o nospace 2>/dev/null ;; esac
}
complete -F _clustersql clustersql
`

func completeBash(to io.Writer, root *kong.Node) error {
	var b strings.Builder
	var names []string
	b.WriteString(bashBegin)
	b.WriteString("  if [ \"$COMP_CWORD\" = 1 ]; then words=\"")
	for _, c := range root.Children {
		names = append(names, c.Name)
	}
	b.WriteString(strings.Join(names, " ") + " --help\"\n  else case ${COMP_WORDS[1]} in\n")
	for _, c := range root.Children {
		words := flagsOf(c)
		for _, a := range c.Positional {
			if a.Enum != "" {
				words = append(words, a.EnumSlice()...)
			}
		}
		fmt.Fprintf(&b, "    %s) words=\"%s\" ;;\n", c.Name, strings.Join(words, " "))
	}
	b.WriteString(bashEnd)
	_, err := io.WriteString(to, b.String())
	return err
}

func completeFish(to io.Writer, root *kong.Node) error {
	var b strings.Builder
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "\\'") + "'" }
	for _, c := range root.Children {
		fmt.Fprintf(&b, "complete -c clustersql -n __fish_use_subcommand -f -a %s -d %s\n", c.Name, quote(c.Help))
		in := "'__fish_seen_subcommand_from " + c.Name + "'"
		for _, f := range c.Flags {
			fmt.Fprintf(&b, "complete -c clustersql -n %s -l %s -d %s", in, f.Name, quote(f.Help))
			switch {
			case f.Enum != "":
				fmt.Fprintf(&b, " -x -a %s", quote(strings.Join(f.EnumSlice(), " ")))
			case !f.IsBool():
				b.WriteString(" -r")
			}
			b.WriteByte('\n')
		}
		for _, a := range c.Positional {
			if a.Enum != "" {
				fmt.Fprintf(&b, "complete -c clustersql -n %s -f -a %s\n", in, quote(strings.Join(a.EnumSlice(), " ")))
			}
		}
	}
	_, err := io.WriteString(to, b.String())
	return err
}

package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/EnumApps/clustersql"
)

// A screen is the whole terminal, drawn again with each snapshot. Whoever made it
// closes it: that gives the terminal back as it was.
type screen struct {
	out    *os.File
	title  string
	colour bool
	resize chan struct{} // has a value after the window has changed
	stop   func()        // ends what watches for that
	mend   func()        // gives the keyboard back
	once   sync.Once

	before *snapshot
	events []clustersql.Event // the last ones, newest first
	wrong  string             // why the snapshot is old
}

// keptEvents is how many events a screen remembers.
const keptEvents = 100

// newScreen takes the terminal. leave is called when the user wants to end.
func newScreen(out *os.File, title string, colour bool, leave func()) *screen {
	s := &screen{out: out, title: title, colour: colour, resize: make(chan struct{}, 1), mend: func() {}}
	s.stop = onResize(s.resize)
	if term.IsTerminal(int(os.Stdin.Fd())) {
		if old, err := term.MakeRaw(int(os.Stdin.Fd())); err == nil {
			s.mend = func() { _ = term.Restore(int(os.Stdin.Fd()), old) }
			go keys(leave) // ends with the program: nothing ends a read of a terminal
		}
	}
	fmt.Fprint(out, "\x1b[?1049h\x1b[?25l") // another screen, no cursor
	return s
}

// keys calls leave when the user presses q, Esc or Ctrl-C.
func keys(leave func()) {
	buffer := make([]byte, 16)
	for {
		n, err := os.Stdin.Read(buffer)
		if err != nil {
			return
		}
		if n == 1 && strings.ContainsRune("qQ\x1b\x03", rune(buffer[0])) {
			leave()
			return
		}
	}
}

func (s *screen) resized() <-chan struct{} { return s.resize }

func (s *screen) show(snap *snapshot, news []clustersql.Event) error {
	s.wrong = ""
	for i := range news {
		s.events = append([]clustersql.Event{news[i]}, s.events...)
	}
	s.events = s.events[:min(len(s.events), keptEvents)]
	err := s.draw(snap, ratesOf(s.before, snap))
	s.before = snap
	return err
}

func (s *screen) trouble(err error) {
	s.wrong = err.Error()
	if s.before != nil {
		_ = s.draw(s.before, rates{})
		return
	}
	_ = s.draw(&snapshot{Time: time.Now()}, rates{})
}

// draw writes the whole screen at once, without clearing it first: that would
// flicker.
func (s *screen) draw(snap *snapshot, rate rates) error {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	r := renderer{width: width, colour: s.colour}
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, line := range s.lines(&r, snap, rate, height) {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	_, err = s.out.WriteString(b.String())
	return err
}

// lines returns at most height lines.
func (s *screen) lines(r *renderer, snap *snapshot, rate rates, height int) []string {
	title := fmt.Sprintf("%s  %s  (q ends)", snap.Time.Format(time.TimeOnly), s.title)
	all := []string{r.paint(faint, r.cut(title))}
	if s.wrong != "" {
		all = append(all, r.paint(red, r.cut("no answer: "+s.wrong)))
	}
	all = append(all, r.clusters(snap, rate)...)
	if len(all) > height {
		all = append(all[:height-1], r.paint(faint, r.cut(fmt.Sprintf("… %d lines more: --cluster shows one cluster", len(all)-height+1))))
		return all
	}
	if room := height - len(all) - 2; room > 0 && len(s.events) > 0 {
		all = append(all, "", r.paint(bold, "events"))
		for i := range s.events[:min(room, len(s.events))] {
			e := &s.events[i]
			all = append(all, r.cut(fmt.Sprintf("%s  %s  %s  %s", e.Time.Format(time.TimeOnly), e.Cluster, e.Node, sentence(e))))
		}
	}
	return all[:min(len(all), height)]
}

func (s *screen) close() {
	s.once.Do(func() {
		s.stop()
		fmt.Fprint(s.out, "\x1b[?25h\x1b[?1049l")
		s.mend()
	})
}

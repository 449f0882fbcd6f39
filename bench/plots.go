package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// These are colours of Okabe and Ito, which colour-blind people can tell apart.
var (
	colourOurs   = color.RGBA{0, 114, 178, 255}
	colourPeers  = color.RGBA{150, 150, 150, 255}
	colourProxy  = color.RGBA{230, 159, 0, 255}
	colourFailed = color.RGBA{213, 94, 0, 255}
	colourShade  = color.RGBA{238, 238, 238, 255}
	colourInk    = color.RGBA{40, 40, 40, 255}
)

func colourOf(name string) color.Color {
	switch c, _ := contestantNamed(name); {
	case c.ours:
		return colourOurs
	case c.proxy != "":
		return colourProxy
	}
	return colourPeers
}

const (
	pictureWidth = 9 * vg.Inch
	rowHeight    = 0.25 * vg.Inch
	aroundRows   = 0.75 * vg.Inch
)

// newPanel returns a plot with a row for each name, the first one on top.
func newPanel(title, x string, names []string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.X.Label.Text = x
	for _, s := range []*text.Style{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label} {
		s.Font.Variant = "Sans"
		s.Font.Size = 9
		s.Color = colourInk
	}
	p.Title.TextStyle.Font.Size = 10
	p.Title.Padding = 4
	p.Y.Min, p.Y.Max = 0, float64(len(names))
	p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width, p.Y.Padding = 0, 0, 0
	var ticks []plot.Tick
	for i, name := range names {
		ticks = append(ticks, plot.Tick{Value: rowOf(i, names) + 0.3, Label: name})
	}
	p.Y.Tick.Marker = plot.ConstantTicks(ticks)
	return p
}

func rowOf(i int, names []string) float64 { return float64(len(names) - 1 - i) }

// noLabels is for panels whose rows are labelled in a panel to the left.
func noLabels(names []string) []string { return make([]string, len(names)) }

func polygon(fill color.Color, xys plotter.XYs) *plotter.Polygon {
	p, err := plotter.NewPolygon(xys)
	if err != nil { // the points are not numbers
		panic("bench: plot: " + err.Error())
	}
	p.Color, p.LineStyle.Width = fill, 0
	return p
}

func rectangle(fill color.Color, x0, y0, x1, y1 float64) *plotter.Polygon {
	return polygon(fill, plotter.XYs{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
}

// note writes text that ends at x.
func note(p *plot.Plot, x, y float64, words string, c color.Color) {
	l, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: x, Y: y}}, Labels: []string{words}})
	if err != nil {
		panic("bench: plot: " + err.Error())
	}
	l.TextStyle[0].Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: 8}
	l.TextStyle[0].Color = c
	l.TextStyle[0].XAlign = text.XRight
	p.Add(l)
}

// savePanels draws panels side by side.
func savePanels(file string, rows int, panels []*plot.Plot) error {
	height := vg.Length(rows)*rowHeight + aroundRows
	c := vgsvg.New(pictureWidth, height)
	tiles := draw.Tiles{Rows: 1, Cols: len(panels), PadX: 10, PadTop: 4, PadBottom: 4, PadLeft: 4, PadRight: 10}
	all := plot.Align([][]*plot.Plot{panels}, tiles, draw.New(c))
	for i, p := range panels {
		p.Draw(all[0][i])
	}
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return err
	}
	// The reader's machine has other fonts, and the page may be dark.
	svg := bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif"))
	return os.WriteFile(file, svg, 0o644)
}

// A distribution is one row of a picture of open times.
type distribution struct {
	name            string
	took            []time.Duration // of opens that gave a useful connection, and of the others
	opens, failures int
}

// openPanel draws distributions as hills over a logarithmic axis. All panels
// side by side have the same ends of that axis.
func openPanel(title string, labels []string, all []distribution) *plot.Plot {
	p := newPanel(title, "ms to open (p50 and p99 marked)", labels)
	const least, most, bins = -0.5, 4.0, 54 // powers of ten
	const margin = most + 1.1               // space for text
	p.X.Min, p.X.Max = least, margin
	var ticks []plot.Tick
	for e := 0; e <= 3; e++ {
		ticks = append(ticks, plot.Tick{Value: float64(e), Label: fmt.Sprint(math.Pow10(e))})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	for i, d := range all {
		base := rowOf(i, labels)
		counts := make([]float64, bins)
		for _, t := range d.took {
			x := math.Log10(max(ms(t), 0.001))
			counts[min(max(int((x-least)/(most-least)*bins), 0), bins-1)]++
		}
		tallest := slices.Max(counts)
		if tallest == 0 {
			note(p, margin, base+0.2, "none", colourFailed)
			continue
		}
		hill := plotter.XYs{{X: least, Y: base}}
		for b, n := range counts {
			x0, x1 := least+(most-least)*float64(b)/bins, least+(most-least)*float64(b+1)/bins
			y := base + 0.85*math.Sqrt(n/tallest)
			hill = append(hill, plotter.XY{X: x0, Y: y}, plotter.XY{X: x1, Y: y})
		}
		p.Add(polygon(colourOf(d.name), append(hill, plotter.XY{X: most, Y: base})))
		for _, q := range []float64{0.5, 0.99} {
			x := math.Log10(max(ms(at(d.took, q)), 0.001))
			p.Add(rectangle(colourInk, x-0.012, base, x+0.012, base+0.85))
		}
		if d.failures > 0 {
			note(p, margin, base+0.2, fmt.Sprintf("%.0f %% bad", 100*float64(d.failures)/float64(d.opens)), colourFailed)
		}
	}
	return p
}

// pictured reports whether a contestant is shown in the pictures.
func pictured(name string) bool {
	return !slices.Contains(append([]string{plainAgain, plainDo1}, settingsOnly...), name)
}

func drawOpens(dir string, r *Results) error {
	var names []string
	var well []distribution
	for _, w := range r.Steady {
		if pictured(w.Contestant) && w.Delay == 0 && !w.Rejecting {
			names = append(names, w.Contestant)
			well = append(well, distribution{w.Contestant, w.Took, w.Opens, w.Failed + w.Useless})
		}
	}
	panel := func(fault string, labels []string) *plot.Plot {
		var all []distribution
		for _, f := range r.Faulty {
			if f.Fault == fault && pictured(f.Contestant) {
				all = append(all, distribution{f.Contestant, f.All.Took, f.All.Opens, f.All.Failed + f.All.Useless})
			}
		}
		return openPanel("one node "+fault, labels, all)
	}
	blank := noLabels(names)
	err := savePanels(filepath.Join(dir, "opens.svg"), len(names), []*plot.Plot{
		openPanel("all nodes well", names, well), panel("slow by 200 ms", blank), panel("answers 1047", blank)})
	if err != nil {
		return err
	}
	return savePanels(filepath.Join(dir, "opens-more.svg"), len(names), []*plot.Plot{
		panel("silent", names), panel("refusing", blank), panel("full", blank)})
}

// failoverPanel draws reads over time. Failed reads have another colour.
func failoverPanel(fault string, labels []string, all []*Failover, p plan) *plot.Plot {
	panel := newPanel(fault, "seconds", labels)
	panel.X.Padding = 0
	var stop float64
	for i, f := range all {
		if i == 0 {
			end := f.Back + p.stay
			stop = end.Seconds()
			panel.X.Min, panel.X.Max = 0, 1.2*stop // there is text to the right of stop
			panel.X.Tick.Marker = everyFive(stop)
			panel.Add(rectangle(colourShade, f.Away.Seconds(), 0, f.Back.Seconds(), float64(len(labels))))
		}
		base := rowOf(i, labels)
		expected := float64(binWidth / p.readEvery)
		line := plotter.XYs{{X: 0, Y: base}}
		for b, bin := range f.Line {
			x0, x1 := float64(b)*binWidth.Seconds(), float64(b+1)*binWidth.Seconds()
			if x1 > stop {
				break
			}
			y := base + 0.8*min(1, float64(bin.OK)/expected)
			line = append(line, plotter.XY{X: x0, Y: y}, plotter.XY{X: x1, Y: y})
		}
		last := line[len(line)-1].X
		panel.Add(polygon(colourOf(f.Contestant), append(line, plotter.XY{X: last, Y: base})))
		if failed, marks := f.failures(base, expected, stop); failed > 0 {
			panel.Add(polygon(colourFailed, marks))
			note(panel, panel.X.Max, base+0.2, fmt.Sprintf("%d failed", failed), colourFailed)
		}
	}
	return panel
}

// failures counts the failed reads of a time line and returns their outlines.
// Each outline is wide and high enough to be seen.
func (f *Failover) failures(base, expected, stop float64) (failed int, outline plotter.XYs) {
	wide := max(binWidth.Seconds(), stop/200)
	outline = plotter.XYs{{X: 0, Y: base}}
	for b, bin := range f.Line {
		x := float64(b) * binWidth.Seconds()
		failed += bin.Failed
		if bin.Failed == 0 || x >= stop {
			continue
		}
		y, end := base+0.8*max(0.35, min(1, float64(bin.Failed)/expected)), min(x+wide, stop)
		outline = append(outline, plotter.XY{X: x, Y: base}, plotter.XY{X: x, Y: y}, plotter.XY{X: end, Y: y}, plotter.XY{X: end, Y: base})
	}
	return failed, append(outline, plotter.XY{X: stop, Y: base})
}

// everyFive are the marks of an axis in seconds, one every five seconds.
func everyFive(stop float64) (ticks plot.ConstantTicks) {
	step := 5.0
	if stop < step {
		step = 1
	}
	for x := 0.0; x <= stop; x += step {
		ticks = append(ticks, plot.Tick{Value: x, Label: fmt.Sprint(x)})
	}
	return ticks
}

func drawFailovers(dir string, r *Results, p plan) error {
	var names []string
	panel := func(o outage, labels bool) *plot.Plot {
		var all []*Failover
		names = nil
		for _, f := range r.Failovers {
			if f.Fault == o.name {
				all = append(all, f)
				names = append(names, f.Contestant)
			}
		}
		if !labels {
			return failoverPanel(o.name, noLabels(names), all, p)
		}
		return failoverPanel(o.name, names, all, p)
	}
	first := []*plot.Plot{panel(outages[1], true), panel(outages[2], false)}
	if err := savePanels(filepath.Join(dir, "failover.svg"), len(names), first); err != nil {
		return err
	}
	return savePanels(filepath.Join(dir, "failover-more.svg"), len(names), []*plot.Plot{panel(outages[0], true), panel(outages[3], false)})
}

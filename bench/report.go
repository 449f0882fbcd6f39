package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A report is RESULTS.md while it is being written.
type report struct {
	strings.Builder
	plan plan
}

// write writes RESULTS.md and its pictures into a folder.
func write(dir string, r *Results, p plan) error {
	w := &report{plan: p}
	w.head(r)
	w.verdicts(r)
	if len(r.Steady) > 0 {
		if err := drawOpens(dir, r); err != nil {
			return err
		}
		w.opens(r)
	}
	if len(r.Load) > 0 {
		w.load(r)
	}
	if len(r.Failovers) > 0 {
		if err := drawFailovers(dir, r, p); err != nil {
			return err
		}
		w.failovers(r)
	}
	w.rest(r)
	w.settings()
	return os.WriteFile(filepath.Join(dir, "RESULTS.md"), []byte(w.String()), 0o644)
}

func (w *report) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// table writes a table in Markdown.
func (w *report) table(head []string, rows [][]string) {
	w.line("")
	w.line("| %s |", strings.Join(head, " | "))
	w.line("|%s", strings.Repeat(" --- |", len(head)))
	for _, row := range rows {
		w.line("| %s |", strings.Join(row, " | "))
	}
}

// section writes a heading.
func (w *report) section(heading string) {
	w.line("")
	w.line("%s", heading)
}

func (w *report) head(r *Results) {
	m := r.Machine
	w.line("# What clustersql costs, and what it gives")
	w.line("")
	w.line("Written by `./test.sh bench` on %s, in %s. Three MariaDB Galera nodes, HAProxy", m.Date.Format("2006-01-02 15:04 UTC"), r.Took.Round(time.Second))
	w.line("and all clients shared one machine, so the times are this machine's and this")
	w.line("hour's; what counts is how the contestants compare within the run. Ratios are")
	w.line("the median of paired rounds, with their quartiles in brackets.")
	if r.Quick {
		w.line("")
		w.line("**This was a smoke run: its figures mean nothing.**")
	}
	w.table([]string{"", ""}, [][]string{
		{"machine", fmt.Sprintf("%s, %d cores, %s; Linux %s; load average %s before, %s after", m.CPU, m.Cores, m.Memory, m.Kernel, m.LoadBefore, m.LoadAfter)},
		{"servers", "MariaDB " + m.Server + ", Galera " + m.Provider},
		{"proxy", "HAProxy " + m.HAProxy},
		{"client", fmt.Sprintf("%s, go-sql-driver/mysql %s, clustersql %s", m.Go, m.MySQLDriver, m.Commit)},
	})
}

func (w *report) verdicts(r *Results) {
	w.section("## What the figures must be")
	var rows [][]string
	for _, v := range verdicts(r) {
		is := "**not reached**"
		if v.OK {
			is = "reached"
		}
		rows = append(rows, []string{v.What, v.Want, v.Got, is})
	}
	w.table([]string{"what", "must be", "is", ""}, rows)
}

func (w *report) opens(r *Results) {
	w.section("## Opens")
	w.line("")
	w.line("A fresh connection each time, one at a time, and a table read on it that is not")
	w.line("part of the time. *Useless* is a connection that could not do that read. The")
	w.line("network's delay is a relay's, which holds every answer back; between the program")
	w.line("and HAProxy there is none. Of the servers' connections those that HAProxy's checks")
	w.line("make all the time are left out.")
	w.line("")
	w.line("![Distribution of open times](opens.svg)")
	w.line("")
	w.line("The hills are as high as the root of the number of opens, so that few are seen too;")
	w.line("*bad* are failed and useless ones. With a fault it is all opens of the %v after it.", w.plan.window)
	w.section("### All nodes well")
	w.table([]string{"", "network delay", "p50 ms", "p99 ms", "p50 / plain + DO 1", "server connections per open", "failed or useless"}, steadyRows(r, false))
	w.section("### Server connections per useful open, one node answers 1047")
	w.table([]string{"", "network delay", "p50 ms", "p99 ms", "p50 / plain + DO 1, well", "server connections per useful open", "failed or useless"}, steadyRows(r, true))
	if len(r.Faulty) == 0 {
		return
	}
	w.section("### One node in trouble")
	w.line("")
	w.line("The fault hits the node that the contestant used most just before; 1047 and a full")
	w.line("node are made at the first node itself. The second plain pool is spared all faults but")
	w.line("these two, and shows what else the machine did. All contestants open at the same time,")
	w.line("each every %v unless the one before still runs. *Over %v* counts opens of the first", w.plan.every, hedgeDelay)
	w.line("part of the fault, %v, round by round; the last part begins %v after it.", w.plan.first, w.plan.after)
	w.line("")
	w.line("![Open times with more faults](opens-more.svg)")
	for _, f := range nodeFaults {
		w.section("#### One node " + f.name)
		w.table([]string{"", "well: p50 / p99 ms", "at first: p50 / p99 ms", fmt.Sprintf("over %v", hedgeDelay), "later: p50 / p99 ms", "failed", "useless"}, faultRows(r, f.name))
	}
}

func steadyRows(r *Results, rejecting bool) (rows [][]string) {
	for _, o := range r.Steady {
		if o.Rejecting == rejecting {
			base := findWell(r.Steady, plainDo1, o.Delay)
			rows = append(rows, []string{o.Contestant, o.Delay.String(), fmt.Sprintf("%.2f", ms(at(o.Took, 0.5))), fmt.Sprintf("%.2f", ms(at(o.Took, 0.99))),
				paired(o.P50, base.P50).String(), o.connsPerOpen(), share(o.Useless+o.Failed, o.Opens)})
		}
	}
	return rows
}

func faultRows(r *Results, fault string) (rows [][]string) {
	for _, f := range r.Faulty {
		if f.Fault == fault {
			rows = append(rows, []string{f.Contestant, f.Before.times(), f.First.times(), strings.Trim(fmt.Sprint(f.Slow), "[]"),
				f.Late.times(), share(f.All.Failed, f.All.Opens), share(f.All.Useless, f.All.Opens)})
		}
	}
	return rows
}

func (w Window) times() string {
	if len(w.Took) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f / %.1f", ms(at(w.Took, 0.5)), ms(at(w.Took, 0.99)))
}

// share returns a count with its percentage of all, if there are any.
func share(n, of int) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%.0f %%)", n, 100*float64(n)/float64(of))
}

func (w *report) load(r *Results) {
	w.section("## Throughput")
	w.line("")
	w.line("Warm pools, straight to the nodes, %d rounds of %v each, in random order. The second", w.plan.loadRounds, w.plan.loadFor)
	w.line("plain pool shows the noise: a difference smaller than its quartiles is none that")
	w.line("this run can see. CPU is the client process's, by getrusage, and HAProxy's own, by")
	w.line("/proc. The plain driver, hedged and ordered work on one node, the others on three. A")
	w.line("failed transaction is a certification conflict or a deadlock.")
	w.line("")
	w.line("The servers share the cores with client and proxy: the more a statement costs them, the")
	w.line("smaller the part of the proxy is.")
	w.line("")
	w.line("All works and numbers of workers together: race and balanced have their connections")
	w.line("on three servers, which costs a client a little by itself, as the dialer that takes a")
	w.line("random node shows; so they stand beside that as well.")
	var rows [][]string
	for _, pair := range [][2]string{{plainAgain, plain}, {ordered, plain}, {hedged, plain}, {onThree, plain}, {race, plain}, {balanced, plain},
		{race, onThree}, {balanced, onThree}, {balanced, proxyMySQL}, {balanced, proxyWsrep}} {
		rate, cpu := pooled(r, pair[0], pair[1], perSecond, anyLoad), pooled(r, pair[0], pair[1], cpuPerQuery, anyLoad)
		rows = append(rows, []string{pair[0] + " / " + pair[1], rate.String(), fmt.Sprintf("±%.3f", rate.resolution()), cpu.String(), fmt.Sprintf("±%.3f", cpu.resolution())})
	}
	w.table([]string{"", "throughput", "standard error", "client CPU per query", "standard error"}, rows)
	for _, work := range works {
		w.section("### " + work)
		var rows [][]string
		for _, t := range r.Load {
			if t.Work != work {
				continue
			}
			base := find(r.Load, plain, work, t.Workers)
			rate, cpu := t.each(perSecond), t.each(cpuPerQuery)
			proxy := "–"
			if t.ProxyCPU > 0 {
				proxy = fmt.Sprintf("%.1f", float64(t.ProxyCPU.Microseconds())/float64(max(t.queries(), 1)))
			}
			rows = append(rows, []string{fmt.Sprint(t.Workers), t.Contestant, fmt.Sprintf("%.0f", spreadOf(rate).Mid), paired(rate, base.each(perSecond)).String(),
				fmt.Sprintf("%.1f", spreadOf(cpu).Mid), paired(cpu, base.each(cpuPerQuery)).String(), proxy,
				fmt.Sprintf("%.2f / %.2f", spreadOf(t.each(p50)).Mid, spreadOf(t.each(p99)).Mid), fmt.Sprint(t.Failed)})
		}
		w.table([]string{"workers", "", "per second", "/ plain", "client CPU µs", "/ plain", "proxy CPU µs", "p50 / p99 ms", "failed"}, rows)
	}
}

func (w *report) failovers(r *Results) {
	w.section("## Failover")
	w.line("")
	w.line("All contestants read at the same time, each with %d readers and a read every %v, from", w.plan.readers, w.plan.readEvery)
	w.line("warm pools of which a quarter or more were on the node, where the contestant allows it.")
	w.line("The node was away for %v and watched for %v after it was Synced again. Figures are of", w.plan.away, w.plan.stay)
	w.line("%d rounds each: failed reads and reads over %v of every round, the longest read", w.plan.failoverRounds, w.plan.heldUp)
	w.line("while the node was away, the longest gap between two successes, and the median time from")
	w.line("the node's return to the first read on it. hedged and ordered have every connection on the")
	w.line("node, the others a part of them: a fault hits more of their reads. ordered is there as it")
	w.line("is, with late_after off, and with hedge_reads. Who goes on using a node that is stale or")
	w.line("refuses work has it in use again at once, and failed reads to show for it. A round in which")
	w.line("the other nodes lost their group too, or in which hedge_reads sent no read of a silent node")
	w.line("to another one, was made again, up to two times.")
	w.line("")
	w.line("![Reads while a node freezes and while one is non-primary](failover.svg)")
	w.line("")
	w.line("![Reads while a node is killed and while one shuts down](failover-more.svg)")
	for _, o := range outages {
		w.section("### " + o.name)
		var rows [][]string
		for _, f := range r.Failovers {
			if f.Fault != o.name {
				continue
			}
			back := "never"
			if d := f.backInUse(); d < never {
				back = fmt.Sprintf("%.1f s", d.Seconds())
			}
			rows = append(rows, []string{f.Contestant, list(f.OnNode), list(f.Failed), list(f.HeldUp),
				fmt.Sprintf("%.0f ms", ms(slices.Max(append(f.Longest, 0)))), fmt.Sprintf("%.0f ms", cells[1].figure(f)), back, fmt.Sprint(f.Reads)})
		}
		w.table([]string{"", "connections on the node", "failed reads", fmt.Sprintf("over %v", w.plan.heldUp), "longest read, node away", "longest gap", "in use again", "reads"}, rows)
		if f := r.failover(o.name, hedgeReads); f != nil && sum(f.Hedged) > 0 {
			w.line("")
			w.line("With hedge_reads another node answered %s reads first while the node was away.", list(f.Hedged))
		}
	}
}

func (r *Results) failover(fault, name string) *Failover {
	for _, f := range r.Failovers {
		if f.Fault == fault && f.Contestant == name {
			return f
		}
	}
	return nil
}

func list(all []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(all), " ", ", "), "[]")
}

func (w *report) rest(r *Results) {
	if len(r.Spreads) > 0 {
		w.section("## Spread")
		w.line("")
		w.line("%d connections opened at once and held: how many were on n1, n2 and n3.", w.plan.spreadConns)
		var rows [][]string
		for _, s := range r.Spreads {
			rows = append(rows, []string{s.Nodes, s.Contestant, strings.ReplaceAll(list(s.Conns), ", ", " / "), fmt.Sprint(s.Failed)})
		}
		w.table([]string{"nodes", "", "n1 / n2 / n3", "failed"}, rows)
	}
	if len(r.Left) > 0 {
		w.leftovers(r)
	}
	if len(r.Idle) > 0 {
		w.idle(r)
	}
}

func (w *report) leftovers(r *Results) {
	w.section("## Left after Close")
	w.line("")
	w.line("A second of opens while one node was a black hole, then `db.Close()`: what the process")
	w.line("holds more than before, when Close returned and later; and the contestant's connections")
	w.line("at the servers, once the black hole is none any more.")
	var rows [][]string
	head := []string{""}
	for _, l := range r.Left {
		row := []string{l.Contestant}
		for _, c := range l.Client {
			row = append(row, fmt.Sprintf("%d / %d", c.Goroutines, c.Sockets))
		}
		rows = append(rows, append(row, fmt.Sprint(l.ServerConns)))
	}
	for _, d := range r.Left[0].After {
		head = append(head, fmt.Sprintf("goroutines / sockets after %v", d))
	}
	w.table(append(head, "server connections"), rows)
}

func (w *report) idle(r *Results) {
	w.section("## Nodes that nobody uses")
	w.line("")
	w.line("Scripted nodes in one process, probed once a second each, and no other work.")
	var rows [][]string
	for _, i := range r.Idle {
		rows = append(rows, []string{fmt.Sprint(i.Nodes), fmt.Sprintf("%.1f KiB", i.Bytes/1024), fmt.Sprintf("%.2f %%", i.CPU), fmt.Sprintf("%.0f", i.Probes)})
	}
	w.table([]string{"nodes", "memory of each", "CPU of one core, all", "probes a second"}, rows)
}

func (w *report) settings() {
	w.section("## Settings")
	w.line("")
	w.line("- clustersql: defaults, a DSN without parameters.")
	w.line("- Everybody else: the DSN has `%s`, without which a silent server", strings.TrimPrefix(peerTimeouts, "?"))
	w.line("  holds the plain driver for ever. Every open has a deadline of %v.", callerTimeout)
	w.line("- *random node, then next*: a connector that shuffles the nodes and takes the first")
	w.line("  that connects. *The original*: all nodes at once, no context, no check; losers are")
	w.line("  closed in the background. Both are in this folder.")
	w.line("- HAProxy runs beside the program with its default of a thread for each core; one")
	w.line("  instance for each set-up. Its checks are as frequent as clustersql's probes. The")
	w.line("  HTTP check answers as `clustercheck` does. For *n2*, only the addresses differ:")
	w.line("")
	for _, kind := range []string{checkMySQL, checkWsrep} {
		s := ProxySetup{Kind: kind, Addrs: []string{"127.0.0.1:10001", "127.0.0.1:10002"}, Checks: []string{"127.0.0.1:10003", "127.0.0.1:10004"}}
		w.line("```\n%s```\n", s.config())
	}
	w.line("- Galera: the group's timeouts are shortened, so that it notices a lost node after")
	w.line("  1 to 3 s instead of 5 to 6 s. Servers sync nothing to disk.")
}

package main

import "time"

// A plan says how much is measured.
type plan struct {
	// opens with all nodes healthy: blocks, one contestant after the other
	blocks, blockOpens int
	delay              time.Duration // of the network, in the second series

	// opens with a fault
	faultRounds              int
	every                    time.Duration // between two opens of each contestant
	before, window           time.Duration // the time before the fault, and from the fault on
	first, after             time.Duration // the end of the first part of the window, and the start of the last
	heal                     time.Duration // from the end of the fault to the next fault
	loadRounds               int
	loadFor                  time.Duration
	workers                  []int
	failoverRounds, readers  int
	readEvery                time.Duration // between two reads, of all readers together
	well, away, stay, heldUp time.Duration // before the fault; its length; after the return; a read longer than this took long
	spreadConns              int
	leftWaits                []time.Duration
	idleNodes                []int
	idleFor                  time.Duration
}

var fullPlan = plan{
	blocks: 15, blockOpens: 40, delay: time.Millisecond,
	faultRounds: 6, every: 50 * time.Millisecond,
	before: 4 * time.Second, window: 7 * time.Second, first: time.Second, after: 3 * time.Second, heal: 4 * time.Second,
	loadRounds: 32, loadFor: 80 * time.Millisecond, workers: []int{1, 16, 64},
	failoverRounds: 2, readers: 16, readEvery: 5 * time.Millisecond,
	well: 2 * time.Second, away: 8 * time.Second, stay: 12 * time.Second, heldUp: 500 * time.Millisecond,
	spreadConns: 48, leftWaits: []time.Duration{time.Second, 3 * time.Second},
	idleNodes: []int{3, 30, 300, 3000}, idleFor: 5 * time.Second,
}

var quickPlan = plan{
	blocks: 1, blockOpens: 5, delay: time.Millisecond,
	faultRounds: 1, every: 50 * time.Millisecond,
	before: 200 * time.Millisecond, window: 800 * time.Millisecond, first: 300 * time.Millisecond, after: 500 * time.Millisecond, heal: 200 * time.Millisecond,
	loadRounds: 1, loadFor: 20 * time.Millisecond, workers: []int{1, 16},
	failoverRounds: 1, readers: 4, readEvery: 20 * time.Millisecond,
	well: 300 * time.Millisecond, away: time.Second, stay: time.Second, heldUp: 500 * time.Millisecond,
	spreadConns: 6, leftWaits: []time.Duration{time.Second},
	idleNodes: []int{3, 30}, idleFor: 200 * time.Millisecond,
}

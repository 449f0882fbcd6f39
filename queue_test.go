package clustersql

import (
	"context"
	"testing"
)

// Many requests wait and leave again. Each is looked at a few times only,
// however many there are, and none that was released is taken out.
func TestQueueIsLinear(t *testing.T) {
	for _, n := range []int{100, 10000} {
		looks := 0
		var q queue
		var released []context.CancelFunc
		for i := range n {
			ctx, cancel := context.WithCancel(t.Context())
			q.push(&request{ctx: countingContext{ctx, &looks}})
			if i%2 == 0 {
				released = append(released, cancel)
			} else {
				defer cancel()
			}
			if i%10 == 9 { // a slot is free
				if r := q.pop(); r == nil || r.ctx.(countingContext).Context.Err() != nil {
					t.Fatal("no request that waits")
				}
			}
		}
		for _, cancel := range released {
			cancel()
		}
		left := 0
		for r := q.pop(); r != nil; r = q.pop() {
			left++
			if r.ctx.(countingContext).Context.Err() != nil {
				t.Fatal("a released request was taken out")
			}
		}
		if !q.empty() || cap(q.requests) > queueKept {
			t.Errorf("%d requests are left, with room for %d", len(q.requests), cap(q.requests))
		}
		if per := float64(looks) / float64(n); per > 4 || left == 0 {
			t.Errorf("%d requests: %.1f looks at each", n, per)
		}
	}
}

// countingContext counts the looks at whether it has ended.
type countingContext struct {
	context.Context
	looks *int
}

func (c countingContext) Err() error { *c.looks++; return c.Context.Err() }

// Released requests do not stay for ever in the queue of a node whose slots are
// all taken: it does not grow with the number of those that come and go.
func TestQueueForgetsReleased(t *testing.T) {
	var q queue
	done, cancel := context.WithCancel(t.Context())
	cancel()
	q.push(&request{ctx: t.Context(), answered: make(chan struct{})})
	for range 10000 {
		q.push(&request{ctx: done})
	}
	if cap(q.requests) > 8 {
		t.Errorf("room for %d requests, of which one waits", cap(q.requests))
	}
	q.dropReleased()
	if len(q.requests) != 1 {
		t.Errorf("%d requests, of which one waits", len(q.requests))
	}
	q.refuse(&dialError{})
	if !q.empty() || q.pop() != nil {
		t.Error("a refused request stays")
	}
}

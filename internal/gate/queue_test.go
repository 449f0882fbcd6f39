package gate

import "testing"

// A request waits in the queues of these tests. It counts the looks at whether it
// has ended.
type request struct {
	ended bool
	looks *int
}

func (r *request) Ended() bool {
	if r.looks != nil {
		*r.looks++
	}
	return r.ended
}

// Many requests wait and leave again. Each is looked at a few times only,
// however many there are, and none that has ended is taken out.
func TestQueueIsLinear(t *testing.T) {
	for _, n := range []int{100, 10000} {
		looks := 0
		var q Queue[*request]
		var leave []*request
		for i := range n {
			r := &request{looks: &looks}
			q.Push(r)
			if i%2 == 0 {
				leave = append(leave, r)
			}
			if i%10 == 9 { // a slot is free
				if r, ok := q.Pop(); !ok || r.ended {
					t.Fatal("no request that waits")
				}
			}
		}
		for _, r := range leave {
			r.ended = true
		}
		left := 0
		for r, ok := q.Pop(); ok; r, ok = q.Pop() {
			left++
			if r.ended {
				t.Fatal("a request that has ended was taken out")
			}
		}
		if !q.Empty() || cap(q.waiting) > queueKept {
			t.Errorf("%d requests are left, with room for %d", len(q.waiting), cap(q.waiting))
		}
		if per := float64(looks) / float64(n); per > 4 || left == 0 {
			t.Errorf("%d requests: %.1f looks at each", n, per)
		}
	}
}

// Requests that have ended do not stay for ever in the queue of a node whose slots
// are all taken: it does not grow with the number of those that come and go.
func TestQueueForgetsThoseThatEnded(t *testing.T) {
	var q Queue[*request]
	q.Push(new(request))
	for range 10000 {
		q.Push(&request{ended: true})
	}
	if cap(q.waiting) > 8 {
		t.Errorf("room for %d requests, of which one waits", cap(q.waiting))
	}
	q.DropEnded()
	if len(q.waiting) != 1 {
		t.Errorf("%d requests, of which one waits", len(q.waiting))
	}
	cleared := 0
	q.Clear(func(*request) { cleared++ })
	if _, ok := q.Pop(); ok || !q.Empty() || cleared != 1 {
		t.Errorf("%d requests were taken out, and one stays", cleared)
	}
}

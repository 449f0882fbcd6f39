package calls

import (
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
)

// Calls are made in order and one at a time. One that ends its goroutine holds up
// none of the others.
func TestCallsAreMadeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Queue
		var made []int // no lock: one call at a time
		for i := range 10 {
			q.Put(func(int) {
				made = append(made, i)
				if i == 4 {
					runtime.Goexit()
				}
			})
		}
		if !q.Wait(nil) || !slices.Equal(made, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("the calls that were made: %v", made)
		}
		if q.Busy() != nil {
			t.Error("the queue is busy without a call")
		}
	})
}

// While a call hangs there is room for some. The next one that finds room learns
// how many were dropped.
func TestCallsAreDroppedWhileOneHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Queue
		hangs := make(chan struct{})
		q.Put(func(int) { <-hangs })
		synctest.Wait() // it has been taken out
		for range Room {
			if dropped := q.Put(func(int) {}); dropped != 0 {
				t.Fatalf("%d calls were dropped while there was room", dropped)
			}
		}
		for want := 1; want <= 3; want++ {
			if dropped := q.Put(func(int) {}); dropped != want {
				t.Errorf("%d calls were dropped in a row, want %d", dropped, want)
			}
		}
		limit := make(chan struct{})
		close(limit)
		if q.Wait(limit) {
			t.Error("nothing is left while a call hangs")
		}
		close(hangs)
		q.Wait(nil)
		told := 0
		q.Put(func(dropped int) { told = dropped })
		if q.Wait(nil); told != 3 {
			t.Errorf("the next call learnt of %d dropped ones", told)
		}
	})
}

// Package roll lists things by unique names, and keeps none of them in memory.
//
// It has no goroutine. The root imports the package; it imports no other package of this
// module.
package roll

import (
	"fmt"
	"sync"
	"weak"
)

// A Roll lists things of a type by their IDs. Anyone may call the methods. The zero Roll
// is empty.
type Roll[T any] struct {
	mu  sync.Mutex // guards what follows; never held across a wait
	all map[string]weak.Pointer[T]
}

// Enter adds a thing. It sets id to its ID before anybody gets the thing from the roll:
// the name, with #2 and so on behind it where another one that is listed has the same.
func (r *Roll[T]) Enter(thing weak.Pointer[T], name string, id *string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = make(map[string]weak.Pointer[T])
	}
	*id = name
	for n := 2; ; n++ {
		if other, taken := r.all[*id]; !taken || other.Value() == nil {
			break
		}
		*id = fmt.Sprintf("%s#%d", name, n)
	}
	r.all[*id] = thing
}

// Strike takes a thing off the roll. If another one has its ID by now, that one stays.
func (r *Roll[T]) Strike(id string, thing weak.Pointer[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all[id] == thing {
		delete(r.all, id)
	}
}

// Things returns what is on the roll and still in memory, in no order.
func (r *Roll[T]) Things() []*T {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*T, 0, len(r.all))
	for _, w := range r.all {
		if thing := w.Value(); thing != nil {
			all = append(all, thing)
		}
	}
	return all
}

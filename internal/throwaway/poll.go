package throwaway

import (
	"context"
	"time"
)

// WithTimeout gives ctx the timeout d if it has no deadline.
func WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

// Poll calls done every 50 ms until it returns true. It fails if ctx is done, or
// with ErrEnded if ended is closed.
func Poll(ctx context.Context, ended <-chan struct{}, done func() bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if done() {
			return nil
		}
		select {
		case <-ended:
			return ErrEnded
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

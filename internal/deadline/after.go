package deadline

import (
	"context"
	"time"
)

// CancelAfter calls cancel a grace after the first of the contexts is done. The
// func that it returns stops that. cancel may still run once while it does.
func CancelAfter(grace time.Duration, cancel func(), ctxs ...context.Context) (off func()) {
	started := make(chan *time.Timer, len(ctxs))
	stops := make([]func() bool, len(ctxs))
	for i, ctx := range ctxs {
		stops[i] = context.AfterFunc(ctx, func() { started <- time.AfterFunc(grace, cancel) })
	}
	return func() {
		for _, stop := range stops {
			if !stop() {
				(<-started).Stop()
			}
		}
	}
}

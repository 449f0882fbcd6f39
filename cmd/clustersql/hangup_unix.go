//go:build unix

package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// onHangup calls do for each SIGHUP until ctx is done.
func onHangup(ctx context.Context, do func()) {
	came := make(chan os.Signal, 1)
	signal.Notify(came, syscall.SIGHUP)
	go func() {
		defer signal.Stop(came)
		for {
			select {
			case <-came:
				do()
			case <-ctx.Done():
				return
			}
		}
	}()
}

//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// onResize puts a value into the channel, if there is room, whenever the terminal's
// window changes, until stop is called.
func onResize(to chan<- struct{}) (stop func()) {
	changed, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		for {
			select {
			case <-changed:
				select {
				case to <- struct{}{}:
				default:
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		close(done)
	}
}

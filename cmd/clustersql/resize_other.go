//go:build !unix

package main

// onResize does nothing where no signal tells of the window: the next snapshot has
// the new size.
func onResize(chan<- struct{}) (stop func()) { return func() {} }

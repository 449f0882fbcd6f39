// Package simulation plays a cluster under random faults in virtual time, and
// holds it to rules that hold whatever happens. It sees of clustersql what a
// program sees, and of the database what fakedb counts.
//
// It has tests only; see TestSimulation.
package simulation

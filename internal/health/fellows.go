package health

import (
	"slices"
)

// Without returns the fellows that are not out.
func Without(fellows []Fellow, out func(f Fellow) bool) []Fellow {
	if !slices.ContainsFunc(fellows, out) {
		return fellows
	}
	return slices.DeleteFunc(slices.Clone(fellows), out)
}

// Promotes reports whether a replica that is a primary now was promoted. One that
// took writes before may only be set up anew: it was promoted if there is no other
// primary. Of one that does not tell whom it follows nobody knows: it may only have
// been closed for a moment.
func Promotes(was, now *Replication, fellows []Fellow) bool {
	switch {
	case was.Assumed || now.Assumed:
		return false
	case was.Access == AccessRead:
		return true
	}
	return !slices.ContainsFunc(fellows, func(f Fellow) bool { return f.Replication.Role == RolePrimary })
}

package clustersql

import (
	"testing"

	"go.uber.org/goleak"
)

// Nothing that a test started may be left when all have ended. goleak sees
// goroutines; connections are counted at the backend, test by test, and
// fakedb's and go-sql-driver's hold a goroutine each.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

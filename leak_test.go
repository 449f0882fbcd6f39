package clustersql

import (
	"testing"

	"go.uber.org/goleak"
)

// Nothing that a test started may be left when all tests have ended. goleak
// sees goroutines only. Connections are counted at the backend, in each test.
// In addition those of fakedb and go-sql-driver hold a goroutine each.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

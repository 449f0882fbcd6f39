package clustersql

import (
	"context"

	"github.com/EnumApps/clustersql/internal/health"
)

type findingKey struct{}

// withFinding returns a context for one run of a check.
func withFinding(ctx context.Context, want health.Scope) (context.Context, *health.Report) {
	f := &health.Report{Want: want}
	return context.WithValue(ctx, findingKey{}, f), f
}

// findingOf returns the run's finding; a check that is called from elsewhere
// looks at everything.
func findingOf(ctx context.Context) *health.Report {
	if f, ok := ctx.Value(findingKey{}).(*health.Report); ok {
		return f
	}
	return &health.Report{Want: health.ScopeWork | health.ScopeStatus | health.ScopeView}
}

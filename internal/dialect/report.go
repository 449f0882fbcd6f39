package dialect

import (
	"context"

	"github.com/EnumApps/clustersql/internal/health"
)

type reportKey struct{}

// WithReport returns a context for one run of a check, and the Report that the
// check fills in. Report and context are for one goroutine.
func WithReport(ctx context.Context, want health.Scope) (context.Context, *health.Report) {
	r := &health.Report{Want: want}
	return context.WithValue(ctx, reportKey{}, r), r
}

// ReportOf returns the Report of a run. A check that is called from elsewhere
// gets a Report that nobody reads, and looks at everything.
func ReportOf(ctx context.Context) *health.Report {
	if r, ok := ctx.Value(reportKey{}).(*health.Report); ok {
		return r
	}
	return &health.Report{Want: health.ScopeWork | health.ScopeStatus | health.ScopeView}
}

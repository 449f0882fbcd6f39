package dialect

import (
	"context"

	"github.com/EnumApps/clustersql/internal/health"
)

type reportKey struct{}

// WithReport returns a context for one run of a check, and the Report that the
// check fills in. One goroutine alone may use both.
func WithReport(ctx context.Context, want health.Scope) (context.Context, *health.Report) {
	r := &health.Report{Want: want}
	return context.WithValue(ctx, reportKey{}, r), r
}

// ReportOf returns the Report in ctx. Without one it returns a Report that
// wants everything and that nobody reads. This is so when a program calls a
// check itself.
func ReportOf(ctx context.Context) *health.Report {
	if r, ok := ctx.Value(reportKey{}).(*health.Report); ok {
		return r
	}
	return &health.Report{Want: health.ScopeWork | health.ScopeStatus | health.ScopeView, Causal: true}
}

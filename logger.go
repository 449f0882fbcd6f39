package clustersql

import (
	"context"
	"log/slog"
)

// A logger names cluster and node in every line. Without a base it follows
// [slog.Default], which programs often set after their clusters are made.
type logger struct {
	base          *slog.Logger
	cluster, node string
}

// print writes one line. A panic of the program's handler ends here.
func (l logger) print(level slog.Level, msg string, args ...any) {
	defer func() { _ = recover() }()
	l.to().Log(context.Background(), level, msg, args...)
}

// to returns the logger for one line.
func (l logger) to() *slog.Logger {
	base := l.base
	if base == nil {
		base = slog.Default()
	}
	base = base.With("cluster", l.cluster)
	if l.node != "" {
		base = base.With("node", l.node)
	}
	return base
}

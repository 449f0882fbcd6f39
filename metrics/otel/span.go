package otel

import (
	"database/sql"

	"go.opentelemetry.io/otel/trace"

	"github.com/EnumApps/clustersql"
)

// Annotate puts the node and the generation of a connection on a span, as
// [NodeKey] and [GenerationKey]. It asks the server nothing. A connection that is
// of no cluster adds nothing. The error is that of [sql.Conn.Raw]. The connection
// may have gone through drivers that wrap the cluster's, such as otelsql's.
func Annotate(span trace.Span, conn *sql.Conn) error {
	if !span.IsRecording() {
		return nil
	}
	return conn.Raw(func(c any) error {
		if node, generation, ok := clustersql.NodeOf(c); ok {
			span.SetAttributes(NodeKey.String(node), GenerationKey.Int64(int64(generation)))
		}
		return nil
	})
}

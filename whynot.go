package clustersql

import "time"

func (m *manager) explain(s *ClusterStatus, now time.Time) {}

// This module is apart from the one above it because ./test.sh quick needs it:
// it builds with the oldest Go that the driver supports, and needs nothing.
module github.com/EnumApps/clustersql/tools/testtable

go 1.25.0

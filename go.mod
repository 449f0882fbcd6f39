module github.com/EnumApps/clustersql

go 1.25.0

require (
	github.com/BurntSushi/toml v1.6.0
	github.com/go-sql-driver/mysql v1.10.1
	go.uber.org/goleak v1.3.0
	golang.org/x/sync v0.22.0
)

require filippo.io/edwards25519 v1.2.0 // indirect

module github.com/EnumApps/clustersql/statuspage/browsertest

go 1.25.0

require (
	github.com/EnumApps/clustersql v0.0.0-00010101000000-000000000000
	github.com/chromedp/cdproto v0.160.2
	github.com/chromedp/chromedp v0.23.0
)

require (
	filippo.io/edwards25519 v1.2.0 // indirect
	github.com/BurntSushi/toml v1.6.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/go-sql-driver/mysql v1.10.1 // indirect
	golang.org/x/sync v0.22.0 // indirect
)

replace github.com/EnumApps/clustersql => ../../

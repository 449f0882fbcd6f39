package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/redact"
)

// writeBundle writes an archive with what a doctor has seen, for people who help.
// No password is in it.
func writeBundle(path string, s source, now *snapshot, all []illness) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	zip := gzip.NewWriter(f)
	files := tar.NewWriter(zip)
	var findings bytes.Buffer
	for _, i := range all {
		fmt.Fprintln(&findings, i)
	}
	status, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		return err
	}
	parts := []struct {
		name string
		text []byte
	}{
		{"findings.txt", findings.Bytes()},
		{"status.json", status},
		{"about.txt", fmt.Appendf(nil, "clustersql %s, %s, %s/%s, on %s at %s, of %s\n",
			version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, hostname(), time.Now().Format(time.RFC3339), s.name())},
	}
	if own, ok := s.(*ownSource); ok && own.registry != nil {
		text, err := redactedFile(own.target)
		if err != nil {
			return err
		}
		parts = append(parts, struct {
			name string
			text []byte
		}{"config.toml", []byte(text)})
	}
	for _, p := range parts {
		h := &tar.Header{Name: "clustersql/" + p.name, Mode: 0o600, Size: int64(len(p.text)), ModTime: now.Time}
		if err := files.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(files, bytes.NewReader(p.text)); err != nil {
			return err
		}
	}
	if err := files.Close(); err != nil {
		return err
	}
	return zip.Close()
}

// redactedFile returns the text of a target's file without what its DSNs hold.
func redactedFile(t *target) (string, error) {
	data, err := os.ReadFile(t.name)
	if err != nil {
		return "", err
	}
	text := string(data)
	f, err := conffile.Parse(t.name, text, fileKeys)
	if err != nil {
		return "", err
	}
	for i := range f.Clusters {
		d := kindOf(f.Clusters[i].Driver).dialect()
		for _, n := range f.Clusters[i].Nodes {
			switch {
			case n.Account != nil:
				text = redact.New("", []string{n.Account.Password}, true).Text(text)
			case d == nil:
				text = redact.New(n.DSN, nil, false).Text(text)
			default:
				text = withoutPasswords(d, n.DSN, text)
			}
		}
	}
	for _, c := range t.clusters {
		for _, n := range c.nodes { // the same, with the variables' values
			if d := c.kind.dialect(); d != nil {
				text = withoutPasswords(d, n.dsn, text)
			}
		}
	}
	return text, nil
}

// withoutPasswords takes a DSN's passwords out of a text, or all of the DSN if it
// is not known what of it is secret.
func withoutPasswords(d dialect.Dialect, dsn, text string) string {
	secrets, known := d.Secrets(dsn)
	if known {
		dsn = ""
	}
	return redact.New(dsn, secrets, known).Text(text)
}

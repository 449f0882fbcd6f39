package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/EnumApps/clustersql"
)

// The exit codes of what looks at a running program, with what is said.
func TestExitCodesOfAPage(t *testing.T) {
	s := newStage(t)
	other := strings.Replace(s.reader, "/read/", "/other", 1)
	none := strings.Replace(s.reader, "/read/", "/none", 1)
	secret := strings.Replace(none, "http://", "http://me:hunter22@", 1)
	for _, c := range []struct {
		args []string
		code int
		say  string // in either output
	}{
		{[]string{"watch", "--once", s.url}, 0, "3 of 3 nodes usable"},
		{[]string{"watch", "--once", s.reader, "--cluster=app"}, 0, "n3"},
		{[]string{"watch", "--once", s.url, "--cluster=no"}, watchNotReached, `no cluster "no"`},
		{[]string{"watch", "--once", s.url, "--until=up>=3"}, 0, ""},
		{[]string{"watch", "--once", s.url, "--until", "up>3"}, watchNotReached, "up is 3, wanted is > 3"},
		{[]string{"watch", s.url, "--until", "down>0", "--timeout=200ms"}, watchNotReached, "after 200ms"},
		{[]string{"watch", s.url, "--timeout=100ms"}, 0, "n1"},
		{[]string{"watch", s.url, "--until", "many"}, exitUsage, "is no condition"},
		{[]string{"watch", s.url, "--interval=1ms"}, exitUsage, "--interval"},
		{[]string{"watch", other}, watchNotReached, "no status page"},
		{[]string{"watch", none}, watchNotReached, "404"},
		{[]string{"watch", secret}, watchNotReached, "404"},
		{[]string{"watch", "none.toml"}, exitUsage, "create it"},
		{[]string{"watch", "http://" + closedPort(t), "--until=up>0", "--timeout=300ms"}, watchNotReached, "refused: start the program"},
		{[]string{"watch", "http://" + closedPort(t)}, watchNotReached, "refused: start the program"},
		{[]string{"doctor", s.url, "--for=100ms"}, 0, "nothing odd"},
		{[]string{"doctor", other}, exitUsage, "no status page"},
		{[]string{"drain", "n9", s.url}, exitUsage, "there are: n1, n2, n3"},
		{[]string{"drain", "n1", s.reader}, exitUsage, "AllowDrain"},
		{[]string{"drain", "n1", "config.toml"}, exitUsage, "NODE and URL"},
		{[]string{"drain", "n1"}, exitUsage, "expected"},
		{[]string{"drain", "n1", s.url}, 0, ""},
		{[]string{"doctor", s.url, "--for=100ms"}, doctorFindings, "drained"},
		{[]string{"undrain", "n1", s.url, "--cluster=app"}, 0, ""},
		{[]string{"reload", s.url}, exitUsage, "AllowReload"},
		{[]string{"reload", s.reader}, exitUsage, "AllowReload"},
		{[]string{"reload", other}, exitUsage, "no status page"},
		{[]string{"reload", secret}, exitUsage, "404"},
		{[]string{"reload", "http://" + closedPort(t)}, exitUsage, "refused: start the program"},
		{[]string{"reload", "config.toml"}, exitUsage, "takes a URL"},
		{[]string{"reload"}, exitUsage, "expected"},
		{[]string{"serve", "--allow-reload", "app:hunter22@tcp(" + closedPort(t) + "," + closedPort(t) + ")/db"}, exitUsage, "needs a FILE"},
		{[]string{"serve", "none.toml"}, exitUsage, "create it"},
		{[]string{"serve", "none.toml", "other.toml"}, exitUsage, "one FILE"},
		{[]string{"serve", s.url, "none.toml"}, exitUsage, "not both"},
		{[]string{"serve", secret, secret}, exitUsage, "named twice"},
		{[]string{"serve", s.url, "http://"}, exitUsage, "http://host:port"},
		{[]string{"serve", s.url, "--allow-drain"}, exitUsage, "--allow-drain"},
		{[]string{"serve", s.url, "--interval=1ms"}, exitUsage, "--interval"},
		{[]string{"serve", s.url, "--listen=no"}, exitUsage, "--listen"},
		{[]string{"version"}, 0, "clustersql "},
		{[]string{"--help"}, 0, "watch"},
		{[]string{"nothing"}, exitUsage, "--help"},
		{nil, exitUsage, "--help"},
	} {
		r := inProcess(t, c.args...)
		if r.code != c.code || !strings.Contains(r.stdout+r.stderr, c.say) {
			t.Errorf("%v: exit code %d, want %d with %q:\n%s%s", c.args, r.code, c.code, c.say, r.stdout, r.stderr)
		}
		if c.code > exitOK && r.stderr == "" && c.args[0] != "doctor" {
			t.Errorf("%v: nothing is said about exit code %d", c.args, c.code)
		}
		wantNoSecret(t, r)
	}
}

// A node is not empty as long as a connection there is in use.
func TestDrainWaits(t *testing.T) {
	s := newStage(t)
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	node := ""
	for _, n := range s.driver.Status().Nodes {
		if n.OpenConns > 0 {
			node = n.Name
		}
	}
	r := invoke(t, nil, "drain", node, s.url, "--timeout=500ms")
	if r.code != drainNotEmpty || !strings.Contains(r.stderr, "1 connections are open: give it more") {
		t.Errorf("%+v", r)
	}
	conn.Close()
	if r := invoke(t, nil, "drain", node, s.url); r.code != 0 {
		t.Errorf("%+v", r)
	}
	if s := stateOf(s.driver.Status().Nodes, node); s != clustersql.StateDraining {
		t.Errorf("the node is %s", s)
	}
	s.kill(int(node[1] - '0'))
	r = invoke(t, nil, "undrain", node, s.url, "--timeout=500ms")
	if r.code != drainNotEmpty || !strings.Contains(r.stderr, "doctor says") {
		t.Errorf("%+v", r)
	}
	s.revive(int(node[1] - '0'))
	if r := invoke(t, nil, "undrain", node, s.url); r.code != 0 {
		t.Errorf("%+v", r)
	}
	if s := stateOf(s.driver.Status().Nodes, node); s != clustersql.StateUp {
		t.Errorf("the node is %s", s)
	}
}

// begin starts the program, and kills it at the test's end if it still runs.
func begin(t *testing.T, args ...string) (cmd *exec.Cmd, stdout, stderr *bufio.Reader) {
	t.Helper()
	cmd = exec.Command(binary, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewReader(out), bufio.NewReader(errs)
}

// line reads a line that has a text, and skips those before it.
func line(t *testing.T, r *bufio.Reader, has string) string {
	t.Helper()
	for {
		text, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("no line has %q: %v", has, err)
		}
		if strings.Contains(text, has) {
			return strings.TrimSpace(text)
		}
	}
}

// In a pipe watch prints a table and then a line for each event; as jsonl it prints
// the states at first.
func TestWatchInAPipe(t *testing.T) {
	s := newStage(t)
	_, plain, _ := begin(t, "watch", s.url, "--interval=100ms")
	_, jsonl, _ := begin(t, "watch", s.url, "--interval=100ms", "--format=jsonl")
	_, whole, _ := begin(t, "watch", s.url, "--interval=100ms", "--format=json")
	line(t, plain, "3 of 3 nodes usable")
	for range 3 {
		var now struct{ Kind, To string }
		if err := json.Unmarshal([]byte(line(t, jsonl, "")), &now); err != nil || now.Kind != "now" || now.To != "up" {
			t.Errorf("%+v, %v", now, err)
		}
	}
	line(t, whole, `"usable":3`)
	s.kill(2)
	line(t, plain, "app n2 down, was")
	var event clustersql.Event
	if err := json.Unmarshal([]byte(line(t, jsonl, `"to":"down"`)), &event); err != nil || event.Node != "n2" || event.Cluster != "app" || event.Seq == 0 || event.Reason == "" {
		t.Errorf("%+v, %v", event, err)
	}
	line(t, whole, `"usable":2`)
	s.revive(2)
	line(t, plain, "n2 up, was down")
	line(t, jsonl, `"to":"up"`)
}

// --until ends a watch when a node has come back, as an init container wants it.
func TestWatchUntil(t *testing.T) {
	s := newStage(t)
	s.kill(1)
	s.waitState(t, "n1", clustersql.StateDown)
	cmd, _, stderr := begin(t, "watch", s.url, "--until=up>=3,down=0", "--timeout=30s", "--interval=50ms", "--format=jsonl")
	s.revive(1)
	if text, _ := io.ReadAll(stderr); len(text) > 0 {
		t.Errorf("%s", text)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// proxy stands before a page, and answers 502 while away holds true.
func proxy(t *testing.T, to string, away chan bool) string {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.URL.Path = target.Scheme, target.Host, target.Path
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gone := <-away
		away <- gone
		if gone {
			http.Error(w, "away", http.StatusBadGateway)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// A page that goes away and comes back is said once, and does not end a watch.
func TestWatchOutlivesThePage(t *testing.T) {
	s := newStage(t)
	away := make(chan bool, 1)
	away <- false
	server := proxy(t, s.url, away)
	_, out, errs := begin(t, "watch", server, "--interval=50ms", "--format=jsonl")
	line(t, out, `"n3"`)
	<-away
	away <- true
	line(t, errs, "502")
	s.kill(3)
	s.waitState(t, "n3", clustersql.StateDown)
	<-away
	away <- false
	line(t, out, `"to":"down"`)
}

// serve shows the clusters of a file, and ends at a signal.
func TestServe(t *testing.T) {
	t.Parallel()
	l := lab{}
	file := l.file(t, "", "app:hunter22@tcp("+closedPort(t)+")/db", "app:hunter22@tcp("+closedPort(t)+")/db")
	cmd, _, stderr := begin(t, "serve", file, "--listen=127.0.0.1:0", "--every=0s")
	address := line(t, stderr, "http://")
	r := invoke(t, nil, "watch", address, "--until=down=2", "--once=false", "--timeout=20s")
	if r.code != 0 || !strings.Contains(r.stdout, "of 2 nodes usable") {
		t.Errorf("%+v", r)
	}
	wantNoSecret(t, r)
	r = invoke(t, nil, "doctor", address, "--for=100ms")
	if r.code != doctorFindings || !strings.Contains(r.stdout, "start the server") {
		t.Errorf("%+v", r)
	}
	if r := invoke(t, nil, "drain", "n1", address); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
	answer, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || !strings.Contains(string(body), "n2") || strings.Contains(string(body), "hunter22") {
		t.Errorf("the page: %v\n%s", err, body)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	more := string(text) + "[[cluster.node]]\nname = \"n9\"\ndsn = \"app:hunter22@tcp(" + closedPort(t) + ")/db\"\n"
	if err := os.WriteFile(file, []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if said := line(t, stderr, "reloaded"); !strings.Contains(said, "n9") || strings.Contains(said, "hunter22") {
		t.Errorf("%q", said)
	}
	if r := invoke(t, nil, "watch", address, "--until=nodes=3", "--timeout=20s"); r.code != 0 {
		t.Errorf("%+v", r)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// The bundle of doctor has the file, the status and the findings, and no password.
func TestBundle(t *testing.T) {
	l := lab{}
	t.Setenv("BUNDLE_PW", "wrong%pass/42")
	file := l.file(t, "", "app:hunter22@tcp("+closedPort(t)+")/db", "app:${BUNDLE_PW}@tcp("+closedPort(t)+")/db", "app:p4ss@tcp(127.0.0.1:1)/db")
	bundle := filepath.Join(t.TempDir(), "b.tar.gz")
	if r := invoke(t, nil, "doctor", file, "--for=100ms", "--bundle="+bundle); r.code != doctorFindings {
		t.Fatalf("%+v", r)
	}
	f, err := os.Open(bundle)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]string)
	for files := tar.NewReader(zip); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if _, err := io.Copy(&text, files); err != nil {
			t.Fatal(err)
		}
		names[filepath.Base(h.Name)] = text.String()
		for _, secret := range []string{"hunter22", "wrong%pass/42", "p4ss"} {
			if strings.Contains(text.String(), secret) {
				t.Errorf("%s has %q:\n%s", h.Name, secret, text.String())
			}
		}
	}
	for name, has := range map[string]string{"config.toml": "127.0.0.1:1", "status.json": `"down"`, "findings.txt": "start the server", "about.txt": "clustersql"} {
		if !strings.Contains(names[name], has) {
			t.Errorf("%s has no %q:\n%s", name, has, names[name])
		}
	}
	if info, err := os.Stat(bundle); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

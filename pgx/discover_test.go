package clusterpgx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/dnstest"
)

// certified returns a certificate for a name, and the file that clients trust.
func certified(t *testing.T, name string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "root.crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// serveTLS answers like a PostgreSQL server up to the startup message, which it
// reads over TLS. It tells each name that was asked for, and ends the connection.
func serveTLS(t *testing.T, cert tls.Certificate) (port string, names chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	names = make(chan string, 1)
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				if _, err := io.ReadFull(conn, make([]byte, 8)); err != nil { // SSLRequest
					return
				}
				_, _ = conn.Write([]byte("S"))
				over := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
				if _, err := io.ReadFull(over, make([]byte, 8)); err != nil { // the client has not trusted it
					return
				}
				select {
				case names <- over.ConnectionState().ServerName:
				default:
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); served.Wait() })
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, names
}

// A node that discovery has found by its name is dialled at its address, and TLS
// verifies the name. The cluster's name service knows the name, and no other does.
func TestDiscoveryKeepsTheNameForTLS(t *testing.T) {
	cert, root := certified(t, "pg.svc.test")
	port, names := serveTLS(t, cert)
	s, err := dnstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Set("pg.svc.test.", "127.0.0.1")
	for what, discover := range map[string]clustersql.Discover{"found": clustersql.DiscoverDNS, "configured": clustersql.DiscoverOff} {
		t.Run(what, func(t *testing.T) {
			d := clustersql.NewDriver(Driver{}, t.Name(), clustersql.WithNameServer(s.Addr()), clustersql.WithDiscover(discover, time.Second))
			defer d.Close()
			if err := d.AddNode("pg", "postgres://app:pw@pg.svc.test:"+port+"/db?sslmode=verify-full&sslrootcert="+root); err != nil {
				t.Fatal(err)
			}
			db := sql.OpenDB(d.Connector())
			defer db.Close() // the first probe dials
			select {
			case name := <-names:
				if name != "pg.svc.test" {
					t.Errorf("TLS has asked for %q", name)
				}
			case <-time.After(20 * time.Second):
				t.Errorf("no handshake: %+v", d.Status())
			}
		})
	}
}

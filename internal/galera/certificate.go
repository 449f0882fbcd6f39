package galera

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

func (c *Cluster) certFile() string { return filepath.Join(c.dir, "cert.pem") }
func (c *Cluster) keyFile() string  { return filepath.Join(c.dir, "key.pem") }

// makeCertificate makes the certificate that all nodes use for TLS. It is
// self-signed and valid for a day. Clients accept it with tls=skip-verify.
func (c *Cluster) makeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("galera: certificate: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "galera"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.ParseIP(throwaway.Host)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("galera: certificate: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("galera: certificate: %w", err)
	}
	for path, block := range map[string]*pem.Block{
		c.certFile(): {Type: "CERTIFICATE", Bytes: cert},
		c.keyFile():  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return fmt.Errorf("galera: certificate: %w", err)
		}
		if err := c.user.Own(path); err != nil {
			return fmt.Errorf("galera: certificate: %w", err)
		}
	}
	return nil
}

// tlsArgs are given on the command line and not in the option file. The script
// of the state transfer reads that file, and would then want to encrypt too.
func (c *Cluster) tlsArgs() []string {
	return []string{"--ssl-cert=" + c.certFile(), "--ssl-key=" + c.keyFile()}
}

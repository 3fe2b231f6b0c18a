package main

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
)

// authority is the cluster's own CA. Everything it signs is thrown away with the cluster.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// credentials are one client's certificate and key, PEM.
type credentials struct{ certificate, key []byte }

// A long run must not outlive its certificates; nothing else depends on these.
const (
	clockSkew = time.Hour
	validFor  = 365 * 24 * time.Hour
)

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := certificateTemplate(pkix.Name{CommonName: "test-cluster-ca"})
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{certificate, key, pemBlock("CERTIFICATE", der)}, nil
}

// client makes credentials that the API server reads as user and group.
func (a *authority) client(user, group string) (credentials, error) {
	template := certificateTemplate(pkix.Name{CommonName: user})
	if group != "" {
		template.Subject.Organization = []string{group}
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.sign(template)
}

// server makes the API server's serving certificate.
func (a *authority) server() (credentials, error) {
	template := certificateTemplate(pkix.Name{CommonName: "kube-apiserver"})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.IPAddresses = []net.IP{net.ParseIP(loopback), net.ParseIP(serviceIP)}
	template.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	return a.sign(template)
}

func (a *authority) sign(template *x509.Certificate) (credentials, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return credentials{}, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return credentials{}, err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return credentials{}, err
	}
	return credentials{pemBlock("CERTIFICATE", der), pemBlock("EC PRIVATE KEY", private)}, nil
}

// serviceAccountKeys makes the pair that ServiceAccount tokens are signed and checked with.
func serviceAccountKeys() (public, private []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	privateDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	publicDER, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	return pemBlock("PUBLIC KEY", publicDER), pemBlock("EC PRIVATE KEY", privateDER), nil
}

func certificateTemplate(subject pkix.Name) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(fmt.Sprintf("the system's random source failed: %v", err))
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(validFor),
	}
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// pki is every key and certificate of one cluster, as files in dir.
type pki struct {
	dir       string
	authority *authority
	admin     credentials
}

func newPKI(dir string) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	serving, err := ca.server()
	if err != nil {
		return nil, err
	}
	public, private, err := serviceAccountKeys()
	if err != nil {
		return nil, err
	}
	// system:masters, because it works before the RBAC roles exist.
	admin, err := ca.client("test-admin", "system:masters")
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{
		"ca.crt":      ca.pem,
		"serving.crt": serving.certificate,
		"serving.key": serving.key,
		"sa.pub":      public,
		"sa.key":      private,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	return &pki{dir, ca, admin}, nil
}

func (p *pki) file(name string) string { return filepath.Join(p.dir, name) }

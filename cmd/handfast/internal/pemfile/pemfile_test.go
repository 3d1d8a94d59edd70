package pemfile_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/cmd/handfast/internal/pemfile"
	"github.com/handfast/handfast/internal/costtest"
)

type sample struct {
	key            *ecdsa.PrivateKey
	cert, csr, crl []byte // DER
	keyPEM         []byte
}

func newSample(t testing.TB) sample {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCRLSign, SubjectKeyId: []byte{1},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	crl, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Unix(0, 0), NextUpdate: time.Unix(1<<32, 0),
	}, template, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return sample{key: key, cert: cert, csr: csr, crl: crl, keyPEM: block("PRIVATE KEY", der)}
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestParseTakesEachKind(t *testing.T) {
	s := newSample(t)
	all := bytes.Join([][]byte{
		[]byte("subject=CN = x, as openssl writes\n"), block("CERTIFICATE", s.cert), block("CERTIFICATE REQUEST", s.csr),
		block("X509 CRL", s.crl), s.keyPEM, block("CERTIFICATE", s.cert),
	}, nil)
	tests := []struct {
		name                     string
		data                     []byte
		certs, csrs, crls, publk int
	}{
		{"certificate DER", s.cert, 1, 0, 0, 0},
		{"request DER", s.csr, 0, 1, 0, 0},
		{"CRL DER", s.crl, 0, 0, 1, 0},
		{"everything", all, 2, 1, 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := pemfile.Parse(tt.data)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Certificates) != tt.certs || len(c.Requests) != tt.csrs || len(c.CRLs) != tt.crls || len(c.PublicKeys) != tt.publk {
				t.Fatalf("got %d, %d, %d, %d", len(c.Certificates), len(c.Requests), len(c.CRLs), len(c.PublicKeys))
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	s := newSample(t)
	good := block("CERTIFICATE", s.cert)
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "empty"},
		{"text", []byte("hello"), "neither PEM nor DER"},
		{"cut DER", s.cert[:len(s.cert)-1], "neither PEM nor DER"},
		{"cut PEM", good[:len(good)-20], "damaged PEM block"},
		{"good, then cut", append(bytes.Clone(good), good[:60]...), "damaged PEM block at the end"},
		{"rubbish in a block", block("CERTIFICATE", []byte("x")), "PEM block 1"},
		{"unknown type", block("PGP MESSAGE", []byte("x")), "neither a certificate"},
		{"encrypted key", block("ENCRYPTED PRIVATE KEY", []byte("x")), "encrypted"},
		{"many blocks", bytes.Repeat(good, 129), "over 128 PEM blocks"},
		{"large object", block("CERTIFICATE", make([]byte, 65<<10)), "over 65536 bytes"},
		{"large file", make([]byte, pemfile.MaxSize+1), "over 16 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := pemfile.Parse(tt.data)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("err = %v; want %q in it", err, tt.want)
			}
		})
	}
}

func TestADamagedKeyIsNotQuoted(t *testing.T) {
	secret := []byte("canary-canary-canary")
	_, err := pemfile.Parse(block("EC PRIVATE KEY", secret))
	if err == nil || strings.Contains(err.Error(), "canary") {
		t.Fatalf("err = %v", err)
	}
}

// SPIRE x509pop and cert-manager CVE-2024-12401: hostile PEM burned CPU for seconds. The
// bound is wide, for slow machines; each case takes milliseconds.
func TestHostilePEMTakesBoundedTime(t *testing.T) {
	s := newSample(t)
	const size = 1 << 20
	fill := func(unit string) []byte { return []byte(strings.Repeat(unit, size/len(unit)+1)[:size]) }
	modulus := new(big.Int).Lsh(big.NewInt(1), 400_000)
	huge, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: modulus.Add(modulus, big.NewInt(1)), E: 3})
	if err != nil {
		t.Fatal(err)
	}
	inputs := map[string][]byte{
		"begins":         fill("-----BEGIN "),
		"begin lines":    fill("-----BEGIN CERTIFICATE-----\n"),
		"ends":           fill("-----END CERTIFICATE-----\n"),
		"begin and end":  fill("-----BEGIN CERTIFICATE-----\n-----END X-----\n"),
		"dashes":         fill("-"),
		"new lines":      append([]byte("-----BEGIN X-----\n"), fill("\n")...),
		"headers":        append([]byte("-----BEGIN X-----\n"), fill("a: b\n")...),
		"no base64":      append([]byte("-----BEGIN X-----\n"), fill("!")...),
		"many good":      fill(string(block("CERTIFICATE", s.cert))),
		"nested DER":     fill("\x30\x80"),
		"huge key":       block("CERTIFICATE", huge),
		"empty blocks":   fill("-----BEGIN A-----\n-----END A-----\n"),
		"colon, no line": fill("-----BEGIN A-----\n:"),
	}
	for name, data := range inputs {
		t.Run(name, func(t *testing.T) {
			var err error
			if took := costtest.Measure(t, func() { _, err = pemfile.Parse(data) }); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
			if err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestReadNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := pemfile.Read(filepath.Join(dir, "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := pemfile.Read(dir, nil); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("directory: %v", err)
	}
	path := filepath.Join(dir, "x.pem")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pemfile.Read(path, nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("rubbish: %v", err)
	}
	c, err := pemfile.Read("-", bytes.NewReader(newSample(t).cert))
	if err != nil || len(c.Certificates) != 1 {
		t.Errorf("stdin: %v, %d certificates", err, len(c.Certificates))
	}
}

func TestCheckSize(t *testing.T) {
	n := new(big.Int).Lsh(big.NewInt(1), 8192)
	if err := pemfile.CheckSize(&rsa.PublicKey{N: n, E: 3}); err == nil {
		t.Error("an RSA key of 8193 bits passed")
	}
	if err := pemfile.CheckSize(newSample(t).key.Public()); err != nil {
		t.Error(err)
	}
}

// Whatever is accepted is made of objects that parse again from their own bytes.
func FuzzParse(f *testing.F) {
	s := newSample(f)
	f.Add(s.cert)
	f.Add(s.crl)
	f.Add(block("CERTIFICATE REQUEST", s.csr))
	f.Add(append(block("CERTIFICATE", s.cert), s.keyPEM...))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := pemfile.Parse(data)
		if err != nil {
			return
		}
		if len(c.Certificates)+len(c.Requests)+len(c.CRLs)+len(c.PublicKeys) == 0 {
			t.Fatal("accepted, but holds nothing")
		}
		for _, cert := range c.Certificates {
			again, err := pemfile.Parse(cert.Raw)
			if err != nil || len(again.Certificates) != 1 || !again.Certificates[0].Equal(cert) {
				t.Fatalf("certificate does not parse again: %v", err)
			}
		}
	})
}

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.step.sm/crypto/jose"

	"github.com/handfast/handfast/internal/harness"
)

// stepCA is step-ca with the configuration that `step ca init` writes (badger, text logs,
// a JWK provisioner), but for the lifetime, which is ours.
type stepCA struct {
	*harness.Process
	dir     string
	address string
	root    *x509.Certificate
	jwk     *jose.JSONWebKey
	signer  jose.Signer
}

func (s *session) startStepCA(ctx context.Context) (*stepCA, error) {
	p := &stepCA{dir: s.path("step-ca")}
	if err := os.MkdirAll(filepath.Join(p.dir, "db"), 0o700); err != nil {
		return nil, err
	}
	var err error
	if p.address, err = harness.FreeAddress(); err != nil {
		return nil, err
	}
	if err := p.makeKeys(); err != nil {
		return nil, err
	}
	if err := p.writeConfig(); err != nil {
		return nil, err
	}
	if p.Process, err = s.start(ctx, []string{"HOME=" + p.dir}, "", s.program("stepca"), filepath.Join(p.dir, "ca.json")); err != nil {
		return nil, err
	}
	client := newCaller(clientTLS(p.root))
	return p, waitHTTP(ctx, client.http, "https://"+p.address+"/health")
}

// makeKeys makes root, intermediate (both P-256, as ours) and the provisioner's key.
func (p *stepCA) makeKeys() error {
	now := time.Now()
	template := func(name string, path int) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(int64(path) + 1), Subject: pkix.Name{CommonName: name},
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(365 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			IsCA: true, BasicConstraintsValid: true, MaxPathLen: path, MaxPathLenZero: path == 0,
		}
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, template("root", 1), template("root", 1), rootKey.Public(), rootKey)
	if err != nil {
		return err
	}
	if p.root, err = x509.ParseCertificate(rootDER); err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template("intermediate", 0), p.root, key.Public(), rootKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"root.crt": {Type: "CERTIFICATE", Bytes: rootDER}, "ca.crt": {Type: "CERTIFICATE", Bytes: der}, "ca.key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(p.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	if p.jwk, err = jose.GenerateJWK("EC", "P-256", "ES256", "sig", "", 0); err != nil {
		return err
	}
	p.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.jwk.Key},
		new(jose.SignerOptions).WithType("JWT").WithHeader("kid", p.jwk.KeyID))
	return err
}

func (p *stepCA) writeConfig() error {
	type object = map[string]any
	file := func(name string) string { return filepath.Join(p.dir, name) }
	data, err := json.Marshal(object{
		"root": file("root.crt"), "crt": file("ca.crt"), "key": file("ca.key"),
		"address": p.address, "dnsNames": []string{"127.0.0.1"},
		"logger": object{"format": "text"},
		"db":     object{"type": "badgerv2", "dataSource": file("db")},
		"authority": object{
			"provisioners": []object{{
				"type": "JWK", "name": "bench", "key": p.jwk.Public(),
				"claims": object{"defaultTLSCertDuration": "1h"},
			}},
		},
		"tls": object{"minVersion": 1.3, "maxVersion": 1.3, "renegotiation": false},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(file("ca.json"), data, 0o600)
}

// token is what `step ca token` makes: signed by the provisioner's key, used once.
func (p *stepCA) token() (string, error) {
	now := time.Now()
	claims := struct {
		jose.Claims
		SANs []string `json:"sans"`
	}{
		Claims: jose.Claims{
			Issuer: "bench", Subject: serviceDNS, ID: rand.Text(), Audience: jose.Audience{"https://" + p.address + "/1.0/sign"},
			IssuedAt: jose.NewNumericDate(now), NotBefore: jose.NewNumericDate(now), Expiry: jose.NewNumericDate(now.Add(5 * time.Minute)),
		},
		SANs: []string{serviceDNS, serviceID},
	}
	return jose.Signed(p.signer).Claims(claims).CompactSerialize()
}

// body is a request to sign a fresh key.
func (p *stepCA) body(r request) ([]byte, error) {
	token, err := p.token()
	if err != nil {
		return nil, err
	}
	csr := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: r.der})
	return json.Marshal(map[string]string{"csr": string(csr), "ott": token})
}

func (p *stepCA) enrolment(clients int) contestant {
	return p.enrolmentBy(callers(clients, func(int) *tls.Config { return clientTLS(p.root) }))
}

func (p *stepCA) enrolmentBy(all []*caller) contestant {
	url := "https://" + p.address + "/1.0/sign"
	var bodies [][]byte
	return contestant{
		name: "step-ca", pid: p.PID(),
		prepare: func(units int) (err error) {
			bodies, err = prepare(units, p.body)
			return err
		},
		do: func(ctx context.Context, client, unit int) error {
			return all[client].call(ctx, http.MethodPost, url, bodies[unit], nil)
		},
	}
}

// enrol obtains certificates, each with a key of its own.
func (p *stepCA) enrol(ctx context.Context, n int) ([]tls.Certificate, error) {
	requests, err := newRequests(n)
	if err != nil {
		return nil, err
	}
	client := newCaller(clientTLS(p.root))
	all := make([]tls.Certificate, n)
	for i, r := range requests {
		body, err := p.body(r)
		if err != nil {
			return nil, err
		}
		if err := client.call(ctx, http.MethodPost, "https://"+p.address+"/1.0/sign", body, nil); err != nil {
			return nil, err
		}
		var signed struct {
			Chain []string `json:"certChain"`
		}
		if err := json.Unmarshal(client.buffer.Bytes(), &signed); err != nil {
			return nil, err
		}
		all[i].PrivateKey = r.key
		for _, text := range signed.Chain {
			block, _ := pem.Decode([]byte(text))
			all[i].Certificate = append(all[i].Certificate, block.Bytes)
		}
	}
	return all, nil
}

// renewal is step-ca's own: the same key again, no CSR.
func (p *stepCA) renewal(credentials []tls.Certificate, anew bool) contestant {
	return p.renewalBy(callers(len(credentials), func(i int) *tls.Config { return clientTLS(p.root, credentials[i]) }), anew)
}

func (p *stepCA) renewalBy(all []*caller, anew bool) contestant {
	url := "https://" + p.address + "/1.0/renew"
	return contestant{name: "step-ca", pid: p.PID(), do: func(ctx context.Context, client, _ int) error {
		if anew {
			defer all[client].http.CloseIdleConnections()
		}
		return all[client].call(ctx, http.MethodPost, url, nil, nil)
	}}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/internal/harness"
)

// askOpenSSL asks about web's certificate that was issued to files before the
// revocation: openssl knows nothing of Handfast, only the RFCs.
func (d *demo) askOpenSSL(ctx context.Context) error {
	files := d.path("files")
	if err := splitChain(files); err != nil {
		return err
	}
	roots := filepath.Join(files, "roots.pem")
	out, err := d.openssl(ctx, "x509", "-in", filepath.Join(files, "leaf.pem"), "-noout", "-ocsp_uri")
	if err != nil {
		return err
	}
	responder := strings.TrimSpace(out)
	out, err = d.openssl(ctx, "ocsp", "-issuer", filepath.Join(files, "issuer.pem"), "-cert", filepath.Join(files, "leaf.pem"),
		"-url", responder, "-CAfile", roots, "-no_nonce")
	if err != nil {
		return err
	}
	if !strings.Contains(out, "revoked") || !strings.Contains(out, "keyCompromise") {
		return fmt.Errorf("OCSP does not say that the certificate is revoked: %s", out)
	}
	d.say.proved("OCSP: revoked, keyCompromise, in a response that verifies")
	return d.checkCRL(ctx, files, roots)
}

func (d *demo) checkCRL(ctx context.Context, files, roots string) error {
	crl := filepath.Join(files, "full.crl")
	url, err := d.fullCRL(ctx)
	if err != nil {
		return err
	}
	// The full CRL follows a revocation within a second.
	err = eventually(ctx, func() error {
		if _, err := harness.Run(ctx, nil, "curl", "-sSf", "--max-time", "60", "-o", crl, url); err != nil {
			return err
		}
		text, err := harness.Run(ctx, nil, "openssl", "crl", "-in", crl, "-inform", "DER", "-noout", "-text")
		if err == nil && !strings.Contains(text, "Revoked Certificates") {
			err = errors.New("the CRL lists nothing")
		}
		return err
	})
	if err != nil {
		return err
	}
	d.say.command("curl -o full.crl " + url)
	if _, err := harness.Run(ctx, nil, "openssl", "crl", "-in", crl, "-inform", "DER", "-out", crl+".pem"); err != nil {
		return err
	}
	_, err = d.openssl(ctx, "verify", "-crl_check", "-CAfile", roots, "-untrusted", filepath.Join(files, "issuer.pem"),
		"-CRLfile", crl+".pem", filepath.Join(files, "leaf.pem"))
	if err == nil {
		return errors.New("openssl verify accepts the revoked certificate")
	}
	if !strings.Contains(err.Error(), "certificate revoked") {
		return fmt.Errorf("openssl verify does not see the revocation: %w", err)
	}
	d.say.output(strings.ReplaceAll(complaint(err), d.path("files")+"/", ""), 3)
	d.say.proved("CRL: openssl verify refuses the chain, \"certificate revoked\"")
	return nil
}

// fullCRL returns the address of the issuing CA's full CRL.
func (d *demo) fullCRL(ctx context.Context) (string, error) {
	out, err := d.ca.Handfast(ctx, "status", "-o", "json")
	if err != nil {
		return "", err
	}
	var status api.Status
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return "", err
	}
	if len(status.Issuers) == 0 {
		return "", errors.New("the status names no issuer")
	}
	return fmt.Sprintf("http://%s/crl/%s.crl", d.ca.Public, status.Issuers[0].KeyID), nil
}

// openssl runs openssl and shows both the command, with bare file names, and the answer.
func (d *demo) openssl(ctx context.Context, args ...string) (string, error) {
	shown := make([]string, len(args))
	for i, arg := range args {
		shown[i] = strings.TrimPrefix(arg, d.path("files")+"/")
	}
	d.say.command("openssl " + strings.Join(shown, " "))
	out, err := harness.Run(ctx, nil, append([]string{"openssl"}, args...)...)
	if err == nil {
		d.say.output(strings.ReplaceAll(out, d.path("files")+"/", ""), 6)
	}
	return out, err
}

// splitChain writes the two certificates of cert.pem apart, as openssl's options want them.
func splitChain(dir string) error {
	chain, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		return err
	}
	const end = "-----END CERTIFICATE-----\n"
	leaf, issuer, ok := strings.Cut(string(chain), end)
	if !ok {
		return fmt.Errorf("%s holds no chain", dir)
	}
	if err := os.WriteFile(filepath.Join(dir, "leaf.pem"), []byte(leaf+end), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "issuer.pem"), []byte(issuer), 0o600)
}

func newClient() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
}

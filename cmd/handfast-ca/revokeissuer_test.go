package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

// From the operator's word to the root's CRL: the ledger knows at once, agents and the API
// follow, and root-crl lists what the ledger says.
func TestRevokingTheIssuingCAReachesTheRootsCRL(t *testing.T) {
	t.Parallel()
	ca := copyCA(t)
	dir := home.Dir(ca.Dir)
	content, err := os.ReadFile(dir.IssuingCert())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	issuing, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	daemon := serve(t, ca)
	agent, _ := newListener(t, daemon, "web", strings.Repeat("a1", 16))
	agent.hears(t, 1)
	operator := daemon.operator(t)
	revoked, err := operator.Revoke(t.Context(), &api.RevokeRequest{Issuer: issuer.KeyID(issuing), Reason: certs.CACompromise})
	if err != nil || revoked.Affected == 0 || revoked.Total != 1 {
		t.Fatalf("%+v, %v", revoked, err)
	}
	var refusal *api.Error
	if _, err := operator.Status(t.Context()); !errors.As(err, &refusal) || refusal.Code != api.CodeRevoked {
		t.Errorf("the operator's certificate is still accepted: %v", err)
	}
	if err := daemon.stop(); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"root-crl", "--dir", ca.Dir, "--root-key", dir.RootKey()}, nil, discard{}, discard{}); err != nil {
		t.Fatal(err)
	}
	der, err := os.ReadFile(dir.RootCRL())
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	entries := list.RevokedCertificateEntries
	if len(entries) != 1 || entries[0].SerialNumber.Cmp(issuing.SerialNumber) != 0 || entries[0].ReasonCode != int(certs.CACompromise) {
		t.Errorf("the root's CRL lists %+v", entries)
	}
	serve(t, ca) // it still carries the word
	if err := os.Rename(dir.Ledger(), filepath.Join(t.TempDir(), "ledger.db")); err != nil {
		t.Fatal(err)
	}
	var note logged
	if err := run(t.Context(), []string{"root-crl", "--dir", ca.Dir, "--root-key", dir.RootKey()}, nil, discard{}, &note); err != nil || !strings.Contains(note.String(), "--issuer") {
		t.Errorf("without a ledger: %v, %s", err, note.String())
	}
}

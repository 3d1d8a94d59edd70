package crl

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

var (
	start        = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	algorithm, _ = asn1.Marshal(pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}})
)

func newIssuer(t *testing.T) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Issuer", Organization: []string{"Example"}},
		NotBefore: start, NotAfter: start.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCRLSign, SubjectKeyId: []byte{1, 2, 3, 4},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func signer(key *ecdsa.PrivateKey) func(...[]byte) ([]byte, error) {
	return func(tbs ...[]byte) ([]byte, error) {
		sum := sha256.Sum256(bytes.Join(tbs, nil))
		return ecdsa.SignASN1(rand.Reader, key, sum[:])
	}
}

func build(t *testing.T, template Template, entries []Entry, sign func(...[]byte) ([]byte, error)) []byte {
	t.Helper()
	pieces, err := template.Sign(encoded(entries), sign)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Join(pieces, nil)
}

// encoded encodes entries in pieces of seven.
func encoded(entries []Entry) [][]byte {
	var pieces [][]byte
	for some := range slices.Chunk(entries, 7) {
		var piece []byte
		for _, e := range some {
			piece = AppendEntry(piece, e)
		}
		pieces = append(pieces, piece)
	}
	return pieces
}

func someEntries(n int) []Entry {
	reasons := []certs.Reason{certs.Unspecified, certs.KeyCompromise, certs.CertificateHold, certs.AACompromise}
	entries := make([]Entry, n)
	for i := range entries {
		serial := bytes.Repeat([]byte{byte(i)*37 | 1}, 1+i%20) // every length, with and without the high bit
		entries[i] = Entry{Serial: serial, At: start.Unix() - int64(i), Reason: reasons[i%len(reasons)]}
	}
	return entries
}

// The encoder of crypto/x509 is the reference: with the same contents, the signed octets are the same.
func TestSameAsCryptoX509(t *testing.T) {
	issuer, key := newIssuer(t)
	for _, n := range []int{0, 1, 2, 5, 100, 3000} {
		entries := someEntries(n)
		list := build(t, Template{
			Issuer: issuer.RawSubject, AuthorityKeyID: issuer.SubjectKeyId, SignatureAlgorithm: algorithm,
			Number: uint64(n) + 127, ThisUpdate: start, NextUpdate: start.Add(time.Hour),
		}, entries, signer(key))
		template := &x509.RevocationList{Number: big.NewInt(int64(n) + 127), ThisUpdate: start, NextUpdate: start.Add(time.Hour)}
		for _, e := range entries {
			template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
				SerialNumber: new(big.Int).SetBytes(e.Serial), RevocationTime: time.Unix(e.At, 0), ReasonCode: int(e.Reason),
			})
		}
		reference, err := x509.CreateRevocationList(rand.Reader, template, issuer, key)
		if err != nil {
			t.Fatal(err)
		}
		want, err := x509.ParseRevocationList(reference)
		if err != nil {
			t.Fatal(err)
		}
		got, err := x509.ParseRevocationList(list)
		if err != nil {
			t.Fatalf("%d entries: %v", n, err)
		}
		if !bytes.Equal(got.RawTBSRevocationList, want.RawTBSRevocationList) {
			t.Errorf("%d entries: TBSCertList\n%x\nwant\n%x", n, got.RawTBSRevocationList, want.RawTBSRevocationList)
		}
		if err := got.CheckSignatureFrom(issuer); err != nil {
			t.Errorf("%d entries: %v", n, err)
		}
	}
}

// What was encoded once is neither copied nor changed: lists share it.
func TestEntriesAreShared(t *testing.T) {
	issuer, key := newIssuer(t)
	template := Template{Issuer: issuer.RawSubject, SignatureAlgorithm: algorithm, Number: 1, ThisUpdate: start, NextUpdate: start.Add(time.Hour)}
	entries := encoded(someEntries(40))
	before := bytes.Join(entries, nil)
	pieces, err := template.Sign(entries, signer(key))
	if err != nil {
		t.Fatal(err)
	}
	for i, piece := range entries {
		if &piece[0] != &pieces[i+1][0] {
			t.Fatalf("piece %d was copied", i)
		}
	}
	if !bytes.Equal(bytes.Join(entries, nil), before) {
		t.Error("the entries were changed")
	}
}

func TestExtensions(t *testing.T) {
	issuer, key := newIssuer(t)
	type extension struct {
		oid      string
		critical bool
	}
	base := Template{
		Issuer: issuer.RawSubject, AuthorityKeyID: []byte{9}, SignatureAlgorithm: algorithm, Number: 7,
		ThisUpdate: start, NextUpdate: start.Add(time.Hour), Freshest: "http://ca.test/delta.crl",
	}
	partition, delta := base, base
	partition.DistributionPoint = "http://ca.test/3.crl"
	delta.DistributionPoint, delta.Delta, delta.Base = partition.DistributionPoint, true, 5
	for _, test := range []struct {
		name     string
		template Template
		want     []extension
	}{
		{"full", base, []extension{{"2.5.29.35", false}, {"2.5.29.20", false}, {"2.5.29.46", false}}},
		{"partition", partition, []extension{{"2.5.29.35", false}, {"2.5.29.20", false}, {"2.5.29.28", true}, {"2.5.29.46", false}}},
		{"delta", delta, []extension{{"2.5.29.35", false}, {"2.5.29.20", false}, {"2.5.29.27", true}, {"2.5.29.28", true}}},
	} {
		list, err := x509.ParseRevocationList(build(t, test.template, nil, signer(key)))
		if err != nil {
			t.Fatal(err)
		}
		var got []extension
		for _, e := range list.Extensions {
			got = append(got, extension{e.Id.String(), e.Critical})
		}
		if len(got) != len(test.want) {
			t.Fatalf("%s: extensions %v, want %v", test.name, got, test.want)
		}
		for i := range got {
			if got[i] != test.want[i] {
				t.Errorf("%s: extension %v, want %v", test.name, got[i], test.want[i])
			}
		}
	}
}

// Dates turn from two to four digits of the year at 2050 (RFC 5280, section 5.1.2.4).
func TestTimesAround2050(t *testing.T) {
	for _, test := range []struct {
		at   time.Time
		want string
	}{
		{time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC), "\x17\x0d491231235959Z"},
		{time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC), "\x18\x0f20500101000000Z"},
	} {
		if got := appendTime(nil, test.at.Unix()); string(got) != test.want || len(got) != timeSize(test.at.Unix()) {
			t.Errorf("%v is %q, want %q", test.at, got, test.want)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	failure := errors.New("no key")
	for _, test := range []struct {
		name string
		sign func(...[]byte) ([]byte, error)
	}{
		{"failing signer", func(...[]byte) ([]byte, error) { return nil, failure }},
		{"empty signature", func(...[]byte) ([]byte, error) { return nil, nil }},
	} {
		if list, err := (Template{SignatureAlgorithm: algorithm}).Sign(encoded(someEntries(1)), test.sign); err == nil || list != nil {
			t.Errorf("%s: signed", test.name)
		}
	}
}

// Whatever the entries are, EntrySize tells the truth, CutEntry finds their end, and the list is read back as it was meant.
func FuzzEntry(f *testing.F) {
	f.Add([]byte{0x80}, int64(1), 0)
	f.Add([]byte{1, 2, 3}, year2050, 1)
	f.Fuzz(func(t *testing.T, serial []byte, at int64, reason int) {
		parsed, err := certs.SerialFromBytes(serial)
		if err != nil || at < 0 || at > 1<<32 || reason < 0 || reason > 10 {
			t.Skip()
		}
		e := Entry{Serial: parsed.Bytes(), At: at, Reason: certs.Reason(reason)}
		encoded := AppendEntry(nil, e)
		if len(encoded) != EntrySize(e) {
			t.Fatalf("%d octets, EntrySize says %d", len(encoded), EntrySize(e))
		}
		if entry, rest := CutEntry(append(slices.Clip(encoded), encoded...)); !bytes.Equal(entry, encoded) || !bytes.Equal(rest, encoded) {
			t.Fatalf("twice %x is cut into %x and %x", encoded, entry, rest)
		}
		var back pkix.RevokedCertificate
		rest, err := asn1.Unmarshal(encoded, &back)
		if err != nil || len(rest) > 0 {
			t.Fatalf("%x: %v", encoded, err)
		}
		if back.SerialNumber.Cmp(parsed.Int()) != 0 || back.RevocationTime.Unix() != at || len(back.Extensions) > 0 != (reason > 0) {
			t.Fatalf("read back %v", back)
		}
	})
}

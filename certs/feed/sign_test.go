package feed

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs/internal/der"
)

func TestStatementRoundTrip(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"P-256": ecKey(t, elliptic.P256()), "P-384": ecKey(t, elliptic.P384()), "Ed25519": edKey(t)} {
		by := newSigner(t, key, "spiffe://"+testDomain+signingPath)
		bare := statement(3, 3, 0)
		bare.Versions, bare.Issuers = nil, nil
		for what, want := range map[string]*Statement{
			"heartbeat": statement(7, 7, 0),
			"bare":      bare,
			"entries":   statement(7, 12, 0, entry(8, Revoked, 1), entry(10, Held, 2), entry(12, Released, 2)),
			"far":       statement(1<<62, 1<<63-1, 0, entry(1<<63-1, Revoked, 1<<63)),
			"snapshot":  snapshot(9, 0, 1, 2, 3),
			"empty set": snapshot(0, 0),
		} {
			got, err := Open(by.sign(t, want), by.find)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, what, err)
			}
			if (got.Snapshot == nil) != (want.Snapshot == nil) || !bytes.Equal(got.Snapshot.Bytes(), want.Snapshot.Bytes()) {
				t.Errorf("%s, %s: another set", name, what)
			}
			got.Snapshot, want.Snapshot = nil, nil
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s, %s:\n%+v\n%+v", name, what, got, want)
			}
		}
	}
}

// Whatever is changed in a statement, its signature does not fit any more.
func TestEveryChangedOctetIsRefused(t *testing.T) {
	by := newTestSigner(t)
	signed := by.sign(t, statement(7, 9, 0, entry(8, Revoked, 1)))
	for i := range signed {
		changed := bytes.Clone(signed)
		changed[i] ^= 1
		if s, err := Open(changed, by.find); err == nil {
			t.Fatalf("octet %d was changed: %+v", i, s)
		}
	}
	for length := range signed {
		if _, err := Open(signed[:length], by.find); err == nil {
			t.Fatalf("cut off after %d octets, it was opened", length)
		}
	}
	if _, err := Open(append(bytes.Clone(signed), 0), by.find); err == nil {
		t.Error("something stands behind it")
	}
}

func TestOpenRefusesForgery(t *testing.T) {
	by, other := newTestSigner(t), newTestSigner(t)
	edwards := newSigner(t, edKey(t), "spiffe://"+testDomain+signingPath)
	good := statement(7, 9, 0, entry(8, Revoked, 1))
	content, err := good.encode(sha256.Sum256(by.cert.Raw))
	if err != nil {
		t.Fatal(err)
	}
	signedBy := func(key *signer, algorithm string) []byte {
		digest := sha256.Sum256(content)
		signature, err := key.key.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		return der.Append(nil, der.Sequence, content, []byte(algorithm), der.Append(nil, der.BitString, []byte{0}, signature))
	}
	anyone := func(cert *x509.Certificate) func([sha256.Size]byte) (*x509.Certificate, error) {
		return func([sha256.Size]byte) (*x509.Certificate, error) { return cert, nil }
	}
	refused := errors.New("revoked")
	for name, test := range map[string]struct {
		signed []byte
		key    func([sha256.Size]byte) (*x509.Certificate, error)
		want   error
	}{
		"sound":                        {signedBy(by, schemes[0].identifier), by.find, nil},
		"another's signature":          {signedBy(other, schemes[0].identifier), by.find, ErrSignature},
		"another algorithm":            {signedBy(by, schemes[1].identifier), by.find, ErrSignature},
		"another certificate is given": {by.sign(t, good), anyone(other.cert), ErrSignature},
		"a key of another kind":        {by.sign(t, good), anyone(edwards.cert), ErrSignature},
		"the signer is refused":        {by.sign(t, good), func([sha256.Size]byte) (*x509.Certificate, error) { return nil, refused }, refused},
	} {
		_, err := Open(test.signed, test.key)
		if (err == nil) != (test.want == nil) || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, uris := range map[string][]string{
		"of another trust domain": {"spiffe://other.test" + signingPath},
		"of a service":            {"spiffe://" + testDomain + "/web"},
		"without an identity":     nil,
		"with two":                {"spiffe://" + testDomain + signingPath, "spiffe://" + testDomain + "/web"},
	} {
		by := newSigner(t, ecKey(t, elliptic.P256()), uris...)
		if _, err := Open(by.sign(t, good), by.find); !errors.Is(err, ErrDomain) {
			t.Errorf("signer %s: %v", name, err)
		}
	}
}

// The content is not looked at before its signature: what is malformed and forged is a forgery.
func TestSignatureIsCheckedFirst(t *testing.T) {
	by := newTestSigner(t)
	name := sha256.Sum256(by.cert.Raw)
	content := der.Append(nil, der.Sequence, der.AppendUint(nil, contentVersion), der.Append(nil, der.OctetString, name[:]), []byte{0xff, 0xff})
	forged := der.Append(nil, der.Sequence, content, []byte(schemes[0].identifier), []byte{der.BitString, 2, 0, 1})
	if _, err := Open(forged, by.find); !errors.Is(err, ErrSignature) {
		t.Errorf("%v", err)
	}
}

func TestSignRefusesContradictions(t *testing.T) {
	by := newTestSigner(t)
	for name, change := range map[string]func(*Statement){
		"no domain":            func(s *Statement) { s.TrustDomain = "" },
		"a malformed domain":   func(s *Statement) { s.TrustDomain = "\xff" },
		"backwards":            func(s *Statement) { s.To = 5 },
		"too far":              func(s *Statement) { s.To = 1 << 63 },
		"no validity":          func(s *Statement) { s.NextUpdate = s.SignedAt },
		"before 1970":          func(s *Statement) { s.SignedAt = time.Unix(-1, 0) },
		"after 9999":           func(s *Statement) { s.NextUpdate = time.Unix(latest+1, 0) },
		"entry before":         func(s *Statement) { s.Entries[0].Sequence = 7 },
		"entry behind":         func(s *Statement) { s.Entries[1].Sequence = 11 },
		"entries not rising":   func(s *Statement) { s.Entries[1].Sequence = s.Entries[0].Sequence },
		"unknown kind":         func(s *Statement) { s.Entries[0].Kind = 2 },
		"excepted":             func(s *Statement) { s.Entries[0].Kind = excepted },
		"no serial":            func(s *Statement) { s.Entries[0].Serial = nil },
		"a padded serial":      func(s *Statement) { s.Entries[0].Serial = []byte{0, 1} },
		"a long serial":        func(s *Statement) { s.Entries[0].Serial = bytes.Repeat([]byte{1}, 21) },
		"no issuer":            func(s *Statement) { s.Entries[0].Issuer = "" },
		"issuer in upper case": func(s *Statement) { s.Entries[0].Issuer = "AB" },
		"covered by a name":    func(s *Statement) { s.Issuers[0] = "root" },
		"part of a second":     func(s *Statement) { s.Entries[0].At = testNow.Add(1) },
		"a long version":       func(s *Statement) { s.Versions[0].Value = strings.Repeat("x", 256) },
		"many versions":        func(s *Statement) { s.Versions = make([]Version, 65) },
		"snapshot not from 0":  func(s *Statement) { s.Snapshot, s.Entries = NewSet(nil), nil },
		"snapshot and entries": func(s *Statement) { s.Snapshot, s.From = NewSet(nil), 0 },
	} {
		s := statement(7, 10, 0, entry(8, Revoked, 1), entry(9, Held, 2))
		change(s)
		if _, err := s.Sign(by.key, by.cert, nil); err == nil {
			t.Errorf("%s: signed", name)
		}
		if _, err := (*View)(nil).Apply(s, testNow); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
	if _, err := statement(7, 7, 0).Sign(ecKey(t, elliptic.P256()), by.cert, nil); err == nil {
		t.Error("signed with a key that is not the certificate's")
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := statement(7, 7, 0).Sign(weak, newSigner(t, weak).cert, nil); err == nil {
		t.Error("signed with RSA")
	}
}

// A later version's entries: one that is critical stops a holder that does not know it, others are passed over.
func TestEntriesOfLaterKinds(t *testing.T) {
	later := func(sequence uint64, critical byte) []byte {
		fields := der.AppendUint(nil, sequence)
		fields = der.AppendUint(fields, 77)
		fields = der.Append(fields, der.Boolean, []byte{critical})
		fields = der.Append(fields, der.OctetString, []byte("of a session, say"))
		return der.Append(nil, der.Sequence, fields)
	}
	known := entry(9, Revoked, 1)
	for name, test := range map[string]struct {
		list  []byte
		known int
		ok    bool
	}{
		"passed over":       {known.append(later(8, 0)), 1, true},
		"critical":          {known.append(later(8, 0xff)), 0, false},
		"not rising":        {known.append(later(9, 0)), 0, false},
		"a sloppy boolean":  {later(8, 1), 0, false},
		"something behind":  {append(later(8, 0), 0), 0, false},
		"nothing but later": {later(8, 0), 0, true},
	} {
		entries, err := decodeEntries(test.list)
		if (err == nil) != test.ok || len(entries) != test.known {
			t.Errorf("%s: %d entries, %v", name, len(entries), err)
		}
	}
}

// FuzzOpen signs whatever comes, so that the fuzzer gets past the signature: what is opened can be signed
// again and then says the same, and applying it keeps to the position.
func FuzzOpen(f *testing.F) {
	by := newSigner(f, edKey(f), "spiffe://"+testDomain+signingPath)
	name := sha256.Sum256(by.cert.Raw)
	for _, s := range []*Statement{statement(7, 9, 0, entry(8, Revoked, 1), entry(9, Released, 2)), snapshot(9, 0, 1, 2, 3), statement(1, 1, 0)} {
		content, err := s.encode(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
		f.Add(by.sign(f, s))
	}
	base := apply(f, nil, snapshot(7, 0, 2, 5))
	f.Fuzz(func(t *testing.T, content []byte) {
		content = bytes.Clone(content)
		if outer := der.Value(content); len(content) > 0 {
			if fields, _, err := outer.Read(der.Sequence); err == nil && len(fields) >= 37 {
				copy(fields[5:], name[:]) // the signer's name, which no fuzzer finds
			}
		}
		signature, err := by.key.Sign(nil, content, crypto.Hash(0))
		if err != nil {
			t.Fatal(err)
		}
		signed := der.Append(nil, der.Sequence, content, []byte(schemes[2].identifier), der.Append(nil, der.BitString, []byte{0}, signature))
		s, err := Open(signed, by.find)
		if err != nil {
			if s, err = Open(content, by.find); err != nil {
				return
			}
		}
		again, err := Open(by.sign(t, s), by.find)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.Snapshot.Bytes(), again.Snapshot.Bytes()) {
			t.Fatal("another set")
		}
		v, err := base.Apply(s, s.SignedAt)
		if err == nil && (v.Sequence() != s.To || s.From > 7 && s.Snapshot == nil || s.To < 7) {
			t.Fatalf("from %d to %d was applied at 7", s.From, s.To)
		}
		s.Snapshot, again.Snapshot = nil, nil
		if !reflect.DeepEqual(s, again) {
			t.Fatalf("%+v\n%+v", s, again)
		}
	})
}

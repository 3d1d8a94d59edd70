package revocation

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"

	"github.com/handfast/handfast/certs"
)

// maxStaticCRL is the size limit of a CRL that was made elsewhere.
const maxStaticCRL = 16 << 20

// AddStaticCRL serves a full CRL that was made elsewhere, such as the root's for its
// intermediates, at the path of its issuer. The caller vouches for its signature. It
// replaces one of the same issuer with a lower number; an older or partial one is an error.
func (p *Publisher) AddStaticCRL(der []byte) error {
	if len(der) > maxStaticCRL {
		return fmt.Errorf("CRL has %d octets; at most %d are taken", len(der), maxStaticCRL)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return fmt.Errorf("parse CRL: %w", err)
	}
	issuer := hex.EncodeToString(list.AuthorityKeyId)
	switch {
	case issuer == "" || list.Number == nil || !list.Number.IsUint64() || list.NextUpdate.IsZero():
		return fmt.Errorf("CRL of %v: it needs an authority key identifier, a CRL number below 2^64 and a nextUpdate", list.Issuer)
	case p.byID[issuer] != nil:
		return fmt.Errorf("CRL of %v: this issuer's CRLs are published from the log", list.Issuer)
	}
	for _, extension := range list.Extensions {
		if extension.Critical {
			return fmt.Errorf("CRL of %v: its critical extension %v makes it a delta or partial CRL; give a full one", list.Issuer, extension.Id)
		}
	}
	revoked, err := listedIn(list, issuer)
	if err != nil {
		return fmt.Errorf("CRL of %v: %w", list.Issuer, err)
	}
	der = bytes.Clone(der)
	return p.putStatic(&document{
		pieces: [][]byte{der}, size: len(der), issuer: issuer, number: list.Number.Uint64(),
		thisUpdate: list.ThisUpdate, nextUpdate: list.NextUpdate, times: newHTTPTimes(list.ThisUpdate, list.NextUpdate),
		etag: etagOf(list.Number.Uint64(), der), entries: len(list.RevokedCertificateEntries),
		revoked: revoked,
	})
}

func (p *Publisher) putStatic(d *document) error {
	p.staticMu.Lock()
	defer p.staticMu.Unlock()
	static := maps.Clone(*p.static.Load())
	if old := static[d.issuer]; old != nil {
		if bytes.Equal(old.pieces[0], d.pieces[0]) {
			return nil
		}
		if d.number <= old.number {
			return fmt.Errorf("CRL %d of issuer %s is not newer than CRL %d, which is served: give the next one a higher number", d.number, d.issuer, old.number)
		}
	}
	static[d.issuer] = d
	p.static.Store(&static)
	p.changed.notify()
	return nil
}

// listedIn is what a CRL that was made elsewhere says, for Revoked. Its number stands in
// for the log's.
func listedIn(list *x509.RevocationList, issuer string) (map[certs.Serial]Entry, error) {
	revoked := make(map[certs.Serial]Entry, len(list.RevokedCertificateEntries))
	for _, listed := range list.RevokedCertificateEntries {
		serial, err := certs.SerialFromInt(listed.SerialNumber)
		if err != nil {
			return nil, err
		}
		kind := Revoked
		if listed.ReasonCode == int(certs.CertificateHold) {
			kind = Held
		}
		revoked[serial] = Entry{
			Sequence: list.Number.Uint64(), Kind: kind, Issuer: issuer, Serial: serial,
			Reason: certs.Reason(listed.ReasonCode), At: listed.RevocationTime.UTC(),
		}
	}
	return revoked, nil
}

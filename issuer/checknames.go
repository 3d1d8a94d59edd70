package issuer

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/handfast/handfast/certs"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

var errMalformed = errors.New("it is malformed")

// inspectNames demands exactly one URI, which is the subject's SPIFFE ID in the
// profile's trust domain, and exactly the subject's DNS names and addresses.
func (d *Draft) inspectNames(v cryptobyte.String) error {
	var names cryptobyte.String
	if !v.ReadASN1(&names, asn1.SEQUENCE) || !v.Empty() {
		return errMalformed
	}
	dns, ips, uris := d.subject.DNSNames, d.subject.IPs, 0
	for !names.Empty() {
		var value cryptobyte.String
		var tag asn1.Tag
		if !names.ReadAnyASN1(&value, &tag) {
			return errMalformed
		}
		switch tag {
		case 0x82: // dNSName
			if len(dns) == 0 || dns[0] != string(value) {
				return fmt.Errorf("DNS name %q is not the subject's", value)
			}
			dns = dns[1:]
		case 0x87: // iPAddress
			ip, ok := netip.AddrFromSlice(value)
			if !ok || len(ips) == 0 || ips[0] != ip {
				return fmt.Errorf("IP address %x is not the subject's", []byte(value))
			}
			ips = ips[1:]
		case 0x86: // uniformResourceIdentifier
			if uris++; uris > 1 {
				return errors.New("there is more than one URI")
			}
			if err := d.inspectID(string(value)); err != nil {
				return err
			}
		default:
			return fmt.Errorf("there is a name of the kind %#x", uint8(tag))
		}
	}
	if len(dns) > 0 || len(ips) > 0 || uris != 1 {
		return errors.New("a name of the subject is missing")
	}
	return nil
}

func (d *Draft) inspectID(uri string) error {
	id, err := certs.ParseID(uri)
	if err != nil {
		return err
	}
	config := &d.profile.config
	switch {
	case id != d.subject.ID:
		return fmt.Errorf("%s is not the subject's identity", id)
	case id.TrustDomain() != config.TrustDomain:
		return fmt.Errorf("%s is not in the trust domain %s", id, config.TrustDomain)
	case id.IsReserved() != config.Reserved:
		return fmt.Errorf("profile %s may not name %s", config.Name, id)
	default:
		return nil
	}
}

func (d *Draft) inspectAuthorityInfo(v cryptobyte.String) error {
	var list cryptobyte.String
	if !v.ReadASN1(&list, asn1.SEQUENCE) || !v.Empty() {
		return errMalformed
	}
	e := d.announced()
	for _, want := range [...]struct{ method, url string }{{oidAccessOCSP, e.OCSP}, {oidAccessCAIssuers, e.CAIssuers}} {
		if want.url == "" {
			continue
		}
		var access, method, url cryptobyte.String
		if !list.ReadASN1(&access, asn1.SEQUENCE) ||
			!access.ReadASN1(&method, asn1.OBJECT_IDENTIFIER) ||
			!access.ReadASN1(&url, 0x86) || !access.Empty() {
			return errMalformed
		}
		if string(method) != want.method || string(url) != want.url {
			return fmt.Errorf("URL %q is not the profile's", url)
		}
	}
	if !list.Empty() {
		return errors.New("there are more URLs than the profile's")
	}
	return nil
}

func (d *Draft) inspectCRLPoint(v cryptobyte.String) error {
	return inspectPoint(v, d.profile.endpoints.CRL(d.serial))
}

func (d *Draft) inspectFreshest(v cryptobyte.String) error {
	return inspectPoint(v, d.profile.endpoints.FreshestCRL(d.serial))
}

// inspectPoint demands one distribution point with one URL and nothing else.
func inspectPoint(v cryptobyte.String, want string) error {
	var points, point, name, full, url cryptobyte.String
	if !v.ReadASN1(&points, asn1.SEQUENCE) || !v.Empty() ||
		!points.ReadASN1(&point, asn1.SEQUENCE) || !points.Empty() ||
		!point.ReadASN1(&name, 0xa0) || !point.Empty() ||
		!name.ReadASN1(&full, 0xa0) || !name.Empty() ||
		!full.ReadASN1(&url, 0x86) || !full.Empty() {
		return errMalformed
	}
	if string(url) != want {
		return fmt.Errorf("URL %q is not the one for this serial number", url)
	}
	if len(want) == 0 || len(want) > maxURL {
		return fmt.Errorf("URL of %d bytes", len(want))
	}
	for _, c := range []byte(want) {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("URL %q holds a character that is not printable ASCII", want)
		}
	}
	return nil
}

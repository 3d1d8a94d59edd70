package feed

import (
	"slices"
	"time"
)

// TrustDomain returns whose feed it is; "" for nil.
func (v *View) TrustDomain() string {
	if v == nil {
		return ""
	}
	return v.domain
}

// Sequence returns the holder's position; 0 for nil.
func (v *View) Sequence() uint64 {
	if v == nil {
		return 0
	}
	return v.sequence
}

// SignedAt returns when the last statement was signed; zero for nil.
func (v *View) SignedAt() time.Time {
	if v == nil {
		return time.Time{}
	}
	return v.signedAt
}

// NextUpdate returns until when v may be relied on; zero for nil.
func (v *View) NextUpdate() time.Time {
	if v == nil {
		return time.Time{}
	}
	return v.nextUpdate
}

// Based returns when the snapshot was signed that v began with. Certificates that have expired since stay in its
// set; a holder that asks for a new snapshot now and then is rid of them.
func (v *View) Based() time.Time {
	if v == nil {
		return time.Time{}
	}
	return v.based
}

// Versions returns what the last statement said. The slice is the caller's.
func (v *View) Versions() []Version {
	if v == nil {
		return nil
	}
	return slices.Clone(v.versions)
}

// Version returns one of Versions; "" when it is not there.
func (v *View) Version(name string) string {
	if v != nil {
		for _, version := range v.versions {
			if version.Name == name {
				return version.Value
			}
		}
	}
	return ""
}

// Issuers returns whose certificates the feed covers. The slice is the caller's.
func (v *View) Issuers() []string {
	if v == nil {
		return nil
	}
	return slices.Clone(v.issuers)
}

// Covers tells whether the feed covers what issuer (its subject key identifier in lower-case hexadecimal) has signed.
func (v *View) Covers(issuer string) bool { return v != nil && slices.Contains(v.issuers, issuer) }

// Len returns about how many certificates v refuses: a change of one that is in the set already counts again.
func (v *View) Len() int {
	if v == nil {
		return 0
	}
	n := v.set.Len()
	for _, layer := range v.overlay {
		for i := range layer {
			listed := layer[i].Kind == Revoked || layer[i].Kind == Held
			if listed && !layer[i].inSet {
				n++
			} else if !listed && layer[i].inSet {
				n--
			}
		}
	}
	return n
}

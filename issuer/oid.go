package issuer

// Object identifiers, as the content octets of their DER encoding.
const (
	oidCommonName = "\x55\x04\x03" // 2.5.4.3

	oidSubjectKeyID     = "\x55\x1d\x0e"                     // 2.5.29.14
	oidKeyUsage         = "\x55\x1d\x0f"                     // 2.5.29.15
	oidSubjectAltName   = "\x55\x1d\x11"                     // 2.5.29.17
	oidBasicConstraints = "\x55\x1d\x13"                     // 2.5.29.19
	oidCRLPoints        = "\x55\x1d\x1f"                     // 2.5.29.31
	oidAuthorityKeyID   = "\x55\x1d\x23"                     // 2.5.29.35
	oidExtKeyUsage      = "\x55\x1d\x25"                     // 2.5.29.37
	oidFreshestCRL      = "\x55\x1d\x2e"                     // 2.5.29.46
	oidAuthorityInfo    = "\x2b\x06\x01\x05\x05\x07\x01\x01" // 1.3.6.1.5.5.7.1.1
	oidNoCheck          = "\x2b\x06\x01\x05\x05\x07\x30\x01\x05"
	oidTLSFeature       = "\x2b\x06\x01\x05\x05\x07\x01\x18" // 1.3.6.1.5.5.7.1.24, RFC 7633
	oidNoRevAvail       = "\x55\x1d\x38"                     // 2.5.29.56, RFC 9608

	oidServerAuth  = "\x2b\x06\x01\x05\x05\x07\x03\x01" // 1.3.6.1.5.5.7.3.1
	oidClientAuth  = "\x2b\x06\x01\x05\x05\x07\x03\x02"
	oidOCSPSigning = "\x2b\x06\x01\x05\x05\x07\x03\x09"

	oidDocumentSigning = "\x2b\x06\x01\x05\x05\x07\x03\x24" // 1.3.6.1.5.5.7.3.36 (RFC 9336, section 3.1)

	oidAccessOCSP      = "\x2b\x06\x01\x05\x05\x07\x30\x01" // 1.3.6.1.5.5.7.48.1
	oidAccessCAIssuers = "\x2b\x06\x01\x05\x05\x07\x30\x02"
)

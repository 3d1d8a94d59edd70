// Package home is the CA's directory: its layout, how it comes to be (Init, which never
// overwrites anything), and its configuration, read strictly into a validated Config.
// The rest of the program never sees raw YAML, and the daemon never opens the root's key.
//
//	config.yaml          settings, with comments
//	passphrase           encrypts the keys, unless it comes from elsewhere; keep a copy, apart from backups
//	keys/issuing.key     the issuing key, encrypted
//	keys/token.key       the key of the MAC on enrolment tokens, encrypted
//	certs/root.crt       the root
//	certs/issuing.crt    the issuing certificate, then its intermediates if any
//	root.crl             the root's CRL: which intermediates are revoked
//	root/root.key        the root's key, encrypted; carry it away
//	operator.yaml        the first operator's credential
//	ledger.db            what was issued and revoked
//	lock                 held by the running daemon
package home

import "path/filepath"

// Dir is a CA's directory. Its methods name the files in it.
type Dir string

// Config is the configuration's path.
func (d Dir) Config() string { return d.join("config.yaml") }

// Passphrase is the generated passphrase's path.
func (d Dir) Passphrase() string { return d.join("passphrase") }

// IssuingKey is the issuing key's path where it is a file.
func (d Dir) IssuingKey() string { return d.join("keys", "issuing.key") }

// TokenKey is the path of the MAC key of enrolment tokens.
func (d Dir) TokenKey() string { return d.join("keys", "token.key") }

// RootCert is the root certificate's path.
func (d Dir) RootCert() string { return d.join("certs", "root.crt") }

// IssuingCert is the path of the issuing certificate and its intermediates.
func (d Dir) IssuingCert() string { return d.join("certs", "issuing.crt") }

// RootCRL is the path of the root's CRL, DER.
func (d Dir) RootCRL() string { return d.join("root.crl") }

// RootKey is where Init puts the root's key. The daemon never opens it.
func (d Dir) RootKey() string { return d.join("root", "root.key") }

// Operator is the path of the first operator's context.
func (d Dir) Operator() string { return d.join("operator.yaml") }

// Ledger is the database's path.
func (d Dir) Ledger() string { return d.join("ledger.db") }

// LockFile is the path of the file that the daemon locks.
func (d Dir) LockFile() string { return d.join("lock") }

func (d Dir) join(parts ...string) string {
	return filepath.Join(append([]string{string(d)}, parts...)...)
}

// abs makes a path from the configuration independent of the working directory:
// relative ones start at the directory.
func (d Dir) abs(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return d.join(path)
}

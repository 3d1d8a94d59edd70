// Package ca is the certificate authority's core: it decides, signs through package
// issuer, records in the ledger and only then hands out.
package ca

// Command crlmake makes CRLs, and prints what each took of the processor, in milliseconds, and the
// most memory that the process had, in megabytes.
//
//	crlmake ours REVOKED SHARDS TIMES
//	crlmake bare-go REVOKED 0 TIMES
//
// ours is our publisher on a log of so many revocations, made up when they are read: each time one more
// certificate is revoked, and the publisher is told. bare-go is x509.CreateRevocationList with the
// same entries.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/handfast/handfast/bench/internal/proc"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "crlmake:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, who string, args []string) error {
	var numbers [3]int
	for i := range numbers {
		var err error
		if numbers[i], err = strconv.Atoi(args[i]); err != nil {
			return err
		}
	}
	revoked, shards, times := numbers[0], numbers[1], numbers[2]
	chain, key, err := newIssuer()
	if err != nil {
		return err
	}
	if who == "bare-go" {
		err = bareGo(chain[0], key, revoked, times)
	} else {
		err = ours(ctx, chain, key, revoked, shards, times)
	}
	if err != nil {
		return err
	}
	_, peak, err := proc.RSS(os.Getpid())
	if err != nil {
		return err
	}
	_, err = fmt.Printf("peak %.1f\n", float64(peak)/1e6)
	return err
}

// newIssuer makes an issuing certificate and its root, with P-256 keys.
func newIssuer() ([]*x509.Certificate, *ecdsa.PrivateKey, error) {
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, nil, err
		}
	}
	domain, err := certs.ParseTrustDomain("bench.test")
	if err != nil {
		return nil, nil, err
	}
	begin := time.Now().Add(-time.Hour)
	root, err := issuer.NewRoot(keys[0], issuer.RootRequest{TrustDomain: domain, NotBefore: begin})
	if err != nil {
		return nil, nil, err
	}
	certificate, err := issuer.NewIntermediate(root, keys[0], keys[1].Public(), issuer.IntermediateRequest{TrustDomain: domain, NotBefore: begin})
	return []*x509.Certificate{certificate, root}, keys[1], err
}

// bareGo makes the list anew each time: nothing of the one before can be used again.
func bareGo(certificate *x509.Certificate, key *ecdsa.PrivateKey, revoked, times int) error {
	entries := make([]x509.RevocationListEntry, revoked)
	at := time.Now().UTC()
	for i := range entries {
		entries[i] = x509.RevocationListEntry{SerialNumber: new(big.Int).SetBytes(serial(uint64(i) + 1)), RevocationTime: at, ReasonCode: 1}
	}
	for number := range times {
		before := used()
		if _, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
			Number: big.NewInt(int64(number) + 1), ThisUpdate: at, NextUpdate: at.Add(24 * time.Hour), RevokedCertificateEntries: entries,
		}, certificate, key); err != nil {
			return err
		}
		note(before)
	}
	return nil
}

// used is the processor time of this process so far, user and system.
func used() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // it cannot fail for the process itself
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func note(before time.Duration) {
	fmt.Printf("cpu %.2f\n", float64(used()-before)/float64(time.Millisecond))
}

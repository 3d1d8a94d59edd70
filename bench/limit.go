package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/hex"
	"math/big"
	"net/http"
	"syscall"
	"time"

	_ "github.com/mattn/go-sqlite3" // the ledger's own driver

	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/ca/enroll"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

// group is how many rows share a commit where many do: as many as there are clients by default.
const group = 64

// limit measures the primitives that no CA can do without, each alone, and derives from
// them what one issuance must cost at least.
func (s *session) limit(ctx context.Context) error {
	token, err := s.tokenPrimitive()
	if err != nil {
		return err
	}
	csr, err := s.csrPrimitive()
	if err != nil {
		return err
	}
	sign, err := s.signPrimitives()
	if err != nil {
		return err
	}
	commit, err := s.commitPrimitives(ctx)
	if err != nil {
		return err
	}
	echo, err := s.echoPrimitive(ctx)
	if err != nil {
		return err
	}
	s.figure("limit-issue", "limit: the sum for one issuance: token, CSR, one signature, one HTTPS request, a share of a commit", "us",
		report.NewSeries("primitives", token+csr+sign+commit+echo))
	return nil
}

// primitive measures the processor time of f, all threads of this process together, in
// µs a call.
func (s *session) primitive(name, what string, calls int, f func() error) (float64, error) {
	return s.primitiveOf(name, what, calls, 1, f)
}

// primitiveOf is primitive where one call does several units.
func (s *session) primitiveOf(name, what string, calls, units int, f func() error) (float64, error) {
	var rounds []float64
	for round := range s.rounds + 1 {
		before := selfCPU()
		for range calls {
			if err := f(); err != nil {
				return 0, err
			}
		}
		if round > 0 { // the first warms up
			rounds = append(rounds, micro(selfCPU()-before)/float64(calls*units))
		}
	}
	series := report.NewSeries("primitive", rounds...)
	s.figure("limit-"+name, "limit: "+what, "us", series)
	return series.Median, nil
}

func selfCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0 // only a wrong argument fails
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func (s *session) tokenPrimitive() (float64, error) {
	key := make([]byte, 32)
	rand.Read(key) //nolint:errcheck // never fails
	domain, err := certs.ParseTrustDomain(trustDomain)
	if err != nil {
		return 0, err
	}
	sum := sha256.Sum256(key)
	enroller, err := enroll.New(enroll.Config{
		TrustDomain: domain, NativeKey: key, URL: "https://127.0.0.1:9000", Fingerprint: hex.EncodeToString(sum[:]),
	})
	if err != nil {
		return 0, err
	}
	token, _, err := enroller.Mint(service, 0)
	if err != nil {
		return 0, err
	}
	return s.primitive("token", "verification of a native token", 2000, func() error {
		_, err := enroller.Verify(context.Background(), token)
		return err
	})
}

func (s *session) csrPrimitive() (float64, error) {
	r, err := newRequest()
	if err != nil {
		return 0, err
	}
	return s.primitive("csr", "CSR parsed, its key checked, its signature verified", 1000, func() error {
		_, err := issuer.ParseCSR(r.der)
		return err
	})
}

// signPrimitives returns one signature; it notes the standard library's certificate, too.
func (s *session) signPrimitives() (float64, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, err
	}
	digest := sha256.Sum256([]byte("to be signed"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return 0, err
	}
	sign, err := s.primitive("sign", "P-256 signature", 2000, func() error {
		_, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		return err
	})
	if err != nil {
		return 0, err
	}
	if _, err := s.primitive("verify", "P-256 verification", 1000, func() error {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			return x509.ErrUnsupportedAlgorithm
		}
		return nil
	}); err != nil {
		return 0, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bare"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), SubjectKeyId: digest[:20],
	}
	leaf := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(digest[:19]), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{serviceDNS},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	_, err = s.primitive("create-certificate", "x509.CreateCertificate, which verifies its own signature", 500, func() error {
		_, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
		return err
	})
	return sign, err
}

// commitPrimitives returns a row's share of a commit of many, as durable as the ledger's.
func (s *session) commitPrimitives(ctx context.Context) (float64, error) {
	db, err := sql.Open("sqlite3", "file:"+s.path("bare.db")+"?_journal_mode=WAL&_synchronous=FULL&_txlock=immediate")
	if err != nil {
		return 0, err
	}
	defer db.Close() //nolint:errcheck // its file is thrown away
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "CREATE TABLE certificates (seq INTEGER PRIMARY KEY, serial BLOB NOT NULL UNIQUE, der BLOB NOT NULL)"); err != nil {
		return 0, err
	}
	insert, err := db.PrepareContext(ctx, "INSERT INTO certificates (serial, der) VALUES (?, ?)")
	if err != nil {
		return 0, err
	}
	der := make([]byte, 830) // what a certificate is
	commit := func(rows int) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // a no-op after Commit
		statement := tx.StmtContext(ctx, insert)
		for range rows {
			serial := make([]byte, 20)
			rand.Read(serial) //nolint:errcheck // never fails
			if _, err := statement.ExecContext(ctx, serial, der); err != nil {
				return err
			}
		}
		return tx.Commit()
	}
	if _, err := s.primitive("commit-alone", "SQLite row in a commit of its own, WAL, synchronous=FULL", 200, func() error { return commit(1) }); err != nil {
		return 0, err
	}
	return s.primitiveOf("commit-share", "SQLite row in a commit of 64", 20, group, func() error { return commit(group) })
}

// echoPrimitive is an HTTPS request of 1 KB and its answer, in a server of its own.
func (s *session) echoPrimitive(ctx context.Context) (float64, error) {
	dir := s.path("tls")
	root, err := writeSelfSigned(dir)
	if err != nil {
		return 0, err
	}
	process, address, err := s.bare(ctx, "echo", "", dir)
	if err != nil {
		return 0, err
	}
	all := callers(s.clients, func(int) *tls.Config { return clientTLS(root) })
	body := make([]byte, 1024)
	err = s.hold(ctx, contest{name: "limit-echo", unit: "request", units: s.units(10000), rates: true},
		contestant{name: "bare-go", pid: process.PID(), do: func(ctx context.Context, client, _ int) error {
			return all[client].call(ctx, http.MethodPost, "https://"+address+"/", body, nil)
		}})
	if err != nil {
		return 0, err
	}
	return report.NewSeries("", s.rates("limit-echo-cpu", "bare-go")...).Median, nil
}

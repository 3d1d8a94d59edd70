package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

const (
	freshRevocations = 50
	// freshPause is longer than the publisher's pace: a shard that was published less than 250 ms ago shares its next
	// publication with what else is revoked until then.
	freshPause   = 300 * time.Millisecond
	listedMetric = "handfast_revocation_listed_seconds"
)

// crlFresh revokes one certificate after the other, with a pause, through the API of a daemon whose ledger has a million
// revoked ones, and notes how long each waits from when it is durable until its shard's CRL, and the
// full one, are served. The daemon counts that itself: it is told of a revocation when the commit has returned. So that the
// figure is not only the daemon's word, the shard is fetched after each: it has the new certificate.
func (s *session) crlFresh(ctx context.Context) error {
	ours, err := s.initCA(ctx, s.bin(), "fresh")
	if err != nil {
		return err
	}
	if err := ours.configure("shards: 0", fmt.Sprintf("shards: %d", crlShards)); err != nil {
		return err
	}
	if err := ours.Serve(ctx); err != nil { // makes the ledger
		return err
	}
	issuer, err := ours.issuer(ctx)
	if err != nil {
		return err
	}
	if err := ours.Process.Stop(); err != nil {
		return err
	}
	n := s.units(crlEntries)
	if err := ours.fillLog(ctx, issuer, n); err != nil {
		return err
	}
	if err := ours.Serve(ctx); err != nil {
		return err
	}
	s.started = append(s.started, ours.Process)
	if err := ours.register(ctx); err != nil {
		return err
	}
	waits, err := ours.revokeInTurn(ctx, issuer, freshRevocations)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("crl-fresh: from durable to served, of %d revoked in %d shards: ", n, crlShards)
	s.figure("crl-fresh-shard", what+"the shard's CRL", "ms", report.NewSeries(report.Ours, waits["shard"]...))
	s.figure("crl-fresh-full", what+"the full CRL", "ms", report.NewSeries(report.Ours, waits["full"]...))
	return nil
}

// fillLog writes n revocations into the ledger of a CA that is stopped, without certificates, which the log does not need.
func (a *authority) fillLog(ctx context.Context, issuer string, n int) error {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(a.Dir, "ledger.db")+"?_journal_mode=WAL&_synchronous=OFF&_txlock=immediate")
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // what is not written fails below
	keyID, err := hex.DecodeString(issuer)
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	insert, err := tx.PrepareContext(ctx, `INSERT INTO log (kind, issuer, serial, reason, at, not_after, done_by)
		SELECT 1, id, ?, 4, ?, ?, 'bench' FROM issuers WHERE key_id = ?`)
	if err != nil {
		return err
	}
	defer insert.Close() //nolint:errcheck // the transaction ends it
	now := time.Now().Add(-time.Minute).Unix()
	for i := range n {
		serial := binary.BigEndian.AppendUint64(bytes.Repeat([]byte{0x40}, 8), uint64(i)) // in order: that is quick
		done, err := insert.ExecContext(ctx, serial, now, now+24*3600, keyID)
		if err != nil {
			return err
		}
		if rows, err := done.RowsAffected(); err != nil || rows != 1 {
			return fmt.Errorf("the ledger knows no issuer %s: %d rows, %w", issuer, rows, err)
		}
	}
	return tx.Commit()
}

// revokeInTurn revokes n certificates, each when the one before is in the full CRL, and returns how many
// milliseconds each waited, by list.
func (a *authority) revokeInTurn(ctx context.Context, issuer string, n int) (map[string][]float64, error) {
	certificates, err := a.enrol(ctx, service, n)
	if err != nil {
		return nil, err
	}
	waits := make(map[string][]float64)
	client := newCaller(nil)
	for _, c := range certificates {
		before, err := a.listed(ctx)
		if err != nil {
			return nil, err
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			return nil, err
		}
		serial, err := certs.SerialFromInt(leaf.SerialNumber)
		if err != nil {
			return nil, err
		}
		if _, err := a.api.Revoke(ctx, &api.RevokeRequest{Serial: serial, Reason: certs.Superseded}); err != nil {
			return nil, err
		}
		after := before
		for after["full"].count == before["full"].count || after["shard"].count == before["shard"].count {
			time.Sleep(freshPause)
			if after, err = a.listed(ctx); err != nil {
				return nil, err
			}
		}
		for list, total := range after {
			if news := total.count - before[list].count; news != 1 {
				return nil, fmt.Errorf("one revocation was counted %v times for the %s list", news, list)
			}
			waits[list] = append(waits[list], 1000*(total.sum-before[list].sum))
		}
		if err := client.call(ctx, http.MethodGet, "http://"+a.Public+shardPath(issuer, serial), nil, nil); err != nil {
			return nil, err
		}
		if !bytes.Contains(client.buffer.Bytes(), serial.Bytes()) {
			return nil, fmt.Errorf("the shard of %s does not list it", serial)
		}
	}
	return waits, nil
}

// shardPath is where certificates find their shard's CRL.
func shardPath(issuer string, serial certs.Serial) string {
	octets := serial.Bytes()
	shard := int(binary.BigEndian.Uint16(octets[len(octets)-2:])) % crlShards
	return fmt.Sprintf("/crl/%s/%d/%d.crl", issuer, crlShards, shard)
}

// total is a histogram's: how many waited, and how many seconds together.
type total struct{ count, sum float64 }

// listed reads the CA's histograms of how long revocations waited for their lists.
func (a *authority) listed(ctx context.Context) (map[string]total, error) {
	text, err := a.api.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	found := make(map[string]total)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, list := range []string{"full", "shard"} {
			t := found[list]
			switch name {
			case listedMetric + `_count{list="` + list + `"}`:
				t.count, err = strconv.ParseFloat(value, 64)
			case listedMetric + `_sum{list="` + list + `"}`:
				t.sum, err = strconv.ParseFloat(value, 64)
			}
			if err != nil {
				return nil, err
			}
			found[list] = t
		}
	}
	return found, nil
}

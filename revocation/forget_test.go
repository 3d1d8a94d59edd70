package revocation

import (
	"bytes"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

// meanwhileSigner does something else before it signs the list of everything.
type meanwhileSigner struct {
	*testCA
	meanwhile func()
}

func (s *meanwhileSigner) SignCRL(tbs ...[]byte) ([]byte, error) {
	// Where the delta CRL is stands in the full ones only.
	if last := tbs[len(tbs)-1]; bytes.Contains(last, []byte(s.ID()+"-delta.crl")) && s.meanwhile != nil {
		s.meanwhile()
	}
	return s.testCA.SignCRL(tbs...)
}

// A shard that comes ahead while the records of what expired are dropped at the end of a renewal keeps
// what it listed: its positions are others from then on, and its number is the next publication's.
func TestShardAheadOfForgettingKeepsItsEntries(t *testing.T) {
	b := newBench(t, nil)
	signer := &meanwhileSigner{testCA: b.ca}
	b.Publisher = b.open(t, func(c *Config) { c.Issuers, c.Shards, c.Retention = []CRLSigner{signer}, 2, time.Second })
	a := b.byID[b.ca.ID()]
	revoke := func(serial int64, lifetime time.Duration) {
		b.log.revoke(t, b.ca.ID(), serialOfInt(t, serial), certs.Superseded, b.clock.Now(), b.clock.Now().Add(lifetime))
		if err := b.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for n := range int64(2 * chunkRecords) {
		b.log.revoke(t, b.ca.ID(), serialOfInt(t, n), certs.Superseded, b.clock.Now(), b.clock.Now().Add(time.Minute))
	}
	listed := []int64{100_000, 100_002, 100_004, 100_006} // of one shard
	revoke(listed[0], 24*time.Hour)
	b.republish(t, false)
	b.clock.advance(time.Hour)
	generation := a.history.view(1).generation
	signer.meanwhile = func() {
		revoke(listed[1], 24*time.Hour)
		if err := b.publishAhead(a); err != nil {
			t.Error(err)
		}
	}
	b.republish(t, true)
	if a.history.view(1).generation == generation {
		t.Fatal("nothing was dropped")
	}
	signer.meanwhile = nil
	b.clock.advance(time.Second)
	b.republish(t, false)
	for _, next := range listed[2:] {
		b.clock.advance(time.Second)
		revoke(next, 24*time.Hour)
		b.republish(t, false)
	}
	for _, serial := range listed {
		s := serialOfInt(t, serial)
		if !b.lists(t, s) || !b.listedAt(t, shardPath(b.ca.ID(), 2, ShardOf(s, 2)), s) {
			t.Errorf("certificate %d is not listed everywhere", serial)
		}
	}
}

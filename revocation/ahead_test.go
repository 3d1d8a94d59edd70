package revocation

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/certs"
)

// The shard of what is revoked is there at once, with its delta; the full CRL keeps its
// pace, and then no shard is published twice with one number.
func TestShardsArePublishedAtOnce(t *testing.T) {
	inBubble(t, func(c *Config) { c.Shards = 4 }, func(t *testing.T, b *bench) {
		time.Sleep(time.Second)
		revoke := func(serial certs.Serial) uint64 {
			sequence := b.log.revoke(t, b.ca.ID(), serial, certs.KeyCompromise, time.Now(), time.Now().Add(time.Hour))
			if err := b.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // no time passes
			return sequence
		}
		first, second, third := serialOfInt(t, 4), serialOfInt(t, 5), serialOfInt(t, 6)
		shard := func(serial certs.Serial) string { return shardPath(b.ca.ID(), 4, ShardOf(serial, 4)) }
		revoke(first) // the full CRL has not been published for long: it comes at once too
		if !b.lists(t, first) || !b.listedAt(t, shard(first), first) {
			t.Error("the first revocation waits")
		}
		sequence := revoke(second)
		if b.lists(t, second) {
			t.Error("the full CRL does not keep its pace")
		}
		for _, path := range []string{shard(second), deltaOf(shard(second))} {
			if list := b.fetch(t, path); !b.listedAt(t, path, second) || list.Number.Uint64() != sequence {
				t.Errorf("%s: CRL %v with %d entries, want CRL %d", path, list.Number, len(list.reasons), sequence)
			}
		}
		early := b.document(shard(second))
		revoke(third)
		if !b.listedAt(t, shard(third), third) {
			t.Error("another shard waits")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !b.lists(t, second) || !b.lists(t, third) {
			t.Error("the full CRL never came")
		}
		if b.document(shard(second)) != early {
			t.Error("a shard without news was published again")
		}
	})
}

// Whoever begins, the shards are out before the full CRL is begun: its hash takes as long as hundreds of theirs.
func TestShardsComeBeforeTheFullCRLIsBegun(t *testing.T) {
	signer := &meanwhileSigner{}
	inBubble(t, func(c *Config) {
		signer.testCA = c.Issuers[0].(*testCA)
		c.Issuers, c.Shards = []CRLSigner{signer}, 4
	}, func(t *testing.T, b *bench) {
		time.Sleep(time.Second)
		begun := 0
		for n := range int64(20) {
			serial := serialOfInt(t, n)
			path := shardPath(b.ca.ID(), 4, ShardOf(serial, 4))
			signer.meanwhile = func() {
				begun++
				for _, path := range []string{path, deltaOf(path)} {
					if !b.listedAt(t, path, serial) {
						t.Errorf("revocation %d: the full CRL is begun and %s does not list it", n, path)
					}
				}
			}
			b.log.revoke(t, b.ca.ID(), serial, certs.KeyCompromise, time.Now(), time.Now().Add(time.Hour))
			if n%2 == 0 { // else it is found in the log
				if err := b.Sync(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if !b.lists(t, serial) {
				t.Errorf("revocation %d is in no full CRL", n)
			}
		}
		signer.meanwhile = nil
		if begun != 20 {
			t.Errorf("%d full CRLs were begun for 20 revocations", begun)
		}
	})
}

func (b *bench) listedAt(t testing.TB, path string, serial certs.Serial) bool {
	t.Helper()
	_, listed := b.fetch(t, path).reasons[serial.String()]
	return listed
}

// Many revocations of one shard are published ahead once, and then with the others.
func TestShardsKeepAPaceToo(t *testing.T) {
	inBubble(t, func(c *Config) { c.Shards = 2 }, func(t *testing.T, b *bench) {
		time.Sleep(time.Second)
		path := shardPath(b.ca.ID(), 2, 0)
		seen := make(map[uint64]bool)
		for n := range int64(200) { // in 200 ms
			b.log.revoke(t, b.ca.ID(), serialOfInt(t, 2*n), certs.Superseded, time.Now(), time.Now().Add(time.Hour))
			if err := b.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			seen[b.document(path).number] = true
			time.Sleep(time.Millisecond)
		}
		if len(seen) > 3 {
			t.Errorf("the shard was published %d times in 200 ms", len(seen))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := len(b.fetch(t, path).reasons); got != 200 {
			t.Errorf("the shard lists %d of 200", got)
		}
	})
}

// Whatever is revoked, held, released or expires, in whatever order it is published, ahead
// or together, through failures of the key: what blocks share is what encoding everything
// anew gives, and numbers of a scope never repeat.
func TestBlocksAreWhatEncodingAnewGives(t *testing.T) {
	for seed := range uint64(6) {
		for _, test := range []struct {
			shards int
			former []int
		}{{3, []int{2}}, {0, []int{2}}, {0, nil}} {
			t.Run(fmt.Sprint("seed ", seed, ", shards ", test.shards, test.former), func(t *testing.T) {
				sharedBlocks(t, rand.New(rand.NewPCG(seed, 3)), test.shards, test.former)
			})
		}
	}
}

func sharedBlocks(t *testing.T, random *rand.Rand, shards int, former []int) {
	b := newBench(t, nil)
	flaky := &flakySigner{testCA: b.ca}
	adjust := func(c *Config) { c.Issuers, c.Shards, c.FormerShards = []CRLSigner{flaky}, shards, former }
	b.Publisher = b.open(t, adjust)
	a := b.byID[b.ca.ID()]
	numbers := make(map[string][]uint64)
	for range 60 {
		b.clock.advance(time.Duration(random.IntN(1200)) * time.Second)
		for range random.IntN(12) {
			reason := []certs.Reason{certs.Superseded, certs.CertificateHold, certs.RemoveFromCRL}[random.IntN(3)]
			b.log.revoke(t, b.ca.ID(), serialOfInt(t, random.Int64N(60)), reason, b.clock.Now(), b.clock.Now().Add(time.Duration(random.IntN(20000))*time.Second))
		}
		if err := b.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		flaky.limited, flaky.left = random.IntN(4) == 0, random.IntN(20)
		if random.IntN(2) == 0 {
			_ = b.publishAhead(a) // some fail
		}
		_ = b.publish(t.Context(), a, random.IntN(5) == 0)
		for path, slot := range b.routes {
			if number := slot.newest.Load().number; !slices.Contains(numbers[path], number) {
				numbers[path] = append(numbers[path], number)
			}
		}
	}
	flaky.limited = false
	b.republish(t, true)
	for path, seen := range numbers {
		if !slices.IsSorted(seen) {
			t.Errorf("%s: numbers %v", path, seen)
		}
	}
	sameAsAnew(t, b)
}

// sameAsAnew compares every CRL with what a publisher makes that shares nothing with it.
func sameAsAnew(t *testing.T, b *bench) {
	t.Helper()
	a := b.authorities[0]
	v := a.history.view(a.number)
	anew := func(p *partition) []blocks { // one scope's full and delta list behind the other's
		var lists []blocks
		for n := range p.scopes {
			for list := range 2 {
				c := encoder{edition: edition{rules: v.rules()}, list: list, view: v, overtaken: v.overtaken(), positions: p.group(v, v.overtaken(), 0)[n]}
				lists = append(lists, c.next(nil, 0))
			}
		}
		return lists
	}
	for _, p := range append(a.partitions, a.everything) {
		want := anew(p)
		if p == a.everything && len(a.partitions) > 0 { // has what the first partition has
			shards := anew(a.partitions[0])
			for list := range want {
				all := slices.Concat(every(shards[list:], 2)...)
				if all.count() != want[list].count() {
					t.Errorf("list %d: %d entries in the shards, %d in the log", list, all.count(), want[list].count())
				}
				want[list] = all
			}
		}
		for i, want := range want {
			got := p.scopes[i/2].lists[i%2]
			if !bytes.Equal(bytes.Join(got.pieces(), nil), bytes.Join(want.pieces(), nil)) {
				t.Errorf("%d shards, scope %d, list %d: %d entries differ from %d that were encoded anew", p.shards, i/2, i%2, got.count(), want.count())
			}
		}
	}
}

// every returns each nth element, from the first on.
func every[T any](all []T, n int) (some []T) {
	for i := 0; i < len(all); i += n {
		some = append(some, all[i])
	}
	return some
}

package certs

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// UpdateJSON is the answer to a FollowRequest: a snapshot, as far as it is another one than the program has by its Known. It
// may hold the private key: the socket's permissions are what protects it.
type UpdateJSON struct {
	// Snapshot is everything, but for the feed when there is a FeedDelta; null is what the program has.
	Snapshot *SnapshotJSON `json:"snapshot,omitempty"`
	// FeedDelta is what the feed's view has beyond the program's (feed.View.Delta), and MaxSilence then as in SnapshotJSON.
	FeedDelta  []byte `json:"feed_delta,omitempty"`
	MaxSilence int64  `json:"max_silence,omitempty"`
}

// EncodeUpdate writes what leads from since, which a program has, to s: some hundred bytes when no more than the
// feed's freshness has changed. A nil since is a program that has nothing. It fails as EncodeSnapshot does.
func EncodeUpdate(s, since *Snapshot) ([]byte, error) {
	if s == nil || s.Certificate == nil || s.Bundle == nil {
		return nil, errors.New("encode update: the snapshot is not complete")
	}
	var update UpdateJSON
	var err error
	if since != nil && s.Revocation != nil && since.Revocation != nil {
		update.FeedDelta = s.Revocation.view.Delta(since.Revocation.view)
	}
	whole := *s
	if update.FeedDelta != nil {
		update.MaxSilence = s.Revocation.silenceSeconds()
		whole.Revocation = s.Revocation.WithFeed(nil, 0)
	}
	if update.FeedDelta == nil || !s.sameButFeed(since) {
		if update.Snapshot, err = whole.wire(); err != nil {
			return nil, err
		}
	}
	return json.Marshal(update)
}

// sameButFeed tells whether s differs from other in the feed alone. The key follows from the leaf.
func (s *Snapshot) sameButFeed(other *Snapshot) bool {
	return slices.EqualFunc(s.Certificate.Certificate, other.Certificate.Certificate, slices.Equal) &&
		slices.Equal(s.Certificate.OCSPStaple, other.Certificate.OCSPStaple) &&
		s.Bundle.equal(other.Bundle) && s.Policy.equal(other.Policy) &&
		(slices.Equal(s.Revocation.crls, other.Revocation.crls) || slices.EqualFunc(s.Revocation.CRLs(), other.Revocation.CRLs(), slices.Equal))
}

// decodeUpdate reads what EncodeUpdate wrote with old for since, strictly.
func decodeUpdate(data []byte, old *Snapshot) (*Snapshot, error) {
	if len(data) > MaxSnapshotSize {
		return nil, fmt.Errorf("decode update: %d bytes; at most %d are allowed", len(data), MaxSnapshotSize)
	}
	var update UpdateJSON
	if err := decodeStrict(data, &update); err != nil {
		return nil, fmt.Errorf("decode update: %w", redact(err))
	}
	if update.FeedDelta == nil {
		if update.Snapshot == nil || update.MaxSilence != 0 {
			return nil, errors.New("decode update: there is nothing in it")
		}
		return update.Snapshot.snapshot(old)
	}
	if old == nil || old.Revocation == nil || update.MaxSilence < 0 || update.MaxSilence > int64(math.MaxInt64/time.Second) {
		return nil, errors.New("decode update: it is to another snapshot, or max_silence is out of range")
	}
	view, err := old.Revocation.view.Patch(update.FeedDelta)
	if err != nil {
		return nil, fmt.Errorf("decode update: feed: %w", err)
	}
	next := *old
	if update.Snapshot != nil {
		if update.Snapshot.Feed != nil || update.Snapshot.CRLs == nil {
			return nil, errors.New("decode update: a feed beside its delta, or a delta without CRLs")
		}
		taken, err := update.Snapshot.snapshot(old)
		if err != nil {
			return nil, err
		}
		next = *taken
	}
	if next.ID.TrustDomain().String() != view.TrustDomain() {
		return nil, errors.New("decode update: the feed is of another trust domain")
	}
	next.Revocation = next.Revocation.WithFeed(view, time.Duration(update.MaxSilence)*time.Second)
	return &next, nil
}

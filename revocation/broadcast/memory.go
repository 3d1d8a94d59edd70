package broadcast

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/revocation"
)

// readBatch is how many entries are read of the log at once.
const readBatch = 4096

// memory is the end of the log: all entries about certificates behind from. Copies of it stay
// as they are while it grows.
type memory struct {
	from    uint64
	to      uint64 // the last entry that was read, also of those that are not about certificates
	entries []feed.Entry
}

// after returns the entries behind a position, which is not before from.
func (m memory) after(position uint64) []feed.Entry {
	return m.entries[sort.Search(len(m.entries), func(i int) bool { return m.entries[i].Sequence > position }):]
}

// read appends what is new in the log, and lets go of what is too much for one statement.
func (m *memory) read(ctx context.Context, log Log, catchUp int) error {
	for {
		batch, err := readEntries(ctx, log, m.to, readBatch)
		if err != nil {
			return err
		}
		m.entries = append(m.entries, batch.entries...)
		m.to = batch.last
		m.trim(catchUp, m.to)
		if batch.end {
			return nil
		}
	}
}

// trim lets go of the oldest entries up to a position when there are a quarter more than limit.
func (m *memory) trim(limit int, upTo uint64) {
	surplus := min(len(m.entries)-limit, len(m.entries)-len(m.after(upTo)))
	if surplus <= limit/4 {
		return
	}
	m.from = m.entries[surplus-1].Sequence
	m.entries = slices.Clone(m.entries[surplus:])
}

// batch is what one look at the log gave.
type batch struct {
	entries []feed.Entry // about certificates
	last    uint64       // the last one's sequence number, of whatever kind
	end     bool         // there is nothing behind it now
}

// readEntries reads and checks. What this version does not know is an error: to leave it out
// might leave out a revocation.
func readEntries(ctx context.Context, log Log, after uint64, limit int) (batch, error) {
	read, err := log.Entries(ctx, after, limit)
	if err != nil {
		return batch{}, fmt.Errorf("read the revocation log after entry %d: %w", after, err)
	}
	b := batch{last: after, end: len(read) < limit, entries: make([]feed.Entry, 0, len(read))}
	for _, e := range read {
		if e.Sequence <= b.last {
			return batch{}, fmt.Errorf("the revocation log is damaged: entry %d comes after entry %d", e.Sequence, b.last)
		}
		b.last = e.Sequence
		switch e.Kind {
		case revocation.Published: // uses up a number, no more
		case revocation.Revoked, revocation.Held, revocation.Released:
			b.entries = append(b.entries, entryOf(e))
		default:
			return batch{}, fmt.Errorf("entry %d of the revocation log has the unknown kind %d: a newer version wrote it; run that version", e.Sequence, e.Kind)
		}
	}
	return b, nil
}

// entryOf is what goes over the wire. The kinds' numbers are the same.
func entryOf(e revocation.Entry) feed.Entry {
	return feed.Entry{
		Sequence: e.Sequence, Kind: feed.Kind(e.Kind), Issuer: e.Issuer, Serial: e.Serial.Bytes(),
		Reason: uint8(e.Reason), At: e.At.UTC().Truncate(time.Second), NotAfter: e.NotAfter.UTC().Truncate(time.Second), // #nosec G115 -- a CRLReason is below 11
	}
}

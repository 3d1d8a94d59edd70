package localapi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/handfast/handfast/certs"
)

// encoded is an answer's body, kept because many programs ask for the same.
type encoded struct {
	of, since *certs.Snapshot
	body      []byte
	etag      string
}

// page is an answer that could be given now.
type page struct {
	snap *certs.Snapshot
	etag string
	body func() ([]byte, error)
}

// update is what leads from since, nil for nothing, to the present snapshot.
func (s *Server) update(since *certs.Snapshot) (page, error) {
	snap, err := s.source.Current()
	if err != nil {
		return page{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest != snap {
		s.latest = snap
		s.number++
		s.updates[0] = encoded{} // may be large, and nobody wants it any more
	}
	return page{snap, fmt.Sprintf(`"%s-%d"`, s.name, s.number), func() ([]byte, error) { return s.encodeUpdate(snap, since) }}, nil
}

func (s *Server) encodeUpdate(snap, since *certs.Snapshot) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := &s.updates[0]
	if since != nil {
		kept = &s.updates[1]
	}
	if kept.of != snap || kept.since != since || kept.body == nil {
		body, err := certs.EncodeUpdate(snap, since)
		if err != nil {
			return nil, err
		}
		*kept = encoded{of: snap, since: since, body: body}
	}
	return kept.body, nil
}

// whole is the present snapshot for a program with an older library. Its ETag depends on its octets alone, so that a snapshot
// that says the same is not sent again.
func (s *Server) whole() (page, error) {
	snap, err := s.source.Current()
	if err != nil {
		return page{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.old.of != snap || s.old.body == nil {
		body, err := certs.EncodeSnapshot(snap)
		if err != nil {
			return page{}, err
		}
		sum := sha256.Sum256(body)
		s.old = encoded{of: snap, body: body, etag: `"` + hex.EncodeToString(sum[:16]) + `"`}
	}
	body := s.old.body
	return page{snap, s.old.etag, func() ([]byte, error) { return body, nil }}, nil
}

package agent

import (
	"sync"

	"github.com/handfast/handfast/certs/feed"
)

// brokenStore is a disk that is full.
type brokenStore struct {
	memoryStore
	mu         sync.Mutex
	err        error
	pendingToo bool
	viewToo    bool
	saved      int
	views      int
}

func (s *brokenStore) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *brokenStore) saveIdentity(identity) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.saved++
	}
	return s.err
}

func (s *brokenStore) saveView(*feed.View) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.viewToo {
		return s.err
	}
	s.views++
	return nil
}

func (s *brokenStore) savePending(p *pending) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pendingToo && p != nil {
		return s.err
	}
	return nil
}

package agent

import "sync"

// brokenStore is a disk that is full.
type brokenStore struct {
	memoryStore
	mu         sync.Mutex
	err        error
	pendingToo bool
	saved      int
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

func (s *brokenStore) savePending(p *pending) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pendingToo && p != nil {
		return s.err
	}
	return nil
}

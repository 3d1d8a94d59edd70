package fleet

import (
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
)

// lingering is how long an agent that polls counts as connected after an answer: it comes
// back at once, but for its way through the network and what it does with the answer.
const lingering = 15 * time.Second

// Joining is an agent that connects, authenticated by the caller but for its ID.
type Joining struct {
	ID       string // at most 32 octets
	Service  string
	Issuer   string
	Serial   certs.Serial
	NotAfter time.Time
	Version  string
	Address  string
	Sequence uint64 // what it enforces already

	// End is called, once and without a lock, when the connection has to end for cause, which
	// is ErrReplaced or ErrClosed. It must not wait.
	End func(cause error)
}

// Member is the connection of an agent. Its methods are safe for concurrent use; after the
// connection was replaced or left they do nothing.
type Member struct {
	fleet *Fleet
	agent *agent
	end   func(cause error)
}

// Join takes in a connection, and ends the agent's former one. It fails with ErrClosed.
func (f *Fleet) Join(j Joining) (*Member, error) {
	now := f.cfg.Now()
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, ErrClosed
	}
	var former []*Member
	if other := f.bySerial[j.Serial]; other != nil && other.key() != (key{j.Service, j.ID}) {
		former = append(former, other.member)
		f.forget(other)
	}
	a := f.agents[key{j.Service, j.ID}]
	if a == nil {
		a = &agent{first: now, row: ca.AgentRow{ID: j.ID, Service: j.Service}}
		f.agents[a.key()] = a
	}
	former = append(former, a.member)
	if !a.connected(now) {
		a.since = now
	}
	m := &Member{fleet: f, agent: a, end: j.End}
	f.enter(a, m, j, now)
	f.mu.Unlock()
	for _, m := range former {
		if m != nil {
			m.end(ErrReplaced)
		}
	}
	return m, nil
}

// enter makes m the connection of a. f.mu is held.
func (f *Fleet) enter(a *agent, m *Member, j Joining, now time.Time) {
	if a.row.Serial != j.Serial {
		if f.bySerial[a.row.Serial] == a {
			delete(f.bySerial, a.row.Serial)
		}
		f.bySerial[j.Serial] = a
	}
	a.member, a.linger = m, time.Time{}
	a.row.Issuer, a.row.Serial, a.row.NotAfter = j.Issuer, j.Serial, j.NotAfter
	a.row.Version, a.row.Address = j.Version, j.Address
	a.row.SilentSince, a.row.Stopped, a.dirty = time.Time{}, false, true
	if j.Sequence < a.row.Sequence {
		a.row.Sequence, a.row.EnforcedAt = j.Sequence, now // it has lost what it knew
	}
	f.acknowledge(a, j.Sequence, now)
}

// forget drops an agent. f.mu is held.
func (f *Fleet) forget(a *agent) {
	delete(f.agents, a.key())
	if f.bySerial[a.row.Serial] == a {
		delete(f.bySerial, a.row.Serial)
	}
}

// Ack says that the agent enforces everything up to sequence now.
func (m *Member) Ack(sequence uint64) {
	now := m.fleet.cfg.Now()
	m.fleet.mu.Lock()
	defer m.fleet.mu.Unlock()
	if m.agent.member == m {
		m.fleet.acknowledge(m.agent, sequence, now)
	}
}

// Leave says that the connection has ended without a word.
func (m *Member) Leave() { m.leave(time.Time{}, false) }

// Stop says that the agent has told that it stops.
func (m *Member) Stop() { m.leave(time.Time{}, true) }

// Pause says that a poll was answered: the agent counts as connected for a while.
func (m *Member) Pause() { m.leave(m.fleet.cfg.Now().Add(lingering), false) }

func (m *Member) leave(linger time.Time, stopped bool) {
	now := m.fleet.cfg.Now()
	m.fleet.mu.Lock()
	defer m.fleet.mu.Unlock()
	a := m.agent
	if a.member != m {
		return
	}
	a.member, a.linger = nil, linger
	a.row.SilentSince, a.row.Stopped, a.dirty = now, stopped, true
	m.fleet.wake()
}

// Close ends every connection with ErrClosed; nobody can join any more. Run goes on until
// its context ends.
func (f *Fleet) Close() {
	f.mu.Lock()
	f.closed = true
	var members []*Member
	for _, a := range f.agents {
		if a.member != nil {
			members = append(members, a.member)
		}
	}
	f.mu.Unlock()
	for _, m := range members {
		m.end(ErrClosed)
	}
}

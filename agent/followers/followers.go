// Package followers keeps which programs follow an agent over its local socket and up to where each enforces the CA's
// feed of revocations, so that the agent tells the CA no more than all of them do.
//
// A program holds the agent's word back from the moment it is sent its first snapshot until it has confirmed the newest
// one, or until it cannot let anybody in any more without hearing from the agent: its position says when
// (certs.FollowPosition). One that is gone holds it back for a moment longer, in case it comes back.
package followers

import (
	"errors"
	"math"
	"sync"
	"time"

	"github.com/handfast/handfast/certs"
)

const (
	// Max is how many programs may follow one agent.
	Max = 512
	// Grace is for how long one that is gone is waited for. certs.SocketSource tries again within a second.
	Grace = 3 * time.Second
)

// ErrTooMany says that Max programs follow already.
var ErrTooMany = errors.New("too many programs follow this agent")

// Conn is the connection over which a program follows. It is comparable.
type Conn interface{ Close() error }

// Identity is who follows, as it says itself.
type Identity struct {
	ID      string // tells followers apart
	Program string // for people; may be empty
	PID     int    // likewise
	Old     bool   // of a version that confirms a snapshot by asking for the next one only
}

// Registry is who follows one agent. Make it with New. It is safe for concurrent use.
type Registry struct {
	moved func()
	now   func() time.Time
	wake  chan struct{} // Run has to look anew

	mu  sync.Mutex
	all map[string]*Follower
}

// New makes an empty Registry. moved is called, without locks, when Enforced may have risen: by those who call the
// methods of a Follower, and by Run. now is the clock by which positions end.
func New(now func() time.Time, moved func()) *Registry {
	return &Registry{moved: moved, now: now, wake: make(chan struct{}, 1), all: make(map[string]*Follower)}
}

// Follower is one program. Its methods are safe for concurrent use.
type Follower struct {
	registry *Registry
	who      Identity

	// Guarded by the registry's mu.
	conn   Conn
	goneAt time.Time             // zero while it is connected
	sure   *certs.FollowPosition // up to where it enforces the feed at least; nil: it lets nobody in
	told   *certs.FollowPosition // what it was sent and has not confirmed
	toldAt time.Time
	warned bool // that it holds the agent's word back
}

// Join notes that who asks over conn. One that was known by this ID goes on from where it was.
func (r *Registry) Join(conn Conn, who Identity) (*Follower, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.all[who.ID]
	if f == nil {
		if len(r.all) >= Max {
			return nil, ErrTooMany
		}
		f = &Follower{registry: r, who: who}
		r.all[who.ID] = f
	}
	f.conn, f.goneAt = conn, time.Time{}
	return f, nil
}

// Enforces notes that f has confirmed position; nil is that it lets nobody in.
func (f *Follower) Enforces(position *certs.FollowPosition) {
	r := f.registry
	r.mu.Lock()
	f.sure, f.told, f.toldAt, f.warned = position, nil, time.Time{}, false
	r.mu.Unlock()
	r.notify()
}

// Tell notes that f is about to be sent a snapshot of position, so call it before. From then on f may judge by
// that, and by what it had until it says otherwise.
func (f *Follower) Tell(position certs.FollowPosition) {
	r := f.registry
	r.mu.Lock()
	now := r.now()
	f.told, f.toldAt = &position, now
	f.settle(now)
	r.mu.Unlock()
	r.notify()
}

// settle takes what follows from the time alone: whose position has ended lets nobody in, unless it has taken what
// it was sent meanwhile. mu is held.
func (f *Follower) settle(now time.Time) {
	if f.sure != nil && now.After(f.sure.Until) {
		f.sure = nil
	}
	if f.sure == nil && f.told != nil && !now.After(f.told.Until) {
		f.sure = f.told
	}
}

// Gone notes that conn has ended.
func (r *Registry) Gone(conn Conn) {
	r.mu.Lock()
	for _, f := range r.all {
		if f.conn == conn && conn != nil {
			f.conn, f.goneAt = nil, r.now()
		}
	}
	r.mu.Unlock()
	r.notify()
}

// Expect notes that programs followed a predecessor, up to position at least, which are waited for as if they had just gone.
func (r *Registry) Expect(position certs.FollowPosition) {
	r.mu.Lock()
	now := r.now()
	position.Until = now.Add(Grace)
	r.all[""] = &Follower{registry: r, goneAt: now, sure: &position}
	r.mu.Unlock()
	r.notify()
}

// Enforced is up to where all who follow enforce the feed of trustDomain: math.MaxUint64 when there is nobody to wait for.
func (r *Registry) Enforced(trustDomain string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	least, now := uint64(math.MaxUint64), r.now()
	for _, f := range r.all {
		if f.over(now) {
			continue
		}
		f.settle(now)
		least = min(least, f.sequence(trustDomain))
	}
	return least
}

// over reports that f is gone, for longer than it is waited for. mu is held.
func (f *Follower) over(now time.Time) bool {
	return !f.goneAt.IsZero() && !now.Before(f.goneAt.Add(Grace))
}

// sequence is up to where f enforces the feed of trustDomain. mu is held.
func (f *Follower) sequence(trustDomain string) uint64 {
	switch {
	case f.sure == nil:
		return math.MaxUint64
	case f.sure.TrustDomain != trustDomain:
		return 0
	default:
		return f.sure.Sequence
	}
}

// notify says that Enforced may have risen, and lets Run look at the time anew.
func (r *Registry) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
	r.moved()
}

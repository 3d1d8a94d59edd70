package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/certs"
)

// DefaultDrainTimeout is how long open connections may take to end at shutdown.
const DefaultDrainTimeout = 30 * time.Second

// Source is where certificate, policy and revocation come from. *agent.Agent is one.
type Source interface {
	certs.Source
	// Changed returns a channel that is closed when there is another snapshot.
	Changed() <-chan struct{}
}

// Config is what a Proxy needs.
type Config struct {
	Source   Source
	Inbound  []Inbound
	Outbound []Outbound
	// DrainTimeout is how long open connections may take to end at shutdown; 0 is the default.
	DrainTimeout time.Duration
	// Enforced is told of each snapshot once everything it forbids is refused and cut; nil: nobody. See agent.Enforcer.
	Enforced func(*certs.Snapshot)
	// Refused is told of refusals and cuts that a certs.Refusal explains, and must not wait; nil: nobody. See agent.Refused.
	Refused func(*certs.Refusal)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// CATime returns the CA's clock and whether it is known, for logs; nil: unknown.
	CATime func() (time.Time, bool)
	// Logger takes the log; nil discards it.
	Logger *slog.Logger
	// Registerer takes the metrics; nil registers none.
	Registerer prometheus.Registerer
}

// Proxy is a set of bound listeners. Make it with Listen, start it with Serve.
type Proxy struct {
	cfg       Config
	metrics   *metrics
	journal   *journal
	live      *registry
	tidy      *tidier
	inbounds  []*inboundListener
	outbounds []*outboundListener

	explanation time.Duration // defaultExplanation, but for tests

	memory certs.Memory // what peers have shown, as each connection has a config of its own
}

// Listen checks the configuration and binds every address, or none. Nothing is accepted before Serve.
func Listen(ctx context.Context, cfg Config) (*Proxy, error) {
	if cfg.Source == nil {
		return nil, errors.New("proxy: there is no Source")
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = DefaultDrainTimeout
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Enforced == nil {
		cfg.Enforced = func(*certs.Snapshot) {}
	}
	if cfg.Refused == nil {
		cfg.Refused = func(*certs.Refusal) {}
	}
	if cfg.CATime == nil {
		cfg.CATime = func() (time.Time, bool) { return time.Time{}, false }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{cfg: cfg, journal: newJournal(&cfg), live: newRegistry(cfg.Source, cfg.Now), tidy: newTidier(), explanation: defaultExplanation}
	var err error
	if p.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	if err := p.bind(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("proxy: %w", err), p.Close())
	}
	return p, nil
}

func (p *Proxy) bind(ctx context.Context) error {
	for _, spec := range p.cfg.Inbound {
		if err := spec.Check(); err != nil {
			return err
		}
		listener, err := listen(ctx, spec.Listen)
		if err != nil {
			return fmt.Errorf("inbound: %w", err)
		}
		p.inbounds = append(p.inbounds, p.newInbound(spec, listener))
		if kind, _ := network(spec.Target); kind == "tcp" && !isLoopback(spec.Target) {
			p.cfg.Logger.Warn("the target of an inbound listener is not on loopback: what is forwarded travels in plaintext", "listener", spec.Listen, "target", spec.Target)
		}
	}
	for _, spec := range p.cfg.Outbound {
		if err := spec.Check(); err != nil {
			return err
		}
		listener, err := listen(ctx, spec.Listen)
		if err != nil {
			return fmt.Errorf("outbound: %w", err)
		}
		p.outbounds = append(p.outbounds, p.newOutbound(spec, listener))
	}
	return nil
}

func (p *Proxy) doors() []*door {
	var doors []*door
	for _, in := range p.inbounds {
		doors = append(doors, in.door)
	}
	for _, out := range p.outbounds {
		doors = append(doors, out.door)
	}
	return doors
}

// Close gives the addresses free when Serve is never called.
func (p *Proxy) Close() error {
	var err error
	for _, d := range p.doors() {
		err = errors.Join(err, closeListener(d.listener))
	}
	return err
}

func closeListener(listener net.Listener) error {
	if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Serve accepts until ctx ends. Then it accepts no more, lets what is open finish for the time to drain,
// cuts the rest and returns nil. Call it once.
func (p *Proxy) Serve(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		p.watch(work)
	}()
	var accepting sync.WaitGroup
	for _, in := range p.inbounds {
		if in.web != nil {
			in.web.start()
		}
	}
	for _, d := range p.doors() {
		p.cfg.Logger.Info("listening", "listener", d.address, "address", d.listener.Addr().String())
		accepting.Go(func() { d.serve(ctx, work) })
	}
	<-ctx.Done()
	accepting.Wait()
	p.drain(stop)
	stop()
	<-watching
	return nil
}

// drain waits for what is open, and cuts it when that takes too long.
func (p *Proxy) drain(stop context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.DrainTimeout)
	defer cancel()
	var draining sync.WaitGroup
	for _, in := range p.inbounds {
		if in.web != nil {
			draining.Go(func() { in.web.drain(ctx) })
		}
	}
	for _, d := range p.doors() {
		draining.Go(d.wait)
	}
	ended := make(chan struct{})
	go func() {
		draining.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	stop() // what still dials or shakes hands ends
	p.live.cutAll(errDraining)
	for _, d := range p.doors() {
		d.cut()
	}
	<-ended
}

// watch judges the open connections again at each new snapshot, until ctx ends. A handshake that a snapshot from
// before let in is judged once more when its connection is registered, so that nothing slips in between.
func (p *Proxy) watch(ctx context.Context) {
	for {
		changed := p.cfg.Source.Changed()
		snap, err := p.cfg.Source.Current()
		p.live.recheck()
		if err == nil {
			p.cfg.Enforced(snap)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// entry is a connection that was let in.
type entry struct {
	secure *tls.Conn
	live   *live
	way    direction
}

// enter counts and registers a connection; from here on it may be cut at any time. drain is how long it may outlive
// the peer's certificate.
func (p *Proxy) enter(way direction, listener string, drain time.Duration, peer certs.Peer, secure *tls.Conn) entry {
	p.metrics.connections.WithLabelValues(string(way), "ok").Inc()
	p.metrics.open.WithLabelValues(string(way)).Inc()
	p.tidy.entered()
	p.cfg.Logger.Debug("connection", "direction", string(way), "listener", listener, "peer", peer.ID,
		"peer_serial", serialOf(peer.Certificate), "remote", secure.RemoteAddr().String())
	return entry{way: way, secure: secure, live: p.live.add(peer, way, drain, func(cause error) {
		abort(secure)
		p.metrics.cuts.WithLabelValues(string(way), causeOf(cause)).Inc()
		p.tell(cause)
		p.journal.note("connection cut", listener, secure.RemoteAddr().String(), causeOf(cause), peer, cause)
	})}
}

// defaultExplanation is how long a connection that the peer has reset waits for the news that says why. Both agents
// hear of a revocation at about the same time; the slower one finds its connections reset.
const defaultExplanation = 300 * time.Millisecond

// explained reports whether a connection was cut, by this side or, as far as is known or becomes known in a
// moment, for a reason for which this side would have cut it too. Then it is logged and counted as cut.
func (p *Proxy) explained(ctx context.Context, e entry) bool {
	if raw, ok := e.secure.NetConn().(*rawConn); !ok || !raw.reset.Load() {
		return e.live.gone.Load()
	}
	ctx, cancel := context.WithTimeout(ctx, p.explanation)
	defer cancel()
	for {
		changed := p.cfg.Source.Changed()
		p.live.judge(e.live)
		if e.live.gone.Load() {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

func (p *Proxy) leave(e entry) {
	p.live.remove(e.live)
	p.metrics.open.WithLabelValues(string(e.way)).Dec()
}

// refuse counts and logs a connection that came to nothing.
func (p *Proxy) refuse(way direction, listener string, conn net.Conn, peer certs.Peer, err error) {
	cause := causeOf(err)
	p.tell(err)
	p.metrics.connections.WithLabelValues(string(way), cause).Inc()
	p.journal.note("connection refused", listener, conn.RemoteAddr().String(), cause, peer, err)
}

// tell passes a refusal on to who can find out more about it.
func (p *Proxy) tell(err error) {
	if refusal := certs.HandshakeRefusal(err); refusal != nil {
		p.cfg.Refused(refusal)
	}
}

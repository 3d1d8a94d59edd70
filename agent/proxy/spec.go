package proxy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/certs"
)

// Mode says what a listener's connections carry.
type Mode string

// The modes.
const (
	ModeTCP  Mode = "tcp"  // bytes, of whatever protocol
	ModeHTTP Mode = "http" // inbound: HTTP/1.1 and HTTP/2 to a target that speaks HTTP/1.1; outbound: announce HTTP/1.1
	ModeH2C  Mode = "h2c"  // inbound: a target that speaks HTTP/2 without TLS, gRPC for one; outbound: announce HTTP/2
)

// Defaults and limits of a listener.
const (
	DefaultMaxConnections = 4096
	DefaultConnectTimeout = 3 * time.Second
	DefaultIdleTimeout    = 10 * time.Minute
	maxConnections        = 1 << 20
	maxExpiryDrain        = time.Hour
	maxAddresses          = 64
)

// Limits are what every listener has. Zero values stand for the defaults.
type Limits struct {
	MaxConnections int           // open at a time; more wait in the kernel's queue
	ConnectTimeout time.Duration // of dialling one address, the TLS handshake included
	IdleTimeout    time.Duration // without a byte in either direction
	// ExpiryDrain is how long an open connection may outlive its peer's certificate, at most an hour; 0 cuts it
	// when the certificate expires. Revocation and policy cut it at any time.
	ExpiryDrain time.Duration
}

// Inbound is a listener for peers.
type Inbound struct {
	Listen string // HOST:PORT; an empty host is every interface
	Target string // HOST:PORT or unix:PATH of the local service
	Mode   Mode   // "" is ModeTCP
	// ProxyProtocol writes a PROXY protocol version 2 header to the target, with the
	// peer's address and its SPIFFE ID. ModeTCP only.
	ProxyProtocol bool
	// ClientCertChain adds the Client-Cert-Chain header (RFC 9440, section 2.3). Not in ModeTCP.
	ClientCertChain bool
	Limits
}

// Outbound is a listener for the local service.
type Outbound struct {
	Listen    string   // HOST:PORT on loopback, or unix:PATH
	Service   string   // the peer's name: the path of its SPIFFE ID in the own trust domain
	Addresses []string // HOST:PORT of its instances, in order of preference
	Mode      Mode     // "" is ModeTCP
	// AllowRemote lets Listen be an address that other hosts reach. What they send is
	// not encrypted, and they act under this service's identity.
	AllowRemote bool
	Limits
}

// ParseInbound reads LISTEN=TARGET[,OPTION]... Options are mode=tcp|http|h2c,
// proxy-protocol, client-cert-chain, max-connections=N, connect-timeout=D, idle-timeout=D, expiry-drain=D.
func ParseInbound(spec string) (Inbound, error) {
	listen, rest, ok := strings.Cut(spec, "=")
	if !ok {
		return Inbound{}, fmt.Errorf("inbound listener %q: use LISTEN=TARGET[,mode=http], such as :8443=127.0.0.1:8080", spec)
	}
	parts := strings.Split(rest, ",")
	in := Inbound{Listen: listen, Target: parts[0]}
	for _, option := range parts[1:] {
		var err error
		switch option {
		case "proxy-protocol":
			err = setFlag(&in.ProxyProtocol)
		case "client-cert-chain":
			err = setFlag(&in.ClientCertChain)
		default:
			err = parseOption(option, &in.Mode, &in.Limits)
		}
		if err != nil {
			return Inbound{}, fmt.Errorf("inbound listener %q: option %q: %w", spec, option, err)
		}
	}
	if err := in.Check(); err != nil {
		return Inbound{}, err
	}
	return in, nil
}

// ParseOutbound reads LISTEN=SERVICE@HOST:PORT[,HOST:PORT]...[,OPTION]... Options are
// mode=tcp|http|h2c, allow-remote, max-connections=N, connect-timeout=D, idle-timeout=D, expiry-drain=D.
func ParseOutbound(spec string) (Outbound, error) {
	listen, rest, ok := strings.Cut(spec, "=")
	service, rest, hasAt := strings.Cut(rest, "@")
	if !ok || !hasAt {
		return Outbound{}, fmt.Errorf("outbound listener %q: use LISTEN=SERVICE@HOST:PORT[,HOST:PORT], such as 127.0.0.1:9000=orders@10.0.0.7:8443", spec)
	}
	out := Outbound{Listen: listen, Service: service}
	for _, part := range strings.Split(rest, ",") {
		var err error
		switch {
		case part == "allow-remote":
			err = setFlag(&out.AllowRemote)
		case strings.Contains(part, "="):
			err = parseOption(part, &out.Mode, &out.Limits)
		default:
			out.Addresses = append(out.Addresses, part)
		}
		if err != nil {
			return Outbound{}, fmt.Errorf("outbound listener %q: option %q: %w", spec, part, err)
		}
	}
	if err := out.Check(); err != nil {
		return Outbound{}, err
	}
	return out, nil
}

func setFlag(flag *bool) error {
	if *flag {
		return errors.New("it stands there twice")
	}
	*flag = true
	return nil
}

func parseOption(option string, mode *Mode, limits *Limits) error {
	key, value, ok := strings.Cut(option, "=")
	if !ok {
		return errors.New("it is unknown")
	}
	switch key {
	case "mode":
		if *mode != "" {
			return errors.New("it stands there twice")
		}
		*mode = Mode(value)
		return mode.check()
	case "max-connections":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxConnections || limits.MaxConnections != 0 {
			return fmt.Errorf("use one number from 1 to %d", maxConnections)
		}
		limits.MaxConnections = n
		return nil
	case "connect-timeout":
		return parseTimeout(value, &limits.ConnectTimeout)
	case "idle-timeout":
		return parseTimeout(value, &limits.IdleTimeout)
	case "expiry-drain":
		return parseTimeout(value, &limits.ExpiryDrain)
	default:
		return errors.New("it is unknown")
	}
}

func parseTimeout(value string, timeout *time.Duration) error {
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 || *timeout != 0 {
		return errors.New("use one positive duration, such as 3s or 10m")
	}
	*timeout = d
	return nil
}

func (m Mode) check() error {
	switch m {
	case "", ModeTCP, ModeHTTP, ModeH2C:
		return nil
	default:
		return fmt.Errorf("mode %q: use tcp, http or h2c", string(m))
	}
}

// withDefaults returns l with the defaults in place of zero values.
func (l Limits) withDefaults() Limits {
	if l.MaxConnections == 0 {
		l.MaxConnections = DefaultMaxConnections
	}
	if l.ConnectTimeout == 0 {
		l.ConnectTimeout = DefaultConnectTimeout
	}
	if l.IdleTimeout == 0 {
		l.IdleTimeout = DefaultIdleTimeout
	}
	return l
}

func (l Limits) check() error {
	if l.MaxConnections < 0 || l.MaxConnections > maxConnections {
		return fmt.Errorf("max-connections %d: use 1 to %d", l.MaxConnections, maxConnections)
	}
	if l.ConnectTimeout < 0 || l.IdleTimeout < 0 {
		return errors.New("a timeout is negative")
	}
	if l.ExpiryDrain < 0 || l.ExpiryDrain > maxExpiryDrain {
		return fmt.Errorf("expiry-drain %v: use at most %v", l.ExpiryDrain, maxExpiryDrain)
	}
	return nil
}

// Check refuses what cannot work, or works other than it looks.
func (in Inbound) Check() error {
	err := errors.Join(checkTCP(in.Listen, true), checkTarget(in.Target), in.Mode.check(), in.Limits.check())
	if in.ProxyProtocol && in.Mode != "" && in.Mode != ModeTCP {
		err = errors.Join(err, errors.New("proxy-protocol needs mode=tcp; HTTP carries the peer in headers"))
	}
	if in.ClientCertChain && (in.Mode == "" || in.Mode == ModeTCP) {
		err = errors.Join(err, errors.New("client-cert-chain needs mode=http or mode=h2c"))
	}
	if err != nil {
		return fmt.Errorf("inbound listener %s=%s: %w", in.Listen, in.Target, err)
	}
	return nil
}

// Check refuses what cannot work, and a plaintext listener that other hosts reach unless AllowRemote is set.
func (out Outbound) Check() error {
	err := errors.Join(checkLocal(out.Listen, out.AllowRemote), checkService(out.Service), out.Mode.check(), out.Limits.check())
	if len(out.Addresses) == 0 || len(out.Addresses) > maxAddresses {
		err = errors.Join(err, fmt.Errorf("%d addresses of peers; use 1 to %d", len(out.Addresses), maxAddresses))
	}
	for _, address := range out.Addresses {
		err = errors.Join(err, checkTCP(address, false))
	}
	if err != nil {
		return fmt.Errorf("outbound listener %s=%s@%s: %w", out.Listen, out.Service, strings.Join(out.Addresses, ","), err)
	}
	return nil
}

// checkService holds name against the rules for paths of SPIFFE IDs, in whatever trust domain.
func checkService(name string) error {
	id, err := certs.ParseID("spiffe://any/" + name)
	if err != nil {
		return fmt.Errorf("service %q is not a name: %w", name, err)
	}
	if id.IsReserved() {
		return fmt.Errorf("service %q: names under %s/ are the CA's own", name, certs.ReservedPrefix)
	}
	return nil
}

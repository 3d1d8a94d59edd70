package proxy

// ListenerStatus is one listener's state.
type ListenerStatus struct {
	Direction string   `json:"direction"`
	Listen    string   `json:"listen"`
	Address   string   `json:"address"` // what was bound
	Mode      Mode     `json:"mode"`
	Target    string   `json:"target,omitempty"`
	Service   string   `json:"service,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Open      int      `json:"open"`
	Accepted  int64    `json:"accepted"`
}

// Status is the proxy's view of itself.
type Status struct {
	Listeners []ListenerStatus `json:"listeners"`
	Events    []Event          `json:"last_events,omitempty"` // refusals, cuts and failures, the newest last
}

// Status returns the state as of now.
func (p *Proxy) Status() Status {
	s := Status{Events: p.journal.last()}
	for _, in := range p.inbounds {
		status := in.status(inbound, in.spec.Mode)
		status.Target = in.spec.Target
		s.Listeners = append(s.Listeners, status)
	}
	for _, out := range p.outbounds {
		status := out.status(outbound, out.spec.Mode)
		status.Service, status.Addresses = out.spec.Service, out.spec.Addresses
		s.Listeners = append(s.Listeners, status)
	}
	return s
}

func (d *door) status(way direction, mode Mode) ListenerStatus {
	if mode == "" {
		mode = ModeTCP
	}
	return ListenerStatus{
		Direction: string(way), Listen: d.address, Address: d.listener.Addr().String(), Mode: mode,
		Open: d.openNow(), Accepted: d.accepted.Load(),
	}
}

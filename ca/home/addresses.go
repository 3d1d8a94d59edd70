package home

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var dnsName = regexp.MustCompile(`\A(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\z`)

func (v *validator) addresses() {
	v.out.Address, v.out.PublicAddress, v.out.MetricsAddress = v.raw.Address, v.raw.PublicAddress, v.raw.MetricsAddress
	apiHost, apiPort := v.hostPort(path{"address"}, v.raw.Address)
	publicHost, publicPort := v.hostPort(path{"public_address"}, v.raw.PublicAddress)
	if v.raw.Address != "" && v.raw.Address == v.raw.PublicAddress {
		v.add(path{"public_address"}, "it is the API's address; use another port, because one is HTTPS and the other plain HTTP")
	}
	v.metrics()
	v.serverNames(apiHost)
	v.out.APIURL = v.url(path{"api_url"}, "https", v.raw.APIURL, firstOf(v.raw.ServerNames, apiHost), apiPort)
	v.out.PublicURL = v.url(path{"public_url"}, "http", v.raw.PublicURL, publicHost, publicPort)
}

// hostPort wants a port that is known beforehand, because tokens and certificates name it.
func (v *validator) hostPort(where path, value string) (host, port string) {
	if value == "" {
		v.add(where, "missing; write HOST:PORT, such as 0.0.0.0:9000")
		return "", ""
	}
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		v.add(where, "%q is not HOST:PORT, such as 10.0.0.5:9000 or [::1]:9000", value)
		return "", ""
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		v.add(where, "port %q is not a number from 1 to 65535", port)
	}
	return host, port
}

// metrics are for the host itself: the listener has no TLS and asks nobody who they are.
func (v *validator) metrics() {
	if v.raw.MetricsAddress == "" {
		return
	}
	host, _ := v.hostPort(path{"metrics_address"}, v.raw.MetricsAddress)
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		v.add(path{"metrics_address"}, "%q is not a loopback address; use 127.0.0.1:PORT, or scrape /metrics of the API with an operator's certificate", v.raw.MetricsAddress)
	}
}

// serverNames are what clients may call the API; by default the address that it listens on.
func (v *validator) serverNames(apiHost string) {
	names := v.raw.ServerNames
	if len(names) == 0 {
		if isUnspecified(apiHost) {
			v.add(path{"server_names"}, "missing; address %q listens on every interface, so write the names or IPs by which agents reach this CA", v.raw.Address)
			return
		}
		names = []string{apiHost}
	}
	for i, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil && ip.Zone() == "" && !ip.IsUnspecified() {
			v.out.IPs = append(v.out.IPs, ip.Unmap())
			continue
		}
		if len(name) > 253 || !dnsName.MatchString(name) || strings.Trim(name, "0123456789.") == "" {
			where := path{"server_names", i}
			if len(v.raw.ServerNames) == 0 {
				where = path{"address"}
			}
			v.add(where, "%q is neither a DNS name in lower case nor an IP address", name)
			continue
		}
		v.out.DNSNames = append(v.out.DNSNames, name)
	}
}

// url is the given address, or one made from host and port.
func (v *validator) url(where path, scheme, given, host, port string) string {
	if given == "" {
		if isUnspecified(host) {
			v.add(where, "missing; the address listens on every interface, so write %s://HOST:PORT as others reach it", scheme)
			return ""
		}
		return scheme + "://" + net.JoinHostPort(host, port)
	}
	u, err := url.Parse(given)
	if err != nil || u.Hostname() == "" || given != fmt.Sprintf("%s://%s", scheme, u.Host) {
		v.add(where, "%q is not of the form %s://HOST:PORT", given, scheme)
		return ""
	}
	return given
}

func isUnspecified(host string) bool {
	if host == "" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsUnspecified()
}

func firstOf(list []string, fallback string) string {
	if len(list) > 0 {
		return list[0]
	}
	return fallback
}

func orElse(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

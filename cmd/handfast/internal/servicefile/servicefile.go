// Package servicefile reads the YAML file of services for `handfast service apply`.
package servicefile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/strictyaml"
)

// Example is a file that Read takes, for help texts.
const Example = `services:
  - name: shop
    dns: [shop.example.org]
    callers: [gateway]
  - name: gateway
    ips: [10.0.0.7]
    callers: ["*"]      # every service of the trust domain
    ttl: 30m            # shorter than the profile's lifetime
    max_silence: 5m     # refuse everybody when the CA's feed is silent for longer
`

// maxServices bounds a file; api.MaxApply bounds the request made of it.
const maxServices = 20000

type document struct {
	Services []service `yaml:"services"`
}

// service has the names of api.Service, so that what `service list -o yaml` writes can be
// edited and applied.
type service struct {
	Name    string   `yaml:"name"`
	ID      string   `yaml:"id"`
	DNS     []string `yaml:"dns"`
	IPs     []string `yaml:"ips"`
	Callers []string `yaml:"callers"`
	Profile string   `yaml:"profile"`
	TTL     string   `yaml:"ttl"`
	Silence string   `yaml:"max_silence"`
	Version uint64   `yaml:"version"`
	Created string   `yaml:"created"`
	Updated string   `yaml:"updated"`
}

// Read reads the file at path, or stdin for "-", strictly: an unknown or repeated key, a
// bad duration and a service named twice are errors with their place. What the CA
// sets (id, version, created, updated) may stand in the file, as a listing wrote it; the id has to fit the
// name, the others change nothing.
func Read(path string, stdin io.Reader, td certs.TrustDomain) ([]api.Service, error) {
	name, data, err := load(path, stdin)
	if err != nil {
		return nil, err
	}
	return Parse(name, data, td)
}

func load(path string, stdin io.Reader) (name string, data []byte, err error) {
	source, name := stdin, "standard input"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", nil, err
		}
		defer f.Close() //nolint:errcheck // only read from
		source, name = f, path
	}
	data, err = io.ReadAll(io.LimitReader(source, strictyaml.MaxSize+1))
	return name, data, err
}

// Parse is Read for data; name stands in errors.
func Parse(name string, data []byte, td certs.TrustDomain) ([]api.Service, error) {
	var d document
	if err := strictyaml.Decode(name, data, &d); err != nil {
		return nil, err
	}
	if d.Services == nil {
		return nil, fmt.Errorf("%s: no services: the file begins with \"services:\"", name)
	}
	if len(d.Services) > maxServices {
		return nil, fmt.Errorf("%s: over %d services", name, maxServices)
	}
	services := make([]api.Service, 0, len(d.Services))
	seen := make(map[string]bool, len(d.Services))
	for i, s := range d.Services {
		parsed, err := s.parse(td)
		if err == nil && seen[s.Name] {
			err = errors.New("named twice")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: service %d (%q): %w", name, i+1, s.Name, err)
		}
		seen[s.Name] = true
		services = append(services, parsed)
	}
	return services, nil
}

func (s *service) parse(td certs.TrustDomain) (api.Service, error) {
	if s.Name == "" {
		return api.Service{}, errors.New("no name")
	}
	id, err := td.ID(s.Name)
	if err != nil {
		return api.Service{}, fmt.Errorf("name: %w", err)
	}
	if s.ID != "" && s.ID != id.String() {
		return api.Service{}, fmt.Errorf("id: %s is not this service's; the CA sets it to %s", s.ID, id)
	}
	parsed := api.Service{Name: s.Name, DNSNames: s.DNS, IPs: s.IPs, Callers: s.Callers, Profile: s.Profile}
	if parsed.TTL, err = duration("ttl", s.TTL); err != nil {
		return api.Service{}, err
	}
	parsed.MaxSilence, err = duration("max_silence", s.Silence)
	return parsed, err
}

// duration reads Go's notation; "" is 0.
func duration(name, text string) (api.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s %q: use a number and a unit, such as 90s, 15m or 24h", name, text)
	}
	return api.Duration(d), nil
}

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/agent/proxy"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/internal/strictyaml"
)

// fileConfig is the YAML file as it is written. Everything in it has a flag, except that
// arguments of a reload command may hold spaces here.
type fileConfig struct {
	CA           string           `yaml:"ca"`
	Fingerprint  string           `yaml:"fingerprint"`
	TokenFile    string           `yaml:"token_file"`
	State        string           `yaml:"state"`
	InMemory     bool             `yaml:"in_memory"`
	KeyAlgorithm string           `yaml:"key_algorithm"`
	Inbound      []inboundConfig  `yaml:"inbound"`
	Outbound     []outboundConfig `yaml:"outbound"`
	Drain        duration         `yaml:"drain_timeout"`
	Status       struct {
		Listen      string `yaml:"listen"`
		AllowRemote bool   `yaml:"allow_remote"`
	} `yaml:"status"`
	Files struct {
		Directory string `yaml:"directory"`
		Group     string `yaml:"group"`
		KeyMode   string `yaml:"key_mode"`
		Reload    struct {
			Command []string `yaml:"command"`
			PIDFile string   `yaml:"pid_file"`
			Signal  string   `yaml:"signal"`
			Timeout duration `yaml:"timeout"`
		} `yaml:"reload"`
	} `yaml:"files"`
	Socket struct {
		Path  string `yaml:"path"`
		Group string `yaml:"group"`
	} `yaml:"socket"`
	Log struct {
		Level  string `yaml:"level"`
		Format string `yaml:"format"`
	} `yaml:"log"`
}

type inboundConfig struct {
	Listen          string       `yaml:"listen"`
	Target          string       `yaml:"target"`
	Mode            string       `yaml:"mode"`
	ProxyProtocol   bool         `yaml:"proxy_protocol"`
	ClientCertChain bool         `yaml:"client_cert_chain"`
	Limits          limitsConfig `yaml:"limits"`
}

type outboundConfig struct {
	Listen      string       `yaml:"listen"`
	Service     string       `yaml:"service"`
	Addresses   []string     `yaml:"addresses"`
	Mode        string       `yaml:"mode"`
	AllowRemote bool         `yaml:"allow_remote"`
	Limits      limitsConfig `yaml:"limits"`
}

type limitsConfig struct {
	MaxConnections int      `yaml:"max_connections"`
	ConnectTimeout duration `yaml:"connect_timeout"`
	IdleTimeout    duration `yaml:"idle_timeout"`
}

func (l limitsConfig) limits() proxy.Limits {
	return proxy.Limits{
		MaxConnections: l.MaxConnections, ConnectTimeout: time.Duration(l.ConnectTimeout), IdleTimeout: time.Duration(l.IdleTimeout),
	}
}

// duration reads Go's notation out of YAML.
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	var parsed api.Duration
	if err := parsed.UnmarshalText(text); err != nil {
		return err
	}
	*d = duration(parsed)
	return nil
}

func readConfig(path string) (fileConfig, error) {
	var file fileConfig
	err := strictyaml.ReadFile(path, &file)
	if errors.Is(err, fs.ErrNotExist) {
		return file, fmt.Errorf("--config: %w", err)
	}
	return file, err
}

// proxies makes the listeners out of the file's.
func (f fileConfig) proxies() (in []proxy.Inbound, out []proxy.Outbound) {
	for _, c := range f.Inbound {
		in = append(in, proxy.Inbound{
			Listen: c.Listen, Target: c.Target, Mode: proxy.Mode(c.Mode),
			ProxyProtocol: c.ProxyProtocol, ClientCertChain: c.ClientCertChain, Limits: c.Limits.limits(),
		})
	}
	for _, c := range f.Outbound {
		out = append(out, proxy.Outbound{
			Listen: c.Listen, Service: c.Service, Addresses: c.Addresses, Mode: proxy.Mode(c.Mode),
			AllowRemote: c.AllowRemote, Limits: c.Limits.limits(),
		})
	}
	return in, out
}

// parseMode reads an octal file mode, such as 0640.
func parseMode(text string) (fs.FileMode, error) {
	if text == "" {
		return 0, nil
	}
	mode, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 12)
	if err != nil || mode == 0 {
		return 0, fmt.Errorf("key mode %q: use an octal number, such as 0600 or 0640", text)
	}
	return fs.FileMode(mode), nil
}

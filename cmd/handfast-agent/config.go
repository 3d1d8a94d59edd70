package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/agent/proxy"
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
	Drain        string           `yaml:"drain_timeout"`
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
			Timeout string   `yaml:"timeout"`
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
	MaxConnections int    `yaml:"max_connections"`
	ConnectTimeout string `yaml:"connect_timeout"`
	IdleTimeout    string `yaml:"idle_timeout"`
	ExpiryDrain    string `yaml:"expiry_drain"`
}

// configFile is the file, read and checked: what its values mean, and the values that need no check.
type configFile struct {
	fileConfig
	inbound       []proxy.Inbound
	outbound      []proxy.Outbound
	drain         time.Duration
	reloadTimeout time.Duration
}

// configReader collects mistakes, each with its place in the file.
type configReader struct {
	name     string
	data     []byte
	mistakes []error
}

func readConfig(path string) (configFile, error) {
	data, err := readLimited(path)
	if err != nil {
		return configFile{}, fmt.Errorf("--config: %w", err)
	}
	r := &configReader{name: path, data: data}
	var file configFile
	if err := strictyaml.Decode(path, data, &file.fileConfig); err != nil {
		return configFile{}, err
	}
	for i, c := range file.Inbound {
		in := proxy.Inbound{
			Listen: c.Listen, Target: c.Target, Mode: proxy.Mode(c.Mode),
			ProxyProtocol: c.ProxyProtocol, ClientCertChain: c.ClientCertChain, Limits: r.limits(c.Limits, "inbound", i),
		}
		r.check(in.Check(), "inbound", i)
		file.inbound = append(file.inbound, in)
	}
	for i, c := range file.Outbound {
		out := proxy.Outbound{
			Listen: c.Listen, Service: c.Service, Addresses: c.Addresses, Mode: proxy.Mode(c.Mode),
			AllowRemote: c.AllowRemote, Limits: r.limits(c.Limits, "outbound", i),
		}
		r.check(out.Check(), "outbound", i)
		file.outbound = append(file.outbound, out)
	}
	file.drain = r.duration(file.Drain, "drain_timeout")
	file.reloadTimeout = r.duration(file.Files.Reload.Timeout, "files", "reload", "timeout")
	_, err = parseMode(file.Files.KeyMode)
	r.check(err, "files", "key_mode")
	return file, errors.Join(r.mistakes...)
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	return io.ReadAll(io.LimitReader(f, strictyaml.MaxSize+1))
}

// check notes a mistake at path.
func (r *configReader) check(err error, path ...any) {
	if err != nil {
		r.mistakes = append(r.mistakes, fmt.Errorf("%s: %w", strictyaml.Place(r.name, r.data, path...), err))
	}
}

func (r *configReader) limits(l limitsConfig, path ...any) proxy.Limits {
	at := func(key string) []any { return append(slices.Clone(path), "limits", key) }
	return proxy.Limits{
		MaxConnections: l.MaxConnections,
		ConnectTimeout: r.duration(l.ConnectTimeout, at("connect_timeout")...),
		IdleTimeout:    r.duration(l.IdleTimeout, at("idle_timeout")...),
		ExpiryDrain:    r.duration(l.ExpiryDrain, at("expiry_drain")...),
	}
}

// duration reads Go's notation; "" is 0, which stands for a default.
func (r *configReader) duration(text string, path ...any) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		r.check(fmt.Errorf("duration %q: use a number and a unit, such as 90s, 15m or 24h", text), path...)
	}
	return d
}

// parseMode reads an octal file mode, such as 0640; "" is 0, which stands for a default.
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

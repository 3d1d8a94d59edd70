package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/handfast/handfast/agent/certdir"
	"github.com/handfast/handfast/agent/proxy"
	"github.com/handfast/handfast/agent/statusapi"
)

// settings are complete and checked: the rest of the program sees nothing else.
type settings struct {
	ca, fingerprint     string
	token               string // from HANDFAST_TOKEN; never logged
	tokenFile           string // "-" is standard input
	state               string // "" is in memory
	keyAlgorithm        string
	inbound             []proxy.Inbound
	outbound            []proxy.Outbound
	drain               time.Duration
	status              string // "" is none
	statusAllowRemote   bool
	files               string // "" is none
	filesGroup          *int
	keyMode             fs.FileMode
	reload              certdir.Hook
	socket              string // "" is none
	socketGroup         *int
	logLevel, logFormat string
}

// flagSettings are the flags as they are given.
type flagSettings struct {
	config                     string
	ca, fingerprint, tokenFile string
	state, keyAlgorithm        string
	inMemory                   bool
	inbound, outbound          []string
	drain, reloadTimeout       time.Duration
	status                     string
	statusAllowRemote          bool
	files, filesGroup, keyMode string
	reloadCommand, pidFile     string
	reloadSignal               string
	socket, socketGroup        string
	logLevel, logFormat        string
}

func (f *flagSettings) register(set *pflag.FlagSet) {
	set.StringVar(&f.config, "config", "", "YAML `FILE` with these settings")
	set.StringVar(&f.ca, "ca", "", "the CA's address, https://HOST:PORT (default: the token's)")
	set.StringVar(&f.fingerprint, "fingerprint", "", "SHA-256 of the root in `HEX` (default: the token's)")
	set.StringVar(&f.tokenFile, "token-file", "", "`FILE` with the enrolment token, - for standard input")
	set.StringVar(&f.state, "state", "", "`DIR` for key, certificate and policy, mode 0700")
	set.BoolVar(&f.inMemory, "in-memory", false, "keep nothing on disk: each start needs a new token")
	set.StringVar(&f.keyAlgorithm, "key-algorithm", "", "ecdsa-p256 (default), ecdsa-p384 or ed25519")
	set.StringArrayVar(&f.inbound, "inbound", nil, "`SPEC` LISTEN=TARGET[,OPTION]...: mutual TLS in, plaintext to the service (repeatable)")
	set.StringArrayVar(&f.outbound, "outbound", nil, "`SPEC` LISTEN=SERVICE@HOST:PORT[,HOST:PORT]...[,OPTION]...: plaintext in, mutual TLS to a peer (repeatable)")
	set.DurationVar(&f.drain, "drain-timeout", 0, "how long open connections may take to end at shutdown (default 30s)")
	set.StringVar(&f.status, "status", "", "`HOST:PORT` on loopback for /metrics, /healthz and /status")
	set.BoolVar(&f.statusAllowRemote, "status-allow-remote", false, "let --status be an address that other hosts reach")
	set.StringVar(&f.files, "files", "", "`DIR` to write cert.pem, key.pem, roots.pem, crl.pem, policy.json and staple.der to")
	set.StringVar(&f.filesGroup, "files-group", "", "`GROUP` that may read the files")
	set.StringVar(&f.keyMode, "key-mode", "", "octal `MODE` of key.pem (default 0600; 0640 with --files-group)")
	set.StringVar(&f.reloadCommand, "reload-command", "", "`COMMAND` to run after the files changed; split at white space, no shell")
	set.StringVar(&f.pidFile, "reload-pid-file", "", "`FILE` with the id of a process to signal after the files changed")
	set.StringVar(&f.reloadSignal, "reload-signal", "", "HUP (default), USR1, USR2 or TERM, for --reload-pid-file")
	set.DurationVar(&f.reloadTimeout, "reload-timeout", 0, "how long the reload command may take (default 30s)")
	set.StringVar(&f.socket, "socket", "", "`PATH` of a Unix socket that serves the certificate to local programs")
	set.StringVar(&f.socketGroup, "socket-group", "", "`GROUP` that may connect to the socket")
	set.StringVar(&f.logLevel, "log-level", "", "debug, info (default), warn or error")
	set.StringVar(&f.logFormat, "log-format", "", "text (default) or json")
}

// resolve puts file, variables and flags together and checks the whole.
func (f *flagSettings) resolve(set *pflag.FlagSet, lookup func(string) (string, bool)) (*settings, error) {
	if err := f.fromEnvironment(set, lookup); err != nil {
		return nil, err
	}
	var file configFile
	if f.config != "" {
		var err error
		if file, err = readConfig(f.config); err != nil {
			return nil, err
		}
	}
	s, err := f.merge(set, file)
	if err != nil {
		return nil, err
	}
	s.token, _ = lookup("HANDFAST_TOKEN")
	return s, s.check()
}

// statusAddress is where an agent with these settings serves its status.
func (f *flagSettings) statusAddress(set *pflag.FlagSet, lookup func(string) (string, bool)) (string, error) {
	if err := f.fromEnvironment(set, lookup); err != nil {
		return "", err
	}
	if f.status != "" {
		return f.status, nil
	}
	if f.config == "" {
		return "", errNoStatusAddress
	}
	file, err := readConfig(f.config)
	if err != nil {
		return "", err
	}
	if file.Status.Listen == "" {
		return "", fmt.Errorf("%s has no status.listen, so this agent cannot be asked: add one, such as 127.0.0.1:9100, and restart the agent", f.config)
	}
	return file.Status.Listen, nil
}

// fromEnvironment sets the flags that were not given from their variables.
func (f *flagSettings) fromEnvironment(set *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var failed error
	set.VisitAll(func(flag *pflag.Flag) {
		name := "HANDFAST_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		value, ok := lookup(name)
		if flag.Changed || !ok || value == "" || flag.Name == "help" {
			return
		}
		values := []string{value}
		if _, list := flag.Value.(pflag.SliceValue); list {
			values = strings.Fields(value)
		}
		for _, v := range values {
			if err := set.Set(flag.Name, v); err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", name, err))
			}
		}
	})
	return failed
}

// merge takes from flags and variables what was given there, and the rest from the file.
func (f *flagSettings) merge(set *pflag.FlagSet, file configFile) (*settings, error) {
	s := &settings{
		ca:          first(f.ca, file.CA),
		fingerprint: first(f.fingerprint, file.Fingerprint), tokenFile: first(f.tokenFile, file.TokenFile),
		keyAlgorithm: first(f.keyAlgorithm, file.KeyAlgorithm), drain: first(f.drain, file.drain),
		status: first(f.status, file.Status.Listen), statusAllowRemote: f.statusAllowRemote || file.Status.AllowRemote,
		files: first(f.files, file.Files.Directory), socket: first(f.socket, file.Socket.Path),
		logLevel: first(f.logLevel, file.Log.Level, "info"), logFormat: first(f.logFormat, file.Log.Format, "text"),
		reload: certdir.Hook{
			Command: file.Files.Reload.Command, PIDFile: first(f.pidFile, file.Files.Reload.PIDFile),
			Signal:  first(f.reloadSignal, file.Files.Reload.Signal),
			Timeout: first(f.reloadTimeout, file.reloadTimeout),
		},
	}
	if f.reloadCommand != "" {
		s.reload.Command = strings.Fields(f.reloadCommand)
	}
	var err error
	if s.state, err = f.where(set, file); err != nil {
		return nil, err
	}
	if err := f.mergeListeners(set, file, s); err != nil {
		return nil, err
	}
	var errs [3]error
	s.keyMode, errs[0] = parseMode(first(f.keyMode, file.Files.KeyMode))
	s.filesGroup, errs[1] = lookupGroup(first(f.filesGroup, file.Files.Group))
	s.socketGroup, errs[2] = lookupGroup(first(f.socketGroup, file.Socket.Group))
	return s, errors.Join(errs[:]...)
}

// where decides between a state directory and memory; a flag for one overrides the file's other.
func (f *flagSettings) where(set *pflag.FlagSet, file configFile) (string, error) {
	state, memory := file.State, file.InMemory
	if set.Changed("state") || set.Changed("in-memory") {
		state, memory = f.state, f.inMemory
	}
	switch {
	case state != "" && memory:
		return "", errors.New("both a state directory and in-memory are given: choose one")
	case state == "" && !memory:
		return "", errors.New("neither --state DIR nor --in-memory is given: with a directory a restart needs no new token")
	default:
		return state, nil
	}
}

// mergeListeners takes the flags' listeners, or the file's when there are no flags of the kind.
func (f *flagSettings) mergeListeners(set *pflag.FlagSet, file configFile, s *settings) error {
	s.inbound, s.outbound = file.inbound, file.outbound
	if set.Changed("inbound") {
		s.inbound = nil
		for _, spec := range f.inbound {
			in, err := proxy.ParseInbound(spec)
			if err != nil {
				return err
			}
			s.inbound = append(s.inbound, in)
		}
	}
	if set.Changed("outbound") {
		s.outbound = nil
		for _, spec := range f.outbound {
			out, err := proxy.ParseOutbound(spec)
			if err != nil {
				return err
			}
			s.outbound = append(s.outbound, out)
		}
	}
	return nil
}

// check holds the settings against each other, so that a mistake shows at the start.
func (s *settings) check() error {
	for _, in := range s.inbound {
		if err := in.Check(); err != nil {
			return err
		}
	}
	for _, out := range s.outbound {
		if err := out.Check(); err != nil {
			return err
		}
	}
	if s.status != "" {
		if err := statusapi.CheckListen(s.status, s.statusAllowRemote); err != nil {
			return err
		}
	}
	if s.drain < 0 {
		return errors.New("the drain timeout is negative")
	}
	if err := s.checkIdle(); err != nil {
		return err
	}
	if s.token != "" && s.tokenFile != "" {
		return errors.New("both HANDFAST_TOKEN and a token file are given: choose one")
	}
	return errors.Join(s.agentConfig().Check(), certdir.Config{Dir: s.files, KeyMode: s.keyMode, Reload: s.reload}.Check())
}

// checkIdle refuses what would do nothing, because what it belongs to is not there.
func (s *settings) checkIdle() error {
	switch hook := s.reload; {
	case s.files == "" && (len(hook.Command) > 0 || hook.PIDFile != "" || s.keyMode != 0 || s.filesGroup != nil):
		return errors.New("a reload hook, key mode or group is given, but no --files DIR")
	case hook.Signal != "" && hook.PIDFile == "":
		return errors.New("a reload signal is given, but no --reload-pid-file: which process is to get it?")
	case hook.Timeout != 0 && len(hook.Command) == 0:
		return errors.New("a reload timeout is given, but no --reload-command")
	case s.socket == "" && s.socketGroup != nil:
		return errors.New("a group for the socket is given, but no --socket PATH")
	case s.status == "" && s.statusAllowRemote:
		return errors.New("the status server may listen for other hosts, but no --status HOST:PORT is given")
	default:
		return nil
	}
}

func first[T comparable](values ...T) T {
	var zero T
	for _, v := range values {
		if v != zero {
			return v
		}
	}
	return zero
}

// lookupGroup takes a name or a number; "" is none.
func lookupGroup(name string) (*int, error) {
	if name == "" {
		return nil, nil
	}
	number := name
	if group, err := user.LookupGroup(name); err == nil {
		number = group.Gid
	}
	id, err := strconv.Atoi(number)
	if err != nil || id < 0 {
		return nil, fmt.Errorf("group %q is not known on this host", name)
	}
	return &id, nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/handfast/handfast/internal/harness"
)

const trustDomain = "demo.internal"

// A step is one thing that the demo shows; it fails unless that really happened.
type step struct {
	title string
	do    func(context.Context) error
}

// demo is everything that runs.
type demo struct {
	bin, dir string
	say      *narrator

	ca          *harness.CA
	web, orders peer
	load        *load
}

// peer is a service, its agent, and where they listen.
type peer struct {
	service  *service
	agent    *harness.Process
	inbound  string // mutual TLS from outside
	outbound string // plaintext from the service, to the other one
	status   string
}

func (d *demo) steps() []step {
	return []step{
		{"A certificate authority", d.startCA},
		{"Two services, and who may call whom", d.registerServices},
		{"An agent beside each service enrols it with a one-time token", d.startAgents},
		{"web calls orders: allowed, over mutual TLS", d.allowedCall},
		{"orders calls web: refused by policy", d.refusedCall},
		{"A caller without a certificate: refused", d.anonymousCall},
		{"Rotation under load, with the CA restarted in between", d.rotateUnderLoad},
		{"web is revoked, and refused", d.revoke},
		{"What OCSP and CRL say of it, asked by openssl", d.askOpenSSL},
	}
}

// close ends whatever was started. An agent that still ran must end cleanly too.
func (d *demo) close() error {
	var errs []error
	if d.load != nil {
		d.load.stop()
	}
	for _, p := range []peer{d.web, d.orders} {
		if p.agent != nil {
			errs = append(errs, p.agent.Stop())
		}
		if p.service != nil {
			errs = append(errs, p.service.close())
		}
	}
	if d.ca != nil && d.ca.Process != nil {
		errs = append(errs, d.ca.Process.Stop())
	}
	return errors.Join(errs...)
}

// showLogs prints the end of every program's log: what one wants to see after a failure.
func (d *demo) showLogs() {
	processes := []*harness.Process{d.web.agent, d.orders.agent}
	if d.ca != nil {
		processes = append(processes, d.ca.Process)
	}
	for _, process := range processes {
		if process == nil {
			continue
		}
		lines := strings.Split(process.Log(), "\n")
		d.say.command("tail " + process.Name + ".log")
		d.say.output(strings.Join(lines[max(0, len(lines)-10):], "\n"), 10)
	}
}

// handfast runs the CLI and shows the command and what it printed.
func (d *demo) handfast(ctx context.Context, args ...string) (string, error) {
	d.say.command("handfast " + strings.Join(args, " "))
	out, err := d.ca.Handfast(ctx, args...)
	if err == nil {
		d.say.output(out, 12)
	}
	return out, err
}

// curl runs curl; a refusal is not an error here but its exit code and what it said.
func (d *demo) curl(ctx context.Context, args ...string) (out string, failed error) {
	d.say.command("curl " + strings.Join(args, " "))
	out, failed = harness.Run(ctx, nil, append([]string{"curl", "-sS", "--max-time", "60"}, args...)...)
	return out, failed
}

// serial returns the serial number of an agent's certificate, as its status page says.
func (p peer) serial(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.status+"/status", nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	var status struct {
		Serial string `json:"serial"`
	}
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		return "", err
	}
	if status.Serial == "" {
		return "", errors.New("the agent's status names no serial")
	}
	return status.Serial, nil
}

// patience is how long a step of the demo may take, on a machine that is busy with something else too.
const patience = 2 * time.Minute

// eventually calls check until it succeeds or patience is over.
func eventually(ctx context.Context, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", patience, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (d *demo) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

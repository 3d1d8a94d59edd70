package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/handfast/handfast/internal/harness"
)

// The demo's profile renews after 5 s so that rotation can be watched; the default
// profile would after 40 minutes.
const shortProfile = `
  demo:
    lifetime: 2m
    renew_after: 5s
`

func (d *demo) startCA(ctx context.Context) error {
	ca, out, err := harness.InitCA(ctx, d.bin, d.path("ca"), trustDomain)
	d.ca = ca
	if err != nil {
		return err
	}
	d.say.command(fmt.Sprintf("handfast-ca init --dir ca --trust-domain %s --address %s --public-address %s", trustDomain, ca.API, ca.Public))
	d.say.output(strings.ReplaceAll(out, d.dir+"/", ""), 20)
	if err := d.addProfile(); err != nil {
		return err
	}
	d.say.command("handfast-ca serve --dir ca")
	if err := ca.Serve(ctx); err != nil {
		return err
	}
	d.say.proved("the CA is ready: API on %s, CRL and OCSP on %s", ca.API, ca.Public)
	return nil
}

// addProfile adds shortProfile to the configuration that init wrote.
func (d *demo) addProfile() error {
	path := filepath.Join(d.ca.Dir, "config.yaml")
	config, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const section = "\nprofiles:\n"
	if !strings.Contains(string(config), section) {
		return fmt.Errorf("%s has no section of profiles", path)
	}
	changed := strings.Replace(string(config), section, "\nprofiles:"+shortProfile, 1)
	return os.WriteFile(path, []byte(changed), 0o600)
}

func (d *demo) registerServices(ctx context.Context) error {
	for _, args := range [][]string{
		{"service", "add", "web", "--profile", "demo"},
		{"service", "add", "orders", "--dns", "localhost", "--callers", "web", "--profile", "demo"},
		{"service", "list"},
	} {
		if _, err := d.handfast(ctx, args...); err != nil {
			return err
		}
	}
	d.say.proved("orders may be called by web; web by nobody")
	return nil
}

func (d *demo) startAgents(ctx context.Context) error {
	for _, p := range []*peer{&d.web, &d.orders} {
		for _, address := range []*string{&p.inbound, &p.outbound, &p.status} {
			var err error
			if *address, err = harness.FreeAddress(); err != nil {
				return err
			}
		}
	}
	if err := d.startAgent(ctx, "orders", &d.orders, "web", d.web.inbound); err != nil {
		return err
	}
	if err := d.startAgent(ctx, "web", &d.web, "orders", d.orders.inbound); err != nil {
		return err
	}
	_, err := d.handfast(ctx, "list", "--kind", "service")
	return err
}

// startAgent starts the service name and its agent, whose outbound listener leads to other.
func (d *demo) startAgent(ctx context.Context, name string, p *peer, other, otherAddress string) error {
	var err error
	if p.service, err = startService(name); err != nil {
		return err
	}
	args := []string{
		"--inbound", p.inbound + "=" + p.service.address + ",mode=http",
		"--outbound", p.outbound + "=" + other + "@" + otherAddress,
		"--status", p.status, "--log-format", "json",
	}
	d.say.command(fmt.Sprintf("handfast token %s > %s.token", name, name))
	d.say.command(fmt.Sprintf("handfast-agent run --token-file %s.token --state %s %s", name, name, strings.Join(args, " ")))
	if p.agent, err = d.ca.Agent(ctx, name, d.dir, args...); err != nil {
		return err
	}
	serial, err := p.serial(ctx)
	if err != nil {
		return err
	}
	d.say.proved("%s enrolled: certificate %s…", name, serial[:12])
	return nil
}

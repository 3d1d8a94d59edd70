package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/handfast/handfast/internal/harness"
)

func (d *demo) allowedCall(ctx context.Context) error {
	out, err := d.curl(ctx, "http://"+d.web.outbound+"/")
	if err != nil {
		return err
	}
	d.say.output(out, 3)
	want := "this is orders; you are spiffe://" + trustDomain + "/web"
	if strings.TrimSpace(out) != want {
		return fmt.Errorf("the answer is %q, not %q", out, want)
	}
	d.say.proved("orders knows its caller by the certificate that web's agent showed")
	return nil
}

func (d *demo) refusedCall(ctx context.Context) error {
	return d.expectRefusal(ctx, d.web, "policy_denied",
		func() (string, error) { return d.curl(ctx, "http://"+d.orders.outbound+"/") })
}

func (d *demo) anonymousCall(ctx context.Context) error {
	return d.expectRefusal(ctx, d.orders, "no_certificate",
		func() (string, error) { return d.curl(ctx, "--insecure", "https://"+d.orders.inbound+"/") })
}

// expectRefusal makes a call that must fail, and shows the line in which the agent of
// the called service says why it refused.
func (d *demo) expectRefusal(ctx context.Context, called peer, cause string, call func() (string, error)) error {
	mark := called.agent.Lines()
	out, err := call()
	if err == nil {
		return fmt.Errorf("the call was answered: %s", out)
	}
	d.say.output(complaint(err), 2)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	line, err := called.agent.WaitLog(ctx, mark, cause)
	if err != nil {
		return err
	}
	if err := d.showRefusal(called, line); err != nil {
		return err
	}
	d.say.proved("refused, and the log says why: %s", cause)
	return nil
}

// showRefusal prints what matters of a line of an agent's log: the cause, both
// identities, both clocks.
func (d *demo) showRefusal(called peer, line string) error {
	var entry map[string]any
	if err := json.Unmarshal([]byte(line), &entry); err != nil {
		return fmt.Errorf("the log's line is no JSON: %w: %s", err, line)
	}
	fields := []string{"msg", "cause", "peer", "self", "own_clock", "ca_clock", "detail"}
	d.say.command("tail -n 1 " + called.service.name + "-agent.log | jq '{" + strings.Join(fields, ", ") + "}'")
	for _, field := range fields {
		if value, ok := entry[field]; ok && value != "" {
			d.say.output(fmt.Sprintf("%-10s %v", field, value), 1)
		}
	}
	return nil
}

// complaint is what a program that failed said itself.
func complaint(err error) string {
	var failed *harness.RunError
	if errors.As(err, &failed) {
		return failed.Stderr
	}
	return err.Error()
}

func (d *demo) rotateUnderLoad(ctx context.Context) error {
	const clients, rotations = 4, 3
	serials := map[string]bool{}
	d.say.command(fmt.Sprintf("(%d clients call orders through web's agent without a pause)", clients))
	d.load = startLoad(ctx, "http://"+d.web.outbound+"/", clients)
	watch := func(more int) error {
		target := len(serials) + more
		return eventually(ctx, func() error {
			serial, err := d.web.serial(ctx)
			if err != nil {
				return err
			}
			serials[serial] = true
			if len(serials) < target {
				return fmt.Errorf("%d of %d certificates seen", len(serials), target)
			}
			return nil
		})
	}
	if err := watch(rotations); err != nil {
		return err
	}
	d.say.command("(the CA is stopped and started again)")
	if err := d.ca.Process.Stop(); err != nil {
		return err
	}
	if err := d.ca.Serve(ctx); err != nil {
		return err
	}
	if err := watch(1); err != nil {
		return err
	}
	const enough = 100
	err := eventually(ctx, func() error {
		if calls := d.load.calls.Load(); calls < enough {
			return fmt.Errorf("only %d calls were made: no load", calls)
		}
		return nil
	})
	if err != nil {
		return err
	}
	calls, err := d.load.end()
	if err != nil {
		return err
	}
	d.say.proved("%d rotations, one restart of the CA, %d calls, none failed", len(serials)-1, calls)
	return nil
}

func (d *demo) revoke(ctx context.Context) error {
	if _, err := d.ca.Handfast(ctx, "issue", "web", "--out", d.path("files")); err != nil {
		return err
	}
	mark := d.orders.agent.Lines()
	if _, err := d.handfast(ctx, "revoke", "--service", "web", "--reason", "keyCompromise", "--yes", "--wait"); err != nil {
		return err
	}
	if get(newClient(), "http://"+d.web.outbound+"/") == nil {
		return errors.New("orders still answers web, although the receipt says that it enforces the revocation")
	}
	// Which serial number it names is web's agent's to say, which renews every few seconds.
	line, err := d.orders.agent.WaitLog(ctx, mark, `"connection refused"`, `"cause":"revoked"`, `"peer":"spiffe://`+trustDomain+`/web"`)
	if err != nil {
		return err
	}
	if err := d.showRefusal(d.orders, line); err != nil {
		return err
	}
	d.say.proved("orders has said that it refuses web, and does")
	return nil
}

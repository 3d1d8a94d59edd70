package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeIdentity issues certificates of an hour, in the bubble's time.
func fakeIdentity(fail *atomic.Bool, issued *atomic.Int64) *identity {
	return &identity{
		issue: func(context.Context) (*tls.Certificate, error) {
			if fail.Load() {
				return nil, errors.New("the ledger cannot be written")
			}
			issued.Add(1)
			return &tls.Certificate{Leaf: &x509.Certificate{NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}}, nil
		},
		now: time.Now, log: slog.New(slog.DiscardHandler), metrics: newMetrics(nil),
	}
}

func TestServerCertificateRotatesAtTwoThirdsOfItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fail atomic.Bool
		var issued atomic.Int64
		i := fakeIdentity(&fail, &issued)
		if _, err := i.get(nil); err == nil {
			t.Error("a certificate before the first was issued")
		}
		if err := i.rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go i.run(ctx)
		time.Sleep(39 * time.Minute)
		if issued.Load() != 1 {
			t.Errorf("%d certificates after 39 minutes", issued.Load())
		}
		time.Sleep(2 * time.Minute)
		if issued.Load() != 2 {
			t.Errorf("%d certificates after 41 minutes", issued.Load())
		}
		time.Sleep(24 * time.Hour)
		if n := issued.Load(); n < 36 || n > 39 {
			t.Errorf("%d certificates after a day; want one every 40 minutes", issued.Load())
		}
	})
}

func TestFailedRotationKeepsTheOldCertificateUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fail atomic.Bool
		var issued atomic.Int64
		i := fakeIdentity(&fail, &issued)
		if err := i.rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		old, err := i.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		fail.Store(true)
		go i.run(ctx)
		time.Sleep(59 * time.Minute)
		if now, err := i.get(nil); now != old || err != nil {
			t.Errorf("before the expiry: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if _, err := i.get(nil); err == nil {
			t.Error("an expired certificate was served")
		}
		fail.Store(false)
		time.Sleep(time.Minute)
		if now, err := i.get(nil); err != nil || now == old {
			t.Errorf("after the CA came back: %v", err)
		}
	})
}

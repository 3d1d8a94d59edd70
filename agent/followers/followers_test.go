package followers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
)

const domain = "test.example"

// conn is a connection that knows whether it was closed.
type conn struct{ closed bool }

func (c *conn) Close() error { c.closed = true; return nil }

// at is a position that lasts.
func at(sequence uint64, lasts time.Duration) *certs.FollowPosition {
	return &certs.FollowPosition{TrustDomain: domain, Sequence: sequence, Until: time.Now().Add(lasts)}
}

func join(t *testing.T, r *Registry, c Conn, id string) *Follower {
	t.Helper()
	f, err := r.Join(c, Identity{ID: id, Program: "orders", PID: 7})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestEnforcedIsTheLeastThatIsSure(t *testing.T) {
	const nobody = uint64(math.MaxUint64)
	tests := map[string]struct {
		do   func(t *testing.T, r *Registry)
		want uint64
	}{
		"nobody follows":                        {func(*testing.T, *Registry) {}, nobody},
		"who has nothing yet lets nobody in":    {func(t *testing.T, r *Registry) { join(t, r, &conn{}, "a").Enforces(nil) }, nobody},
		"what was sent may be in force already": {func(t *testing.T, r *Registry) { join(t, r, &conn{}, "a").Tell(*at(5, time.Hour)) }, 5},
		"what was sent later is not sure to be": {func(t *testing.T, r *Registry) {
			f := join(t, r, &conn{}, "a")
			f.Enforces(at(5, time.Hour))
			f.Tell(*at(6, time.Hour))
			f.Tell(*at(7, time.Hour))
		}, 5},
		"confirmed": {func(t *testing.T, r *Registry) {
			f := join(t, r, &conn{}, "a")
			f.Tell(*at(5, time.Hour))
			f.Enforces(at(6, time.Hour))
		}, 6},
		"the least of two": {func(t *testing.T, r *Registry) {
			join(t, r, &conn{}, "a").Enforces(at(9, time.Hour))
			join(t, r, &conn{}, "b").Enforces(at(3, time.Hour))
		}, 3},
		"of another trust domain": {func(t *testing.T, r *Registry) {
			position := at(9, time.Hour)
			position.TrustDomain = "elsewhere.example"
			join(t, r, &conn{}, "a").Enforces(position)
		}, 0},
		"one whose position has ended lets nobody in": {func(t *testing.T, r *Registry) {
			join(t, r, &conn{}, "a").Enforces(at(3, time.Minute))
			time.Sleep(time.Minute + 1)
		}, nobody},
		"until then it holds": {func(t *testing.T, r *Registry) {
			join(t, r, &conn{}, "a").Enforces(at(3, time.Minute))
			time.Sleep(time.Minute)
		}, 3},
		"at that end it may judge by what it was sent": {func(t *testing.T, r *Registry) {
			f := join(t, r, &conn{}, "a")
			f.Enforces(at(3, time.Minute))
			f.Tell(*at(4, time.Hour))
			time.Sleep(2 * time.Minute)
		}, 4},
		"one that is gone is waited for": {func(t *testing.T, r *Registry) {
			c := &conn{}
			join(t, r, c, "a").Enforces(at(3, time.Hour))
			r.Gone(c)
			time.Sleep(Grace - 1)
		}, 3},
		"but not for long": {func(t *testing.T, r *Registry) {
			c := &conn{}
			join(t, r, c, "a").Enforces(at(3, time.Hour))
			r.Gone(c)
			time.Sleep(Grace)
		}, nobody},
		"one that came back holds, whatever becomes of its old connection": {func(t *testing.T, r *Registry) {
			old, c := &conn{}, &conn{}
			join(t, r, old, "a").Enforces(at(3, time.Hour))
			join(t, r, c, "a")
			r.Gone(old)
			time.Sleep(time.Minute)
		}, 3},
		"who followed a predecessor is waited for": {func(_ *testing.T, r *Registry) {
			r.Expect(*at(3, 0))
			time.Sleep(Grace - 1)
		}, 3},
		"but not for long either": {func(_ *testing.T, r *Registry) {
			r.Expect(*at(3, 0))
			time.Sleep(Grace)
		}, nobody},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := New(time.Now, func() {})
				tt.do(t, r)
				if got := r.Enforced(domain); got != tt.want {
					t.Errorf("%d; want %d", got, tt.want)
				}
			})
		})
	}
}

// Whatever lets the word rise is told at once: a confirmation, the end of a position, the end of the wait.
func TestEveryRiseIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *Registry
		var mu sync.Mutex
		var last uint64
		var risen time.Time
		r = New(time.Now, func() {
			mu.Lock()
			defer mu.Unlock()
			if now := r.Enforced(domain); now != last {
				last, risen = now, time.Now()
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx, slog.New(slog.DiscardHandler)) }()
		defer func() { cancel(); <-done }()
		expect := func(what string, want uint64, since time.Time, after time.Duration) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if took := risen.Sub(since); last != want || took < after || took > after+2*time.Millisecond {
				t.Errorf("%s: %d after %v; want %d after %v", what, last, took, want, after)
			}
		}
		began, c := time.Now(), &conn{}
		f := join(t, r, c, "a")
		f.Enforces(at(3, 10*time.Minute))
		expect("confirmed", 3, began, 0)
		f.Tell(*at(4, 20*time.Minute))
		time.Sleep(11 * time.Minute)
		expect("the end of the first position", 4, began, 10*time.Minute)
		time.Sleep(11 * time.Minute)
		expect("the end of the second", math.MaxUint64, began, 20*time.Minute)
		if !c.closed {
			t.Error("the connection of a program that takes nothing any more is still open")
		}
		again := time.Now()
		f = join(t, r, c, "a")
		f.Enforces(at(5, time.Hour))
		expect("back", 5, again, 0)
		gone := time.Now()
		r.Gone(c)
		time.Sleep(2 * Grace)
		expect("gone", math.MaxUint64, gone, Grace)
		if list := r.List(domain, 9); len(list) != 0 {
			t.Errorf("still listed: %+v", list)
		}
	})
}

func TestLaggardsAreListedFirstAndLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, log := New(time.Now, func() {}), &logtest.Buffer{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx, slog.New(slog.NewTextHandler(log, nil))) }()
		defer func() { cancel(); <-done }()
		join(t, r, &conn{}, "current").Enforces(at(9, time.Hour))
		join(t, r, &conn{}, "new").Enforces(nil)
		slowOne := join(t, r, &conn{}, "slow")
		slowOne.Enforces(at(8, time.Hour))
		slowOne.Tell(*at(9, time.Hour))
		time.Sleep(slow - 1)
		if log.String() != "" {
			t.Errorf("logged too early: %s", log)
		}
		time.Sleep(10 * time.Second)
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "program=orders pid=7 follower=slow enforces=8 sent=9") {
			t.Errorf("logged %d times:\n%s", n, log)
		}
		list := r.List(domain, 9)
		if len(list) != 3 || list[0].ID != "slow" || !list[0].Lagging || list[0].LagSeconds < 14 || list[1].Lagging || list[2].Lagging {
			t.Fatalf("%+v", list)
		}
		if s := list[2]; s.ID != "new" || !s.Refusing || !s.Until.IsZero() || s.Enforced != 0 {
			t.Errorf("%+v", s)
		}
		slowOne.Enforces(at(9, time.Hour))
		if list := r.List(domain, 9); list[0].Lagging {
			t.Errorf("after its confirmation: %+v", list[0])
		}
	})
}

func TestFollowersAreBounded(t *testing.T) {
	r := New(time.Now, func() {})
	for i := range Max {
		join(t, r, &conn{}, fmt.Sprint(i))
	}
	if _, err := r.Join(&conn{}, Identity{ID: "one more"}); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	if _, err := r.Join(&conn{}, Identity{ID: "0"}); err != nil {
		t.Errorf("one that follows already: %v", err)
	}
}

package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
)

// memory is a ledger's part in memory.
type memory struct {
	mu      sync.Mutex
	rows    map[key]ca.AgentRow
	saved   int // calls
	failure error
}

func (m *memory) SaveAgents(_ context.Context, rows []ca.AgentRow) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saved++
	if m.failure != nil {
		return m.failure
	}
	for _, row := range rows {
		if m.rows == nil {
			m.rows = map[key]ca.AgentRow{}
		}
		m.rows[key{row.Service, row.ID}] = row
	}
	return nil
}

func (m *memory) saves() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.saved
}

func (m *memory) Agents(context.Context) ([]ca.AgentRow, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []ca.AgentRow
	for _, row := range m.rows {
		rows = append(rows, row)
	}
	return rows, m.failure
}

// world is a fleet with what it asks.
type world struct {
	*Fleet
	t        *testing.T
	ledger   *memory
	sequence uint64
	refused  map[certs.Serial]bool
}

func newWorld(t *testing.T, ledger *memory) *world {
	t.Helper()
	w := &world{t: t, ledger: ledger, refused: map[certs.Serial]bool{}}
	var err error
	w.Fleet, err = New(t.Context(), Config{
		Ledger: ledger, Sequence: func() uint64 { return w.sequence },
		Refused: func(_ string, serial certs.Serial) bool { return w.refused[serial] },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func serial(n byte) certs.Serial {
	s, err := certs.SerialFromBytes([]byte{1, n})
	if err != nil {
		panic(err)
	}
	return s
}

// join connects agent n with its certificate n, which is valid for an hour.
func (w *world) join(n byte, sequence uint64, change ...func(*Joining)) (*Member, <-chan error) {
	w.t.Helper()
	ended := make(chan error, 1)
	j := Joining{
		ID: strings.Repeat(string('a'+rune(n)), 32), Service: fmt.Sprintf("service-%d", n), Issuer: "aabb", Serial: serial(n),
		NotAfter: time.Now().Add(time.Hour).Truncate(time.Second), Version: "1", Address: "10.0.0.1", Sequence: sequence,
		End: func(cause error) { ended <- cause },
	}
	for _, c := range change {
		c(&j)
	}
	m, err := w.Join(j)
	if err != nil {
		w.t.Fatal(err)
	}
	return m, ended
}

func (w *world) states() string {
	var list []string
	for _, a := range w.Agents() {
		list = append(list, fmt.Sprintf("%s %s %d", a.Service, a.State, a.Sequence))
	}
	return strings.Join(list, ", ")
}

func (w *world) expect(want string) {
	w.t.Helper()
	if got := w.states(); got != want {
		w.t.Errorf("agents: %s\n\twant: %s", got, want)
	}
}

func TestStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &memory{})
		w.sequence = 5
		a, _ := w.join(0, 5)
		b, _ := w.join(1, 4)
		c, _ := w.join(2, 5)
		d, _ := w.join(3, 5)
		w.expect("service-0 current 5, service-1 lagging 4, service-2 current 5, service-3 current 5")
		b.Ack(5)
		a.Leave()
		c.Stop()
		w.refused[serial(3)] = true
		w.expect("service-0 silent 5, service-1 current 5, service-2 stopped 5, service-3 revoked 5")
		d.Leave()
		d.Ack(6)
		w.expect("service-0 silent 5, service-1 current 5, service-2 stopped 5, service-3 revoked 5")
		delete(w.refused, serial(3)) // released from hold
		time.Sleep(2 * time.Hour)
		w.expect("service-0 expired 5, service-1 current 5, service-2 stopped 5, service-3 expired 5")
		if counts := w.Counts(); counts[Expired] != 2 || counts[Current] != 1 || counts[Stopped] != 1 {
			t.Errorf("counts = %v", counts)
		}
	})
}

func TestPollingAgentsCountAsConnectedBetweenPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &memory{})
		for range 5 {
			m, _ := w.join(0, 0)
			time.Sleep(5 * time.Second)
			m.Pause()
			time.Sleep(time.Second)
			w.expect("service-0 current 0")
		}
		if a := w.Agents()[0]; time.Since(a.Since) != 30*time.Second {
			t.Errorf("connected for %v, want since the first poll", time.Since(a.Since))
		}
		time.Sleep(lingering)
		w.expect("service-0 silent 0")
		if a := w.Agents()[0]; time.Since(a.Since) != lingering+time.Second {
			t.Errorf("silent for %v, want since the last answer", time.Since(a.Since))
		}
	})
}

func TestOneConnectionAnAgentAndOneAgentACertificate(t *testing.T) {
	w := newWorld(t, &memory{})
	first, ended := w.join(0, 1)
	second, _ := w.join(0, 2)
	if err := <-ended; !errors.Is(err, ErrReplaced) {
		t.Errorf("the first connection ended with %v", err)
	}
	first.Ack(9)
	first.Leave()
	w.expect("service-0 current 2")
	second.Ack(3)

	// The same certificate under another ID is the same agent, whose ID was lost.
	_, ended = w.join(0, 3)
	w.join(0, 0, func(j *Joining) { j.ID = strings.Repeat("f", 32) })
	if err := <-ended; !errors.Is(err, ErrReplaced) {
		t.Errorf("the connection with the same certificate ended with %v", err)
	}
	w.expect("service-0 current 0")

	// A renewal is the same agent with another certificate; the old one's place is free again.
	renewed, _ := w.join(0, 0, func(j *Joining) { j.ID, j.Serial = strings.Repeat("f", 32), serial(7) })
	w.join(0, 0)
	w.expect("service-0 current 0, service-0 current 0")
	renewed.Ack(4)

	// Another service cannot take an agent's place by naming its ID.
	w.join(1, 0, func(j *Joining) { j.ID = strings.Repeat("f", 32) })
	w.expect("service-0 current 0, service-0 current 4, service-1 current 0")
}

func TestCloseEndsEverybody(t *testing.T) {
	w := newWorld(t, &memory{})
	_, a := w.join(0, 1)
	_, b := w.join(1, 1)
	w.Close()
	for _, ended := range []<-chan error{a, b} {
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("ended with %v", err)
		}
	}
	if _, err := w.Join(Joining{}); !errors.Is(err, ErrClosed) {
		t.Errorf("joined after the end: %v", err)
	}
}

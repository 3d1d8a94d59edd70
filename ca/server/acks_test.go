package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
)

// Whatever an agent sends as acknowledgements, it is never counted as enforcing what was not sent
// to it, and garbage ends the stream.
func FuzzReadAcks(f *testing.F) {
	f.Add(binary.BigEndian.AppendUint64(nil, 5), uint64(7))
	f.Add(binary.BigEndian.AppendUint64(nil, 8), uint64(7))
	f.Add([]byte("garbage"), uint64(7))
	f.Add(binary.BigEndian.AppendUint64(nil, api.AckStops), uint64(7))
	f.Add(append(make([]byte, api.AckSize), 0xff), uint64(0))
	f.Fuzz(func(t *testing.T, body []byte, sent uint64) {
		agents, err := fleet.New(t.Context(), fleet.Config{Ledger: noAgents{}})
		if err != nil {
			t.Fatal(err)
		}
		st := &stream{server: &Server{chorus: newChorus(newFakeFeed(0), nil)}, conn: said(body)}
		st.sent.Store(sent)
		if st.member, err = agents.Join(fleet.Joining{ID: agentA, Service: "web", NotAfter: time.Now().Add(time.Hour), End: st.end}); err != nil {
			t.Fatal(err)
		}
		ended := st.listen()
		reached, orderly := uint64(0), false
		for rest := body; len(rest) >= api.AckSize; rest = rest[api.AckSize:] {
			sequence := binary.BigEndian.Uint64(rest)
			if orderly = sequence == api.AckStops; orderly || sequence > sent {
				break
			}
			reached = max(reached, sequence)
		}
		if got := agents.Agents()[0].Sequence; got != reached {
			t.Fatalf("counted as enforcing %d, want %d", got, reached)
		}
		if errors.Is(ended, errStops) != orderly || ended == nil {
			t.Fatalf("ended with %v; orderly %v", ended, orderly)
		}
	})
}

// heard is a connection on which an agent said something and stopped.
type heard struct {
	halfConn
	io.Reader
}

func said(octets []byte) heard { return heard{Reader: bytes.NewReader(octets)} }

func (h heard) Read(p []byte) (int, error) { return h.Reader.Read(p) }

package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
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
	f.Add(append(make([]byte, api.AckSize), 0xff), uint64(0))
	f.Fuzz(func(t *testing.T, body []byte, sent uint64) {
		agents, err := fleet.New(t.Context(), fleet.Config{Ledger: noAgents{}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancelCause(t.Context())
		st := &stream{request: &request{http: &http.Request{Body: io.NopCloser(bytes.NewReader(body))}}, ctx: ctx, end: end}
		st.sent.Store(sent)
		if st.member, err = agents.Join(fleet.Joining{ID: agentA, Service: "web", NotAfter: time.Now().Add(time.Hour), End: end}); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		st.readAcks(done)
		<-done
		reached, orderly := uint64(0), len(body)%api.AckSize == 0
		for rest := body; len(rest) >= api.AckSize; rest = rest[api.AckSize:] {
			sequence := binary.BigEndian.Uint64(rest)
			if sequence > sent {
				orderly = false
				break
			}
			reached = max(reached, sequence)
		}
		if got := agents.Agents()[0].Sequence; got != reached {
			t.Fatalf("counted as enforcing %d, want %d", got, reached)
		}
		if cause := context.Cause(ctx); errors.Is(cause, errStops) != orderly || cause == nil {
			t.Fatalf("ended with %v; orderly %v", cause, orderly)
		}
	})
}

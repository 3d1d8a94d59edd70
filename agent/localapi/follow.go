package localapi

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/agent/followers"
	"github.com/handfast/handfast/certs"
)

// follow answers a program that says what it enforces.
func (s *Server) follow(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(headerTimeout)) //nolint:errcheck // only a test's recorder cannot
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, certs.MaxFollowRequestSize))
	if err != nil {
		http.Error(w, "the question cannot be read", http.StatusBadRequest)
		return
	}
	control.SetReadDeadline(time.Time{}) //nolint:errcheck // likewise
	question, err := certs.DecodeFollowRequest(data)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	who := followers.Identity{ID: question.Follower, Program: question.Program, PID: question.PID}
	follower, ok := s.join(w, r, who)
	if !ok {
		return
	}
	follower.Enforces(question.Enforces)
	l := lineOf(r.Context())
	var since *certs.Snapshot
	if question.Known != "" && question.Known == l.etag {
		since = l.has
	}
	s.answer(w, r, question.Known, min(time.Duration(question.WaitSeconds)*time.Second, maxWait),
		func() (page, error) { return s.update(since) },
		func(sent page) {
			l.etag, l.has = sent.etag, sent.snap
			follower.Tell(sent.snap.Position())
		})
}

// snapshot answers a program with a library from before followers said what they enforce. It uses a snapshot before it
// asks for the next one with its ETag, so that is what confirms it; one that never names an ETag confirms nothing.
func (s *Server) snapshot(w http.ResponseWriter, r *http.Request) {
	known, wait := r.Header.Get("If-None-Match"), time.Duration(0)
	if known != "" {
		wait = waitOf(r.Header.Get("Prefer"))
	}
	l := lineOf(r.Context())
	if l.old == nil {
		var ok bool
		if l.old, ok = s.join(w, r, followers.Identity{ID: "old-" + randomID(), Old: true}); !ok {
			return
		}
		if known != "" { // of another connection or agent: what it stands for is not known
			l.old.Enforces(&certs.FollowPosition{Until: positionOf(s.source).Until})
		}
	}
	if known != "" && known == l.etag {
		position := l.has.Position()
		l.old.Enforces(&position)
	}
	s.answer(w, r, known, wait, s.whole, func(sent page) {
		l.etag, l.has = sent.etag, sent.snap
		l.old.Tell(sent.snap.Position())
	})
}

// randomID tells connections apart.
func randomID() string {
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never fails (crypto/rand documents it)
	return hex.EncodeToString(b[:])
}

func (s *Server) join(w http.ResponseWriter, r *http.Request, who followers.Identity) (*followers.Follower, bool) {
	var conn followers.Conn
	if c := lineOf(r.Context()).conn; c != nil {
		conn = c
	}
	follower, err := s.followers.Join(conn, who)
	if err != nil {
		s.logger.Warn("a program cannot follow this agent", "cause", err, "most", followers.Max, "program", who.Program, "pid", who.PID)
		w.Header().Set("Retry-After", "1")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
	return follower, err == nil
}

// answer sends the snapshot when it is another one than known, at once or within wait. tell is called before it is sent.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, known string, wait time.Duration, look func() (page, error), tell func(page)) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		changed := s.source.Changed()
		var body []byte
		now, err := look()
		if err == nil && now.etag != known {
			body, err = now.body()
		}
		if err != nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		if now.etag != known {
			tell(now)
			s.send(w, body, now.etag)
			return
		}
		if wait == 0 {
			w.Header().Set("ETag", now.etag)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			wait = 0
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) send(w http.ResponseWriter, body []byte, etag string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("ETag", etag)
	if _, err := w.Write(body); err != nil {
		s.logger.Debug("a local client went away", "cause", err)
	}
}

// waitOf reads the wait preference (RFC 7240, section 4.3): whole seconds.
func waitOf(prefer string) time.Duration {
	for item := range strings.SplitSeq(prefer, ",") {
		value, ok := strings.CutPrefix(strings.TrimSpace(item), "wait=")
		if !ok {
			continue
		}
		seconds, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return 0
		}
		return min(time.Duration(seconds)*time.Second, maxWait)
	}
	return 0
}

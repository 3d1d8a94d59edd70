package agent

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/atomicfile"
)

// agentName is the agent's ID as it stands in its state file.
type agentName struct {
	ID string `json:"id"`
}

// newAgentID makes an ID: the CA tells agents of one service apart by it.
func newAgentID() string {
	var b [api.AgentIDSize / 2]byte
	rand.Read(b[:]) //nolint:errcheck // never fails (crypto/rand documents it)
	return hex.EncodeToString(b[:])
}

// loadView reads the view as it was saved last. Without one the feed begins with a snapshot.
func (s *dirStore) loadView() (*feed.View, error) {
	body, err := readStateFile(s.path(feedFile), feedMagic)
	var view *feed.View
	if err == nil {
		if view, err = feed.ParseView(body); err != nil {
			err = fmt.Errorf("%s: %w: %w", s.path(feedFile), errCorrupt, err)
		}
	}
	if err != nil {
		return nil, s.discard(feedFile, err, "every peer is refused until the CA's feed has come")
	}
	return view, nil
}

func (s *dirStore) saveView(view *feed.View) error {
	body, err := view.MarshalBinary()
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if err := atomicfile.Write(s.path(feedFile), frameState(feedMagic, body), 0o600); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// agentID reads the ID, or makes it.
func (s *dirStore) agentID() (string, error) {
	var name agentName
	err := readState(s.path(agentFile), &name)
	if err == nil && !api.ValidAgentID(name.ID) {
		err = fmt.Errorf("%s: %w: it holds no ID", s.path(agentFile), errCorrupt)
	}
	if err == nil {
		return name.ID, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		if err := s.discard(agentFile, err, "this agent is a new one for the CA"); err != nil {
			return "", err
		}
	}
	name.ID = newAgentID()
	return name.ID, s.save(agentFile, name)
}

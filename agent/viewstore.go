package agent

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs/feed"
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
	view, err := s.readView()
	if err != nil {
		return nil, s.discard(feedFile, err, "every peer is refused until the CA's feed has come")
	}
	return view, nil
}

func (s *dirStore) readView() (*feed.View, error) {
	path := s.path(feedFile)
	data, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(data, []byte(feedMagic)) { // from before changes were appended
		body, err := unframeState(feedMagic, data)
		var view *feed.View
		if err == nil {
			if view, err = feed.ParseView(body); err != nil {
				err = fmt.Errorf("%w: %w", errCorrupt, err)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return view, nil
	}
	read, torn, err := readViewLog(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if torn { // nothing can be appended to it
		return read.view, nil
	}
	return read.view, s.views.reopen(path, read)
}

// saveView appends what is new in view, or writes it whole. After a failure what the file ends with is not known, so the next
// one is written whole.
func (s *dirStore) saveView(view *feed.View) error {
	done, err := s.views.append(view)
	if err == nil && !done {
		err = s.views.replace(s.path(feedFile), view)
	}
	if err != nil {
		return fmt.Errorf("state: %w", errors.Join(err, s.views.close()))
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

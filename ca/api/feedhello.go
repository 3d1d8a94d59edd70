package api

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// FeedProtocol is the feed's stream as TLS names it (ALPN, RFC 7301), on the API's own port. The
	// client says a FeedHello and then acknowledgements, the last of them AckStops when the agent stops. The
	// server says the feed's messages, and in a last one, feed.EndMessage, why it ends.
	FeedProtocol = "handfast-feed/1"
	// AckStops as an acknowledgement says that the agent stops, so that nobody waits for it. That a connection
	// ends does not say it: a process that was killed leaves its system to end TCP in an orderly way.
	AckStops = ^uint64(0)
	// FeedAlive is how long a client says nothing at most while statements come: then it
	// repeats its last acknowledgement, so that the server knows that it lives.
	FeedAlive = 10 * time.Second

	feedMagic      = "hff1"
	feedHelloSize  = len(feedMagic) + 8 + AgentIDSize/2 + 1 // before the version
	maxFeedVersion = 64
	maxFeedEnd     = 8 << 10
)

// FeedHello is what the client of a stream says first: on the wire "hff1", Since as 8 octets (big-endian),
// Agent as 16, the length of Version as one, Version.
type FeedHello struct {
	Since   uint64 // the position up to which the agent holds and enforces the feed; 0 is nothing
	Agent   string // the agent's ID
	Version string // the client's program, at most 64 visible ASCII characters; may be empty
}

// Append appends the hello as it goes over the wire.
func (h FeedHello) Append(dst []byte) ([]byte, error) {
	if !ValidAgentID(h.Agent) {
		return nil, errForeignID
	}
	if !visible(h.Version) || len(h.Version) > maxFeedVersion {
		return nil, fmt.Errorf("the client's version %.80q is not 0 to %d visible ASCII characters", h.Version, maxFeedVersion)
	}
	dst = append(dst, feedMagic...)
	dst = binary.BigEndian.AppendUint64(dst, h.Since)
	dst, err := hex.AppendDecode(dst, []byte(h.Agent))
	if err != nil {
		return nil, err
	}
	dst = append(dst, byte(len(h.Version)))
	return append(dst, h.Version...), nil
}

// ReadFeedHello reads a hello, and no octet more. An error that is not r's own says what is wrong with it.
func ReadFeedHello(r io.Reader) (FeedHello, error) {
	var buffer [feedHelloSize + maxFeedVersion]byte
	fixed := buffer[:feedHelloSize]
	if _, err := io.ReadFull(r, fixed); err != nil {
		return FeedHello{}, err
	}
	if string(fixed[:len(feedMagic)]) != feedMagic {
		return FeedHello{}, errors.New("the first octets are not " + feedMagic)
	}
	fixed = fixed[len(feedMagic):]
	hello := FeedHello{Since: binary.BigEndian.Uint64(fixed), Agent: hex.EncodeToString(fixed[8 : 8+AgentIDSize/2])}
	length := int(fixed[len(fixed)-1])
	if length > maxFeedVersion {
		return FeedHello{}, fmt.Errorf("the client's version has %d octets; %d are allowed", length, maxFeedVersion)
	}
	version := buffer[feedHelloSize : feedHelloSize+length]
	if _, err := io.ReadFull(r, version); err != nil {
		return FeedHello{}, noEnd(err)
	}
	hello.Version = string(version)
	if !visible(hello.Version) {
		return FeedHello{}, errors.New("the client's version is not of visible ASCII characters")
	}
	return hello, nil
}

// noEnd makes the end in the middle of something an error.
func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// programOf is what of a User-Agent names the program.
func programOf(agent string) string {
	for i := range len(agent) {
		if i == maxFeedVersion || !visible(agent[i:i+1]) {
			return agent[:i]
		}
	}
	return agent
}

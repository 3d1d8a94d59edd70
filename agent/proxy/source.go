package proxy

import (
	"crypto/tls"
	"errors"
	"net"
)

// source hands out what comes on a connection, piece by piece. It holds a large buffer only while it has a large
// piece: many connections wait most of the time.
type source interface {
	// next waits for a piece. It is good until the next call. There may be a piece and an error.
	next() ([]byte, error)
}

func sourceOf(conn net.Conn) source {
	if secure, ok := conn.(*tls.Conn); ok {
		if raw, ok := secure.NetConn().(*rawConn); ok {
			return &tlsSource{conn: secure, raw: raw}
		}
	}
	if lazy := newLazyReader(conn, bulkSize); lazy != nil {
		return &socketSource{lazy: lazy}
	}
	return &plainSource{conn: conn}
}

// socketSource reads a socket of the system.
type socketSource struct{ lazy *lazyReader }

func (s *socketSource) next() ([]byte, error) {
	s.lazy.took(len(s.lazy.unread))
	err := s.lazy.fill()
	return s.lazy.unread, err
}

// tlsSource reads records. Large ones are joined with those that have come after them, so that they are
// written at once.
type tlsSource struct {
	conn  *tls.Conn
	raw   *rawConn
	first [512]byte // small messages need no other buffer
	large *bulk
}

func (s *tlsSource) next() ([]byte, error) {
	if s.large != nil {
		bulks.Put(s.large)
		s.large = nil
	}
	n, err := s.conn.Read(s.first[:])
	if n < len(s.first) || err != nil || !s.raw.hurry(true) {
		return s.first[:n], err
	}
	defer s.raw.hurry(false)
	s.large = takeBulk()
	copy(s.large[:], s.first[:])
	for n < len(s.large) && err == nil {
		var more int
		more, err = s.conn.Read(s.large[n:])
		n += more
	}
	if errors.Is(err, errNothingNow) {
		err = nil
	}
	return s.large[:n], err
}

// plainSource reads what is no socket.
type plainSource struct {
	conn   net.Conn
	buffer [4096]byte
}

func (s *plainSource) next() ([]byte, error) {
	n, err := s.conn.Read(s.buffer[:])
	return s.buffer[:n], err
}

// smallRecord is about the payload of the records that crypto/tls begins a connection with.
const smallRecord = 1200

// sinkOf returns what writes a piece. The records of a TLS connection leave together.
func sinkOf(conn net.Conn) func([]byte) error {
	write := func(b []byte) error {
		_, err := conn.Write(b)
		return err
	}
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return write
	}
	raw, ok := secure.NetConn().(*rawConn)
	if !ok {
		return write
	}
	return func(b []byte) error {
		if len(b) <= smallRecord {
			return write(b)
		}
		raw.join()
		return errors.Join(write(b), raw.flush())
	}
}

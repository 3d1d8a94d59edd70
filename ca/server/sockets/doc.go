// Package sockets watches thousands of connections that say little, without a goroutine for each: a Set takes
// a connection over, whose Read and Write never wait from then on, and tells its owner when there is something to do.
//
// On Linux a Set is an epoll instance, and a connection its bare descriptor. Elsewhere, and for connections
// that have no descriptor, goroutines do the same over any net.Conn.
//
// A Conn stands under crypto/tls: what Read returns when nothing is there is a temporary error, which
// a tls.Conn survives, in the middle of a record too. Write takes every octet, and keeps what the system does not take at once,
// because a tls.Conn does not survive half a record.
package sockets

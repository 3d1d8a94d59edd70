// Command cfssl serves OCSP responses with cfssl's responder, which holds finished ones:
// it signs nothing while it serves.
//
//	cfssl LISTEN RESPONSES
//
// RESPONSES is a file in cfssl's own format: base64 responses, one a line.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/cloudflare/cfssl/log"
	"github.com/cloudflare/cfssl/ocsp"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "cfssl:", err)
		os.Exit(1)
	}
}

func run(listen, responses string) error {
	log.Level = log.LevelWarning // it would log every request at "info", which ocspserve does not do by default
	source, err := ocsp.NewSourceFromFile(responses)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return http.Serve(listener, ocsp.NewResponder(source, nil))
}

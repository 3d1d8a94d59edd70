// Command stepca runs step-ca's own server from its library, so that its processor time
// and memory can be read like those of any other program.
package main

import (
	"fmt"
	"os"

	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/ca"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "stepca:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	cfg, err := config.LoadConfiguration(path)
	if err != nil {
		return err
	}
	server, err := ca.New(cfg)
	if err != nil {
		return err
	}
	return server.Run()
}

// Command fasthttp answers every request with the contents of a file, by
// github.com/valyala/fasthttp: what that server costs without any work behind it.
//
//	fasthttp LISTEN FILE
package main

import (
	"fmt"
	"net"
	"os"

	"github.com/valyala/fasthttp"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "fasthttp:", err)
		os.Exit(1)
	}
}

func run(listen, file string) error {
	body, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return fasthttp.Serve(listener, func(ctx *fasthttp.RequestCtx) {
		ctx.SetContentType("application/ocsp-response")
		ctx.SetBody(body)
	})
}

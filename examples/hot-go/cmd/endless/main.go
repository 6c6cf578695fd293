// Endless does everything itself: on SIGHUP it starts itself again with ENDLESS_CONTINUE=1 and the socket as
// descriptor 3, and the child sends SIGTERM to its parent. It does so once: when the child dies, it never tries again.
package main

import (
	"context"
	"flag"
	"log"
	"net"

	"example.com/hot/internal/pages"
	"example.com/hot/internal/version"
	"github.com/fvbock/endless"
)

func main() {
	addr := flag.String("addr", pages.Addr(), "where to open a socket of our own")
	flag.Parse()
	version := version.Start()

	server := endless.NewServer(*addr, pages.Handler(version.Text))
	server.BaseContext = func(net.Listener) context.Context {
		version.Accepts()
		return context.Background()
	}
	// Always an error: that the socket was closed, when all went well.
	log.Printf("%s: exits: %v", version.Text, server.ListenAndServe())
}

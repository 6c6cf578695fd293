// Grace does everything itself: on SIGUSR2 it starts itself again with LISTEN_FDS, without LISTEN_PID, and the child
// sends SIGTERM to its parent. It takes a socket of LISTEN_FDS only where its address is the one asked for, so under
// devwatch's `listen` the port has to agree: without -addr it does, because devwatch sets PORT.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"net/http"

	"example.com/hot/internal/pages"
	"example.com/hot/internal/version"
	"github.com/facebookgo/grace/gracehttp"
)

func main() {
	addr := flag.String("addr", pages.Addr(), "where to open a socket of our own")
	flag.Parse()
	version := version.Start()

	err := gracehttp.Serve(&http.Server{
		Addr:    *addr,
		Handler: pages.Handler(version.Text),
		BaseContext: func(net.Listener) context.Context {
			version.Accepts()
			return context.Background()
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("%s: exits, all served", version.Text)
}

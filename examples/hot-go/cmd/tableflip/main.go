// Tableflip: SIGHUP calls Upgrade, which starts the binary again and waits until it says that it is ready. When it
// dies instead, the old process says so and serves on, ready for the next attempt.
package main

import (
	"errors"
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/hot/internal/drain"
	"example.com/hot/internal/pages"
	"example.com/hot/internal/version"
	"github.com/cloudflare/tableflip"
)

func main() {
	addr := flag.String("addr", pages.Addr(), "where to open a socket of our own")
	pidFile := flag.String("pid-file", "", "file that says which process is ready")
	flag.Parse()
	version := version.Start()

	upgrader, err := tableflip.New(tableflip.Options{PIDFile: *pidFile})
	if err != nil {
		log.Fatal(err)
	}
	defer upgrader.Stop()
	go obey(upgrader)
	listener, err := upgrader.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	server := drain.New(pages.Handler(version.Text), version.Accepts)
	go func() {
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			log.Printf("%s: accepts no more: %v", version.Text, err)
		}
	}()
	if err := upgrader.Ready(); err != nil {
		log.Fatal(err)
	}
	<-upgrader.Exit()
	log.Printf("%s: stops", version.Text)
	if err := server.Drain(30*time.Second, listener); err != nil {
		log.Fatal(err)
	}
	log.Printf("%s: exits, all served", version.Text)
}

func obey(upgrader *tableflip.Upgrader) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	for received := range signals {
		if received != syscall.SIGHUP {
			upgrader.Stop()
			continue
		}
		if err := upgrader.Upgrade(); err != nil {
			log.Printf("SIGHUP: %v", err)
		}
	}
}

// Nethttp is net/http with a socket from LISTEN_FDS, and nothing of hot restart in it: whoever holds the socket starts
// the next one beside it and sends SIGTERM to this one.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"example.com/hot/internal/drain"
	"example.com/hot/internal/pages"
	"example.com/hot/internal/version"
)

func main() {
	addr := flag.String("addr", pages.Addr(), "where to open a socket of our own")
	flag.Parse()
	version := version.Start()

	// Before the sockets: a SIGTERM that comes early must not find the default action.
	told, forget := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer forget()
	listeners, err := listeners(*addr)
	if err != nil {
		log.Fatal(err)
	}
	server := drain.New(pages.Handler(version.Text), version.Accepts)
	failed := make(chan error, len(listeners))
	for _, listener := range listeners {
		log.Printf("listens on http://%s", listener.Addr())
		go func() { failed <- server.Serve(listener) }()
	}
	select {
	case err := <-failed:
		log.Fatal(err)
	case <-told.Done():
	}
	log.Printf("%s: stops", version.Text)
	if err := server.Drain(4*time.Second, listeners...); err != nil {
		log.Fatal(err)
	}
	log.Printf("%s: exits, all served", version.Text)
}

// listeners returns the sockets of LISTEN_FDS, or one of our own.
func listeners(addr string) ([]net.Listener, error) {
	count := 0
	if pid := os.Getenv("LISTEN_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		count, _ = strconv.Atoi(os.Getenv("LISTEN_FDS"))
	}
	if count == 0 {
		listener, err := net.Listen("tcp", addr)
		return []net.Listener{listener}, err
	}
	var given []net.Listener
	for fd := 3; fd < 3+count; fd++ {
		file := os.NewFile(uintptr(fd), fmt.Sprintf("LISTEN_FD_%d", fd))
		listener, err := net.FileListener(file)
		// The listener has a descriptor of its own.
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("descriptor %d of LISTEN_FDS is no listening socket: %w", fd, err)
		}
		given = append(given, listener)
	}
	return given, nil
}

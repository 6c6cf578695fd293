// Hello is a small HTTP server that can be restarted under load without losing a request.
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/hello/internal/site"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("hello: ")
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	// Before the sockets: a SIGTERM that comes early must not find the default action.
	told, forget := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer forget()
	listeners, err := takeListeners()
	if err != nil {
		return err
	}

	var draining atomic.Bool
	pages := site.New()
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if draining.Load() {
				w.Header().Set("Connection", "close")
			}
			pages.ServeHTTP(w, r)
		}),
	}
	failed := make(chan error, len(listeners))
	for _, listener := range listeners {
		log.Printf("listening on http://%s", listener.Addr())
		go func(listener net.Listener) { failed <- server.Serve(listener) }(listener)
	}
	select {
	case err := <-failed:
		return err
	case <-told.Done():
	}

	// Stop accepting. What waits in the queue of a socket that was handed on stays there for the successor.
	draining.Store(true)
	for _, listener := range listeners {
		listener.Close()
	}
	// Shutdown alone would drop connections that were accepted but whose request has not been read yet
	// (golang.org/issue/75591), and keep-alive ones whose next request is on its way. They get this long to say
	// something; every answer now closes its connection.
	time.Sleep(200 * time.Millisecond)
	patience, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	err = server.Shutdown(patience)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Print("some connections do not end; closing them")
		return server.Close()
	}
	if errors.Is(err, net.ErrClosed) {
		// The listeners: we have closed them ourselves.
		return nil
	}
	return err
}

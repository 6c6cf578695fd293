// Package drain ends a net/http server without losing a request that it has accepted.
package drain

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// grace is how long an accepted connection may take until its request has been read.
const grace = 200 * time.Millisecond

// Server is a net/http server that can be drained.
type Server struct {
	http.Server
	draining atomic.Bool
}

// New returns a server that calls accepts before its first accept.
func New(handler http.Handler, accepts func()) *Server {
	server := &Server{}
	server.ReadHeaderTimeout = 10 * time.Second
	server.BaseContext = func(net.Listener) context.Context {
		accepts()
		return context.Background()
	}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if server.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
	return server
}

// Drain closes the listeners and returns when everything that was accepted has been answered, or after patience.
func (s *Server) Drain(patience time.Duration, listeners ...net.Listener) error {
	s.draining.Store(true)
	for _, listener := range listeners {
		listener.Close()
	}
	// Shutdown alone would drop connections that were accepted but whose request has not been read yet
	// (golang.org/issue/75591), and keep-alive ones whose next request is on its way.
	time.Sleep(grace)
	until, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := s.Shutdown(until)
	if errors.Is(err, context.DeadlineExceeded) {
		return s.Close()
	}
	if errors.Is(err, net.ErrClosed) {
		// The listeners: we have closed them ourselves.
		return nil
	}
	return err
}

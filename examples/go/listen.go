package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
)

// takeListeners returns the sockets that whoever started us has handed on, or opens 127.0.0.1:$PORT (8080).
//
// The convention is systemd's: the sockets are descriptors 3, 4, ..., their number is in LISTEN_FDS, and
// LISTEN_PID names the process they are meant for.
func takeListeners() ([]net.Listener, error) {
	if count := handedOn(); count > 0 {
		var listeners []net.Listener
		for fd := 3; fd < 3+count; fd++ {
			file := os.NewFile(uintptr(fd), fmt.Sprintf("LISTEN_FD_%d", fd))
			listener, err := net.FileListener(file)
			// The listener has a descriptor of its own.
			file.Close()
			if err != nil {
				return nil, fmt.Errorf("descriptor %d of LISTEN_FDS is no listening socket: %w", fd, err)
			}
			listeners = append(listeners, listener)
		}
		return listeners, nil
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, err
	}
	return []net.Listener{listener}, nil
}

// handedOn returns how many sockets are meant for this process.
func handedOn() int {
	if pid := os.Getenv("LISTEN_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || count < 0 {
		return 0
	}
	return count
}

// Falcore: hot restart the way of its hot_restart example. On SIGHUP it executes its argv[0] with `-socket 3` and
// nothing else, no other argument and no environment; the child sends SIGUSR1 to its parent when it is ready to
// accept, and the parent stops accepting.
package main

import (
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"example.com/hot/internal/pages"
	"example.com/hot/internal/version"
	"github.com/fitstar/falcore"
)

func main() {
	addr := flag.String("addr", pages.Addr(), "where to open a socket of our own")
	socket := flag.Int("socket", -1, "the socket that the predecessor has opened")
	flag.Parse()
	version := version.Start()

	pipeline := falcore.NewPipeline()
	pipeline.Upstream.PushBack(falcore.NewRequestFilter(func(r *falcore.Request) *http.Response {
		status, text := pages.Answer(version.Text, r.HttpRequest.URL)
		return falcore.StringResponse(r.HttpRequest, status, pages.Header(), text)
	}))
	server := falcore.NewServer(0, pipeline)
	server.Addr = *addr
	if *socket != -1 {
		// Unlike the original example we look at the error. There, a wrong number opens a socket anew, fails at
		// that, and exits with 0.
		if err := server.FdListen(*socket); err != nil {
			log.Fatalf("descriptor %d: %v", *socket, err)
		}
	}
	go func() {
		<-server.AcceptReady
		version.Accepts()
		if *socket != -1 {
			log.Printf("sends SIGUSR1 to %d", syscall.Getppid())
			syscall.Kill(syscall.Getppid(), syscall.SIGUSR1)
		}
	}()
	go obey(server)
	if err := server.ListenAndServe(); err != nil {
		log.Fatal(err)
	}
	log.Printf("%s: exits, all served", version.Text)
}

func obey(server *falcore.Server) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGINT, syscall.SIGTERM)
	for received := range signals {
		switch received {
		case syscall.SIGHUP:
			child, err := fork(server)
			log.Printf("SIGHUP: started %d, error %v", child, err)
		case syscall.SIGUSR1:
			log.Print("SIGUSR1: stops accepting")
			// A second time this panics.
			server.StopAccepting()
		default:
			log.Printf("%v: exits", received)
			os.Exit(0)
		}
	}
}

// fork starts argv[0] with the socket as descriptor 3: ForkExec numbers the files anew, from 0.
func fork(server *falcore.Server) (int, error) {
	return syscall.ForkExec(os.Args[0], []string{os.Args[0], "-socket", "3"}, &syscall.ProcAttr{
		Files: []uintptr{0, 1, 2, uintptr(server.SocketFd())},
	})
}

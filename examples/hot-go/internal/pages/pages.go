// Package pages is what every server here answers.
//
//	GET /             the version
//	GET /healthz      ok
//	GET /pid          the process that answers; so does the header Server-Pid of every answer
//	GET /slow?ms=N    ok, after N milliseconds
package pages

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

// Answer returns the status and the text for a GET of that address.
func Answer(version string, address *url.URL) (int, string) {
	switch address.Path {
	case "/":
		return http.StatusOK, version + "\n"
	case "/healthz":
		return http.StatusOK, "ok\n"
	case "/pid":
		return http.StatusOK, fmt.Sprintln(os.Getpid())
	case "/slow":
		ms, err := strconv.Atoi(address.Query().Get("ms"))
		if err != nil || ms < 0 || ms > 60_000 {
			return http.StatusBadRequest, "say how long: /slow?ms=300 (at most 60000)\n"
		}
		time.Sleep(time.Duration(ms) * time.Millisecond)
		return http.StatusOK, fmt.Sprintf("%s, slept %d ms\n", version, ms)
	default:
		return http.StatusNotFound, "there is /, /healthz, /pid and /slow?ms=N\n"
	}
}

// Header returns the headers of every answer.
func Header() http.Header {
	return http.Header{
		"Content-Type":  {"text/plain; charset=utf-8"},
		"Cache-Control": {"no-store"},
		"Server-Pid":    {strconv.Itoa(os.Getpid())},
	}
}

// Handler answers for net/http.
func Handler(version string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, text := Answer(version, r.URL)
		for name, values := range Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		io.WriteString(w, text)
	})
}

// Addr is where a server opens its own socket unless told otherwise: 127.0.0.1:$PORT (8080).
func Addr() string {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	return "127.0.0.1:" + port
}

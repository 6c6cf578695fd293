// Package site is what the server says.
package site

import (
	_ "embed"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
)

// Version is part of the answer to GET /. Change it, save, and ask again.
const Version = "1"

// The page is compiled in, so a change of it needs a build as well.
//
//go:embed page.html
var page string

// New returns the pages: / (the version), /healthz and /pid.
func New() http.Handler {
	tmpl := template.Must(template.New("page.html").Parse(page))
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if err := tmpl.Execute(w, struct{ Version string }{Version}); err != nil {
			log.Print(err)
		}
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/pid", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, os.Getpid()) })
	return mux
}

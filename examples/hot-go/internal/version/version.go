// Package version says which version a server is, and what is wrong with it.
//
// Change BuiltIn, build, and another version answers. Or do without the compiler: a version can be appended to the
// binary. That is how the tests build in a millisecond.
//
//	cp bin/falcore out.tmp && printf 'VERSION:v7' >> out.tmp && mv out.tmp out
//
// The same text can say how the version behaves, so that one binary is good or broken as a build likes:
//
//	VERSION:v8;crash=start      exits with 1 before it has a socket
//	VERSION:v8;crash=late       exits with 1 when it has been accepting for 300 ms
//	VERSION:v8;crash=5s         the same after another time
//	VERSION:v8;crash=hang       never comes to its socket, and never ends by itself
//	VERSION:v8;delay=300ms      takes that long to start; the others may follow
package version

import (
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// BuiltIn is the version when none is appended. Change it, save, and look again.
const BuiltIn = "version 1"

// marker is what an appended version starts with.
const marker = "VERSION:"

// tail is how much of the end of the binary is searched for it.
const tail = 1024

// late is how long crash=late accepts before it crashes.
const late = 300 * time.Millisecond

// Version is a version, and how it behaves.
type Version struct {
	// Text is the answer to GET /.
	Text  string
	crash string
	// after is how long it accepts before it crashes; 0 for ever.
	after time.Duration
	delay time.Duration
}

// Start starts like the version that this program is, which may take its time, or be the end.
func Start() Version {
	log.SetFlags(0)
	log.SetPrefix(fmt.Sprintf("%d ", os.Getpid()))
	version, err := ofThisProgram()
	if err != nil {
		log.Print(err)
		os.Exit(2)
	}
	log.Printf("%s: starts", version.Text)
	time.Sleep(version.delay)
	switch version.crash {
	case "start":
		version.exit("at start")
	case "hang":
		log.Printf("%s: hangs", version.Text)
		// Not select {}: the runtime would call that a deadlock and end.
		for {
			time.Sleep(time.Hour)
		}
	}
	return version
}

// Accepts is to be called when the server is about to accept for the first time.
func (v Version) Accepts() {
	log.Printf("%s: accepts", v.Text)
	if v.after > 0 {
		time.AfterFunc(v.after, func() { v.exit("after " + v.after.String()) })
	}
}

func (v Version) exit(when string) {
	log.Printf("%s: crashes %s, as told", v.Text, when)
	os.Exit(1)
}

func ofThisProgram() (Version, error) {
	// Not os.Executable(): where the file has been replaced since, that names the new one. This link opens the file
	// that we were started from.
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		path, pathErr := os.Executable()
		if pathErr != nil {
			return Version{}, pathErr
		}
		if file, err = os.Open(path); err != nil {
			return Version{}, err
		}
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return Version{}, err
	}
	bytes := make([]byte, min(tail, info.Size()))
	if _, err := io.ReadFull(io.NewSectionReader(file, info.Size()-int64(len(bytes)), tail), bytes); err != nil {
		return Version{}, err
	}
	if text, found := appended(string(bytes)); found {
		return parse(text)
	}
	return parse(BuiltIn)
}

// appended returns the text after the last marker, if nothing but text follows it: in the middle of a binary the
// marker is only the constant above.
func appended(end string) (string, bool) {
	at := strings.LastIndex(end, marker)
	if at < 0 {
		return "", false
	}
	text := strings.TrimSpace(end[at+len(marker):])
	return text, utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

func parse(text string) (Version, error) {
	words := strings.Split(text, ";")
	version := Version{Text: words[0]}
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		var err error
		switch {
		case name == "crash" && (value == "start" || value == "hang" || value == "never"):
			version.crash = value
		case name == "crash" && value == "late":
			version.after = late
		case name == "crash":
			version.after, err = time.ParseDuration(value)
		case name == "delay":
			version.delay, err = time.ParseDuration(value)
		default:
			err = fmt.Errorf("it is neither crash=… nor delay=…")
		}
		if err != nil {
			return Version{}, fmt.Errorf("%q in %s%s: %w", word, marker, text, err)
		}
	}
	return version, nil
}

package version

import (
	"testing"
	"time"
)

func TestAnAppendedVersionIsTextUpToTheEnd(t *testing.T) {
	for end, want := range map[string]string{
		"\x7fELF\x00VERSION:v7":                 "v7",
		"\x00VERSION:v7\n":                      "v7",
		"\x00VERSION:v7VERSION:v8;crash=late\n": "v8;crash=late",
	} {
		if got, found := appended(end); !found || got != want {
			t.Errorf("appended(%q) = %q, %v", end, got, found)
		}
	}
}

func TestTheMarkerInsideABinaryIsNoVersion(t *testing.T) {
	for _, end := range []string{"\x00VERSION:\x00\x01.text\x00", "VERSION:\xff\xfe", "nothing"} {
		if got, found := appended(end); found {
			t.Errorf("appended(%q) = %q", end, got)
		}
	}
}

func TestAVersionSaysWhatIsWrongWithIt(t *testing.T) {
	got, err := parse("v8;crash=late;delay=40ms")
	if want := (Version{Text: "v8", after: late, delay: 40 * time.Millisecond}); err != nil || got != want {
		t.Errorf("parse = %+v, %v", got, err)
	}
	for _, text := range []string{"v8;crash", "v8;crash=soon", "v8;delay=3", "v8;dealy=3s", "v8;"} {
		if got, err := parse(text); err == nil {
			t.Errorf("parse(%q) = %+v", text, got)
		}
	}
}

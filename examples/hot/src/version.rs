//! Which version this is, and what is wrong with it.
//!
//! Change [`BUILT_IN`], build, and another version answers. Or do without the compiler: **a version can be appended
//! to the binary. That is how the tests build in a millisecond.**
//!
//! ```text
//! cp target/debug/drains out.tmp && printf 'VERSION:v7' >> out.tmp && mv out.tmp out
//! ```
//!
//! The same text can say how the version behaves, so that one binary is good or broken as a build likes:
//!
//! ```text
//! VERSION:v8;crash=start               exits with 1 before it has a socket
//! VERSION:v8;crash=late                exits with 1 when it has been accepting for 300 ms
//! VERSION:v8;crash=5s                  the same after another time (ms or s)
//! VERSION:v8;crash=hang                never comes to its socket, and never ends by itself
//! VERSION:v8;crash=never               what an ordinary server does: for those that crash by nature
//! VERSION:v8;delay=300ms               takes that long to start; the others may follow
//! ```

use std::env;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process;
use std::thread;
use std::time::Duration;

use crate::say;

/// The version when none is appended. Change it, save, and look again.
pub const BUILT_IN: &str = "version 1";

/// What an appended version starts with.
const MARKER: &[u8] = b"VERSION:";

/// How much of the end of the binary is searched for it.
const TAIL: u64 = 1024;

/// How long `crash=late` accepts before it crashes.
const LATE: Duration = Duration::from_millis(300);

/// A version, and how it behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The answer to `GET /`.
    pub text: String,
    /// What is wrong with it; none where it does not say, and the server decides.
    pub crash: Option<Crash>,
    /// How long it takes to start.
    pub delay: Duration,
}

/// What is wrong with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing.
    Never,
    /// It exits before it has a socket.
    Start,
    /// It never comes to its socket.
    Hang,
    /// It exits when it has been accepting for that long.
    After(Duration),
}

impl Crash {
    /// Exits shortly after it seemed to be well.
    pub const LATE: Crash = Crash::After(LATE);
}

impl Version {
    /// Starts like the version that this program is, which may take its time, or be the end. `by_nature` is what
    /// a version does that says nothing about it.
    pub fn start(by_nature: Crash) -> Version {
        let mut version = match Version::of_this_program() {
            Ok(version) => version,
            Err(error) => {
                eprintln!("{} {error}", process::id());
                process::exit(2);
            }
        };
        say(format_args!("{}: starts", version.text));
        thread::sleep(version.delay);
        let crash = *version.crash.get_or_insert(by_nature);
        match crash {
            Crash::Never | Crash::After(_) => version,
            Crash::Start => version.crash("at start"),
            Crash::Hang => {
                say(format_args!("{}: hangs", version.text));
                loop {
                    thread::park();
                }
            }
        }
    }

    /// To be called when the server is about to accept for the first time.
    pub fn accepts(&self) {
        say(format_args!("{}: accepts", self.text));
        if let Some(Crash::After(time)) = self.crash {
            let version = self.clone();
            thread::spawn(move || {
                thread::sleep(time);
                version.crash(&format!("after {} ms", time.as_millis()))
            });
        }
    }

    fn crash(&self, when: &str) -> ! {
        eprintln!("{} {}: crashes {when}, as told", process::id(), self.text);
        process::exit(1)
    }

    fn of_this_program() -> io::Result<Version> {
        // Not env::current_exe(): where the file has been replaced since, that names the new one. This link opens
        // the file that we were started from.
        let mut file = File::open("/proc/self/exe").or_else(|_| File::open(env::current_exe()?))?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        match appended(&tail) {
            None => Version::parse(BUILT_IN),
            Some(text) => Version::parse(text),
        }
        .map_err(io::Error::other)
    }

    fn parse(text: &str) -> Result<Version, String> {
        let mut words = text.split(';');
        let mut version = Version {
            text: words.next().unwrap_or_default().to_owned(),
            crash: None,
            delay: Duration::ZERO,
        };
        for word in words {
            match word.split_once('=') {
                Some(("crash", "never")) => version.crash = Some(Crash::Never),
                Some(("crash", "start")) => version.crash = Some(Crash::Start),
                Some(("crash", "hang")) => version.crash = Some(Crash::Hang),
                Some(("crash", "late")) => version.crash = Some(Crash::LATE),
                Some(("crash", time)) => version.crash = Some(Crash::After(duration(time)?)),
                Some(("delay", time)) => version.delay = duration(time)?,
                _ => {
                    return Err(format!(
                        "\"{word}\" in VERSION:{text} is neither crash=… nor delay=…"
                    ));
                }
            }
        }
        Ok(version)
    }
}

/// The text after the last marker, if nothing but text follows it: in the middle of a binary the marker is only
/// the constant above.
fn appended(tail: &[u8]) -> Option<&str> {
    let at = tail
        .windows(MARKER.len())
        .rposition(|bytes| bytes == MARKER)?;
    let text = str::from_utf8(&tail[at + MARKER.len()..]).ok()?.trim_end();
    (!text.chars().any(char::is_control)).then_some(text)
}

fn duration(text: &str) -> Result<Duration, String> {
    let millis = match text.strip_suffix("ms") {
        Some(number) => number.parse().ok(),
        None => text
            .strip_suffix('s')
            .and_then(|number| number.parse().ok())
            .and_then(|seconds: u64| seconds.checked_mul(1000)),
    };
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| format!("\"{text}\" is no time such as 300ms or 5s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_appended_version_is_text_up_to_the_end() {
        assert_eq!(appended(b"\x7fELF\0\0VERSION:v7"), Some("v7"));
        assert_eq!(appended(b"\0VERSION:v7\n"), Some("v7"));
        assert_eq!(
            appended(b"\0VERSION:v7VERSION:v8;crash=late\n"),
            Some("v8;crash=late")
        );
    }

    #[test]
    fn the_marker_inside_a_binary_is_no_version() {
        assert_eq!(appended(b"\0VERSION:\0\x01\x02.text\0"), None);
        assert_eq!(appended(b"\0VERSION:\xff\xfe"), None);
        assert_eq!(appended(b"nothing"), None);
    }

    #[test]
    fn a_version_says_what_is_wrong_with_it() {
        let version = Version::parse("v8;crash=late;delay=40ms").expect("good");
        assert_eq!(version.text, "v8");
        assert_eq!(
            version.crash,
            Some(Crash::After(Duration::from_millis(300)))
        );
        assert_eq!(version.delay, Duration::from_millis(40));
        assert_eq!(Version::parse("v8").expect("good").crash, None);
        let after = Version::parse("v8;crash=5s").expect("good").crash;
        assert_eq!(after, Some(Crash::After(Duration::from_secs(5))));
    }

    #[test]
    fn a_misspelt_behaviour_is_refused() {
        for text in [
            "v8;crash",
            "v8;crash=soon",
            "v8;delay=3",
            "v8;dealy=3s",
            "v8;",
        ] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
    }
}

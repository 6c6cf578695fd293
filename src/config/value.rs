//! Single words of the config file: durations, signals, listen addresses; and how each is written back.
//!
//! Pure, and knows nothing of TOML. An error is what stands beside the carets: what to write instead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Address, Listen, resolve};

/// The name of a descriptor whose entry gives no scheme.
pub(crate) const DEFAULT_NAME: &str = "http";

/// Longer than any wait in a development loop; beyond it a typo is likelier than an intention.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The kernel's `sun_path` is 108 bytes with the closing NUL.
const LONGEST_UNIX_PATH: usize = 107;

/// `30ms`, `1.5s`, `2m`, `1h`: one number and its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    let unit_nanos: u128 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        "" if !number.is_empty() => {
            return Err(format!(
                "without a unit; write \"{number}ms\" or \"{number}s\""
            ));
        }
        _ => return Err("write a number and its unit: \"30ms\", \"1.5s\", \"2m\"".into()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || fraction.contains('.') {
        return Err("write a number and its unit: \"30ms\", \"1.5s\", \"2m\"".into());
    }
    // Nine places are nanoseconds of a second; what stands behind them is nothing that a clock can tell.
    let fraction = &fraction[..fraction.len().min(9)];
    let parts = 10u128.pow(fraction.len() as u32);
    let too_long = || "longer than a day".to_string();
    let whole: u64 = whole.parse().map_err(|_| too_long())?;
    let fraction: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().map_err(|_| too_long())?
    };
    let nanos = u128::from(whole) * unit_nanos + fraction * unit_nanos / parts;
    if nanos > LONGEST.as_nanos() {
        return Err(too_long());
    }
    Ok(Duration::from_nanos(nanos as u64))
}

/// A duration as [`duration`] reads it: whole seconds as `5s`, all else as `1500ms`.
pub(crate) fn duration_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos != 0 && nanos.is_multiple_of(1_000_000_000) {
        return format!("{}s", duration.as_secs());
    }
    let (millis, rest) = (nanos / 1_000_000, nanos % 1_000_000);
    if rest == 0 {
        return format!("{millis}ms");
    }
    format!("{millis}.{}ms", format!("{rest:06}").trim_end_matches('0'))
}

/// `SIGTERM`, `TERM`, `term`.
pub(crate) fn signal(text: &str) -> Result<Signal, String> {
    let upper = text.trim().to_ascii_uppercase();
    let full = if upper.starts_with("SIG") {
        upper
    } else {
        format!("SIG{upper}")
    };
    Signal::from_str(&full).map_err(|_| {
        match nearest(&full, Signal::iterator().map(Signal::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "write a name such as \"SIGTERM\", \"SIGINT\" or \"SIGHUP\"".into(),
        }
    })
}

/// `[scheme://]host:port`, `:port` or `unix:path`; a relative path hangs on `root`.
pub(crate) fn listen(text: &str, root: &Path) -> Result<Listen, String> {
    let (name, address) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => (DEFAULT_NAME, text),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
    if name.is_empty() || !name.chars().all(plain) {
        return Err(
            "the scheme becomes a name in LISTEN_FDNAMES: letters, digits, \"+-._\"".into(),
        );
    }
    let address = match address.strip_prefix("unix:") {
        Some(path) => unix(path, root)?,
        None => Address::Tcp(tcp(address)?),
    };
    Ok(Listen {
        name: name.to_string(),
        address,
    })
}

fn unix(path: &str, root: &Path) -> Result<Address, String> {
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return Err("write the path of a socket: \"unix:run/app.sock\"".into());
    }
    let path = resolve(root, Path::new(path));
    if path.as_os_str().len() > LONGEST_UNIX_PATH {
        return Err(format!(
            "{} is {} bytes long; a unix socket's path has at most {LONGEST_UNIX_PATH}",
            path.display(),
            path.as_os_str().len()
        ));
    }
    Ok(Address::Unix(path))
}

fn tcp(text: &str) -> Result<SocketAddr, String> {
    if let Some((address, _)) = text.split_once('/') {
        return Err(format!("an address has no path; write \"{address}\""));
    }
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        return Err(format!("write \":{text}\""));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Err(match ip {
            IpAddr::V4(_) => format!("without a port; write \"{ip}:8080\""),
            // Where the address ends and the port begins cannot be told.
            IpAddr::V6(_) => "an IPv6 address stands in brackets: \"[::1]:8080\"".into(),
        });
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err("write host:port, \":8080\" or \"unix:path\"".into());
    };
    if port.is_empty() || !port.chars().all(|c| c.is_ascii_digit()) {
        return Err("the port is a number from 0 to 65535".into());
    }
    let port: u16 = port
        .parse()
        .map_err(|_| "the port is a number from 0 to 65535".to_string())?;
    match host {
        "" | "localhost" => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        // Names are not resolved: where a server listens should not hang on a resolver.
        _ => text.parse().map_err(|_| {
            if host.contains(':') && !host.starts_with('[') {
                "an IPv6 address stands in brackets: \"[::1]:8080\"".into()
            } else {
                "the host is an IP address, \"localhost\" or nothing".into()
            }
        }),
    }
}

/// The candidate that `word` probably meant, where one is near enough to say so.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // One slip in three letters: `restrat` and `fils` are slips, `cmd` for `cwd` would be a guess either way.
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, millis) in [
            ("30ms", 30.0),
            ("0ms", 0.0),
            ("0s", 0.0),
            ("1s", 1000.0),
            ("1.5s", 1500.0),
            ("2m", 120_000.0),
            ("0.1s", 100.0),
            ("1h", 3_600_000.0),
            (" 5 s ", 5000.0),
            ("0.5ms", 0.5),
            ("24h", 86_400_000.0),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_secs_f64(millis / 1000.0)),
                "{text}"
            );
        }
        for text in [
            "",
            "30",
            "s",
            "ms",
            "-1s",
            "1.s",
            ".5s",
            "1..2s",
            "1s2",
            "1 d",
            "25h",
            "99999999999999999999s",
            "１s",
        ] {
            duration(text).expect_err(text);
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for (text, written) in [
            ("30ms", "30ms"),
            ("0s", "0ms"),
            ("1.5s", "1500ms"),
            ("2m", "120s"),
            ("0.5ms", "0.5ms"),
        ] {
            let read = duration(text).expect(text);
            assert_eq!(duration_text(read), written);
            assert_eq!(duration(written), Ok(read));
        }
    }

    #[test]
    fn signals_go_with_or_without_sig() {
        for text in ["SIGTERM", "TERM", "term", "sigterm"] {
            assert_eq!(signal(text), Ok(Signal::SIGTERM));
        }
        assert_eq!(signal("SIGTREM"), Err("did you mean \"SIGTERM\"?".into()));
        assert_eq!(signal("USR"), Err("did you mean \"SIGUSR1\"?".into()));
        signal("").expect_err("no signal");
        signal("15").expect_err("a number");
    }

    #[test]
    fn listen_entries_are_read_with_their_names() {
        for (text, expected) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            (":8080", "http://127.0.0.1:8080"),
            ("localhost:0", "http://127.0.0.1:0"),
            ("grpc://0.0.0.0:9090", "grpc://0.0.0.0:9090"),
            ("[::1]:80", "http://[::1]:80"),
            ("https://:8443", "https://127.0.0.1:8443"),
            ("unix:run/app.sock", "unix:/work/app/run/app.sock"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
            ("admin://unix:../a.sock", "admin://unix:/work/a.sock"),
        ] {
            let read = listen(text, Path::new("/work/app")).expect(text);
            assert_eq!(read.to_string(), expected);
            assert_eq!(listen(expected, Path::new("/")), Ok(read));
        }
    }

    #[test]
    fn a_bad_listen_entry_says_what_to_write() {
        let check = |texts: &[&str], expected: Expect| {
            let lines: Vec<String> = texts
                .iter()
                .map(|text| {
                    format!(
                        "{text:?}: {}\n",
                        listen(text, Path::new("/work")).expect_err(text)
                    )
                })
                .collect();
            expected.assert_eq(&lines.concat());
        };
        check(
            &[
                "",
                "8080",
                "127.0.0.1",
                "::1",
                "::1:8080x",
                "fe80::1%eth0:80",
                "example.org:80",
                "localhost",
                ":70000",
                ":http",
                "http://:80/",
                "a b://:80",
                "unix:",
            ],
            expect![[r#"
                "": write host:port, ":8080" or "unix:path"
                "8080": write ":8080"
                "127.0.0.1": without a port; write "127.0.0.1:8080"
                "::1": an IPv6 address stands in brackets: "[::1]:8080"
                "::1:8080x": the port is a number from 0 to 65535
                "fe80::1%eth0:80": an IPv6 address stands in brackets: "[::1]:8080"
                "example.org:80": the host is an IP address, "localhost" or nothing
                "localhost": write host:port, ":8080" or "unix:path"
                ":70000": the port is a number from 0 to 65535
                ":http": the port is a number from 0 to 65535
                "http://:80/": an address has no path; write ":80"
                "a b://:80": the scheme becomes a name in LISTEN_FDNAMES: letters, digits, "+-._"
                "unix:": write the path of a socket: "unix:run/app.sock"
            "#]],
        );
        listen(&format!("unix:{}", "x".repeat(120)), Path::new("/work")).expect_err("too long");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_words_never_panic(text in ".{0,20}") {
            let _ = duration(&text);
            let _ = signal(&text);
            let _ = listen(&text, Path::new("/work"));
        }

        #[test]
        fn every_duration_survives_being_written(nanos in 0u64..86_400_000_000_000) {
            let duration = Duration::from_nanos(nanos);
            proptest::prop_assert_eq!(self::duration(&duration_text(duration)), Ok(duration));
        }
    }
}

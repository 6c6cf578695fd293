//! One connection: its requests one after the other. GET and HEAD alone; a body is an error.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process;
use std::thread;
use std::time::Duration;

use crate::stop::{self, Stop};

/// How long a client may take for the rest of a request, or to read our answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest request head we read.
const HEAD_MAX: usize = 16 * 1024;

/// How long a stopping server waits for a request on a connection that is silent.
#[derive(Clone, Copy, Debug)]
pub struct Quiet {
    /// When it has not had one yet.
    pub fresh: Duration,
    /// When it has.
    pub idle: Duration,
}

impl Quiet {
    /// A client that has just connected, or has just got an answer, sends the next request at once: this long and no
    /// request more is on its way.
    pub const POLITE: Quiet = Quiet::of(Duration::from_secs(1));

    /// The same time for both.
    pub const fn of(time: Duration) -> Quiet {
        Quiet {
            fresh: time,
            idle: time,
        }
    }
}

/// Serves a connection until its client leaves, an error ends it, or `stop` is requested and the time of
/// `quiet` has passed since without a byte of a request.
pub fn serve(stream: TcpStream, version: &str, stop: &Stop, quiet: Quiet) {
    // What goes wrong here concerns one client, and it knows.
    let _ = requests(stream, version, stop, quiet);
}

fn requests(mut stream: TcpStream, version: &str, stop: &Stop, quiet: Quiet) -> io::Result<()> {
    // Some systems hand the listener's flag on to the connection.
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut unread = Vec::new();
    let mut patience = quiet.fresh;
    while !unread.is_empty() || request_comes(&stream, stop, patience)? {
        patience = quiet.idle;
        let Some(head) = read_head(&mut stream, &mut unread)? else {
            break;
        };
        let (status, mut text) = reply(&head, version);
        text.push('\n');
        // Asked after the reply is known: a slow one must not promise a next answer that will not come.
        let last = says_close(&head) || stop.requested();
        let connection = if last { "close" } else { "keep-alive" };
        let pid = process::id();
        let mut answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nServer-Pid: {pid}\r\nConnection: {connection}\r\n\r\n",
            text.len()
        );
        if !head.starts_with("HEAD ") {
            answer.push_str(&text);
        }
        // In one piece: a client never sees half a head.
        stream.write_all(answer.as_bytes())?;
        if last {
            break;
        }
    }
    Ok(())
}

/// Waits for the first byte of a request. False: there will be none, or none that we have to wait for.
fn request_comes(stream: &TcpStream, stop: &Stop, patience: Duration) -> io::Result<bool> {
    let readable = stop::readable(&[stream.as_fd(), stop.as_fd()], None)?;
    if readable[0] {
        return Ok(true);
    }
    Ok(stop::readable(&[stream.as_fd()], Some(patience))?[0])
}

/// Reads up to and with the empty line. None: the client left before.
fn read_head(stream: &mut TcpStream, unread: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = unread.drain(..end + 4).collect();
            return String::from_utf8(head).map(Some).map_err(io::Error::other);
        }
        if unread.len() > HEAD_MAX {
            return Err(io::Error::other("a head without end"));
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            count => unread.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Whether the client wants no further answer on this connection.
fn says_close(head: &str) -> bool {
    let mut lines = head.split("\r\n");
    let old = lines.next().is_none_or(|line| !line.ends_with("HTTP/1.1"));
    let closes = |line: &str| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close")
        })
    };
    old || lines.any(closes)
}

fn reply(head: &str, version: &str) -> (&'static str, String) {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    if !matches!(method, "GET" | "HEAD") {
        return ("405 Method Not Allowed", "GET and HEAD alone".to_owned());
    }
    match target.split_once('?').unwrap_or((target, "")) {
        ("/", _) => ("200 OK", version.to_owned()),
        ("/healthz", _) => ("200 OK", "ok".to_owned()),
        ("/pid", _) => ("200 OK", process::id().to_string()),
        ("/slow", query) => match query.strip_prefix("ms=").and_then(|ms| ms.parse().ok()) {
            Some(ms @ 0..=60_000) => {
                thread::sleep(Duration::from_millis(ms));
                ("200 OK", format!("{version}, slept {ms} ms"))
            }
            _ => (
                "400 Bad Request",
                "say how long: /slow?ms=300 (at most 60000)".to_owned(),
            ),
        },
        _ => (
            "404 Not Found",
            "there is /, /healthz, /pid and /slow?ms=N".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{reply, says_close};

    #[test]
    fn a_request_is_the_last_one_when_its_client_says_so() {
        assert!(!says_close("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(says_close("GET / HTTP/1.1\r\nconnection: Close\r\n\r\n"));
        assert!(says_close("GET / HTTP/1.0\r\n\r\n"));
    }

    #[test]
    fn the_root_is_the_version_and_the_rest_is_told_apart() {
        let status = |target: &str| reply(&format!("GET {target} HTTP/1.1\r\n\r\n"), "v7");
        assert_eq!(status("/"), ("200 OK", "v7".to_owned()));
        assert_eq!(status("/slow?ms=0").1, "v7, slept 0 ms");
        assert_eq!(status("/slow").0, "400 Bad Request");
        assert_eq!(status("/nowhere").0, "404 Not Found");
        assert_eq!(
            reply("POST / HTTP/1.1\r\n\r\n", "v7").0,
            "405 Method Not Allowed"
        );
    }
}

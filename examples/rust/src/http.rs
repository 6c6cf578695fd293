//! One connection: its requests one after the other, and the manners to end it without losing one.
//!
//! Told to stop, a connection still answers every request that was under way, the last answer saying
//! `Connection: close`. One that is silent is closed only after a while without a byte: its client may be
//! about to send, and a request sent into a closing connection is lost.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use crate::greeting::GREETING;
use crate::poll;
use crate::stop::Stop;

/// How long a connection must have been silent before a stopping server closes it. A client that has just got
/// an answer or has just connected sends the next request at once; a browser tab has been silent for long.
const QUIET: Duration = Duration::from_secs(1);

/// How long a connection may be silent while nobody wants to stop.
const IDLE: Duration = Duration::from_secs(60);

/// How long a client may take for the rest of a request, or to read our answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long we listen on after the last answer, so that no late byte of the client resets it away.
const LINGER: Duration = Duration::from_millis(500);

/// The longest request head we read.
const HEAD_MAX: usize = 16 * 1024;

/// Serves a connection until its client leaves, an error ends it, or `stop` is requested and nothing is open.
pub fn serve(stream: TcpStream, stop: &Stop) {
    // What goes wrong here concerns one client, and it knows.
    let _ = Connection {
        stream,
        unread: Vec::new(),
    }
    .serve(stop);
}

struct Connection {
    stream: TcpStream,
    /// Bytes that have come and belong to no request yet.
    unread: Vec<u8>,
}

/// What a client asked, as far as it matters here.
struct Request {
    method: String,
    target: String,
    /// It wants no further answer on this connection.
    last: bool,
    body: u64,
    chunked: bool,
}

impl Connection {
    fn serve(&mut self, stop: &Stop) -> io::Result<()> {
        // Some systems hand the listener's flag on to the connection.
        self.stream.set_nonblocking(false)?;
        self.stream.set_nodelay(true)?;
        self.stream.set_read_timeout(Some(PATIENCE))?;
        self.stream.set_write_timeout(Some(PATIENCE))?;
        while self.request_comes(stop)? {
            let Some(head) = self.read_head()? else {
                return Ok(());
            };
            let Some(request) = Request::parse(&head) else {
                self.answer(
                    "400 Bad Request",
                    "not a request that this server understands",
                    true,
                )?;
                break;
            };
            if request.chunked {
                self.answer(
                    "411 Length Required",
                    "this server reads no chunked body",
                    true,
                )?;
                break;
            }
            self.skip(request.body)?;
            let (status, text) = reply(&request);
            // Asked after the reply is known: a slow one must not promise a next answer that will not come.
            let last = request.last || (stop.requested() && !self.more_has_come()?);
            self.answer_to(&request, status, &text, last)?;
            if last {
                break;
            }
        }
        self.part()
    }

    /// Waits for the first byte of a request. False: there will be none, or none that we have to wait for.
    fn request_comes(&mut self, stop: &Stop) -> io::Result<bool> {
        if !self.unread.is_empty() {
            return Ok(true);
        }
        let silent_since = Instant::now();
        let readable = poll::readable(&[self.stream.as_fd(), stop.as_fd()], Some(IDLE))?;
        if readable[0] || !readable[1] {
            return Ok(readable[0]);
        }
        let left = QUIET.saturating_sub(silent_since.elapsed());
        Ok(poll::readable(&[self.stream.as_fd()], Some(left))?[0])
    }

    /// Whether the client has already sent more: its next request, without waiting for our answer.
    fn more_has_come(&self) -> io::Result<bool> {
        Ok(!self.unread.is_empty()
            || poll::readable(&[self.stream.as_fd()], Some(Duration::ZERO))?[0])
    }

    /// Reads up to and with the empty line. None: the client left before, or sends no end of it.
    fn read_head(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
            }
            if self.unread.len() > HEAD_MAX {
                self.answer("431 Request Header Fields Too Large", "too long", true)?;
                self.part()?;
                return Ok(None);
            }
            let mut chunk = [0; 4096];
            match self.read(&mut chunk)? {
                0 => return Ok(None),
                count => self.unread.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// Reads what has come. A read with a timeout is interrupted by every signal, whatever its handler asked for,
    /// and SIGTERM may well come in the middle of a request.
    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Reads a body of that many bytes, for nobody.
    fn skip(&mut self, body: u64) -> io::Result<()> {
        let here = self
            .unread
            .len()
            .min(usize::try_from(body).unwrap_or(usize::MAX));
        self.unread.drain(..here);
        io::copy(
            &mut (&self.stream).take(body - here as u64),
            &mut io::sink(),
        )?;
        Ok(())
    }

    fn answer_to(
        &mut self,
        request: &Request,
        status: &str,
        text: &str,
        last: bool,
    ) -> io::Result<()> {
        match request.method.as_str() {
            "HEAD" => self.write(status, text.len() + 1, "", last),
            _ => self.answer(status, text, last),
        }
    }

    fn answer(&mut self, status: &str, text: &str, last: bool) -> io::Result<()> {
        self.write(status, text.len() + 1, &format!("{text}\n"), last)
    }

    fn write(&mut self, status: &str, length: usize, body: &str, last: bool) -> io::Result<()> {
        let connection = if last { "close" } else { "keep-alive" };
        let whole = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nConnection: {connection}\r\n\r\n{body}"
        );
        // In one piece: a client never sees half a head.
        self.stream.write_all(whole.as_bytes())
    }

    /// Says goodbye first and hangs up when the client has: to close over unread bytes would send a reset,
    /// and a reset can overtake our last answer.
    fn part(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let until = Instant::now() + LINGER;
        let mut rest = [0; 4096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !poll::readable(&[self.stream.as_fd()], Some(left))?[0] {
                return Ok(());
            }
            if self.read(&mut rest)? == 0 {
                return Ok(());
            }
        }
    }
}

impl Request {
    fn parse(head: &str) -> Option<Request> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let mut request = Request {
            method: method.to_owned(),
            target: target.to_owned(),
            last: match version {
                "HTTP/1.1" => false,
                "HTTP/1.0" => true,
                _ => return None,
            },
            body: 0,
            chunked: false,
        };
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "connection" => {
                    request.last |= value
                        .split(',')
                        .any(|word| word.trim().eq_ignore_ascii_case("close"))
                }
                "content-length" => request.body = value.parse().ok()?,
                "transfer-encoding" => request.chunked = true,
                _ => {}
            }
        }
        Some(request)
    }
}

fn reply(request: &Request) -> (&'static str, String) {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return (
            "405 Method Not Allowed",
            "only GET and HEAD are answered here".to_owned(),
        );
    }
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    match path {
        "/" => ("200 OK", GREETING.to_owned()),
        "/healthz" => ("200 OK", "ok".to_owned()),
        "/pid" => ("200 OK", process::id().to_string()),
        "/slow" => match query.strip_prefix("ms=").and_then(|ms| ms.parse().ok()) {
            Some(ms @ 0..=60_000) => {
                thread::sleep(Duration::from_millis(ms));
                ("200 OK", format!("slept {ms} ms"))
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
    use super::Request;

    #[test]
    fn a_request_is_the_last_one_when_its_client_says_so() {
        let last = |head: &str| Request::parse(head).map(|request| request.last);
        assert_eq!(last("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Some(false));
        assert_eq!(
            last("GET / HTTP/1.1\r\nConnection: te, Close\r\n\r\n"),
            Some(true)
        );
        assert_eq!(last("GET / HTTP/1.0\r\n\r\n"), Some(true));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for head in [
            "\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/2\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        ] {
            assert!(Request::parse(head).is_none(), "{head:?}");
        }
        assert!(Request::parse("POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n").is_none());
    }

    #[test]
    fn a_body_is_known_before_it_is_read() {
        let request =
            Request::parse("POST /x HTTP/1.1\r\nContent-Length: 12\r\n\r\n").expect("a request");
        assert_eq!((request.body, request.chunked), (12, false));
        let request = Request::parse("POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            .expect("a request");
        assert!(request.chunked);
    }
}

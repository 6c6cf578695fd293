//! What the servers in `src/bin/` share. Each of them is one contract of hot restart, reduced to a page: read those.
//!
//! ```text
//! GET /             the version (`version.rs`: change it there, or append one to the binary)
//! GET /healthz      ok
//! GET /pid          the process that answers; so does the header Server-Pid of every answer
//! GET /slow?ms=N    ok, after N milliseconds
//! ```
//!
//! `-addr HOST:PORT` says where a server opens its own socket, else 127.0.0.1:$PORT, else 127.0.0.1:8080.

pub mod accept;
pub mod http;
pub mod sockets;
pub mod stop;
pub mod version;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::{self, ExitCode};

/// Prints a line with our pid. That nobody reads it any more is no reason to end.
pub fn say(what: impl Display) {
    let _ = writeln!(io::stdout(), "{} {what}", process::id());
}

/// What `main` does in each of them. An error is a line and exit code 1.
pub fn run(server: fn() -> io::Result<()>) -> ExitCode {
    match server() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error}", process::id());
            ExitCode::FAILURE
        }
    }
}

//! Where the listening sockets come from: handed on by whoever started us, or our own.
//!
//! The convention is systemd's: the sockets are descriptors 3, 4, ..., their number is in LISTEN_FDS, and
//! LISTEN_PID names the process they are meant for.

use std::env::{self, VarError};
use std::io;
use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::process;

/// The first descriptor after stdin, stdout and stderr.
const FIRST_FD: i32 = 3;

/// The sockets we serve on.
pub struct Sockets {
    /// At least one. accept() on them does not block.
    pub listeners: Vec<TcpListener>,
    /// Who opened them.
    pub origin: Origin,
}

/// Who opened the sockets, which decides what becomes of their queue when we leave.
#[derive(Clone, Copy)]
pub enum Origin {
    /// Whoever started us, and keeps them open.
    HandedOn,
    /// We did.
    Own,
}

impl Sockets {
    /// Takes the sockets we were given, or opens 127.0.0.1:$PORT (8080).
    ///
    /// # Errors
    /// A variable is not a number, a descriptor is no TCP socket, or the port is taken.
    pub fn take() -> io::Result<Sockets> {
        let given = given()?;
        let (listeners, origin, opened_by) = match given.is_empty() {
            false => (given, Origin::HandedOn, "handed on"),
            true => (vec![bound()?], Origin::Own, "our own"),
        };
        for listener in &listeners {
            // A successor may wait for connections on the same socket beside us. What we saw coming it may have
            // taken, and to wait inside accept() then would make us deaf to SIGTERM.
            listener.set_nonblocking(true)?;
            println!(
                "hello: listening on http://{} ({opened_by})",
                listener.local_addr()?
            );
        }
        Ok(Sockets { listeners, origin })
    }
}

/// The sockets in LISTEN_FDS; none if there are none, or if they are meant for another process.
fn given() -> io::Result<Vec<TcpListener>> {
    let meant_for = number("LISTEN_PID")?;
    if meant_for.is_some_and(|pid| pid != process::id()) {
        return Ok(Vec::new());
    }
    let count = number("LISTEN_FDS")?.unwrap_or(0);
    (FIRST_FD..).take(count as usize).map(given_at).collect()
}

fn given_at(fd: i32) -> io::Result<TcpListener> {
    // SAFETY: nothing has been opened by this process that LISTEN_FDS could name by mistake and that is in use
    // elsewhere: by its contract these descriptors are ours, and each is taken once.
    let listener = unsafe { TcpListener::from_raw_fd(fd) };
    match listener.local_addr() {
        Ok(_) => Ok(listener),
        Err(error) => {
            // Not ours to close: whatever it is, it is not what the convention promises.
            std::mem::forget(listener);
            Err(io::Error::new(
                error.kind(),
                format!("descriptor {fd} of LISTEN_FDS is no TCP socket: {error}"),
            ))
        }
    }
}

fn bound() -> io::Result<TcpListener> {
    let port = match number("PORT")? {
        None => 8080,
        Some(port) => {
            u16::try_from(port).map_err(|_| io::Error::other(format!("PORT={port} is no port")))?
        }
    };
    TcpListener::bind(("127.0.0.1", port)).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot listen on 127.0.0.1:{port}: {error}"),
        )
    })
}

fn number(name: &str) -> io::Result<Option<u32>> {
    match env::var(name) {
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(text)) => {
            Err(io::Error::other(format!("{name}={text:?} is no number")))
        }
        Ok(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(io::Error::other(format!("{name}={text} is no number"))),
        },
    }
}

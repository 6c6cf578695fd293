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

/// The sockets we were given, or 127.0.0.1:$PORT (8080), opened by ourselves.
///
/// # Errors
/// A variable is not a number, a descriptor is no TCP socket, or the port is taken.
pub fn listeners() -> io::Result<Vec<TcpListener>> {
    let given = given()?;
    let (listeners, origin) = match given.is_empty() {
        false => (given, "handed on"),
        true => (vec![bound()?], "our own"),
    };
    for listener in &listeners {
        // A successor may wait for connections on the same socket beside us. What we saw coming it may have
        // taken, and to wait inside accept() then would make us deaf to SIGTERM.
        listener.set_nonblocking(true)?;
        println!(
            "hello: listening on http://{} ({origin})",
            listener.local_addr()?
        );
    }
    Ok(listeners)
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

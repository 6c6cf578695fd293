//! A small HTTP/1.1 server that can be restarted under load without losing a request.
//!
//! Two things make that possible, and they are all that a server of your own needs:
//! it serves on the sockets it is given (`sockets.rs`), so the port stays open while nobody runs,
//! and on SIGTERM it finishes what it has accepted before it leaves (`http.rs`).
//!
//!     GET /             the greeting (`greeting.rs`)
//!     GET /healthz      ok
//!     GET /pid          the process that answers
//!     GET /slow?ms=N    ok, after N milliseconds

mod greeting;
mod http;
mod poll;
mod sockets;
mod stop;

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::thread::{self, Scope};
use std::time::Duration;

use stop::Stop;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hello: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    // Before the sockets: a SIGTERM that comes early must not find the default action.
    let stop = Stop::on_signals()?;
    let listeners = sockets::listeners()?;
    // The scope is the drain: it ends when the last connection has been served.
    thread::scope(|scope| accept_until_told(scope, &listeners, &stop))?;
    println!("hello: every accepted connection is served, bye");
    Ok(())
}

/// Gives each connection its thread until told to stop. What is still in the queue of a socket then stays
/// there for the successor: the socket lives on in the process that handed it to us.
fn accept_until_told<'scope>(
    scope: &'scope Scope<'scope, '_>,
    listeners: &[TcpListener],
    stop: &'scope Stop,
) -> io::Result<()> {
    loop {
        let mut sources = vec![stop.as_fd()];
        sources.extend(listeners.iter().map(AsFd::as_fd));
        let readable = poll::readable(&sources, None)?;
        if readable[0] {
            return Ok(());
        }
        for (listener, _) in listeners
            .iter()
            .zip(&readable[1..])
            .filter(|(_, ready)| **ready)
        {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                // Another process on the same socket was faster, or the client has gone again.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::ConnectionAborted
                    ) =>
                {
                    continue;
                }
                Err(error) => {
                    // Out of descriptors, most likely. The connection keeps for a moment, and so does the signal.
                    eprintln!("hello: cannot accept: {error}");
                    poll::readable(&[stop.as_fd()], Some(Duration::from_millis(100)))?;
                    continue;
                }
            };
            let serve = move || http::serve(stream, stop);
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, serve) {
                eprintln!("hello: no thread for a connection: {error}");
            }
        }
    }
}

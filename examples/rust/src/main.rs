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

use sockets::{Origin, Sockets};
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
    let sockets = Sockets::take()?;
    // The scope is the drain: it ends when the last connection has been served.
    thread::scope(|scope| accept_until_told(scope, sockets, &stop))?;
    println!("hello: every accepted connection is served, bye");
    Ok(())
}

/// Gives each connection its thread until told to stop, then closes the sockets.
fn accept_until_told<'scope>(
    scope: &'scope Scope<'scope, '_>,
    sockets: Sockets,
    stop: &'scope Stop,
) -> io::Result<()> {
    loop {
        let mut sources = vec![stop.as_fd()];
        sources.extend(sockets.listeners.iter().map(AsFd::as_fd));
        let readable = poll::readable(&sources, None)?;
        if readable[0] {
            break;
        }
        for (listener, _) in sockets
            .listeners
            .iter()
            .zip(&readable[1..])
            .filter(|(_, ready)| **ready)
        {
            accept(scope, listener, stop)?;
        }
    }
    match sockets.origin {
        // What is still in the queue stays there for the successor: the socket lives on in the process that
        // handed it to us.
        Origin::HandedOn => {}
        // Our own socket takes its queue along, so we serve that first.
        Origin::Own => {
            for listener in &sockets.listeners {
                while accept(scope, listener, stop)? {}
            }
        }
    }
    Ok(())
}

/// Takes one connection from the queue. False: there was none, or none could be taken now.
fn accept<'scope>(
    scope: &'scope Scope<'scope, '_>,
    listener: &TcpListener,
    stop: &'scope Stop,
) -> io::Result<bool> {
    let stream = match listener.accept() {
        Ok((stream, _)) => stream,
        // Another process on the same socket was faster, or the client has gone again.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::ConnectionAborted
            ) =>
        {
            return Ok(false);
        }
        Err(error) => {
            // Out of descriptors, most likely. The connection keeps for a moment, and so does the signal.
            eprintln!("hello: cannot accept: {error}");
            poll::readable(&[stop.as_fd()], Some(Duration::from_millis(100)))?;
            return Ok(false);
        }
    };
    let serve = move || http::serve(stream, stop);
    if let Err(error) = thread::Builder::new().spawn_scoped(scope, serve) {
        eprintln!("hello: no thread for a connection: {error}");
    }
    Ok(true)
}

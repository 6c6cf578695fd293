//! The accept loop of the servers that take LISTEN_FDS.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::thread::{self, Scope};
use std::time::Duration;

use crate::http::{self, Quiet};
use crate::sockets::Origin;
use crate::stop::{self, Stop};
use crate::version::Version;

/// Gives each connection its thread until `stop` is requested, then closes the sockets. The connections hear of
/// `drain`, which may be the same or may never ring.
///
/// # Errors
/// A socket can be waited for no longer.
pub fn until_stopped<'scope>(
    scope: &'scope Scope<'scope, '_>,
    (listeners, origin): (Vec<TcpListener>, Origin),
    version: &'scope Version,
    stop: &Stop,
    drain: &'scope Stop,
) -> io::Result<()> {
    for listener in &listeners {
        // A successor may accept from the same socket beside us. What we saw coming it may have taken, and to wait
        // inside accept() then would make us deaf.
        listener.set_nonblocking(true)?;
    }
    version.accepts();
    loop {
        let mut sources = vec![stop.as_fd()];
        sources.extend(listeners.iter().map(AsFd::as_fd));
        let readable = stop::readable(&sources, None)?;
        if readable[0] {
            break;
        }
        for (listener, _) in listeners.iter().zip(&readable[1..]).filter(|(_, it)| **it) {
            one(scope, listener, version, drain)?;
        }
    }
    match origin {
        // What is still in the queue stays there for the successor.
        Origin::HandedOn => {}
        // Our own socket takes its queue along, so we serve that first.
        Origin::Own => {
            for listener in &listeners {
                while one(scope, listener, version, drain)? {}
            }
        }
    }
    Ok(())
}

/// Takes one connection from the queue. False: there was none, or none could be taken now.
fn one<'scope>(
    scope: &'scope Scope<'scope, '_>,
    listener: &TcpListener,
    version: &'scope Version,
    drain: &'scope Stop,
) -> io::Result<bool> {
    match listener.accept() {
        Ok((stream, _)) => {
            scope.spawn(move || http::serve(stream, &version.text, drain, Quiet::POLITE));
            Ok(true)
        }
        Err(error) if passing(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the next accept may well succeed. Waits a little where only time can help.
pub fn passing(error: &io::Error) -> bool {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::ConnectionAborted | ErrorKind::Interrupted => true,
        // No descriptors or no memory: some connection will end.
        _ if matches!(
            error.raw_os_error(),
            Some(EMFILE | ENFILE | ENOMEM | ENOBUFS)
        ) =>
        {
            thread::sleep(Duration::from_millis(50));
            true
        }
        _ => false,
    }
}

const EMFILE: i32 = nix::errno::Errno::EMFILE as i32;
const ENFILE: i32 = nix::errno::Errno::ENFILE as i32;
const ENOMEM: i32 = nix::errno::Errno::ENOMEM as i32;
const ENOBUFS: i32 = nix::errno::Errno::ENOBUFS as i32;

//! The contract of endless.
//!
//! ```text
//! SIGHUP   old   executes argv[0] (looked up in PATH) with its own arguments, its environment and ENDLESS_CONTINUE=1,
//!                the socket as descriptor 3. Once: every later SIGHUP is refused, also when the successor has died
//!          new   sends SIGTERM to its parent when it has taken the socket, before it accepts
//! SIGTERM, SIGINT   closes the socket and every connection that waits for a request, answers what is under way
//!                (60 s at most) and exits with 0
//! ```
//!
//! True to the original also where that hurts: idle keep-alive connections are closed under their clients, and after
//! a successor that has crashed the socket is left blocking, so that the old process waits inside accept, deaf to
//! SIGTERM, until somebody connects.

use std::env;
use std::ffi::CString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::process::{self, ExitCode};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use hot::accept;
use hot::http::{self, Quiet};
use hot::say;
use hot::sockets::{self, Arguments, FIRST_FD};
use hot::stop::{self, Stop};
use hot::version::{Crash, Version};
use nix::spawn::{self, PosixSpawnAttr, PosixSpawnFileActions};
use nix::sys::signal::{self, Signal};
use nix::unistd::{self, Pid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Set for a successor.
const CONTINUE: &str = "ENDLESS_CONTINUE";

/// How long the requests under way may take when it ends.
const HAMMER_TIME: Duration = Duration::from_secs(60);

/// It waits for the first request of a connection, but for no second one.
const QUIET: Quiet = Quiet {
    fresh: HAMMER_TIME,
    idle: Duration::ZERO,
};

fn main() -> ExitCode {
    hot::run(serve)
}

fn serve() -> io::Result<()> {
    let arguments = Arguments::of_this_process();
    let version = Version::start(Crash::Never);
    let is_child = env::var_os(CONTINUE).is_some_and(|value| !value.is_empty());
    let listener = match is_child {
        true => sockets::given(FIRST_FD)?,
        false => sockets::own(&arguments)?,
    };
    listener.set_nonblocking(true)?;
    // Shared weakly: it is closed when the loop below has ended.
    let listener = Arc::new(listener);
    let stop = Arc::new(Stop::new()?);
    {
        let signals = Signals::new([SIGHUP, SIGTERM, SIGINT])?;
        let (stop, listener) = (stop.clone(), Arc::downgrade(&listener));
        thread::spawn(move || obey(signals, &stop, &listener));
    }
    if is_child {
        let parent = unistd::getppid();
        say(format_args!("{}: sends SIGTERM to {parent}", version.text));
        if let Err(error) = signal::kill(parent, Signal::SIGTERM) {
            say(format_args!("cannot signal {parent}: {error}"));
        }
    }
    version.accepts();
    thread::scope(|scope| -> io::Result<()> {
        // Accepts first and waits after, as Go does.
        while !stop.requested() {
            match listener.accept() {
                Ok((stream, _)) => {
                    let (version, stop) = (&version, &*stop);
                    scope.spawn(|| http::serve(stream, &version.text, stop, QUIET));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stop::readable(&[listener.as_fd(), stop.as_fd()], None)?;
                }
                Err(error) if accept::passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        drop(listener);
        say(format_args!("{}: has stopped accepting", version.text));
        Ok(())
    })?;
    say(format_args!("{}: exits, all served", version.text));
    Ok(())
}

fn obey(mut signals: Signals, stop: &Stop, listener: &Weak<TcpListener>) {
    // Never reset: that is the contract.
    let mut forked = false;
    for signal in signals.forever() {
        match signal {
            SIGHUP if forked => say("SIGHUP: another process already forked, ignoring this one"),
            SIGHUP => {
                forked = true;
                let child = match listener.upgrade() {
                    Some(listener) => fork(&listener),
                    None => Err(io::Error::other("the socket is closed")),
                };
                match child {
                    Ok(child) => say(format_args!("SIGHUP: started {child}")),
                    Err(error) => {
                        say(format_args!("SIGHUP: cannot start a successor: {error}"));
                        process::exit(1);
                    }
                }
            }
            _ => {
                say("SIGTERM or SIGINT: stops");
                stop.ring();
                thread::spawn(|| {
                    thread::sleep(HAMMER_TIME);
                    say("hammer time");
                    process::exit(0);
                });
            }
        }
    }
}

/// Starts argv[0] with our arguments, our environment, and the socket.
fn fork(listener: &TcpListener) -> io::Result<Pid> {
    // Go's File.Fd() does this to the socket, which the child shares with us. The child undoes it when it has got so
    // far.
    listener.set_nonblocking(false)?;
    let arguments = strings(env::args_os().map(OsStringExt::into_vec))?;
    let environment = env::vars_os()
        .filter(|(name, _)| name != CONTINUE)
        .map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='))
        .chain([format!("{CONTINUE}=1").into_bytes()]);
    let environment = strings(environment)?;
    let program = arguments
        .first()
        .ok_or_else(|| io::Error::other("there is no argv[0]"))?;
    let mut files = PosixSpawnFileActions::init()?;
    // The same number is no accident to care for: posix_spawn takes close-on-exec away even then.
    files.add_dup2(listener.as_raw_fd(), FIRST_FD)?;
    let attributes = PosixSpawnAttr::init()?;
    let child = spawn::posix_spawnp(program, &files, &attributes, &arguments, &environment)?;
    Ok(child)
}

fn strings(bytes: impl Iterator<Item = Vec<u8>>) -> io::Result<Vec<CString>> {
    bytes.map(|bytes| Ok(CString::new(bytes)?)).collect()
}

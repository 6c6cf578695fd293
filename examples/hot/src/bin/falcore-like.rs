//! The contract of Falcore's hot_restart example.
//!
//! ```text
//! SIGHUP   old   executes argv[0] as it stands, from its working directory at that moment, without a search in PATH:
//!                `argv[0] -socket 3`, no other argument and no environment, the socket as descriptor 3
//!          new   sends SIGUSR1 to its parent when it is about to accept for the first time
//! SIGUSR1  old   wants to stop accepting, and notices after one more accept or after its deadline of 3 s;
//!                then answers what it has accepted and exits with 0. A second SIGUSR1 is a panic, exit 2
//! SIGTERM, SIGINT   exits with 0 at once, whatever is under way
//! ```
//!
//! True to the original also where that hurts: the child that crashes stays a zombie, and after it the socket is
//! left blocking, so that the old process waits inside accept, deaf to its own deadline, until somebody connects.

use std::env;
use std::ffi::CString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hot::accept;
use hot::http::{self, Quiet};
use hot::say;
use hot::sockets::{self, Arguments, FIRST_FD};
use hot::stop::{self, Stop};
use hot::version::{Crash, Version};
use nix::spawn::{self, PosixSpawnAttr, PosixSpawnFileActions};
use nix::sys::signal::{self, SigSet, Signal};
use nix::unistd::{self, Pid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

/// How long the accept loop waits before it looks whether it should stop, and how long a silent connection is kept
/// when it should.
const DEADLINE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    hot::run(serve)
}

fn serve() -> io::Result<()> {
    let arguments = Arguments::of_this_process();
    let version = Version::start(Crash::Never);
    let listener = match arguments.socket {
        Some(fd) => sockets::given(fd)?,
        None => sockets::own(&arguments)?,
    };
    listener.set_nonblocking(true)?;
    let stop = Arc::new(Stop::new()?);
    {
        let signals = Signals::new([SIGHUP, SIGUSR1, SIGTERM, SIGINT])?;
        let (stop, listener) = (stop.clone(), listener.try_clone()?);
        thread::spawn(move || obey(signals, &stop, &listener));
        // A signal that came to this thread would wake it inside accept, and help the old process out of there. In Go
        // any thread may get it; here it is always another one, which is the harder case.
        SigSet::from_iter([
            Signal::SIGHUP,
            Signal::SIGUSR1,
            Signal::SIGTERM,
            Signal::SIGINT,
        ])
        .thread_block()?;
    }
    if arguments.socket.is_some() {
        let parent = unistd::getppid();
        say(format_args!("{}: sends SIGUSR1 to {parent}", version.text));
        if let Err(error) = signal::kill(parent, Signal::SIGUSR1) {
            say(format_args!("cannot signal {parent}: {error}"));
        }
    }
    version.accepts();
    thread::scope(|scope| -> io::Result<()> {
        // Asked only after an accept or a deadline: that is the contract.
        let mut last = false;
        while !last {
            match listener.accept() {
                Ok((stream, _)) => {
                    let (version, stop) = (&version, &*stop);
                    scope.spawn(|| http::serve(stream, &version.text, stop, Quiet::of(DEADLINE)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if stop::readable(&[listener.as_fd()], Some(DEADLINE))?[0] {
                        continue;
                    }
                }
                Err(error) if accept::passing(&error) => {}
                Err(error) => return Err(error),
            }
            last = stop.requested();
        }
        say(format_args!("{}: has stopped accepting", version.text));
        Ok(())
    })?;
    say(format_args!("{}: exits, all served", version.text));
    Ok(())
}

fn obey(mut signals: Signals, stop: &Stop, listener: &TcpListener) {
    let stopping = AtomicBool::new(false);
    for signal in signals.forever() {
        match signal {
            SIGHUP => match fork(listener) {
                Ok(child) => say(format_args!("SIGHUP: started {child}")),
                Err(error) => say(format_args!("SIGHUP: cannot start a successor: {error}")),
            },
            SIGUSR1 if stopping.swap(true, Ordering::Relaxed) => {
                eprintln!("panic: close of closed channel");
                process::exit(2);
            }
            SIGUSR1 => {
                say("SIGUSR1: stops accepting");
                stop.ring();
            }
            _ => {
                say("SIGTERM or SIGINT: exits");
                process::exit(0);
            }
        }
    }
}

/// Starts argv[0] with the socket and nothing else. Nobody waits for it: it is a zombie if it ends before us.
fn fork(listener: &TcpListener) -> io::Result<Pid> {
    // Go's File.Fd() does this to the socket, which the child shares with us. The child undoes it when it has got so
    // far.
    listener.set_nonblocking(false)?;
    let program = env::args_os().next().unwrap_or_default();
    let program = CString::new(program.into_vec())?;
    let mut files = PosixSpawnFileActions::init()?;
    // The same number is no accident to care for: posix_spawn takes close-on-exec away even then.
    files.add_dup2(listener.as_raw_fd(), FIRST_FD)?;
    let child = spawn::posix_spawn(
        program.as_c_str(),
        &files,
        &PosixSpawnAttr::init()?,
        &[program.as_c_str(), c"-socket", c"3"],
        no_environment(),
    )?;
    Ok(child)
}

fn no_environment() -> &'static [&'static std::ffi::CStr] {
    &[]
}

//! The server of the first chapter: a blocking accept in a loop, a thread for each connection, no signal handled. It
//! takes LISTEN_FDS. SIGTERM kills it, and with it every request that it has accepted and not answered.
//!
//! Whether accept blocks is a property of the socket and not of the process: where another process has made the
//! shared socket non-blocking, the first accept fails and this server exits with 1.

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use hot::http::{self, Quiet};
use hot::sockets::{self, Arguments};
use hot::stop::Stop;
use hot::version::{Crash, Version};

fn main() -> ExitCode {
    hot::run(serve)
}

fn serve() -> io::Result<()> {
    let arguments = Arguments::of_this_process();
    let version = Arc::new(Version::start(Crash::Never));
    let never = Arc::new(Stop::new()?);
    let (listeners, _) = sockets::given_or_own(&arguments)?;
    version.accepts();
    let serving: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let (version, never) = (version.clone(), never.clone());
            thread::spawn(move || accept(&listener, &version, &never))
        })
        .collect();
    for thread in serving {
        thread.join().expect("no thread panics")?;
    }
    Ok(())
}

fn accept(listener: &TcpListener, version: &Arc<Version>, never: &Arc<Stop>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        let (version, never) = (version.clone(), never.clone());
        thread::spawn(move || http::serve(stream, &version.text, &never, Quiet::POLITE));
    }
}

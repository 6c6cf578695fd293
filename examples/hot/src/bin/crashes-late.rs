//! Exits with 1 when it has been accepting for 300 ms, unless its version says otherwise (`crash=never`): ready, and
//! broken all the same. Otherwise like `drains`.

use std::io;
use std::process::ExitCode;
use std::thread;

use hot::accept;
use hot::say;
use hot::sockets::{self, Arguments};
use hot::stop::Stop;
use hot::version::{Crash, Version};

fn main() -> ExitCode {
    hot::run(serve)
}

fn serve() -> io::Result<()> {
    let arguments = Arguments::of_this_process();
    let version = Version::start(Crash::LATE);
    // Before the sockets: a SIGTERM that comes early must not find the default action.
    let stop = Stop::on_signals()?;
    let sockets = sockets::given_or_own(&arguments)?;
    // The scope is the drain: it ends when the last connection has been served.
    thread::scope(|scope| accept::until_stopped(scope, sockets, &version, &stop, &stop))?;
    say(format_args!("{}: exits, all served", version.text));
    Ok(())
}

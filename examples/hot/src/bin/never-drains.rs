//! Takes LISTEN_FDS. On SIGTERM it stops accepting, answers on the connections it has, and never exits: whoever
//! waits for its end has to kill it.

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
    let version = Version::start(Crash::Never);
    let stop = Stop::on_signals()?;
    // Its connections never hear of the end.
    let never = Stop::new()?;
    let sockets = sockets::given_or_own(&arguments)?;
    thread::scope(|scope| {
        accept::until_stopped(scope, sockets, &version, &stop, &never)?;
        say(format_args!("{}: accepts no more, and stays", version.text));
        loop {
            thread::park();
        }
    })
}

//! Signals to devwatch itself, turned into requests.

use std::thread;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failpoint;
use crate::screen;
use crate::supervisor::event::Request;

/// Passes every signal that asks devwatch to end to `ask`. A third one ends it on the spot, in case the loop is
/// stuck behind a terminal that takes no more bytes: the guardian then ends what is left.
///
/// # Errors
/// The handlers cannot be installed.
pub fn listen(ask: impl Fn(Request) + Send + 'static) -> Result<()> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT]).context("cannot listen to signals")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for (count, signal) in signals.forever().enumerate() {
                failpoint::pass();
                let code = exit_code(signal);
                if count >= 2 {
                    screen::leave_at_once();
                    std::process::exit(code);
                }
                ask(Request::Quit { code });
            }
        })?;
    Ok(())
}

/// 0 after Ctrl-C, which is how people leave; 128+n otherwise, as a shell reports it.
fn exit_code(signal: i32) -> i32 {
    if signal == SIGINT { 0 } else { 128 + signal }
}

//! Keys, where there is a terminal and no screen yet: `q` quits, `r` rebuilds, `R` restarts from cold.
//!
//! The terminal keeps its line discipline for output and for Ctrl-C and Ctrl-Z; only line editing and echo are
//! off while devwatch runs. The guardian puts them back if devwatch cannot.

use std::io::Read as _;
use std::thread;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::SIGCONT;
use signal_hook::iterator::Signals;

use crate::supervisor::event::Request;

/// The terminal as it was found; dropping this puts it back.
pub struct Restore(Termios);

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// Reads keys from stdin and passes what they ask for to `ask`. None: stdin is no terminal.
pub fn listen(ask: impl Fn(Request) + Send + 'static) -> Option<Restore> {
    let found = tcgetattr(std::io::stdin()).ok()?;
    let restore = Restore(found.clone());
    immediate(&found);
    // A shell sets its own mode while devwatch is stopped, and does not put ours back.
    if let Ok(mut continued) = Signals::new([SIGCONT]) {
        thread::spawn(move || continued.forever().for_each(|_| immediate(&found)));
    }
    thread::spawn(move || {
        for key in std::io::stdin().lock().bytes().map_while(Result::ok) {
            if let Some(request) = meaning(key) {
                ask(request);
            }
        }
    });
    Some(restore)
}

fn meaning(key: u8) -> Option<Request> {
    match key {
        b'q' => Some(Request::Quit { code: 0 }),
        b'r' => Some(Request::Build),
        b'R' => Some(Request::Restart),
        _ => None,
    }
}

fn immediate(found: &Termios) {
    let mut mode = found.clone();
    mode.local_flags
        .remove(LocalFlags::ICANON | LocalFlags::ECHO);
    let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &mode);
}

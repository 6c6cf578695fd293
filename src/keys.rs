//! Keys, where there is a terminal and no screen yet: `q` quits, `r` rebuilds, `R` restarts from cold.
//!
//! The terminal keeps its line discipline for output and for Ctrl-C and Ctrl-Z; only line editing and echo are
//! off while devwatch runs in the foreground. The guardian puts them back if devwatch cannot.

use std::io::{ErrorKind, Read as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};
use signal_hook::consts::{SIGCONT, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::supervisor::event::Request;

/// The terminal as it was found; dropping this puts it back for good.
pub struct Restore(Arc<Terminal>);

impl Drop for Restore {
    fn drop(&mut self) {
        self.0.put_back();
        self.0.found().take();
    }
}

/// Reads keys from stdin and passes what they ask for to `ask`. None: stdin is no terminal.
///
/// The guardian must have been started before: it keeps the terminal as it finds it.
pub fn listen(ask: impl Fn(Request) + Send + 'static) -> Option<Restore> {
    let found = tcgetattr(std::io::stdin()).ok()?;
    let terminal = Arc::new(Terminal(Mutex::new(Some(found))));
    let restore = Restore(Arc::clone(&terminal));
    let signals = Signals::new([SIGTSTP, SIGCONT]).ok()?;
    terminal.take();
    let (sender, continued) = channel();
    thread::spawn(move || stop_and_go(&terminal, signals, &sender));
    thread::spawn(move || read_keys(&continued, ask));
    Some(restore)
}

/// Stops as Ctrl-Z asks, but gives the terminal back first; not every shell puts it in order by itself.
fn stop_and_go(terminal: &Terminal, mut signals: Signals, continued: &Sender<()>) {
    stay_running();
    for signal in signals.forever() {
        if signal == SIGTSTP {
            terminal.put_back();
            let _ = emulate_default_handler(SIGTSTP);
        } else {
            terminal.take();
            let _ = continued.send(());
        }
    }
}

fn read_keys(continued: &Receiver<()>, ask: impl Fn(Request)) {
    stay_running();
    let mut key = [0];
    loop {
        match std::io::stdin().read(&mut key) {
            Ok(0) => return,
            Ok(_) => {
                if let Some(request) = meaning(key[0]) {
                    ask(request);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // In the background the keys are somebody else's, until we are continued in the foreground.
            Err(_) => {
                if continued.recv().is_err() {
                    return;
                }
            }
        }
    }
}

fn meaning(key: u8) -> Option<Request> {
    match key {
        b'q' => Some(Request::Quit { code: 0 }),
        b'r' => Some(Request::Build),
        b'R' => Some(Request::Restart),
        _ => None,
    }
}

/// As it was found; nothing once it was put back for good.
struct Terminal(Mutex<Option<Termios>>);

impl Terminal {
    /// Lines are not edited and keys are not shown from here on.
    fn take(&self) {
        if let Some(found) = &*self.found() {
            let mut mode = found.clone();
            mode.local_flags
                .remove(LocalFlags::ICANON | LocalFlags::ECHO);
            set(&mode);
        }
    }

    fn put_back(&self) {
        if let Some(found) = &*self.found() {
            set(found);
        }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Option<Termios>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only in the foreground. In the background (`bg`, or `kill %1` of a stopped devwatch) the terminal is the shell's.
fn set(mode: &Termios) {
    stay_running();
    if tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == getpgrp()) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, mode);
    }
}

/// The kernel stops whoever touches the terminal from the background, unless the thread blocks these: a devwatch that
/// is told to end must not stop on its way.
fn stay_running() {
    let mut stops = SigSet::empty();
    stops.add(Signal::SIGTTIN);
    stops.add(Signal::SIGTTOU);
    let _ = stops.thread_block();
}

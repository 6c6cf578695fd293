//! What a terminal has to be told so that the next one to use it finds it as it was, whatever devwatch had drawn.
//!
//! The screen writes it when it leaves, the guardian when the screen could not. And how to say something to a terminal
//! that perhaps nobody reads any more, without waiting for it.

use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, TryLockError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use crate::process::reopen;

/// Leaves the full screen, from wherever drawing was interrupted: ends a string that was not finished (ST) and a
/// synchronized update; switches off mouse, focus and paste reports; takes back colours; shows the cursor; takes
/// the title that was there from the terminal's stack; and returns to the main screen. What was never switched on is
/// not disturbed, except that the cursor may move on a terminal that shows its main screen already.
pub const LEAVE_SCREEN: &str = concat!(
    "\x1b\\",
    "\x1b[?2026l",
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1015l\x1b[?1006l",
    "\x1b[?1004l",
    "\x1b[?2004l",
    "\x1b[m",
    "\x1b[?25h",
    "\x1b[23;0t",
    "\x1b[?1049l",
);

/// Writes all of it to a terminal, which gets `limit` milliseconds to take it. Says whether it did.
///
/// Whoever writes to a terminal that is full waits, and so does everybody behind him: so this writes through a
/// description of its own, which waits for nobody. What belongs to another user (su) cannot be opened again; then a
/// terminal that has room for some of it can make this wait.
pub(crate) fn write_within(terminal: impl AsFd, mut bytes: &[u8], limit: u16) -> bool {
    let own = reopen(terminal.as_fd()).or_else(|_| {
        let shared = terminal.as_fd().try_clone_to_owned();
        shared.map_err(|_| Errno::EMFILE)
    });
    let Ok(own) = own else { return false };
    for _ in 0..=limit / STEP {
        let mut room = [PollFd::new(own.as_fd(), PollFlags::POLLOUT)];
        if !matches!(poll(&mut room, PollTimeout::from(STEP)), Ok(1..)) {
            continue;
        }
        match write(&own, bytes) {
            Ok(written) => bytes = &bytes[written..],
            // There is room, but somebody else is in the middle of writing.
            Err(Errno::EAGAIN) => _ = poll(&mut [], PollTimeout::from(STEP)),
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
        if bytes.is_empty() {
            return true;
        }
    }
    false
}

/// Waits at most `limit` milliseconds for what somebody else holds: for a panic, which may have struck whoever holds it.
pub(crate) fn lock_within<T>(mutex: &Mutex<T>, limit: u16) -> Option<MutexGuard<'_, T>> {
    for _ in 0..=limit / STEP {
        match mutex.try_lock() {
            Ok(held) => return Some(held),
            Err(TryLockError::Poisoned(held)) => return Some(held.into_inner()),
            // For as long as nothing can happen.
            Err(TryLockError::WouldBlock) => _ = poll(&mut [], PollTimeout::from(STEP)),
        }
    }
    None
}

/// Milliseconds between two attempts.
const STEP: u16 = 10;

//! The wish to stop, as something that every thread can wait for beside its socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use crate::poll;

/// Rings once and for all: the signal writes a byte that nobody ever reads, so the descriptor stays readable
/// and wakes every thread that waits for it, now or later.
pub struct Stop {
    bell: UnixStream,
}

impl Stop {
    /// From here on SIGTERM and SIGINT ring instead of killing the process.
    pub fn on_signals() -> io::Result<Stop> {
        let (bell, ringer) = UnixStream::pair()?;
        pipe::register(SIGTERM, ringer.try_clone()?)?;
        pipe::register(SIGINT, ringer)?;
        Ok(Stop { bell })
    }

    /// Whether it has rung.
    pub fn requested(&self) -> bool {
        poll::readable(&[self.as_fd()], Some(Duration::ZERO)).is_ok_and(|readable| readable[0])
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

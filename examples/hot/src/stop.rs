//! The wish to stop, as something that every thread can wait for beside its socket.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{self, PollFd, PollFlags, PollTimeout};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// Rings once and for all: a byte that nobody ever reads, so the descriptor stays readable and wakes every thread
/// that waits for it, now or later.
pub struct Stop {
    bell: UnixStream,
    ringer: UnixStream,
}

impl Stop {
    /// Rings when asked to.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Stop> {
        let (bell, ringer) = UnixStream::pair()?;
        Ok(Stop { bell, ringer })
    }

    /// Rings at SIGTERM and SIGINT, too, which from here on do not kill the process.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn on_signals() -> io::Result<Stop> {
        let stop = Stop::new()?;
        pipe::register(SIGTERM, stop.ringer.try_clone()?)?;
        pipe::register(SIGINT, stop.ringer.try_clone()?)?;
        Ok(stop)
    }

    /// From now on everybody knows.
    pub fn ring(&self) {
        // A bell that cannot take another byte rings already.
        let _ = (&self.ringer).write(&[0]);
    }

    /// Whether it has rung.
    pub fn requested(&self) -> bool {
        readable(&[self.as_fd()], Some(Duration::ZERO)).is_ok_and(|readable| readable[0])
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// Waits until at least one of `fds` can be read without blocking (its end and its errors count), or until
/// `timeout` is over; without one, for ever. Says for each whether it can.
///
/// # Errors
/// What poll(2) says.
pub fn readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
        PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)
    });
    loop {
        match poll::poll(&mut polled, timeout) {
            Ok(_) => break,
            // A signal: all of ours restart what they interrupt, except poll(2). To wait anew makes it longer, but
            // nobody here counts on the end of it.
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(polled
        .iter()
        .map(|fd| fd.revents().is_some_and(|events| !events.is_empty()))
        .collect())
}

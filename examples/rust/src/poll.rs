//! `poll(2)`, the one call that std does not have: waits for several descriptors at once.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Waits until at least one of `fds` can be read without blocking (its end and its errors count), or until
/// `timeout` is over; without one, for ever. Says for each whether it can.
pub fn readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let mut polled: Vec<libc::pollfd> = fds
        .iter()
        .map(|fd| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    loop {
        let millis = match until {
            None => -1,
            // Rounded up: to wake early would mean to ask again and again in the last millisecond.
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                left.as_micros()
                    .div_ceil(1000)
                    .try_into()
                    .unwrap_or(libc::c_int::MAX)
            }
        };
        // SAFETY: `polled` is an array of that many pollfd, and the borrows in `fds` keep the descriptors open.
        let count =
            unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, millis) };
        if count >= 0 {
            return Ok(polled.iter().map(|fd| fd.revents != 0).collect());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

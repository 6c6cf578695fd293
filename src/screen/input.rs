//! What is typed: a thread that reads the terminal, and stops reading while it belongs to somebody else.
//!
//! An editor or a pager in the foreground gets every key that is typed into it: the thread waits for the terminal and
//! for a bell at once, and reads only while it is to.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use ratatui::crossterm::event::{self, Event};

use crate::failpoint;

/// The reading thread, from outside.
pub(super) struct Input {
    bell: PipeWriter,
    orders: Sender<Order>,
    done: Receiver<()>,
}

enum Order {
    Pause,
    Resume,
}

impl Input {
    /// Starts to read, paused. `typed` gets what comes; false from it ends the thread.
    ///
    /// # Errors
    /// No descriptors or threads are left.
    pub(super) fn start(typed: impl Fn(Event) -> bool + Send + 'static) -> Result<Input> {
        let (listener, bell) = std::io::pipe().context("cannot make a pipe")?;
        let (orders, inbox) = channel();
        let (acknowledge, done) = channel();
        thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || read(listener, &inbox, &acknowledge, typed))
            .context("cannot start a thread")?;
        Ok(Input { bell, orders, done })
    }

    /// Nothing is read from here on.
    pub(super) fn pause(&mut self) {
        self.order(Order::Pause);
    }

    /// Reads again.
    pub(super) fn resume(&mut self) {
        self.order(Order::Resume);
    }

    /// Waits until the thread has heard it. It does nothing that takes long.
    fn order(&mut self, order: Order) {
        if self.orders.send(order).is_ok() && self.bell.write_all(&[0]).is_ok() {
            let _ = self.done.recv_timeout(LONGEST_ORDER);
        }
    }
}

fn read(
    mut listener: PipeReader,
    orders: &Receiver<Order>,
    done: &Sender<()>,
    typed: impl Fn(Event) -> bool,
) {
    // Whoever reads from the background is stopped by the kernel, unless the thread blocks that: then it is told.
    let mut stops = SigSet::empty();
    stops.add(Signal::SIGTTIN);
    let _ = stops.thread_block();
    let stdin = std::io::stdin();
    let mut reads = false;
    loop {
        let mut fds = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if reads {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(_) => return,
        }
        failpoint::pass();
        let rang = fds[0].any() == Some(true);
        let ready = fds.get(1).is_some_and(|fd| fd.any() == Some(true));
        // A terminal that was closed ends devwatch by its signal; there is nothing to read on it.
        let gone = fds.get(1).and_then(PollFd::revents).is_some_and(|events| {
            events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL)
        });
        if rang {
            let mut byte = [0];
            match listener.read(&mut byte) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
            match orders.try_recv() {
                Ok(Order::Pause) => reads = false,
                Ok(Order::Resume) => reads = true,
                Err(_) => return,
            }
            if done.send(()).is_err() {
                return;
            }
            continue;
        }
        if gone {
            reads = false;
        } else if ready && !take(&typed) {
            return;
        }
    }
}

/// Everything that has been typed so far.
///
/// crossterm looks at the terminal itself here, as its feature `use-dev-tty` has it: by default it is told of input once
/// (edge-triggered), and forgets it if the size changes in the same moment.
fn take(typed: &impl Fn(Event) -> bool) -> bool {
    while event::poll(SHORTEST_LOOK).unwrap_or(false) {
        match event::read() {
            Ok(event) => {
                if !typed(event) {
                    return false;
                }
            }
            Err(_) => return true,
        }
    }
    true
}

/// With less it does not look at all.
const SHORTEST_LOOK: Duration = Duration::from_millis(1);
/// The thread is between two keys at most.
const LONGEST_ORDER: Duration = Duration::from_secs(1);

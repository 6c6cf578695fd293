//! The terminal itself: taken, drawn on, and given back in whatever way devwatch ends.
//!
//! Raw mode and the alternate screen are on only between [`Terminal::enter`] and [`Terminal::leave`]. A panic in any
//! thread leaves first, then says what happened, then aborts: a devwatch that lost a thread must not go on drawing, and
//! the guardian cleans up behind it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::{getpgrp, tcgetpgrp};
use ratatui::backend::{Backend as _, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::Hide;
use ratatui::crossterm::event::{DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture};
use ratatui::crossterm::queue;
use ratatui::crossterm::terminal::{
    self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
};
use ratatui::layout::Rect;

use crate::terminal::LEAVE_SCREEN;

/// The terminal that devwatch was started in.
pub(super) struct Terminal {
    backend: CrosstermBackend<BufWriter<File>>,
    /// What is on it.
    shown: Buffer,
    /// Nobody knows what is on it.
    unknown: bool,
    mouse: bool,
}

/// Whether the screen is up: for whoever has to leave without asking its owner.
static UP: AtomicBool = AtomicBool::new(false);

impl Terminal {
    /// On stdout, which is one. Not taken yet.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(super) fn new(mouse: bool) -> io::Result<Terminal> {
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        // One write for a frame: what is half drawn is seen.
        let out = BufWriter::with_capacity(FRAME, out);
        Ok(Terminal {
            backend: CrosstermBackend::new(out),
            shown: Buffer::empty(Rect::ZERO),
            unknown: true,
            mouse,
        })
    }

    /// Takes the terminal, if it is ours: nobody draws from the background. Says whether it did.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn enter(&mut self) -> io::Result<bool> {
        if UP.load(Ordering::SeqCst) || !in_foreground() {
            return Ok(false);
        }
        // Whoever stopped us has put the terminal in order; crossterm may still believe that it is raw.
        terminal::disable_raw_mode()?;
        terminal::enable_raw_mode()?;
        UP.store(true, Ordering::SeqCst);
        self.backend.write_all(KEEP_TITLE)?;
        queue!(
            self.backend,
            EnterAlternateScreen,
            EnableBracketedPaste,
            Hide,
            Clear(ClearType::All)
        )?;
        if self.mouse {
            queue!(self.backend, EnableMouseCapture)?;
        }
        self.unknown = true;
        io::Write::flush(&mut self.backend)?;
        Ok(true)
    }

    /// Gives it back as it was found.
    pub(super) fn leave(&mut self) {
        leave();
    }

    /// It belongs to somebody else who has put it in order: a shell that stopped us without a word.
    pub(super) fn lost_to_another() {
        UP.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_up() -> bool {
        UP.load(Ordering::SeqCst)
    }

    /// Whether the terminal tells of the mouse.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn mouse(&mut self, on: bool) -> io::Result<()> {
        self.mouse = on;
        match on {
            true => queue!(self.backend, EnableMouseCapture)?,
            false => queue!(self.backend, DisableMouseCapture)?,
        }
        io::Write::flush(&mut self.backend)
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> Rect {
        let size = self.backend.size().unwrap_or_default();
        Rect::new(0, 0, size.width.min(MOST), size.height.min(MOST))
    }

    /// Whatever is on it, it is drawn anew.
    pub(super) fn forget(&mut self) {
        self.unknown = true;
    }

    /// Draws what differs from what is there, with the sequences for what is `around` it; nothing at all is written if
    /// nothing does.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn draw(&mut self, next: Buffer, around: &str) -> io::Result<()> {
        let anew = self.unknown || self.shown.area != next.area;
        if anew {
            self.shown = Buffer::empty(next.area);
        }
        let differs = self.shown.diff(&next);
        if !anew && differs.is_empty() && around.is_empty() {
            return Ok(());
        }
        queue!(self.backend, BeginSynchronizedUpdate)?;
        self.backend.write_all(around.as_bytes())?;
        if anew {
            queue!(self.backend, Clear(ClearType::All))?;
        }
        self.backend.draw(differs.into_iter())?;
        queue!(self.backend, EndSynchronizedUpdate)?;
        io::Write::flush(&mut self.backend)?;
        (self.shown, self.unknown) = (next, false);
        Ok(())
    }

    /// Writes a sequence that moves nothing.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn say(&mut self, sequence: &[u8]) -> io::Result<()> {
        self.backend.write_all(sequence)?;
        io::Write::flush(&mut self.backend)
    }
}

/// Gives the terminal back, whoever asks, once. What it was drawing may be cut off; what comes after it is not.
pub(super) fn leave() {
    if !UP.swap(false, Ordering::SeqCst) {
        return;
    }
    if in_foreground() {
        let _ = write_at_once(LEAVE_SCREEN.as_bytes());
    }
    let _ = terminal::disable_raw_mode();
}

/// A panic in any thread ends devwatch, with the terminal as it was found.
pub(super) fn leave_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        leave();
        before(panic);
        std::process::abort();
    }));
}

/// Without waiting for a terminal that takes nothing any more: then nothing helps.
fn write_at_once(sequence: &[u8]) -> io::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    let limit = PollTimeout::from(LEAVE_LIMIT);
    if poll(&mut fds, limit).is_ok_and(|ready| ready > 0) {
        out.write_all(sequence)?;
    }
    Ok(())
}

/// Whether this is the terminal's foreground job.
pub(super) fn in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

/// Puts the title on the terminal's stack, from which leaving takes it.
const KEEP_TITLE: &[u8] = b"\x1b[22;0t";
/// More than a frame of the largest terminal that people have.
const FRAME: usize = 1 << 20;
/// A terminal that claims to be larger is not drawn to its end.
const MOST: u16 = 1000;
/// Milliseconds that a terminal is given to take the sequences that put it in order.
const LEAVE_LIMIT: u8 = 200;

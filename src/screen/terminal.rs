//! The terminal itself: taken, drawn on, and given back in whatever way devwatch ends.
//!
//! Raw mode and the alternate screen are on only between [`Terminal::enter`] and [`Terminal::leave`]. A panic in any
//! thread leaves first, then says what happened, then aborts: a devwatch that lost a thread must not go on drawing, and
//! the guardian cleans up behind it.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::unistd::{getpgrp, tcgetpgrp};
use ratatui::backend::{Backend as _, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::Hide;
use ratatui::crossterm::event::{DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture};
use ratatui::crossterm::queue;
use ratatui::crossterm::style::force_color_output;
use ratatui::crossterm::terminal::{
    self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
};
use ratatui::layout::Rect;

use crate::process::ScreenNotice;
use crate::terminal::{LEAVE_SCREEN, lock_within, write_within};

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

/// The main screen is there again, as far as this process knows.
static LEFT: AtomicBool = AtomicBool::new(true);

/// devwatch ends: nobody takes the terminal again.
static OVER: AtomicBool = AtomicBool::new(false);

/// Whoever writes to the terminal holds it, so that nobody draws on a screen that somebody else has left.
static PEN: Mutex<()> = Mutex::new(());

/// For the guardian, from whoever has to leave without asking the screen.
static NOTICE: OnceLock<ScreenNotice> = OnceLock::new();

impl Terminal {
    /// On stdout, which is one. Not taken yet.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(super) fn new(mouse: bool) -> io::Result<Terminal> {
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        // One write for a frame: what is half drawn is seen.
        let out = BufWriter::with_capacity(FRAME, out);
        // Whether there are colours is decided once, for all of devwatch. What decides on its own here writes, with
        // NO_COLOR, an empty list of styles for each colour, which takes back bold and reversed text too.
        force_color_output(true);
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
        let _pen = pen();
        if !Terminal::may_enter() {
            return Ok(false);
        }
        // Whoever stopped us has put the terminal in order; crossterm may still believe that it is raw.
        terminal::disable_raw_mode()?;
        terminal::enable_raw_mode()?;
        UP.store(true, Ordering::SeqCst);
        LEFT.store(false, Ordering::SeqCst);
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

    /// Whether there is anything to take: it is ours, and devwatch does not have it.
    pub(super) fn may_enter() -> bool {
        let is_over = OVER.load(Ordering::SeqCst);
        !is_over && !UP.load(Ordering::SeqCst) && in_foreground()
    }

    /// Gives it back as it was found. Says whether it took that.
    pub(super) fn leave(&mut self) -> bool {
        leave()
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
        let _pen = pen();
        if !Terminal::is_up() {
            return Ok(());
        }
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
        let _pen = pen();
        if !Terminal::is_up() {
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
        let _pen = pen();
        if !Terminal::is_up() {
            return Ok(());
        }
        self.backend.write_all(sequence)?;
        io::Write::flush(&mut self.backend)
    }
}

/// Gives the terminal back, whoever asks, once. Says whether it took that: its main screen is there.
pub(super) fn leave() -> bool {
    let _pen = pen_soon();
    if UP.swap(false, Ordering::SeqCst) {
        // From the background nothing is to be given back, and the kernel would stop whoever tries.
        let left = !in_foreground() || {
            let left = write_within(io::stdout(), LEAVE_SCREEN.as_bytes(), LEAVE_LIMIT);
            let _ = terminal::disable_raw_mode();
            left
        };
        LEFT.store(left, Ordering::SeqCst);
    }
    LEFT.load(Ordering::SeqCst)
}

/// Gives the terminal back for good, and tells the guardian, which would leave the screen a second time: then the
/// cursor goes back to where it was when devwatch began, and the shell writes over what was said since.
pub(super) fn leave_for_good() -> bool {
    OVER.store(true, Ordering::SeqCst);
    let left = leave();
    if left {
        NOTICE.get().inspect(|notice| notice.try_tell(false));
    }
    left
}

/// Whom [`leave_for_good`] tells.
pub(super) fn tells(notice: &ScreenNotice) {
    let _ = NOTICE.set(notice.clone());
}

/// A panic in any thread ends devwatch, with the terminal as it was found.
pub(super) fn leave_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Nobody is kept by a terminal that would not take what there is to say.
        if leave_for_good() || !io::stderr().is_terminal() {
            before(panic);
        }
        std::process::abort();
    }));
}

fn pen() -> MutexGuard<'static, ()> {
    PEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unless whoever has it waits for the terminal, or has just panicked in this very thread.
fn pen_soon() -> Option<MutexGuard<'static, ()>> {
    lock_within(&PEN, LEAVE_LIMIT)
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
const LEAVE_LIMIT: u16 = 200;

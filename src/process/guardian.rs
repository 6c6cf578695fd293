//! The guardian: a second process of the same executable, in a session of its own, below which every build
//! and every server runs.
//!
//! It has one thread, so it may fork, and almost nothing in memory, so forking is cheap. It starts a keeper
//! for each job and does nothing else while devwatch lives. Its line to devwatch ends however devwatch ends,
//! `kill -9` included; then it puts the terminal back, kills everything below, and goes. The lock that it
//! holds is free when nothing of the old devwatch is left.

#![expect(
    clippy::disallowed_methods,
    reason = "the guardian is a process of its own and keeps its own time"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::termios::{
    ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, Termios, tcgetattr, tcsetattr,
};
use nix::unistd::{ForkResult, Pid, fork, write};

use super::keeper::{Duty, FORK_WAITS, keep};
use super::kernel::{become_subreaper, close_all_but, reopen, set_name};
use super::kill::{Killing, Reaped, poll_timeout, reap};
use super::notes::{self, Notes};
use super::tree;
use super::wire::{self, Answer, Modes, Request, Spawn};
use crate::terminal::LEAVE_SCREEN;

/// In place of a descriptor's number on the guardian's command line: there is none.
pub(super) const NONE: &str = "-";

/// How long the last word to a terminal is tried for, once everything else is done: somebody who has stopped it
/// with Ctrl-S may never read again, and the next devwatch waits for this one's lock.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Runs the guardian and ends the process. `devwatch __guardian LINE LOCK TERMINAL` calls it before anything
/// else; the arguments are numbers of inherited descriptors, or `-`.
pub fn guardian_main() -> ! {
    let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
    match Guard::take_up(&arguments).and_then(|mut guard| guard.run()) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("devwatch: the guardian cannot work: {error:#}");
            std::process::exit(1)
        }
    }
}

/// The switch of debug builds by which a test shows that without the guardian processes remain.
fn duty() -> Duty {
    if cfg!(debug_assertions) && std::env::var_os("DEVWATCH_TEST_NO_GUARDIAN").is_some() {
        Duty::LeaveAlone
    } else {
        Duty::Kill
    }
}

struct Guard {
    line: UnixStream,
    notes: Notes,
    duty: Duty,
    terminal: Option<OwnedFd>,
    /// How the terminal was before devwatch changed it.
    modes: Option<Modes>,
    /// devwatch's full screen is up.
    screen: bool,
    keepers: BTreeMap<Pid, u64>,
    waiting: Vec<Waiting>,
    /// Jobs whose keeper ended with a tree below it; that tree now hangs below the guardian.
    orphaned: Vec<u64>,
    killing: Killing,
}

/// A job whose keeper could not be forked yet: there are too many processes.
struct Waiting {
    spawn: Spawn,
    descriptors: Vec<OwnedFd>,
    attempts: usize,
    next: Instant,
}

impl Guard {
    fn take_up(arguments: &[OsString]) -> Result<Guard> {
        let [line, lock, terminal] = arguments else {
            bail!("wrong arguments; only devwatch starts it")
        };
        let (line, lock, terminal) = (descriptor(line)?, descriptor(lock)?, descriptor(terminal)?);
        let line = line.context("no line to devwatch")?;
        // Whatever else devwatch had inherited from its own parent is not the guardian's, nor its children's.
        let open: Vec<RawFd> = [0, 1, 2, line]
            .into_iter()
            .chain(lock)
            .chain(terminal)
            .collect();
        close_all_but(&open);
        for fd in [line].into_iter().chain(lock).chain(terminal) {
            // SAFETY: devwatch left these descriptors open for us; F_SETFD touches no memory.
            Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })
                .with_context(|| format!("descriptor {fd}"))?;
        }
        // The lock's descriptor is never owned by any value: it stays open until the process ends.
        // SAFETY: both are open (just checked) and nothing else in this process owns them.
        let (line, terminal) = unsafe {
            (
                OwnedFd::from_raw_fd(line),
                terminal.map(|fd| OwnedFd::from_raw_fd(fd)),
            )
        };
        set_name(c"dw-guard");
        become_subreaper().context("cannot become a subreaper")?;
        // Not in the project's folder: it may be deleted or unmounted.
        let _ = std::env::set_current_dir("/");
        Ok(Guard {
            line: UnixStream::from(line),
            notes: Notes::take_over().context("cannot take over the signals")?,
            duty: duty(),
            terminal,
            modes: None,
            screen: false,
            keepers: BTreeMap::new(),
            waiting: Vec::new(),
            orphaned: Vec::new(),
            killing: Killing::begin(),
        })
    }

    fn run(&mut self) -> Result<Infallible> {
        loop {
            let line_speaks = self.wait();
            // They say that something happened; from whom and what is of no interest here.
            self.notes.take();
            if line_speaks {
                match wire::receive(&self.line) {
                    Ok(Some((frame, descriptors))) => match Request::decode(&frame) {
                        Some(request) => self.obey(request, descriptors),
                        None => self.clean_up(),
                    },
                    // In the middle of a frame or between two: devwatch is gone.
                    Ok(None) | Err(_) => self.clean_up(),
                }
            }
            self.reap_all();
            self.retry();
            self.kill_orphans();
        }
    }

    /// Sleeps until there is something to do. Says whether devwatch has spoken, or gone.
    fn wait(&self) -> bool {
        let mut sources = [
            PollFd::new(self.line.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.notes.as_fd(), PollFlags::POLLIN),
        ];
        let now = Instant::now();
        let retries = self
            .waiting
            .iter()
            .map(|waiting| waiting.next.saturating_duration_since(now));
        let kill = (!self.orphaned.is_empty()).then(|| self.killing.due_in());
        let timeout = retries.chain(kill).min();
        let _ = poll(&mut sources, poll_timeout(timeout));
        sources[0].any() == Some(true)
    }

    fn obey(&mut self, request: Request, descriptors: Vec<OwnedFd>) {
        match request {
            Request::Hello(modes) => self.modes = modes,
            Request::Screen(up) => self.screen = up,
            Request::Spawn(spawn) => self.start(spawn, descriptors, 0),
        }
    }

    fn start(&mut self, spawn: Spawn, mut descriptors: Vec<OwnedFd>, attempts: usize) {
        let job = spawn.job;
        let before = notes::block();
        // SAFETY: this process has one thread, so the child is a whole process.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                if descriptors.is_empty() {
                    std::process::abort();
                }
                let line = UnixStream::from(descriptors.remove(0));
                keep(line, spawn, descriptors, self.duty)
            }
            Ok(ForkResult::Parent { child }) => {
                self.keepers.insert(child, job);
            }
            Err(errno) => match FORK_WAITS.get(attempts).filter(|_| errno == Errno::EAGAIN) {
                Some(&wait) => {
                    let next = Instant::now() + wait;
                    self.waiting.push(Waiting {
                        spawn,
                        descriptors,
                        attempts: attempts + 1,
                        next,
                    });
                }
                None => self.answer(Answer::NotKept {
                    job,
                    errno: errno as i32,
                }),
            },
        }
        let _ = before.thread_set_mask();
    }

    /// Tries again what failed for want of processes.
    fn retry(&mut self) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|w| w.next <= now);
        self.waiting = later;
        let due: Vec<Waiting> = due;
        for waiting in due {
            self.start(waiting.spawn, waiting.descriptors, waiting.attempts);
        }
    }

    fn reap_all(&mut self) {
        while let Reaped::Child(pid, status) = reap() {
            let Some(job) = self.keepers.remove(&pid) else {
                continue;
            };
            if status == 0 {
                // It left because nothing was below it any more.
                self.answer(Answer::KeeperGone { job });
            } else {
                self.orphaned.push(job);
                self.killing = Killing::begin();
            }
        }
    }

    /// Kills what a dead keeper has left: every child that is no keeper, and what hangs below it.
    fn kill_orphans(&mut self) {
        if self.orphaned.is_empty() {
            return;
        }
        let keepers: Vec<Pid> = self.keepers.keys().copied().collect();
        // None found is exact: nothing below the guardian disappears from the table before it reaps.
        if self.killing.round(Pid::this(), &keepers) == Some(0) || self.killing.is_hopeless() {
            for job in std::mem::take(&mut self.orphaned) {
                self.answer(Answer::KeeperGone { job });
            }
        }
    }

    fn answer(&self, answer: Answer) {
        // If devwatch is gone, the next read says so.
        let _ = wire::send(&self.line, &answer.encode(), &[]);
    }

    /// devwatch is gone: so goes everything that it started, and then the guardian.
    fn clean_up(&mut self) -> ! {
        if self.duty == Duty::Kill {
            // First, as the shell is about to show its prompt. Whatever devwatch had written is in the terminal by
            // now, and what is still to be killed has no way to write to it.
            self.restore_terminal();
            let mut last_word = self.last_word();
            last_word.iter_mut().for_each(LastWord::say);
            let mut killing = Killing::begin();
            loop {
                match reap() {
                    Reaped::Child(..) => {}
                    Reaped::NoChildren => break,
                    Reaped::NoneYet => {
                        killing.round(Pid::this(), &[]);
                        if killing.is_hopeless() {
                            break;
                        }
                        let mut sources = [PollFd::new(self.notes.as_fd(), PollFlags::POLLIN)];
                        let _ = poll(&mut sources, poll_timeout(Some(killing.due_in())));
                        self.notes.take();
                    }
                }
            }
            if let Some(last_word) = last_word {
                self.insist(last_word);
            }
        }
        std::process::exit(0)
    }

    fn restore_terminal(&self) {
        let (Some(terminal), Some(modes)) = (&self.terminal, &self.modes) else {
            return;
        };
        // The shell that started devwatch takes the terminal back as soon as it sees it dead, sets it up for
        // its own line editing, and must not be disturbed in that. Without /proc, or if the shell has gone
        // too, nobody else does it.
        let foreground = tree::process(Pid::from_raw(modes.session)).map(|shell| shell.foreground);
        if foreground.is_none_or(|group| group == modes.group) {
            let _ = put_back(terminal, modes);
        }
    }
}

impl Guard {
    /// Where the full screen is up: to be left.
    fn last_word(&self) -> Option<LastWord> {
        let terminal = self.terminal.as_ref().filter(|_| self.screen)?;
        // What belongs to another user (su) cannot be opened again. It is shared with the shell, which must not find
        // that writes do not wait for it; that there is room for a word is asked in any case.
        let terminal = reopen(terminal.as_fd()).or_else(|_| terminal.try_clone());
        let terminal = terminal.ok().filter(|_| self.may_leave_screen())?;
        Some(LastWord {
            terminal,
            rest: LEAVE_SCREEN.as_bytes(),
        })
    }

    /// Whether whoever has the terminal by now expects its main screen, which no shell restores: unlike its settings.
    /// A job that was started in the moment of devwatch's end may have a screen of its own.
    fn may_leave_screen(&self) -> bool {
        let Some(modes) = &self.modes else {
            return false;
        };
        let leader = tree::process(Pid::from_raw(modes.session));
        leader.is_none_or(|leader| {
            let group = leader.foreground;
            let is_known = group == modes.group || modes.ancestors.contains(&group);
            is_known || (group > 0 && !tree::group_lives(Pid::from_raw(group)))
        })
    }

    /// A terminal that is slow to read gets some time.
    fn insist(&self, mut last_word: LastWord) {
        let deadline = Instant::now() + LAST_WORD;
        while !last_word.rest.is_empty() && Instant::now() < deadline && self.may_leave_screen() {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut sources = [PollFd::new(last_word.terminal.as_fd(), PollFlags::POLLOUT)];
            let _ = poll(&mut sources, poll_timeout(Some(left)));
            last_word.say();
        }
    }
}

/// What is still to be written to a terminal that nobody may be reading.
struct LastWord {
    terminal: OwnedFd,
    rest: &'static [u8],
}

impl LastWord {
    /// Writes as much as there is room for.
    fn say(&mut self) {
        let mut sources = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLOUT)];
        let has_room = matches!(
            poll(&mut sources, poll_timeout(Some(Duration::ZERO))),
            Ok(1..)
        );
        if !has_room {
            return;
        }
        match write(&self.terminal, self.rest) {
            Ok(written) => self.rest = &self.rest[written..],
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The terminal has gone.
            Err(_) => self.rest = &[],
        }
    }
}

/// Reads a terminal's settings as they are now.
pub(super) fn modes_of(terminal: &OwnedFd) -> Result<Modes, Errno> {
    let now = tcgetattr(terminal)?;
    Ok(Modes {
        session: nix::unistd::getsid(None)?.as_raw(),
        group: nix::unistd::getpgrp().as_raw(),
        ancestors: tree::ancestor_groups(),
        flags: [
            now.input_flags.bits().into(),
            now.output_flags.bits().into(),
            now.control_flags.bits().into(),
            now.local_flags.bits().into(),
        ],
        control_chars: now.control_chars.to_vec(),
    })
}

fn put_back(terminal: &OwnedFd, modes: &Modes) -> Result<(), Errno> {
    // What is not kept (speeds) stays as it is.
    let mut now: Termios = tcgetattr(terminal)?;
    let [input, output, control, local] = modes.flags.map(|flags| flags as libc::tcflag_t);
    now.input_flags = InputFlags::from_bits_retain(input);
    now.output_flags = OutputFlags::from_bits_retain(output);
    now.control_flags = ControlFlags::from_bits_retain(control);
    now.local_flags = LocalFlags::from_bits_retain(local);
    for (place, &char) in now.control_chars.iter_mut().zip(&modes.control_chars) {
        *place = char;
    }
    // At once: waiting for output to drain could last for ever on a terminal that is stopped (Ctrl-S).
    tcsetattr(terminal, SetArg::TCSANOW, &now)
}

fn descriptor(argument: &OsString) -> Result<Option<RawFd>> {
    let text = argument
        .to_str()
        .context("a descriptor's number is not text")?;
    if text == NONE {
        return Ok(None);
    }
    Ok(Some(
        text.parse()
            .with_context(|| format!("descriptor {text:?}"))?,
    ))
}

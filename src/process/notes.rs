//! Signals as something to read: who sent what, in the guardian and in keepers.
//!
//! Jobs signal their parent (a hot-restart server tells its predecessor that it is ready), and the parent is
//! a keeper. So every signal that could end the process is caught; the handler writes it into a pipe, and the
//! loop reads it there. Not signalfd: that needs blocked signals, and is Linux only.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow};

/// Where the handler writes. Per process: a keeper gets its own after the fork, lest it write to the guardian.
static WRITE_END: AtomicI32 = AtomicI32::new(-1);

/// One signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub signal: i32,
    /// Who sent it; 0 if the kernel did.
    pub by: i32,
}

/// The pipe's end to read from.
pub(super) struct Notes(PipeReader);

/// Bytes of a [`Note`] in the pipe: far less than PIPE_BUF, so they are never mixed.
const NOTE: usize = 8;

/// These tell of an error in this very process; a handler that returned would run into it again for ever.
const OWN_FAULTS: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
];

/// A stopped keeper could not kill; a write to a dead line is noticed where it happens.
const IGNORED: [i32; 4] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGPIPE];

/// Harmless by default.
const LEFT_ALONE: [i32; 5] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCONT,
    libc::SIGWINCH,
    libc::SIGURG,
];

impl Notes {
    /// Catches or ignores every signal of this process that could stop or end it, and lets them all through.
    pub(super) fn take_over() -> io::Result<Notes> {
        let (read, write) = io::pipe()?;
        for end in [read.as_fd(), write.as_fd()] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        // Never closed: a handler may run at any moment until the process ends.
        WRITE_END.store(write.into_raw_fd(), Ordering::Relaxed);
        for signal in
            (1..=last_signal()).filter(|s| !OWN_FAULTS.contains(s) && !LEFT_ALONE.contains(s))
        {
            let action = if IGNORED.contains(&signal) {
                libc::SIG_IGN
            } else {
                note as *const () as usize
            };
            set_action(signal, action);
        }
        SigSet::empty().thread_set_mask()?;
        Ok(Notes(read))
    }

    /// What came since the last call.
    pub(super) fn take(&mut self) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut bytes = [0; 64 * NOTE];
        // An error is EAGAIN: nothing more at the moment.
        while let Ok(got) = self.0.read(&mut bytes) {
            for note in bytes[..got].chunks_exact(NOTE) {
                let (signal, by) = note.split_at(4);
                let number = |part: &[u8]| part.try_into().map(i32::from_ne_bytes);
                if let (Ok(signal), Ok(by)) = (number(signal), number(by)) {
                    notes.push(Note { signal, by });
                }
            }
            if got < bytes.len() {
                break;
            }
        }
        notes
    }
}

impl AsFd for Notes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Blocks every signal and returns what was blocked before: around a fork, so that no handler of the parent
/// runs in the child.
pub(super) fn block() -> SigSet {
    SigSet::all()
        .thread_swap_mask(SigmaskHow::SIG_SETMASK)
        .unwrap_or_else(|_| SigSet::empty())
}

/// The default for every signal, and none blocked: what a program may expect when it starts, whatever was
/// set before. Async-signal-safe. `last` is [`last_signal`], asked before the fork.
pub(super) fn reset(last: i32) -> Result<(), Errno> {
    for signal in 1..=last {
        set_default(signal);
    }
    SigSet::empty().thread_set_mask()
}

/// Around the C library, which keeps 32 and 33 for itself and refuses to touch them, although they can be
/// inherited as ignored like any other.
#[cfg(target_os = "linux")]
fn set_default(signal: i32) {
    // SIG_DFL, no flags, no restorer and an empty mask are all zero, in whatever order the kernel has them.
    let all_default = [0u64; 8];
    // SAFETY: `all_default` is longer than the kernel's sigaction, of whose mask 8 bytes are the size that
    // the kernel asks for; where it asks for another, the call fails and changes nothing.
    unsafe {
        let action = all_default.as_ptr();
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            action,
            std::ptr::null_mut::<u64>(),
            8,
        )
    };
}

#[cfg(not(target_os = "linux"))]
fn set_default(signal: i32) {
    set_action(signal, libc::SIG_DFL);
}

/// The highest signal number.
pub(super) fn last_signal() -> i32 {
    #[cfg(target_os = "linux")]
    return libc::SIGRTMAX();
    #[cfg(not(target_os = "linux"))]
    return 31;
}

/// Without effect for SIGKILL, SIGSTOP and the two that the C library keeps for itself.
fn set_action(signal: i32, action: usize) {
    // SAFETY: all zeroes is a valid sigaction: no flags, nothing blocked meanwhile.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    new.sa_sigaction = action;
    new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: `new` is complete, and `note`, if that is the action, only does what a handler may.
    unsafe { libc::sigaction(signal, &new, std::ptr::null_mut()) };
}

extern "C" fn note(signal: i32, info: *const libc::siginfo_t, _context: *const libc::c_void) {
    let errno = Errno::last_raw();
    // SAFETY: the kernel passes a valid siginfo with SA_SIGINFO. The sender's pid is in it when a process sent
    // the signal (si_code is not positive on Linux) or is the child that a SIGCHLD is about.
    let by = unsafe {
        if (*info).si_code <= 0 || !cfg!(target_os = "linux") {
            (*info).si_pid()
        } else {
            0
        }
    };
    let mut bytes = [0; NOTE];
    bytes[..4].copy_from_slice(&signal.to_ne_bytes());
    bytes[4..].copy_from_slice(&by.to_ne_bytes());
    // SAFETY: write(2) is async-signal-safe and `bytes` is valid. If the pipe is full, it has enough to wake
    // the loop; one more hint is not missed.
    unsafe {
        libc::write(
            WRITE_END.load(Ordering::Relaxed),
            bytes.as_ptr().cast(),
            NOTE,
        )
    };
    Errno::set_raw(errno);
}

//! Kills what hangs below a process until nothing does, and reaps.
//!
//! Groups, sessions, environments and parents that are gone do not matter: whoever started below a subreaper
//! is still below it. One look at the process table misses what forks meanwhile, so it is repeated; a forking
//! adversary 20 processes wide was gone after two to five rounds.

#![expect(
    clippy::disallowed_methods,
    reason = "guardian and keepers are processes of their own and keep their own time"
)]

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::unistd::Pid;

use super::kernel::signal_exactly;
use super::tree::{Process, below, processes};

/// First wait between two rounds. It doubles up to [`SLOWEST`].
const FIRST: Duration = Duration::from_millis(2);

/// A process that survives many rounds hangs in the kernel (NFS, a debugger): looking more often does not help.
const SLOWEST: Duration = Duration::from_millis(100);

/// How long devwatch's helpers stay for a process that has been killed but does not die: the signal is
/// pending and will do its work without them.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long they stay if all that is left belongs to another user (sudo) and cannot be killed at all.
const PATIENCE_WITH_STRANGERS: Duration = Duration::from_secs(1);

/// So many rounds must find nobody before all but the one that is kept counts as killed: a parent that ends
/// while the table is read hides its children from one round.
const EMPTY_ROUNDS: u32 = 3;

/// A kill under way.
pub(super) struct Killing {
    /// Stays alive, and what is below it.
    keep: Option<Process>,
    empty_rounds: u32,
    began: Instant,
    next: Instant,
    pause: Duration,
    /// Whether the last round found only processes that refused.
    only_strangers: bool,
}

impl Killing {
    /// The first round is due at once.
    pub(super) fn begin() -> Killing {
        let now = Instant::now();
        Killing {
            keep: None,
            empty_rounds: 0,
            began: now,
            next: now,
            pause: FIRST,
            only_strangers: false,
        }
    }

    /// The same, but `keep` stays, and what hangs below it.
    pub(super) fn begin_except(keep: Process) -> Killing {
        Killing {
            keep: Some(keep),
            ..Killing::begin()
        }
    }

    /// Whether somebody is kept.
    pub(super) fn keeps(&self) -> bool {
        self.keep.is_some()
    }

    /// Whether all but the one that is kept are gone. Without one that is for the reaping to say.
    pub(super) fn is_done(&self) -> bool {
        self.keeps() && self.empty_rounds >= EMPTY_ROUNDS
    }

    /// How long until the next round is due.
    pub(super) fn due_in(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// If a round is due: SIGKILL for everything below `root`, except the children in `spared` and what hangs
    /// below them. Returns how many processes were found, dead but unreaped ones included; nothing if no
    /// round was due.
    pub(super) fn round(&mut self, root: Pid, spared: &[Pid]) -> Option<usize> {
        if !self.due_in().is_zero() {
            return None;
        }
        let victims = self.victims(root, spared);
        self.empty_rounds = if victims.is_empty() {
            self.empty_rounds + 1
        } else {
            0
        };
        let mut refused = 0;
        // From the top down: whoever restarts its children goes before them.
        for victim in &victims {
            refused += usize::from(signal_exactly(victim, libc::SIGKILL) == Err(Errno::EPERM));
        }
        self.only_strangers = refused == victims.len();
        self.next = Instant::now() + self.pause;
        // Only somebody who does not die makes it slower: to find that it is done should take no time.
        self.pause = if self.keeps() && victims.is_empty() {
            FIRST
        } else {
            (self.pause * 2).min(SLOWEST)
        };
        Some(victims.len())
    }

    fn victims(&self, root: Pid, spared: &[Pid]) -> Vec<Process> {
        let table = processes();
        let mut victims = below(&table, root, spared);
        if let Some(keep) = self.keep
            && table
                .iter()
                .any(|process| (process.pid, process.start) == (keep.pid, keep.start))
        {
            let kept = below(&table, keep.pid, &[]);
            victims.retain(|victim| {
                victim.pid != keep.pid && !kept.iter().any(|kept| kept.pid == victim.pid)
            });
        }
        victims
    }

    /// Whether waiting any longer is of no use to anybody.
    pub(super) fn is_hopeless(&self) -> bool {
        let patience = if self.only_strangers {
            PATIENCE_WITH_STRANGERS
        } else {
            PATIENCE
        };
        self.began.elapsed() > patience
    }
}

/// What waiting for any child found.
pub(super) enum Reaped {
    /// A child had ended, with this wait status.
    Child(Pid, i32),
    /// There are children, but none has ended.
    NoneYet,
    /// There is no child: below a subreaper that means nothing is left, exactly.
    NoChildren,
}

/// Reaps one child, without waiting. Not nix's `waitpid`: it loses a child that a real-time signal killed.
pub(super) fn reap() -> Reaped {
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid to write to.
        let reaped = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
        match Errno::result(reaped) {
            Ok(0) => return Reaped::NoneYet,
            Ok(pid) => return Reaped::Child(Pid::from_raw(pid), status),
            Err(Errno::EINTR) => {}
            // ECHILD is the only other error there is.
            Err(_) => return Reaped::NoChildren,
        }
    }
}

/// In devwatch, which adopts what a killed guardian leaves: kills and reaps all of it.
///
/// Theirs are other sessions than ours, since the guardian has one of its own, a process can only leave a
/// session by starting one, and nobody can join ours. So children that devwatch has by other ways stay alone.
pub(super) fn kill_adopted() {
    let me = Pid::this();
    let Ok(session) = nix::unistd::getsid(None) else {
        return;
    };
    let mut killing = Killing::begin();
    while !killing.is_hopeless() {
        let guardians = super::guardians();
        let children = processes()
            .into_iter()
            .filter(|process| process.parent == me);
        let (adopted, spared): (Vec<_>, Vec<_>) =
            children.partition(|child| child.session != session && !guardians.contains(&child.pid));
        // None found is exact: nobody else reaps them, so none disappears from the table during the look.
        if adopted.is_empty() {
            return;
        }
        let spared: Vec<Pid> = spared.iter().map(|child| child.pid).collect();
        killing.round(me, &spared);
        drop(guardians);
        for child in adopted {
            // By number, not any child: the status of others is not ours to take.
            // SAFETY: no status is asked for.
            unsafe { libc::waitpid(child.pid.as_raw(), std::ptr::null_mut(), libc::WNOHANG) };
        }
        let _ = nix::poll::poll(&mut [], poll_timeout(Some(killing.due_in())));
    }
}

/// A wait of at most `time`, for poll(2); for ever without. Rounded up, so that no loop spins.
pub(super) fn poll_timeout(time: Option<Duration>) -> PollTimeout {
    let Some(time) = time else {
        return PollTimeout::NONE;
    };
    let millis = time.as_micros().div_ceil(1000);
    PollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))
}

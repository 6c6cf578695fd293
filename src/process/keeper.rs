//! One keeper per job: the parent of its main process, and the subreaper below which everything else that
//! the job starts remains, double-forked daemons included.
//!
//! It is a fork of the guardian without an exec: one thread and nothing but its line to devwatch. It reports
//! exits and signals, carries out orders, and decides nothing, except that the end of the line means that
//! devwatch is gone, and so must everything below.

use std::collections::BTreeSet;
use std::io::{PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::Pid;

use super::kernel::{
    become_subreaper, close_all_but, pidfd_of, set_name, signal_by_number, signal_exactly,
    status_of_reaped,
};
use super::kill::{Killing, Reaped, poll_timeout, reap};
use super::notes::Notes;
use super::spawn::{Program, errno_of, failure};
use super::tree::{Process, below, has_ended, process_below, processes, status_of_unreaped};
use super::wire::{Kept, MESSAGE, Order, Spawn, Stage};

/// After these a stopped process must not be continued: they mean stop, or continue by themselves.
const WITHOUT_CONT: [i32; 6] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Waits between attempts to fork when there are too many processes; about 1 s in all.
pub(super) const FORK_WAITS: [Duration; 7] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
    Duration::from_millis(320),
    Duration::from_millis(370),
];

/// How often a followed process is looked at where the kernel has no pidfd.
const LOOK: Duration = Duration::from_millis(20);

/// Whether guardian and keepers kill when devwatch is gone. Always, except that the tests of a debug build can
/// show that without it processes do remain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    Kill,
    LeaveAlone,
}

/// Runs as the keeper of one job, in a freshly forked child of the guardian, with all signals blocked.
pub(super) fn keep(line: UnixStream, spawn: Spawn, descriptors: Vec<OwnedFd>, duty: Duty) -> ! {
    let mut open = vec![0, 1, 2, line.as_raw_fd()];
    open.extend(descriptors.iter().map(AsRawFd::as_raw_fd));
    // The guardian's line, lock and terminal are not ours to hold: while they are open, they count as in use.
    close_all_but(&open);
    set_name(c"dw-keeper");
    let ready = become_subreaper().and_then(|()| Notes::take_over().map_err(errno_of));
    let notes = match ready {
        Ok(notes) => notes,
        Err(errno) => leave(
            &line,
            Kept::Failed {
                stage: Stage::Setup,
                errno: errno as i32,
            },
        ),
    };
    let mut keeper = Keeper {
        line,
        notes,
        duty,
        devwatch_is_gone: false,
        starting: None,
        main: None,
        killing: None,
        followed: Vec::new(),
    };
    keeper.start(spawn, descriptors);
    keeper.run()
}

struct Keeper {
    line: UnixStream,
    notes: Notes,
    duty: Duty,
    devwatch_is_gone: bool,
    /// Until the main process executes its program: where it says so.
    starting: Option<PipeReader>,
    /// Until it is reaped: its number means nobody else so long.
    main: Option<Pid>,
    killing: Option<Killing>,
    followed: Vec<Followed>,
}

/// A process whose end devwatch wants to know of: a server that another one has started to succeed it.
struct Followed {
    process: Process,
    pidfd: Option<OwnedFd>,
}

impl Keeper {
    fn start(&mut self, spawn: Spawn, descriptors: Vec<OwnedFd>) {
        let mut program = match Program::new(spawn, descriptors) {
            Ok(program) => program,
            Err(error) => self.fail(Stage::Setup, errno_of(error)),
        };
        let mut waits = FORK_WAITS.iter();
        loop {
            match program.launch() {
                Ok((pid, result)) => {
                    (self.main, self.starting) = (Some(pid), Some(result));
                    // `program` ends here, and with it the keeper's copies of pipes and sockets: it must not
                    // keep a port in use, nor a pipe open.
                    return;
                }
                Err(Errno::EAGAIN) => match waits.next() {
                    // Any order, and the end of the line, call the attempt off.
                    Some(&wait) if !self.line_speaks_within(wait) => {}
                    _ => self.fail(Stage::Fork, Errno::EAGAIN),
                },
                Err(errno) => self.fail(Stage::Fork, errno),
            }
        }
    }

    fn run(&mut self) -> ! {
        loop {
            self.wait();
            self.hear_starting();
            for note in self.notes.take() {
                if note.signal != libc::SIGCHLD && note.by > 0 {
                    self.mention(Kept::Signalled {
                        signal: note.signal,
                        by: note.by,
                    });
                }
            }
            self.obey();
            if self.devwatch_is_gone && self.duty == Duty::LeaveAlone {
                leave_silently();
            }
            // Before the reaping: whoever has ended by now and is not reaped there has another parent.
            let over = self.over();
            self.reap_all();
            for process in over {
                self.ended(process.pid, None);
            }
            if let Some(killing) = &mut self.killing {
                killing.round(Pid::this(), &[]);
                if killing.is_done() {
                    self.killing = None;
                } else if self.devwatch_is_gone && killing.is_hopeless() {
                    leave_silently();
                }
            }
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self) {
        let mut sources = vec![PollFd::new(self.notes.as_fd(), PollFlags::POLLIN)];
        if !self.devwatch_is_gone {
            sources.push(PollFd::new(self.line.as_fd(), PollFlags::POLLIN));
        }
        if let Some(starting) = &self.starting {
            sources.push(PollFd::new(starting.as_fd(), PollFlags::POLLIN));
        }
        let pidfds = self
            .followed
            .iter()
            .filter_map(|followed| followed.pidfd.as_ref());
        sources.extend(pidfds.map(|pidfd| PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)));
        let blind = self
            .followed
            .iter()
            .any(|followed| followed.pidfd.is_none());
        let due = self.killing.as_ref().map(Killing::due_in);
        let timeout = due.into_iter().chain(blind.then_some(LOOK)).min();
        // An interruption is a signal, and the signal is in the notes.
        let _ = poll(&mut sources, poll_timeout(timeout));
    }

    fn line_speaks_within(&self, time: Duration) -> bool {
        let mut sources = [PollFd::new(self.line.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut sources, poll_timeout(Some(time))), Ok(1..))
    }

    /// Looks whether the main process has executed its program or failed to.
    fn hear_starting(&mut self) {
        if let Some(starting) = &self.starting {
            let mut sources = [PollFd::new(starting.as_fd(), PollFlags::POLLIN)];
            if matches!(
                poll(&mut sources, poll_timeout(Some(Duration::ZERO))),
                Ok(1..)
            ) {
                self.conclude_start();
            }
        }
    }

    /// Reads whether it has, waiting for it if need be.
    fn conclude_start(&mut self) {
        let (Some(result), Some(main)) = (self.starting.take(), self.main) else {
            return;
        };
        match failure(result) {
            Some((stage, errno)) => {
                let _ = nix::sys::wait::waitpid(main, None);
                self.fail(stage, Errno::from_raw(errno));
            }
            None => self.report(Kept::Spawned {
                pid: main.as_raw(),
                keeper: Pid::this().as_raw(),
            }),
        }
    }

    /// Carries out what devwatch has ordered, or notices that it is gone.
    fn obey(&mut self) {
        loop {
            let mut sources = [PollFd::new(self.line.as_fd(), PollFlags::POLLIN)];
            let waiting = matches!(
                poll(&mut sources, poll_timeout(Some(Duration::ZERO))),
                Ok(1..)
            );
            if self.devwatch_is_gone || !waiting {
                return;
            }
            let mut message = [0; MESSAGE];
            let order = self
                .line
                .read_exact(&mut message)
                .ok()
                .and_then(|()| Order::decode(message));
            match order {
                Some(Order::Signal {
                    signal,
                    tree: false,
                }) => {
                    if let Some(main) = self.main {
                        send(signal, |signal| signal_by_number(main, signal));
                    }
                }
                Some(Order::Signal { signal, tree: true }) => signal_tree(signal),
                Some(Order::KillTree) => self.kill(),
                Some(Order::Process { pid, signal }) => {
                    if let Some(process) = process_below(Pid::this(), Pid::from_raw(pid)) {
                        send(signal, |signal| signal_exactly(&process, signal));
                    }
                }
                Some(Order::Follow { pid }) => self.follow(Pid::from_raw(pid)),
                Some(Order::KillExcept { keep }) => self.kill_except(Pid::from_raw(keep)),
                None => {
                    self.devwatch_is_gone = true;
                    self.kill();
                }
            }
        }
    }

    fn kill(&mut self) {
        // Anew even if one is under way: its pace has slowed down, and whoever asks again wants it now.
        self.killing = Some(Killing::begin());
        if !cfg!(target_os = "linux")
            && let Some(main) = self.main
        {
            // Where the tree cannot be seen, the job's own group is what can be reached.
            let _ = nix::sys::signal::killpg(main, nix::sys::signal::Signal::SIGKILL);
        }
    }

    fn kill_except(&mut self, keep: Pid) {
        // Whoever has asked for everything to be killed does not want this one back.
        if self
            .killing
            .as_ref()
            .is_some_and(|killing| !killing.keeps())
        {
            return;
        }
        match process_below(Pid::this(), keep) {
            Some(keep) => self.killing = Some(Killing::begin_except(keep)),
            // It is gone: everything is something else.
            None if cfg!(target_os = "linux") => self.kill(),
            // Where the tree cannot be seen, nobody can be told from anybody.
            None => {}
        }
    }

    fn follow(&mut self, pid: Pid) {
        let found = process_below(Pid::this(), pid)
            .and_then(|process| Some((process, pidfd_of(&process).ok()?)));
        match found {
            Some((process, pidfd)) => self.followed.push(Followed { process, pidfd }),
            None => self.report(Kept::Ended {
                pid: pid.as_raw(),
                status: None,
            }),
        }
    }

    /// The followed processes that have ended.
    fn over(&self) -> Vec<Process> {
        let over = |followed: &&Followed| match &followed.pidfd {
            Some(pidfd) => {
                let mut sources = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
                matches!(
                    poll(&mut sources, poll_timeout(Some(Duration::ZERO))),
                    Ok(1..)
                )
            }
            None => has_ended(&followed.process),
        };
        let over = self.followed.iter().filter(over);
        over.map(|followed| followed.process).collect()
    }

    /// Tells of the end of a process if it is followed. Without a `status` it was no child of ours.
    fn ended(&mut self, pid: Pid, status: Option<i32>) {
        let followed = self
            .followed
            .iter()
            .position(|followed| followed.process.pid == pid);
        let Some(at) = followed else { return };
        let Followed { process, pidfd } = self.followed.swap_remove(at);
        let status = status
            .or_else(|| status_of_unreaped(&process))
            .or_else(|| status_of_reaped(pidfd.as_ref()?));
        self.report(Kept::Ended {
            pid: pid.as_raw(),
            status,
        });
    }

    fn reap_all(&mut self) {
        loop {
            match reap() {
                Reaped::Child(pid, status) if Some(pid) == self.main => {
                    self.conclude_start();
                    self.main = None;
                    self.report(Kept::Exited { status });
                    self.ended(pid, Some(status));
                }
                Reaped::Child(pid, status) => self.ended(pid, Some(status)),
                Reaped::NoneYet => return,
                Reaped::NoChildren => {
                    while let Some(followed) = self.followed.first() {
                        self.ended(followed.process.pid, None);
                    }
                    leave(&self.line, Kept::Empty)
                }
            }
        }
    }

    /// Tells devwatch. Waits if devwatch is stopped and the line full: exits must not get lost.
    fn report(&mut self, kept: Kept) {
        if !self.devwatch_is_gone {
            // A broken line is noticed where it is read.
            let _ = self.line.write_all(&kept.encode());
        }
    }

    /// Tells devwatch unless the line is full: a storm of signals must not stop the reaping.
    fn mention(&mut self, kept: Kept) {
        let mut sources = [PollFd::new(self.line.as_fd(), PollFlags::POLLOUT)];
        if matches!(
            poll(&mut sources, poll_timeout(Some(Duration::ZERO))),
            Ok(1..)
        ) {
            self.report(kept);
        }
    }

    fn fail(&mut self, stage: Stage, errno: Errno) -> ! {
        leave(
            &self.line,
            Kept::Failed {
                stage,
                errno: errno as i32,
            },
        )
    }
}

/// Sends `signal` and, if it asks a process to act, lets a stopped one act: it would not notice TERM before.
fn send(signal: i32, to: impl Fn(i32) -> Result<(), Errno>) {
    // Whoever cannot be signalled is gone or somebody else's; exits are reported in any case.
    let _ = to(signal);
    if !WITHOUT_CONT.contains(&signal) {
        let _ = to(libc::SIGCONT);
    }
}

/// Signals everything below the keeper. A process that is forked between the look at the table and the signal
/// to its parent is found by another look; with a signal pending, fork(2) starts none. A few looks must do:
/// what a process starts because of the signal, to clean up, is to finish its work.
fn signal_tree(signal: i32) {
    let mut signalled = BTreeSet::new();
    for _ in 0..3 {
        let mut tree = below(&processes(), Pid::this(), &[]);
        tree.retain(|process| signalled.insert((process.pid, process.start)));
        if tree.is_empty() {
            return;
        }
        for process in tree {
            send(signal, |signal| signal_exactly(&process, signal));
        }
    }
}

/// Says the last word and ends.
fn leave(mut line: &UnixStream, last: Kept) -> ! {
    // If that fails, devwatch is gone as well.
    let _ = line.write_all(&last.encode());
    leave_silently()
}

fn leave_silently() -> ! {
    // SAFETY: ends this process without running what the guardian has registered for its own end.
    unsafe { libc::_exit(0) }
}

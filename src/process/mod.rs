//! 4 BUILD. Starts builds and servers, ends them with everything below them, and tells what became of them.
//!
//! [`Guardian`] is devwatch's end of it. It decides nothing and waits for nothing: it passes orders on, and a
//! thread reports what happened. The processes:
//!
//! ```text
//! devwatch ──── line ──── guardian          own session; kills everything when devwatch is gone
//!    │ │                     │ fork
//!    │ └───── line ─────── keeper           one per job; nothing below it gets away
//!    │                       │ fork, exec
//!    └── stdout, stderr ──── main process   own session; what it starts stays below the keeper
//! ```
//!
//! devwatch, guardian and keeper cover each other: whichever is killed, even with SIGKILL, another one kills
//! what hung below it. Only killing devwatch, the guardian and a keeper at the same moment leaves that
//! keeper's grandchildren. Outside Linux a process that leaves its group and loses its parent gets away.

mod failure;
mod guardian;
mod keeper;
mod kernel;
mod kill;
mod lines;
mod notes;
mod output;
mod spawn;
pub mod tree;
mod wire;

pub use failure::{SpawnError, SpawnFailure};
pub use guardian::guardian_main;
pub(crate) use kernel::reopen;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, PipeWriter, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;
use regex::Regex;

use crate::supervisor::event::Exit;
use crate::supervisor::generation::JobId;
use crate::terminal::lock_within;
use failure::Attempt;
use lines::{Tail, Watch};
use output::{Errand, Listening, Phase, Reader};
use wire::{MOST_DESCRIPTORS, Modes, Order, Request};

/// How long devwatch waits at its own end for the guardian to finish; it finishes without devwatch as well.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Milliseconds that a panic waits for whoever speaks to the guardian.
const SHORT_WAIT: u16 = 200;

/// What to run.
#[derive(Debug)]
pub struct Spec {
    /// Program and arguments. A program without a slash is looked for in the PATH of `env`.
    pub argv: Vec<OsString>,
    /// What is executed instead of `argv[0]`, which is then only what the program is told of its name.
    pub program: Option<OsString>,
    /// The complete environment; nothing is inherited. `LISTEN_PID` is set, or removed, by the keeper.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory.
    pub cwd: PathBuf,
    /// What the program reads as its stdin, e.g. the read end of a pipe: it reads the end when all write ends are
    /// closed. Without it, /dev/null.
    pub stdin: Option<OwnedFd>,
    /// What the program finds at descriptors 3, 4, ...: at most 196. With any, `LISTEN_PID` is its pid.
    pub inherit: Vec<OwnedFd>,
    /// A line of its output to be told about, once.
    pub ready_line: Option<Regex>,
}

impl Spec {
    fn program(&self) -> Option<&OsString> {
        self.program.as_ref().or(self.argv.first())
    }
}

/// What happened. Of each job: either `SpawnFailed` alone, or `Spawned`, then `Exited`, then `TreeGone`. Of each
/// process that is followed: `Ended`, before `TreeGone` unless it was asked for later.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// The main process executes its program.
    Spawned {
        /// Which job.
        job: JobId,
        /// Its main process.
        pid: Pid,
    },
    /// It could not be started. Nothing more comes of this job.
    SpawnFailed {
        /// Which job.
        job: JobId,
        /// Why.
        error: SpawnError,
    },
    /// The main process ended, and all that it had printed has been handed on. What it started may live on.
    Exited {
        /// Which job.
        job: JobId,
        /// How; lost if its keeper was killed, when nobody saw it end.
        exit: Exit,
        /// Its last lines, both streams: at most 10, at most 4 KiB.
        last: Vec<String>,
    },
    /// A process that [`Guardian::follow`] named has ended, and all that it had printed has been handed on.
    Ended {
        /// Which job it was below.
        job: JobId,
        /// Which process.
        pid: Pid,
        /// How; lost if another parent took its status before anybody could read it, if it was gone when it
        /// was named, or if it has never been below the job's keeper.
        exit: Exit,
        /// The job's last lines, both streams, whoever wrote them: at most 10, at most 4 KiB.
        last: Vec<String>,
    },
    /// Nothing of the job is left. Nothing more comes of it.
    TreeGone {
        /// Which job.
        job: JobId,
    },
    /// Somebody signalled the job's keeper: a server that takes its parent for its predecessor.
    Signalled {
        /// Which job.
        job: JobId,
        /// Which signal.
        signal: Signal,
        /// Who sent it.
        by: Pid,
    },
    /// A line matched [`Spec::ready_line`].
    ReadyLine {
        /// Which job.
        job: JobId,
    },
    /// The guardian was killed. Everything below it is dead by now, and every job's last report has come.
    /// [`Guardian::revive`] starts another one.
    GuardianLost,
}

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The main process alone.
    Main,
    /// Everything below the job's keeper.
    Tree,
}

/// One of the two streams of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// stdout.
    Out,
    /// stderr.
    Err,
}

/// Takes what jobs print.
pub trait Output: Send {
    /// Takes the next bytes, as they were written. While it works, nothing is read and nothing reported.
    fn write(&mut self, job: JobId, stream: Stream, bytes: &[u8]);
}

/// devwatch's end of the guardian. When it is dropped, or devwatch ends in whatever way, every job is killed
/// with everything that it has started.
pub struct Guardian {
    executable: PathBuf,
    lock: Option<OwnedFd>,
    terminal: Option<(OwnedFd, Modes)>,
    pid: Pid,
    line: GuardianLine,
    lines: Lines,
    errands: Sender<Errand>,
    bell: PipeWriter,
    /// Ends when the reader does.
    reader: Receiver<()>,
}

/// Tells the guardian whether devwatch's full screen is up, from any thread.
#[derive(Clone)]
pub struct ScreenNotice(GuardianLine);

impl ScreenNotice {
    /// From here on the full screen is up, or is not. If devwatch is killed while it is, the guardian writes
    /// [`LEAVE_SCREEN`](crate::terminal::LEAVE_SCREEN) to the terminal. So this comes before the screen is entered,
    /// and after it has been left: for a suspension (Ctrl-Z), and at the end, as well. It waits for nobody.
    pub fn tell(&self, up: bool) {
        self.0.lock().tell(up);
    }

    /// The same, unless somebody goes on speaking to the guardian: for a panic, which may have struck in the middle of
    /// that.
    pub(crate) fn try_tell(&self, up: bool) {
        if let Some(mut line) = lock_within(&self.0.0, SHORT_WAIT) {
            line.tell(up);
        }
    }
}

/// devwatch's line to the guardian, and what a new guardian has to be told.
#[derive(Clone)]
struct GuardianLine(Arc<Mutex<ToGuardian>>);

struct ToGuardian {
    to: UnixStream,
    screen: bool,
}

impl GuardianLine {
    fn lock(&self) -> MutexGuard<'_, ToGuardian> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ToGuardian {
    fn tell(&mut self, screen: bool) {
        self.screen = screen;
        // If the guardian is gone, the next one is told.
        let _ = wire::send(&self.to, &Request::Screen(screen).encode(), &[]);
    }
}

impl Guardian {
    /// Starts the guardian and the thread that calls `output` and `report`.
    ///
    /// devwatch becomes the subreaper of what the guardian would leave if it were killed. A `lock` stays held
    /// until the guardian has gone too. If stdin or stderr is a terminal, the guardian puts it back to what it
    /// is now should devwatch be killed, so this comes before any change to it.
    ///
    /// # Errors
    /// No descriptors or processes are left.
    pub fn start(
        output: Box<dyn Output>,
        report: impl FnMut(Report) + Send + 'static,
        lock: Option<&File>,
    ) -> Result<Guardian> {
        Guardian::start_with(&executable(), output, report, lock)
    }

    /// As [`Guardian::start`], with another executable that runs [`guardian_main`] on `__guardian`.
    ///
    /// # Errors
    /// As there, and the executable cannot be executed.
    pub fn start_with(
        executable: &Path,
        output: Box<dyn Output>,
        report: impl FnMut(Report) + Send + 'static,
        lock: Option<&File>,
    ) -> Result<Guardian> {
        kernel::become_subreaper().context("cannot become a subreaper")?;
        let lock = lock
            .map(|file| file.as_fd().try_clone_to_owned())
            .transpose()
            .context("cannot share the lock")?;
        let terminal = terminal();
        let (line, child) = start_guardian(executable, lock.as_ref(), terminal.as_ref(), false)?;
        let pid = pid_of(&child);
        let (errands, inbox) = channel();
        let (listener, bell) = io::pipe().context("cannot make a pipe")?;
        let lines = Lines::default();
        let reader = Reader::new(inbox, listener.into(), lines.clone(), output, report);
        let (alive, ended) = channel();
        std::thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || {
                let _alive: Sender<()> = alive;
                reader.run();
            })
            .context("cannot start a thread")?;
        let reader_line = line
            .try_clone()
            .context("cannot share the guardian's line")?;
        let guardian = Guardian {
            executable: executable.to_owned(),
            lock,
            terminal,
            pid,
            line: GuardianLine(Arc::new(Mutex::new(ToGuardian {
                to: line,
                screen: false,
            }))),
            lines,
            errands,
            bell,
            reader: ended,
        };
        guardian.tell(Errand::Attach(reader_line, child));
        Ok(guardian)
    }

    /// Asks for a job. What comes of it is reported; `job` must never have been used before.
    ///
    /// # Errors
    /// The guardian is gone, descriptors ran out, or `spec` cannot be executed by any system (no program, a
    /// zero byte, too many descriptors). Then nothing is reported.
    pub fn spawn(&self, job: JobId, spec: Spec) -> Result<()> {
        ensure!(
            spec.inherit.len() + 4 <= MOST_DESCRIPTORS,
            "cannot hand on {} descriptors",
            spec.inherit.len()
        );
        let attempt = Attempt {
            program: spec.program().context("no program to start")?.clone(),
            path: spec
                .env
                .iter()
                .find(|(name, _)| name == "PATH")
                .map(|(_, value)| value.clone()),
            cwd: std::path::absolute(&spec.cwd).context("no working directory")?,
        };
        let frame = frame(job, &spec, &attempt.cwd)?;
        let (ours, keepers) = UnixStream::pair().context("cannot make a line to a keeper")?;
        ours.set_nonblocking(true)
            .context("cannot set up a line to a keeper")?;
        let (out, out_writer) = io::pipe().context("cannot make a pipe")?;
        let (err, err_writer) = io::pipe().context("cannot make a pipe")?;
        for reader in [out.as_fd(), err.as_fd()] {
            // Only our ends: the writers' are what the job sees, and it may not expect them not to block.
            fcntl(reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("cannot set up a pipe")?;
        }
        let ours = Arc::new(ours);
        self.lines.insert(job, ours.clone());
        self.tell(Errand::Listen(
            job,
            Box::new(Listening {
                line: Some(ours),
                out: Some(out.into()),
                err: Some(err.into()),
                attempt,
                ready: spec.ready_line.map(Watch::new),
                tail: Tail::default(),
                phase: Phase::Asked,
            }),
        ));
        let mut descriptors: Vec<BorrowedFd<'_>> =
            vec![keepers.as_fd(), out_writer.as_fd(), err_writer.as_fd()];
        descriptors.extend(spec.stdin.iter().map(AsFd::as_fd));
        descriptors.extend(spec.inherit.iter().map(AsFd::as_fd));
        let sent = wire::send(&self.line.lock().to, &frame, &descriptors);
        if sent.is_err() {
            self.lines.remove(job);
            self.tell(Errand::Forget(job));
        }
        sent.context("the guardian is gone")
    }

    /// Signals a job; without effect once it is gone. Every signal that asks for something is followed by
    /// SIGCONT, since a stopped process would not notice it.
    pub fn signal(&self, job: JobId, signal: Signal, target: Target) {
        let tree = match target {
            Target::Main => false,
            Target::Tree => true,
        };
        self.lines.order(
            job,
            Order::Signal {
                signal: signal as i32,
                tree,
            },
        );
    }

    /// Kills a job with everything that it has started; without effect once it is gone. `Exited`, if it has
    /// not come yet, and `TreeGone` follow.
    pub fn kill(&self, job: JobId) {
        self.lines.order(job, Order::KillTree);
    }

    /// Signals exactly this process if it is below the job's keeper, and nobody otherwise. As with
    /// [`Guardian::signal`], SIGCONT follows.
    pub fn signal_process(&self, job: JobId, pid: Pid, signal: Signal) {
        self.lines.order(
            job,
            Order::Process {
                pid: pid.as_raw(),
                signal: signal as i32,
            },
        );
    }

    /// Asks for [`Report::Ended`] when this process, of those below the job's keeper, ends: at once, even while a
    /// parent of its own lives that does not reap it. It is reported once for each time it is asked for, except
    /// that asking again before changes nothing.
    pub fn follow(&self, job: JobId, pid: Pid) {
        if !self.lines.follow(job, pid) {
            self.tell(Errand::Follow(job, pid));
        }
    }

    /// Kills everything below the job's keeper that is neither `keep` nor below it, its ancestors included, until
    /// nothing of that is left. If `keep` is gone, that is everything. Without effect after [`Guardian::kill`],
    /// and where there is no process table to read.
    pub fn kill_except(&self, job: JobId, keep: Pid) {
        self.lines.order(
            job,
            Order::KillExcept {
                keep: keep.as_raw(),
            },
        );
    }

    /// The keeper of a job: known from `Spawned` to `TreeGone`.
    pub fn keeper(&self, job: JobId) -> Option<Pid> {
        self.lines.keeper(job)
    }

    /// Tells the guardian whether devwatch's full screen is up. At first it is not. See [`ScreenNotice::tell`].
    pub fn screen(&self, up: bool) {
        self.screen_notice().tell(up);
    }

    /// The same for other threads. It holds through [`Guardian::revive`], and says nothing once the guardian has been
    /// shut down.
    pub fn screen_notice(&self) -> ScreenNotice {
        ScreenNotice(self.line.clone())
    }

    /// The guardian's process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Starts another guardian after [`Report::GuardianLost`].
    ///
    /// # Errors
    /// As [`Guardian::start`].
    pub fn revive(&mut self) -> Result<()> {
        // Held until the new one is there: what is said meanwhile is said to that one.
        let mut line = self.line.lock();
        let (to, child) = start_guardian(
            &self.executable,
            self.lock.as_ref(),
            self.terminal.as_ref(),
            line.screen,
        )?;
        self.pid = pid_of(&child);
        let reader_line = to.try_clone().context("cannot share the guardian's line")?;
        line.to = to;
        drop(line);
        self.tell(Errand::Attach(reader_line, child));
        Ok(())
    }

    /// Ends every job with everything below it, and the guardian. Waits for that, at most 2 s. Output is still
    /// handed on, but nothing is reported any more.
    pub fn shutdown(self) {}

    fn tell(&self, errand: Errand) {
        // If the reader has gone (its callback panicked), so has devwatch in a moment.
        let _ = self.errands.send(errand);
        let _ = (&self.bell).write(&[0]);
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.tell(Errand::Close);
        // The guardian takes that for the end of devwatch.
        let _ = self.line.lock().to.shutdown(Shutdown::Write);
        match self.reader.recv_timeout(LAST_WAIT) {
            // It never sends anything: it ends.
            Ok(()) | Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {}
        }
    }
}

impl fmt::Debug for Guardian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guardian")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// The lines to all keepers, for the client to give orders and for the reader to end them.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<BTreeMap<JobId, Line>>>);

struct Line {
    to: Arc<UnixStream>,
    keeper: Option<Pid>,
    /// Whose end is to be reported, and has not been.
    followed: Vec<Pid>,
}

impl Lines {
    fn insert(&self, job: JobId, to: Arc<UnixStream>) {
        let line = Line {
            to,
            keeper: None,
            followed: Vec::new(),
        };
        self.all().insert(job, line);
    }

    fn introduce(&self, job: JobId, keeper: Pid) {
        self.all()
            .entry(job)
            .and_modify(|line| line.keeper = Some(keeper));
    }

    /// Says who of the job was still followed.
    fn remove(&self, job: JobId) -> Vec<Pid> {
        let line = self.all().remove(&job);
        line.map(|line| line.followed).unwrap_or_default()
    }

    /// Asks the job's keeper, if there is one. Noted before it is asked, so that whatever becomes of the keeper
    /// there is an answer.
    fn follow(&self, job: JobId, pid: Pid) -> bool {
        match self.all().get_mut(&job) {
            Some(line) if line.followed.contains(&pid) => return true,
            Some(line) => line.followed.push(pid),
            None => return false,
        }
        self.order(job, Order::Follow { pid: pid.as_raw() });
        true
    }

    fn unfollow(&self, job: JobId, pid: Pid) {
        self.all()
            .entry(job)
            .and_modify(|line| line.followed.retain(|&followed| followed != pid));
    }

    fn keeper(&self, job: JobId) -> Option<Pid> {
        self.all().get(&job)?.keeper
    }

    fn order(&self, job: JobId, order: Order) {
        if let Some(line) = self.all().get(&job) {
            // It fails if the keeper is gone, which is reported elsewhere, or if it has not taken up hundreds
            // of orders, among which one more makes no difference.
            let _ = (&*line.to).write(&order.encode());
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<JobId, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The guardians of this process. One, outside of tests. Held while one is started, so that nobody takes the
/// newcomer for an orphan.
fn guardians() -> MutexGuard<'static, BTreeSet<Pid>> {
    static GUARDIANS: Mutex<BTreeSet<Pid>> = Mutex::new(BTreeSet::new());
    GUARDIANS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This program, even if its file has been replaced by a new build meanwhile.
fn executable() -> PathBuf {
    if cfg!(target_os = "linux") {
        PathBuf::from("/proc/self/exe")
    } else {
        std::env::current_exe().unwrap_or_else(|_| PathBuf::from("devwatch"))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the guardian is the one process that devwatch starts itself"
)]
fn start_guardian(
    executable: &Path,
    lock: Option<&OwnedFd>,
    terminal: Option<&(OwnedFd, Modes)>,
    screen_is_up: bool,
) -> Result<(UnixStream, Child)> {
    let (ours, theirs) = UnixStream::pair().context("cannot make a line to the guardian")?;
    let lock = lock.map(AsRawFd::as_raw_fd);
    let screen = terminal.map(|(fd, _)| fd.as_raw_fd());
    let name = |fd: Option<i32>| fd.map_or_else(|| guardian::NONE.to_owned(), |fd| fd.to_string());
    let handed_on = [Some(theirs.as_raw_fd()), lock, screen];
    let mut command = Command::new(executable);
    command
        .arg0("dw-guard")
        .arg("__guardian")
        .args(handed_on.map(name));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: between fork and exec the closure only makes async-signal-safe calls.
    unsafe {
        command.pre_exec(move || {
            // Out of our terminal's and our process group's reach, and deaf until it has set itself up.
            Errno::result(libc::setsid())?;
            SigSet::all().thread_set_mask()?;
            for fd in handed_on.into_iter().flatten() {
                let fd = BorrowedFd::borrow_raw(fd);
                fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        });
    }
    let mut guardians = guardians();
    let child = command
        .spawn()
        .with_context(|| format!("cannot start the guardian ({})", executable.display()))?;
    guardians.insert(pid_of(&child));
    drop(guardians);
    let hello = Request::Hello(terminal.map(|(_, modes)| modes.clone()));
    for request in [hello, Request::Screen(screen_is_up)] {
        wire::send(&ours, &request.encode(), &[]).context("the guardian went at once")?;
    }
    Ok((ours, child))
}

/// Reaps a guardian.
fn bury(child: &mut Child) {
    let _ = child.wait();
    guardians().remove(&pid_of(child));
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// Our terminal, and how it is set up now.
fn terminal() -> Option<(OwnedFd, Modes)> {
    let terminal = if io::stdin().is_terminal() {
        io::stdin().as_fd().try_clone_to_owned()
    } else if io::stderr().is_terminal() {
        io::stderr().as_fd().try_clone_to_owned()
    } else {
        return None;
    };
    let terminal = terminal.ok()?;
    let modes = guardian::modes_of(&terminal).ok()?;
    Some((terminal, modes))
}

fn frame(job: JobId, spec: &Spec, cwd: &Path) -> Result<Vec<u8>> {
    let variable =
        |(name, value): &(OsString, OsString)| [name.as_bytes(), b"=", value.as_bytes()].concat();
    let spawn = wire::Spawn {
        job: job.0,
        program: spec
            .program()
            .map(|program| program.as_bytes().to_vec())
            .unwrap_or_default(),
        argv: spec
            .argv
            .iter()
            .map(|argument| argument.as_bytes().to_vec())
            .collect(),
        env: spec.env.iter().map(variable).collect(),
        cwd: cwd.to_owned().into_os_string().into_vec(),
        stdin: spec.stdin.is_some(),
    };
    let has_zero = |text: &Vec<u8>| text.contains(&0);
    ensure!(
        !spawn
            .argv
            .iter()
            .chain(&spawn.env)
            .chain([&spawn.program, &spawn.cwd])
            .any(has_zero),
        "cannot start {:?}: a text contains a zero byte",
        spec.argv
    );
    Ok(Request::Spawn(spawn).encode())
}

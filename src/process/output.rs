//! The one thread that listens to all jobs: to what they print, and to what keepers and guardian report.
//!
//! One thread for both, because then their order is the order in which things happened. It hands bytes on as
//! they come and keeps no more than a page of them, so a flood costs no memory. The end of a pipe means
//! nothing: a grandchild can hold it for hours, or the job close it early. When a keeper reports an exit, what
//! the pipes hold at that moment is all that the job has written; it is handed on first.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, read};

use super::failure::Attempt;
use super::kill::kill_adopted;
use super::lines::{Tail, Watch};
use super::wire::{self, Answer, Kept, MESSAGE};
use super::{Lines, Output, Report, Stream};
use crate::failpoint;
use crate::supervisor::event::Exit;
use crate::supervisor::generation::JobId;

/// What a pipe holds by default; one read takes it all.
const BUFFER: usize = 64 << 10;

/// What the client tells the reader.
pub(super) enum Errand {
    /// A guardian was started.
    Attach(UnixStream, Child),
    /// A job is about to be asked for.
    Listen(JobId, Box<Listening>),
    /// It could not be asked for.
    Forget(JobId),
    /// The end of this process is to be reported, but nothing is left of the job.
    Follow(JobId, Pid),
    /// The guardian is told to go: its end is no loss.
    Close,
}

/// A job as the reader knows it.
pub(super) struct Listening {
    /// devwatch's end of the keeper's line, until it ends. Never blocks.
    pub(super) line: Option<Arc<UnixStream>>,
    /// Read ends of its pipes, until they end. They never block.
    pub(super) out: Option<OwnedFd>,
    pub(super) err: Option<OwnedFd>,
    pub(super) attempt: Attempt,
    pub(super) ready: Option<Watch>,
    pub(super) tail: Tail,
    pub(super) phase: Phase,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Asked,
    Spawned,
    Exited,
}

pub(super) struct Reader<F> {
    errands: Receiver<Errand>,
    /// A byte comes with each errand.
    bell: OwnedFd,
    guardian: Option<(UnixStream, Child)>,
    closing: bool,
    jobs: BTreeMap<JobId, Listening>,
    lines: Lines,
    output: Box<dyn Output>,
    report: F,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Source {
    Bell,
    Pipe(JobId, Stream),
    Line(JobId),
    Guardian,
}

impl<F: FnMut(Report)> Reader<F> {
    pub(super) fn new(
        errands: Receiver<Errand>,
        bell: OwnedFd,
        lines: Lines,
        output: Box<dyn Output>,
        report: F,
    ) -> Reader<F> {
        Reader {
            errands,
            bell,
            guardian: None,
            closing: false,
            jobs: BTreeMap::new(),
            lines,
            output,
            report,
            buffer: vec![0; BUFFER],
        }
    }

    /// Until the client closes and its guardian, if there is one, has gone.
    pub(super) fn run(mut self) {
        while !(self.closing && self.guardian.is_none()) {
            let sources = self.wait();
            failpoint::pass();
            for source in sources {
                match source {
                    Source::Bell => self.run_errands(),
                    Source::Pipe(job, stream) => {
                        self.pass_on(job, stream, BUFFER);
                    }
                    Source::Line(job) => self.hear_keeper(job),
                    Source::Guardian => self.hear_guardian(),
                }
            }
        }
    }

    /// Sleeps until somebody has something to say.
    fn wait(&self) -> Vec<Source> {
        // The bell first: a job must be known before anything about it is heard. The guardian last: what it
        // says about a keeper comes after all that the keeper said itself.
        let mut sources: Vec<(Source, BorrowedFd<'_>)> = vec![(Source::Bell, self.bell.as_fd())];
        for (&id, job) in &self.jobs {
            // What a job prints before its keeper has said that it runs waits in the pipe, so that the start
            // comes first for everybody.
            if job.phase != Phase::Asked {
                let pipes = [(Stream::Out, &job.out), (Stream::Err, &job.err)];
                let open = pipes
                    .into_iter()
                    .filter_map(|(stream, pipe)| Some((stream, pipe.as_ref()?)));
                sources.extend(open.map(|(stream, pipe)| (Source::Pipe(id, stream), pipe.as_fd())));
            }
            sources.extend(job.line.iter().map(|line| (Source::Line(id), line.as_fd())));
        }
        sources.extend(
            self.guardian
                .iter()
                .map(|(line, _)| (Source::Guardian, line.as_fd())),
        );
        let mut polled: Vec<PollFd<'_>> = sources
            .iter()
            .map(|&(_, fd)| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        // Only EINTR is possible, and then nothing is ready.
        if poll(&mut polled, PollTimeout::NONE).is_err() {
            return Vec::new();
        }
        let ready = polled.iter().map(|fd| fd.any() == Some(true));
        sources
            .iter()
            .zip(ready)
            .filter(|(_, ready)| *ready)
            .map(|(&(source, _), _)| source)
            .collect()
    }

    fn run_errands(&mut self) {
        let _ = read(&self.bell, &mut self.buffer);
        while let Ok(errand) = self.errands.try_recv() {
            match errand {
                Errand::Attach(line, child) => self.guardian = Some((line, child)),
                Errand::Listen(id, job) => {
                    self.jobs.insert(id, *job);
                }
                Errand::Forget(id) => {
                    self.jobs.remove(&id);
                }
                Errand::Follow(job, pid) => self.tell(Report::Ended {
                    job,
                    pid,
                    exit: Exit::Lost,
                    last: Vec::new(),
                }),
                Errand::Close => self.closing = true,
            }
        }
    }

    /// Hands on at most `most` bytes of what a job has printed. Says how many.
    fn pass_on(&mut self, id: JobId, stream: Stream, most: usize) -> usize {
        let Some(job) = self.jobs.get_mut(&id) else {
            return 0;
        };
        let pipe = job.pipe(stream);
        let Some(fd) = pipe else { return 0 };
        let most = most.min(self.buffer.len());
        let got = match read(&*fd, &mut self.buffer[..most]) {
            Ok(got) => got,
            Err(Errno::EAGAIN | Errno::EINTR) => return 0,
            // A pipe that cannot be read is as good as ended.
            Err(_) => 0,
        };
        if got == 0 {
            *pipe = None;
            return 0;
        }
        let bytes = &self.buffer[..got];
        self.output.write(id, stream, bytes);
        job.tail.push(stream, bytes);
        if job
            .ready
            .as_mut()
            .is_some_and(|ready| ready.push(stream, bytes))
        {
            job.ready = None;
            self.tell(Report::ReadyLine { job: id });
        }
        got
    }

    /// Hands on all that the pipes hold at this moment, and no more: a grandchild may write for ever.
    fn drain(&mut self, id: JobId) {
        for stream in [Stream::Out, Stream::Err] {
            let pipe = self
                .jobs
                .get_mut(&id)
                .and_then(|job| job.pipe(stream).as_ref());
            let mut held = pipe.map_or(0, held);
            while held > 0 {
                match self.pass_on(id, stream, held) {
                    0 => break,
                    got => held -= got,
                }
            }
        }
    }

    /// Hears all that a keeper has said so far.
    fn hear_keeper(&mut self, id: JobId) {
        while let Some(mut line) = self.jobs.get(&id).and_then(|job| job.line.as_deref()) {
            let mut message = [0; MESSAGE];
            // A message is written at once and arrives whole.
            let kept = match line.read(&mut message) {
                Ok(MESSAGE) => Kept::decode(message),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => None,
            };
            match kept {
                Some(kept) => self.take_report(id, kept),
                // The keeper has gone without its last word: it was killed. The guardian kills what it has
                // left, and says when that is done.
                None => self
                    .jobs
                    .get_mut(&id)
                    .into_iter()
                    .for_each(|job| job.line = None),
            }
        }
    }

    fn take_report(&mut self, id: JobId, kept: Kept) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        match kept {
            Kept::Spawned { pid, keeper } => {
                job.phase = Phase::Spawned;
                self.lines.introduce(id, Pid::from_raw(keeper));
                self.tell(Report::Spawned {
                    job: id,
                    pid: Pid::from_raw(pid),
                });
            }
            Kept::Failed { stage, errno } => {
                let error = job.attempt.explain(stage, Errno::from_raw(errno));
                self.forget(id);
                self.tell(Report::SpawnFailed { job: id, error });
            }
            Kept::Exited { status } => self.exited(id, from_wait(status)),
            Kept::Signalled { signal, by } => {
                // A real-time signal has no name, and no server uses one to greet its parent.
                if let Ok(signal) = Signal::try_from(signal) {
                    self.tell(Report::Signalled {
                        job: id,
                        signal,
                        by: Pid::from_raw(by),
                    });
                }
            }
            Kept::Empty => self.gone(id),
            Kept::Ended { pid, status } => {
                self.ended(id, Pid::from_raw(pid), status.map_or(Exit::Lost, from_wait));
            }
        }
    }

    fn ended(&mut self, id: JobId, pid: Pid, exit: Exit) {
        self.drain(id);
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        self.lines.unfollow(id, pid);
        let last = job.tail.lines();
        self.tell(Report::Ended {
            job: id,
            pid,
            exit,
            last,
        });
    }

    fn exited(&mut self, id: JobId, exit: Exit) {
        self.drain(id);
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.phase = Phase::Exited;
        let last = job.tail.lines();
        self.tell(Report::Exited {
            job: id,
            exit,
            last,
        });
    }

    /// Nothing of the job is left.
    fn gone(&mut self, id: JobId) {
        self.drain(id);
        // Those of whom the keeper did not tell: it was killed, or too busy to take the order.
        for pid in self.lines.remove(id) {
            self.ended(id, pid, Exit::Lost);
        }
        self.forget(id);
        self.tell(Report::TreeGone { job: id });
    }

    /// Its keeper, or the guardian, was killed; so was everything below, and nobody saw how the main process
    /// ended.
    fn lost(&mut self, id: JobId) {
        self.hear_keeper(id);
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        match job.phase {
            Phase::Asked => {
                let error = job.attempt.lost();
                self.forget(id);
                self.tell(Report::SpawnFailed { job: id, error });
            }
            Phase::Spawned => {
                self.exited(id, Exit::Lost);
                self.gone(id);
            }
            Phase::Exited => self.gone(id),
        }
    }

    fn hear_guardian(&mut self) {
        let Some((line, _)) = &self.guardian else {
            return;
        };
        let answer = wire::receive(line)
            .ok()
            .flatten()
            .and_then(|(frame, _)| Answer::decode(&frame));
        match answer {
            Some(Answer::KeeperGone { job }) => self.lost(JobId(job)),
            Some(Answer::NotKept { job, errno }) => {
                let id = JobId(job);
                if let Some(job) = self.jobs.get(&id) {
                    let error = job
                        .attempt
                        .explain(wire::Stage::Fork, Errno::from_raw(errno));
                    self.forget(id);
                    self.tell(Report::SpawnFailed { job: id, error });
                }
            }
            None => self.guardian_lost(),
        }
    }

    fn guardian_lost(&mut self) {
        let Some((_, mut child)) = self.guardian.take() else {
            return;
        };
        // It has closed its line, so it is dying; a line that broke while it lives is the end of it too.
        if !self.closing {
            let _ = child.kill();
        }
        super::bury(&mut child);
        if self.closing {
            return;
        }
        kill_adopted();
        for id in self.jobs.keys().copied().collect::<Vec<_>>() {
            self.lost(id);
        }
        self.tell(Report::GuardianLost);
    }

    fn forget(&mut self, id: JobId) {
        self.jobs.remove(&id);
        self.lines.remove(id);
    }

    /// Once devwatch closes, nobody decides anything any more.
    fn tell(&mut self, report: Report) {
        if !self.closing {
            (self.report)(report);
        }
    }
}

impl Listening {
    fn pipe(&mut self, stream: Stream) -> &mut Option<OwnedFd> {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }
}

/// How many bytes a pipe holds.
fn held(pipe: &OwnedFd) -> usize {
    use std::os::fd::AsRawFd;

    nix::ioctl_read_bad!(fionread, libc::FIONREAD, libc::c_int);
    let mut count = 0;
    // SAFETY: FIONREAD writes one int, and `count` is one.
    match unsafe { fionread(pipe.as_raw_fd(), &mut count) } {
        Ok(_) => usize::try_from(count).unwrap_or(0),
        Err(_) => 0,
    }
}

/// What `waitpid` filled in. By the system's own macros: nix's reading loses deaths by real-time signals.
fn from_wait(status: i32) -> Exit {
    if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Code(libc::WEXITSTATUS(status))
    }
}

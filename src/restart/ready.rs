//! Watches a new generation until something shows that it is ready, and reports that once.
//!
//! It never decides: time limits, and what an unready server means, are the supervisor's. What it is told comes from
//! `[server] ready`, the held sockets and the process tree of the generation; the report goes wherever the caller
//! sends it. A thread of its own, because the evidence has no event: nobody is told when a process begins to accept.
#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it measures how long a server takes, and paces its looking"
)]

use std::collections::BTreeMap;
use std::env;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use crate::config::{Address, ReadyBy};

use super::evidence::{self, Accepting, Attributed, AttributedProbe, Connection};
use crate::supervisor::event::Evidence;

use super::notify_socket::{Notice, NotifySocket};
use super::sockets::HeldView;

/// How soon, and at last how seldom, it looks while nothing listens yet.
const LOOK: Pace = Pace {
    first: Duration::from_millis(2),
    last: Duration::from_millis(25),
    growth: 2.0,
};
/// The same while a connection of ours waits to be accepted: as soon as it is, a single-threaded server waits for us.
const ASK: Pace = Pace {
    first: Duration::from_millis(1),
    last: Duration::from_millis(10),
    growth: 2.0,
};
/// The same while the other generation accepts what we connect: which of the two does is a race, which one that is
/// idle loses many times. So there are some two dozen tries in the first tenth of a second; but one that only starts
/// up must not hear from us all the time.
const CONTEST: Pace = Pace {
    first: Duration::from_millis(1),
    last: Duration::from_millis(10),
    growth: 1.15,
};
/// The same after an answer that did not mean ready: every try is a line in the server's log.
const TRY: Pace = Pace {
    first: Duration::from_millis(25),
    last: Duration::from_millis(250),
    growth: 2.0,
};

/// A process that has the socket open but is not seen to wait on it is asked by a connection after this time. Shells
/// and other wrappers inherit sockets too; most real servers show themselves long before.
const PATIENCE: Duration = Duration::from_millis(250);
/// A connection that the kernel's table does not show for this long is not going to be shown.
const UNTOLD: Duration = Duration::from_millis(100);
/// How long a server may take for the answer to one request before it is asked again.
const ANSWER: Duration = Duration::from_secs(5);
/// While sockets are held, what else the tree listens on is looked up every so many looks.
const OTHERS_EVERY: u32 = 8;
/// Node's inspector: it accepts before the program has run its first line.
const INSPECTOR: u16 = 9229;

/// A generation is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyReport {
    /// What showed it.
    pub how: Evidence,
    /// The process that accepts; with `Notified` the `MAINPID` or sender, if nothing better is visible.
    pub accepting_pid: Option<Pid>,
    /// The socket on which it was shown, held or its own; unknown with `Notified`.
    pub address: Option<Address>,
    /// The other held sockets on which nobody was seen to wait for connections at that moment. One proven socket is
    /// ready: many servers take only the first, and those that take more open them in any order.
    pub unproven: Vec<Address>,
    /// Since the probe was started.
    pub after: Duration,
}

/// Where the generation listens, apart from held sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nobody has looked: not this kind of `ready`, not yet, or not on this system.
    #[default]
    Unknown,
    /// On no socket of its own.
    Nowhere,
    /// On these. With held sockets: the server did not take them.
    Listening(Vec<Address>),
}

/// Watches one generation. Dropping it ends that at once: after `drop` returns nothing is reported any more.
///
/// Keep it as long as the generation lives if a [`NotifySocket`] was given: its later notifications are received and
/// dropped, where a full queue would block the server.
pub struct Probe {
    shared: Arc<Shared>,
    /// Closing it wakes the thread.
    _cancel: PipeWriter,
}

impl Probe {
    /// Starts watching. `tree` gives the pids of the generation, whenever asked; `report` is called at most once,
    /// from the probe's thread, and must neither block nor drop the probe.
    ///
    /// With [`ReadyBy::Log`] and [`ReadyBy::Delay`] nothing is reported: others know.
    ///
    /// # Errors: no thread or pipe to be had.
    pub fn start(
        how: &ReadyBy,
        held: HeldView,
        tree: impl Fn() -> Vec<Pid> + Send + 'static,
        notify: Option<NotifySocket>,
        report: impl FnMut(ReadyReport) + Send + 'static,
    ) -> io::Result<Probe> {
        let want = match how {
            ReadyBy::Accepting => Want::Accepting,
            ReadyBy::Http(path) => Want::Answer(path.clone()),
            ReadyBy::Notify => Want::Notice,
            ReadyBy::Log(_) | ReadyBy::Delay(_) => Want::Nothing,
        };
        let (cancelled, cancel) = io::pipe()?;
        let shared = Arc::new(Shared::default());
        let watcher = Watcher {
            want,
            held,
            tree: Box::new(tree),
            notify,
            report: Box::new(report),
            cancelled,
            shared: Arc::clone(&shared),
            started: Instant::now(),
            looks: 0,
            asked: BTreeMap::new(),
            open_since: BTreeMap::new(),
        };
        thread::Builder::new()
            .name("ready".to_owned())
            .spawn(move || watcher.run())?;
        Ok(Probe {
            shared,
            _cancel: cancel,
        })
    }

    /// Where the generation listens by itself, as of the last look (at most a quarter of a second ago).
    pub fn state(&self) -> State {
        lock(&self.shared.state).clone()
    }

    /// The last `STATUS=` that the server sent.
    pub fn status(&self) -> Option<String> {
        lock(&self.shared.status).clone()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let mut ending = lock(&self.shared.ending);
        ending.cancelled = true;
        // A server that never answers would hold the thread for the whole of `ANSWER`.
        if let Some(connection) = ending.waiting_for.take() {
            shut_down(&connection);
        }
    }
}

/// What both sides see.
#[derive(Default)]
struct Shared {
    ending: Mutex<Ending>,
    state: Mutex<State>,
    status: Mutex<Option<String>>,
}

#[derive(Default)]
struct Ending {
    cancelled: bool,
    /// A second handle of the connection on which the thread waits for an answer.
    waiting_for: Option<Connection>,
}

enum Want {
    Accepting,
    Answer(String),
    Notice,
    Nothing,
}

/// What one look showed.
enum Look {
    Ready(ReadyReport),
    /// Nothing to be seen.
    Nothing,
    /// A connection of ours waits to be accepted.
    Asked,
    /// Somebody else accepted it.
    Contested,
    /// It answered, but not that it is ready.
    NotReady,
}

enum Woken {
    Elapsed,
    Cancelled,
    /// Its own server says so.
    Ready(Notice),
}

#[derive(Clone, Copy, PartialEq)]
struct Pace {
    first: Duration,
    last: Duration,
    /// By how much each wait is longer than the one before.
    growth: f64,
}

/// A connection of ours and how long it has been there.
struct Asked {
    probe: AttributedProbe,
    at: Instant,
}

/// What our connection to a socket shows.
enum Answer {
    By(Pid),
    ByOther,
    NotYet,
    CannotTell,
}

/// The thread's side.
struct Watcher {
    want: Want,
    held: HeldView,
    tree: Box<dyn Fn() -> Vec<Pid> + Send>,
    notify: Option<NotifySocket>,
    report: Box<dyn FnMut(ReadyReport) + Send>,
    cancelled: PipeReader,
    shared: Arc<Shared>,
    started: Instant,
    looks: u32,
    /// By the inode of the listening socket.
    asked: BTreeMap<u64, Asked>,
    open_since: BTreeMap<u64, Instant>,
}

impl Watcher {
    fn run(mut self) {
        let mut pace = LOOK;
        let mut pause = pace.first;
        loop {
            let next = match self.look() {
                Look::Ready(report) => {
                    self.deliver(report);
                    break;
                }
                Look::Nothing => LOOK,
                Look::Asked => ASK,
                Look::Contested => CONTEST,
                Look::NotReady => TRY,
            };
            if next == pace {
                pause = pause.mul_f64(pace.growth).min(pace.last);
            } else {
                (pace, pause) = (next, next.first);
            }
            let looks = matches!(self.want, Want::Accepting | Want::Answer(_));
            match self.wait(looks.then_some(pause)) {
                Woken::Elapsed => {}
                Woken::Cancelled => return,
                Woken::Ready(notice) => {
                    if matches!(self.want, Want::Accepting | Want::Notice) {
                        let report = self.notified(&notice);
                        self.deliver(report);
                        break;
                    }
                }
            }
        }
        // Connections of ours would keep a single-threaded server busy.
        self.asked.clear();
        while self.notify.is_some() {
            if matches!(self.wait(None), Woken::Cancelled) {
                return;
            }
        }
    }

    fn look(&mut self) -> Look {
        let path = match &self.want {
            Want::Accepting => None,
            Want::Answer(path) => Some(path.clone()),
            Want::Notice | Want::Nothing => return Look::Nothing,
        };
        let pids = (self.tree)();
        let targets = self.targets(&pids);
        self.asked
            .retain(|inode, _| targets.iter().any(|target| target.inode == *inode));
        self.open_since
            .retain(|inode, _| targets.iter().any(|target| target.inode == *inode));
        let mut look = Look::Nothing;
        for target in &targets {
            let shows = match &path {
                None => self.accepts(target, &pids),
                Some(path) => self.answers(path, target, &pids),
            };
            match shows {
                Shows::Ready(pid) => {
                    let unproven = targets
                        .iter()
                        .filter(|other| {
                            other.inode != target.inode && self.held.inodes.contains(&other.inode)
                        })
                        .filter(|other| matches!(other.seen, Accepting::No | Accepting::Open(_)))
                        .map(|other| other.address.clone())
                        .collect();
                    return Look::Ready(ReadyReport {
                        how: Evidence::Proven,
                        accepting_pid: pid,
                        address: Some(target.address.clone()),
                        unproven,
                        after: self.started.elapsed(),
                    });
                }
                Shows::Nothing => {}
                Shows::Asked => look = Look::Asked,
                Shows::Contested => look = Look::Contested,
                Shows::NotReady => look = Look::NotReady,
            }
        }
        look
    }

    /// The sockets to look at: the held ones, or else what the tree listens on. Also notes what the tree listens on.
    fn targets(&mut self, pids: &[Pid]) -> Vec<Target> {
        let looks = self.looks;
        self.looks = looks.wrapping_add(1);
        let mut own = Vec::new();
        if self.held.inodes.is_empty() || looks.is_multiple_of(OTHERS_EVERY) {
            own = evidence::listeners(pids);
            own.retain(|listener| {
                !self.held.inodes.contains(&listener.inode) && is_service(&listener.address)
            });
            let addresses: Vec<Address> = own
                .iter()
                .map(|listener| listener.address.clone())
                .collect();
            *lock(&self.shared.state) = match addresses.is_empty() {
                true if evidence::VISIBLE => State::Nowhere,
                true => State::Unknown,
                false => State::Listening(addresses),
            };
        }
        let wanted: Vec<(u64, Address)> = if self.held.inodes.is_empty() {
            own.into_iter()
                .map(|listener| (listener.inode, listener.address))
                .collect()
        } else {
            self.held
                .inodes
                .iter()
                .copied()
                .zip(self.held.addresses.iter().cloned())
                .collect()
        };
        let inodes: Vec<u64> = wanted.iter().map(|(inode, _)| *inode).collect();
        let seen = evidence::accepting(pids, &inodes);
        wanted
            .into_iter()
            .zip(seen)
            .map(|((inode, address), seen)| Target {
                inode,
                address,
                seen,
            })
            .collect()
    }

    fn accepts(&mut self, target: &Target, pids: &[Pid]) -> Shows {
        if let Accepting::By(pid) = target.seen {
            return Shows::Ready(Some(pid));
        }
        if !self.is_worth_asking(target) {
            return Shows::Nothing;
        }
        match (self.ask(target, pids), target.seen) {
            (Answer::By(pid), _) => Shows::Ready(Some(pid)),
            (Answer::NotYet, _) => Shows::Asked,
            (Answer::ByOther, _) => Shows::Contested,
            (Answer::CannotTell, Accepting::Registered(pid)) => Shows::Ready(Some(pid)),
            (
                Answer::CannotTell,
                Accepting::No | Accepting::Open(_) | Accepting::Unclear(_) | Accepting::By(_),
            ) => Shows::Nothing,
        }
    }

    fn answers(&mut self, path: &str, target: &Target, pids: &[Pid]) -> Shows {
        // Without evidence every held socket is asked: there an answer is all that can be had.
        if evidence::VISIBLE && !self.is_worth_asking(target) {
            return Shows::Nothing;
        }
        // The request goes out on a connection whose other end is known: in a hand-over the old server answers too.
        let pid = match self.ask(target, pids) {
            Answer::By(pid) => Some(pid),
            Answer::NotYet => return Shows::Asked,
            Answer::ByOther => return Shows::Contested,
            Answer::CannotTell => match target.seen {
                Accepting::Registered(pid) | Accepting::By(pid) => Some(pid),
                Accepting::No | Accepting::Open(_) | Accepting::Unclear(_) => None,
            },
        };
        let Some(asked) = self.asked.remove(&target.inode) else {
            return Shows::Nothing;
        };
        match self.request(asked.probe.into_connection(), path, &target.address) {
            Some(200..=399) => Shows::Ready(pid),
            Some(_) | None => Shows::NotReady,
        }
    }

    /// Whether to connect: only where a server may be about to accept.
    fn is_worth_asking(&mut self, target: &Target) -> bool {
        match target.seen {
            Accepting::No => {
                self.open_since.remove(&target.inode);
                false
            }
            Accepting::Open(_) => {
                self.open_since
                    .entry(target.inode)
                    .or_insert_with(Instant::now)
                    .elapsed()
                    >= PATIENCE
            }
            Accepting::Unclear(_) | Accepting::Registered(_) | Accepting::By(_) => true,
        }
    }

    /// Looks after our connection to the target, or makes one.
    fn ask(&mut self, target: &Target, pids: &[Pid]) -> Answer {
        if !self.asked.contains_key(&target.inode)
            && let Some(failed) = self.connect(target)
        {
            return failed;
        }
        let Some(asked) = self.asked.get(&target.inode) else {
            return Answer::NotYet;
        };
        if !evidence::VISIBLE {
            return Answer::CannotTell;
        }
        let attributed = match asked.probe.look(pids) {
            // Between accept and the new descriptor there is an instant in which the connection is nobody's.
            Attributed::Other => asked.probe.look(pids),
            once @ (Attributed::By(_)
            | Attributed::Queued
            | Attributed::Closed
            | Attributed::Untold) => once,
        };
        match attributed {
            Attributed::By(pid) => Answer::By(pid),
            Attributed::Queued => Answer::NotYet,
            Attributed::Other => {
                self.asked.remove(&target.inode);
                // The next one at once, so that it is decided by the next look.
                self.connect(target).unwrap_or(Answer::ByOther)
            }
            Attributed::Closed => {
                self.asked.remove(&target.inode);
                Answer::NotYet
            }
            Attributed::Untold if asked.at.elapsed() >= UNTOLD => Answer::CannotTell,
            Attributed::Untold => Answer::NotYet,
        }
    }

    /// Makes a connection to the target. What that shows by itself, if it fails.
    fn connect(&mut self, target: &Target) -> Option<Answer> {
        match AttributedProbe::connect(&target.address, target.inode) {
            Ok(probe) => {
                let at = Instant::now();
                self.asked.insert(target.inode, Asked { probe, at });
                None
            }
            Err(error) => {
                // It stopped listening, or its backlog is full.
                let passes = matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::NotFound
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::WouldBlock
                );
                Some(if passes {
                    Answer::NotYet
                } else {
                    Answer::CannotTell
                })
            }
        }
    }

    /// The status of the answer to one GET; `None` when there is none.
    fn request(&self, mut connection: Connection, path: &str, address: &Address) -> Option<u16> {
        {
            let mut ending = lock(&self.shared.ending);
            if ending.cancelled {
                return None;
            }
            ending.waiting_for = Some(duplicate(&connection).ok()?);
        }
        let status = exchange(&mut connection, path, address);
        lock(&self.shared.ending).waiting_for = None;
        status.ok().flatten()
    }

    fn notified(&self, notice: &Notice) -> ReadyReport {
        let pids = (self.tree)();
        let accepting = evidence::accepting(&pids, &self.held.inodes)
            .into_iter()
            .find_map(|seen| match seen {
                Accepting::Registered(pid) | Accepting::By(pid) => Some(pid),
                Accepting::No | Accepting::Open(_) | Accepting::Unclear(_) => None,
            });
        let told = notice
            .main_pid
            .into_iter()
            .chain(notice.sender)
            .find(|pid| pids.contains(pid));
        ReadyReport {
            how: Evidence::Notified,
            accepting_pid: accepting.or(told),
            address: None,
            unproven: Vec::new(),
            after: self.started.elapsed(),
        }
    }

    fn deliver(&mut self, report: ReadyReport) {
        // Held while reporting, so that a dropped probe has either reported or never will.
        let ending = lock(&self.shared.ending);
        if !ending.cancelled {
            (self.report)(report);
        }
    }

    /// Waits until the time is over, the probe is dropped or the server says READY=1.
    fn wait(&self, pause: Option<Duration>) -> Woken {
        let until = pause.map(|pause| Instant::now() + pause);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let timeout = match left {
                Some(left) if left.is_zero() => return Woken::Elapsed,
                // Rounded up: poll counts in milliseconds and would spin through the last one.
                Some(left) => PollTimeout::try_from(left + Duration::from_micros(999))
                    .unwrap_or(PollTimeout::MAX),
                None => PollTimeout::NONE,
            };
            let mut fds = vec![PollFd::new(self.cancelled.as_fd(), PollFlags::POLLIN)];
            fds.extend(
                self.notify
                    .as_ref()
                    .map(|notify| PollFd::new(notify.as_fd(), PollFlags::POLLIN)),
            );
            let _ = poll(&mut fds, timeout);
            let woken = |fd: Option<&PollFd<'_>>| fd.and_then(PollFd::any).unwrap_or(false);
            if woken(fds.first()) {
                return Woken::Cancelled;
            }
            if woken(fds.get(1))
                && let Some(notice) = self.notify.as_ref().and_then(NotifySocket::receive)
                && notice.is_from(&(self.tree)())
            {
                if notice.status.is_some() {
                    lock(&self.shared.status).clone_from(&notice.status);
                }
                if notice.ready {
                    return Woken::Ready(notice);
                }
            }
        }
    }
}

/// A listening socket and what `/proc` shows of it.
struct Target {
    inode: u64,
    address: Address,
    seen: Accepting,
}

/// What one target shows.
enum Shows {
    Ready(Option<Pid>),
    Nothing,
    Asked,
    Contested,
    NotReady,
}

/// Whether a socket of the server's own may be what it serves on, and no tool's: Node's inspector, or the sockets by
/// which runners such as tsx talk to their children (abstract, or in a folder of their own in the temp folder).
pub(super) fn is_service(address: &Address) -> bool {
    match address {
        Address::Tcp(address) => address.port() != INSPECTOR,
        Address::Unix(path) => {
            let temp = env::temp_dir();
            path.is_absolute()
                && (!path.starts_with(&temp) || path.parent() == Some(temp.as_path()))
        }
    }
}

/// Sends the request and reads as much of the answer as it takes to know its status.
fn exchange(connection: &mut Connection, path: &str, address: &Address) -> io::Result<Option<u16>> {
    let host = match address {
        Address::Tcp(address) => evidence::reachable(*address).to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: devwatch\r\nAccept: */*\r\n\r\n"
    );
    match connection {
        Connection::Tcp(stream) => {
            stream.set_read_timeout(Some(ANSWER))?;
            stream.set_write_timeout(Some(ANSWER))?;
            converse(stream, request.as_bytes())
        }
        Connection::Unix(stream) => {
            stream.set_read_timeout(Some(ANSWER))?;
            stream.set_write_timeout(Some(ANSWER))?;
            converse(stream, request.as_bytes())
        }
    }
}

fn converse(stream: &mut (impl Read + Write), request: &[u8]) -> io::Result<Option<u16>> {
    const LONGEST_LINE: usize = 4096;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 512];
    while !answer.contains(&b'\n') && answer.len() < LONGEST_LINE {
        match stream.read(&mut buffer)? {
            0 => break,
            length => answer.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(status_of(&answer))
}

/// The status in the first line of an HTTP/1 answer.
fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = str::from_utf8(line).ok()?.split_ascii_whitespace();
    if !words.next()?.starts_with("HTTP/1.") {
        return None;
    }
    words
        .next()?
        .parse()
        .ok()
        .filter(|status| (100..600).contains(status))
}

fn duplicate(connection: &Connection) -> io::Result<Connection> {
    Ok(match connection {
        Connection::Tcp(stream) => Connection::Tcp(stream.try_clone()?),
        Connection::Unix(stream) => Connection::Unix(stream.try_clone()?),
    })
}

fn shut_down(connection: &Connection) {
    // It may be gone already; then there is nothing to wake.
    let _ = match connection {
        Connection::Tcp(stream) => stream.shutdown(Shutdown::Both),
        Connection::Unix(stream) => stream.shutdown(Shutdown::Both),
    };
}

/// A lock that a panicking report cannot take away: what it guards is replaced whole, never left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::unix::net::UnixDatagram;
    use std::path::{Path, PathBuf};
    use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};

    use regex::Regex;

    use super::super::sockets::Held;
    use super::super::trial::{DEADLINE, Server, go_build, have, until};
    use super::*;
    use crate::config::Listen;

    /// A probe and what it reports.
    struct Watched {
        probe: Probe,
        reports: Receiver<ReadyReport>,
    }

    fn watch(how: &ReadyBy, held: &Held, tree: &[Pid], notify: Option<NotifySocket>) -> Watched {
        let (sender, reports) = mpsc::channel();
        let tree = tree.to_vec();
        let report = move |report| sender.send(report).expect("the test waits for it");
        let probe =
            Probe::start(how, held.view(), move || tree.clone(), notify, report).expect("a thread");
        Watched { probe, reports }
    }

    impl Watched {
        fn ready(&self) -> ReadyReport {
            self.reports
                .recv_timeout(DEADLINE)
                .expect("the server becomes ready")
        }

        fn is_silent(&self) -> bool {
            self.reports.try_recv() == Err(TryRecvError::Empty)
        }
    }

    fn http(address: Address) -> Listen {
        Listen {
            name: "http".to_owned(),
            address,
        }
    }

    fn held() -> Held {
        Held::bind(&[http(Address::Tcp(([127, 0, 0, 1], 0).into()))])
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn proven(report: &ReadyReport, server: &Server) -> Address {
        assert_eq!(
            (report.how, report.accepting_pid),
            (Evidence::Proven, Some(server.pid())),
            "{report:?}"
        );
        report.address.clone().expect("proven on a socket")
    }

    fn becomes_ready(held: &Held, server: &Server) {
        let report = watch(&ReadyBy::Accepting, held, &[server.pid()], None).ready();
        assert_eq!(proven(&report, server), held.addresses()[0]);
        println!("ready after {:?}", report.after);
    }

    /// A file whose appearance is the word to go on; also the path for the script.
    fn word() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("go");
        (folder, path)
    }

    fn say(word: &Path) {
        std::fs::write(word, "").expect("the folder is ours");
    }

    fn text(path: &Path) -> &str {
        path.to_str().expect("temp folders have plain names")
    }

    /// A Python server on descriptor 3 that registers with epoll, and accepts only when told.
    const LATE: &str = "
import os, select, socket, sys, time
s = socket.socket(fileno=3)
e = select.epoll(); e.register(s, select.EPOLLIN)
print('registered')
while not os.path.exists(sys.argv[1]): time.sleep(0.005)
kept = []
while True:
    e.poll()
    kept.append(s.accept())
";

    const BLOCKING: &str = "
import socket
s = socket.socket(fileno=3)
while True: s.accept()[0].close()
";

    #[test]
    fn a_blocking_accept_on_a_held_socket_is_ready() {
        if !have(&["python3"]) {
            return;
        }
        let held = held();
        becomes_ready(&held, &Server::python(BLOCKING, &[], Some(held.fds()[0])));
    }

    #[test]
    fn asyncio_on_a_held_socket_is_ready() {
        if !have(&["python3"]) {
            return;
        }
        let script = "
import asyncio, socket
async def answer(reader, writer):
    await reader.read(1); writer.close()
async def main():
    server = await asyncio.start_server(answer, sock=socket.socket(fileno=3))
    await server.serve_forever()
asyncio.run(main())
";
        let held = held();
        becomes_ready(&held, &Server::python(script, &[], Some(held.fds()[0])));
    }

    #[test]
    fn select_on_a_held_socket_is_ready() {
        if !have(&["python3"]) {
            return;
        }
        let script = "
import select, socket
s = socket.socket(fileno=3)
while True:
    select.select([s], [], [])
    s.accept()[0].recv(1)
";
        let held = held();
        becomes_ready(&held, &Server::python(script, &[], Some(held.fds()[0])));
    }

    #[test]
    fn accepting_in_a_sleep_loop_on_a_held_socket_is_ready() {
        if !have(&["python3"]) {
            return;
        }
        // Nothing of this is visible in /proc but the connection itself.
        let script = "
import socket, time
s = socket.socket(fileno=3); s.setblocking(False)
kept = []
while True:
    try: kept.append(s.accept())
    except BlockingIOError: time.sleep(0.02)
";
        let held = held();
        becomes_ready(&held, &Server::python(script, &[], Some(held.fds()[0])));
    }

    #[test]
    fn poll_on_a_held_unix_socket_is_ready() {
        if !have(&["python3"]) {
            return;
        }
        let script = "
import select, socket
s = socket.socket(fileno=3)
p = select.poll(); p.register(s, select.POLLIN)
while True:
    p.poll()
    s.accept()[0].recv(1)
";
        let folder = tempfile::tempdir().expect("a temp folder");
        let held = Held::bind(&[http(Address::Unix(folder.path().join("app.sock")))]);
        let held = held.unwrap_or_else(|error| panic!("{error}"));
        becomes_ready(&held, &Server::python(script, &[], Some(held.fds()[0])));
    }

    #[test]
    fn node_on_a_held_socket_is_ready() {
        if !have(&["node"]) {
            return;
        }
        let held = held();
        let script = "require('http').createServer((q, a) => a.end('x')).listen({ fd: 3 })";
        becomes_ready(
            &held,
            &Server::start(&["node", "-e", script], Some(held.fds()[0])),
        );
    }

    #[test]
    fn node_on_its_own_socket_is_ready_and_its_inspector_is_not() {
        if !have(&["node"]) {
            return;
        }
        let (_folder, go) = word();
        let script = "
const fs = require('fs');
const look = setInterval(() => {
  if (!fs.existsSync(process.argv[1])) return;
  clearInterval(look);
  const s = require('http').createServer((q, a) => a.end('x'));
  s.listen(0, '127.0.0.1', () => console.log(s.address().port));
}, 5);
console.log('running');
";
        let mut server = Server::start(&["node", "--inspect", "-e", script, text(&go)], None);
        let watched = watch(&ReadyBy::Accepting, &Held::default(), &[server.pid()], None);
        assert_eq!(server.line(), "running");
        until("a look", || {
            (watched.probe.state() == State::Nowhere).then_some(())
        });
        assert!(watched.is_silent());
        say(&go);
        let address: SocketAddr = format!("127.0.0.1:{}", server.line())
            .parse()
            .expect("a port");
        assert_eq!(proven(&watched.ready(), &server), Address::Tcp(address));
        assert_eq!(
            watched.probe.state(),
            State::Listening(vec![Address::Tcp(address)])
        );
    }

    #[test]
    fn pythons_http_server_on_its_own_socket_is_ready() {
        if !have(&["python3"]) {
            return;
        }
        let mut server = Server::start(
            &[
                "python3",
                "-u",
                "-m",
                "http.server",
                "0",
                "--bind",
                "127.0.0.1",
            ],
            None,
        );
        let watched = watch(&ReadyBy::Accepting, &Held::default(), &[server.pid()], None);
        let port = server
            .line()
            .split(' ')
            .nth(5)
            .and_then(|port| port.parse().ok())
            .expect("port N");
        let address: SocketAddr = ([127, 0, 0, 1], port).into();
        assert_eq!(proven(&watched.ready(), &server), Address::Tcp(address));
        TcpStream::connect(address).expect("it serves");
    }

    #[test]
    fn go_is_ready_when_it_accepts_and_not_when_it_binds() {
        if !have(&["go"]) {
            return;
        }
        let source = r#"package main
import ("net"; "net/http"; "os"; "time"; "fmt")
func main() {
	var listener net.Listener
	if os.Args[2] == "held" {
		listener, _ = net.FileListener(os.NewFile(3, "held"))
	} else {
		listener, _ = net.Listen("tcp", ":0")
	}
	fmt.Println("bound")
	for { if _, err := os.Stat(os.Args[1]); err == nil { break }; time.Sleep(5 * time.Millisecond) }
	http.Serve(listener, nil)
}
"#;
        let folder = tempfile::tempdir().expect("a temp folder");
        let program = go_build(folder.path(), source);
        let held = held();
        let nothing = Held::default();
        for (mode, held) in [("held", &held), ("own", &nothing)] {
            let (_folder, go) = word();
            let mut server =
                Server::start(&[&program, text(&go), mode], held.fds().first().copied());
            assert_eq!(server.line(), "bound");
            let watched = watch(&ReadyBy::Accepting, held, &[server.pid()], None);
            // It is registered with epoll by now, and our connection is in the queue.
            until("our connection", || waits(&server, held, 1));
            assert!(watched.is_silent());
            say(&go);
            let address = proven(&watched.ready(), &server);
            match held.addresses().first() {
                Some(held) => assert_eq!(address, *held),
                None => assert!(
                    matches!(address, Address::Tcp(SocketAddr::V6(_))),
                    "{address:?}"
                ),
            }
        }
    }

    /// Whether so many connections wait for the server, or on the held socket.
    fn waits(server: &Server, held: &Held, count: usize) -> Option<()> {
        let port = held.port().or_else(|| {
            evidence::listeners(&[server.pid()])
                .iter()
                .find_map(|listener| match listener.address {
                    Address::Tcp(address) => Some(address.port()),
                    Address::Unix(_) => None,
                })
        })?;
        let rows = evidence::tcp_rows();
        let queued = rows.iter().filter(|row| {
            row.local.port() == port
                && row.inode == 0
                && row.state == evidence::TcpState::Established
        });
        (queued.count() >= count).then_some(())
    }

    /// The old generation: tells of each connection whether it was asked for anything.
    const OLD: &str = "
import socket
s = socket.socket(fileno=3)
while True:
    with s.accept()[0] as c: print('asked' if c.recv(1) else 'silent')
";

    #[test]
    fn the_generation_that_accepts_is_told_from_the_one_that_does_not_yet() {
        if !have(&["python3"]) {
            return;
        }
        for how in [ReadyBy::Accepting, ReadyBy::Http("/".to_owned())] {
            let (_folder, go) = word();
            let held = held();
            let mut old = Server::python(OLD, &[], Some(held.fds()[0]));
            becomes_ready(&held, &old);
            let mut new = Server::python(LATE, &[text(&go)], Some(held.fds()[0]));
            assert_eq!(new.line(), "registered");
            let watched = watch(&how, &held, &[new.pid()], None);
            // The old one accepts whatever comes, which proves nothing about the new one; so nothing is asked of it.
            for _ in 0..10 {
                assert_eq!(old.line(), "silent");
            }
            assert!(watched.is_silent());
            say(&go);
            if matches!(how, ReadyBy::Accepting) {
                assert_eq!(proven(&watched.ready(), &new), held.addresses()[0]);
            }
        }
    }

    #[test]
    fn one_accepted_socket_is_ready_and_the_rest_is_noted() {
        if !have(&["python3"]) {
            return;
        }
        let any = Address::Tcp(([127, 0, 0, 1], 0).into());
        let held =
            Held::bind(&[http(any.clone()), http(any)]).unwrap_or_else(|error| panic!("{error}"));
        let server = Server::python(BLOCKING, &[], Some(held.fds()[1]));
        let report = watch(&ReadyBy::Accepting, &held, &[server.pid()], None).ready();
        assert_eq!(proven(&report, &server), held.addresses()[1]);
        assert_eq!(report.unproven, [held.addresses()[0].clone()]);
    }

    #[test]
    fn a_server_that_leaves_its_held_socket_alone_is_seen_elsewhere() {
        if !have(&["python3"]) {
            return;
        }
        let held = held();
        let script = "
import socket
s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1]); s.accept()
";
        let mut server = Server::python(script, &[], None);
        let watched = watch(&ReadyBy::Accepting, &held, &[server.pid()], None);
        let address: SocketAddr = format!("127.0.0.1:{}", server.line())
            .parse()
            .expect("a port");
        let elsewhere = State::Listening(vec![Address::Tcp(address)]);
        until("the other socket to be seen", || {
            (watched.probe.state() == elsewhere).then_some(())
        });
        assert!(watched.is_silent());
    }

    /// An HTTP server whose `/up` is 503 until it is told; then, and for other paths, a redirect.
    const WARMING: &str = "
import http.server, os, socket, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code = 302 if os.path.exists(sys.argv[1]) else 503
        print(code, self.path, self.headers['Host'])
        self.send_response(code); self.send_header('Location', '/login'); self.end_headers()
    def log_message(*arguments): pass
server = http.server.HTTPServer(('127.0.0.1', 0), Answer, bind_and_activate=False)
if sys.argv[2] == 'held':
    server.socket = socket.socket(fileno=3)
else:
    server.server_bind(); server.server_activate()
server.serve_forever()
";

    #[test]
    fn http_is_asked_until_it_answers_well() {
        if !have(&["python3"]) {
            return;
        }
        let (held, nothing) = (held(), Held::default());
        let folder = tempfile::tempdir().expect("a temp folder");
        let unix = Held::bind(&[http(Address::Unix(folder.path().join("app.sock")))]);
        let unix = unix.unwrap_or_else(|error| panic!("{error}"));
        for (mode, held) in [("held", &held), ("own", &nothing), ("held", &unix)] {
            let (_folder, go) = word();
            // For a unix peer the handler needs no change: it never looks at the address.
            let mut server =
                Server::python(WARMING, &[text(&go), mode], held.fds().first().copied());
            let watched = watch(
                &ReadyBy::Http("/up?x=1".to_owned()),
                held,
                &[server.pid()],
                None,
            );
            let first = server.line();
            assert_eq!(server.line(), first, "it is asked again");
            assert!(watched.is_silent());
            say(&go);
            let report = watched.ready();
            let address = proven(&report, &server);
            let host = match &address {
                Address::Tcp(address) => address.to_string(),
                Address::Unix(_) => "localhost".to_owned(),
            };
            assert_eq!(first, format!("503 /up?x=1 {host}"));
            assert!(held.addresses().first().is_none_or(|held| *held == address));
        }
    }

    const NOTIFY: &str = "
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect(sys.argv[1])
for line in sys.argv[2:]: s.send(line.encode())
";

    #[test]
    fn ready_is_believed_from_the_server_alone() {
        if !have(&["python3"]) {
            return;
        }
        let (_folder, go) = word();
        for how in [ReadyBy::Notify, ReadyBy::Accepting] {
            let _ = std::fs::remove_file(&go);
            let notify = NotifySocket::bind().expect("a temp folder");
            let path = notify.path().to_owned();
            let script = format!(
                "import time, os, sys\ngo = sys.argv.pop()\nwhile not os.path.exists(go): time.sleep(0.005)\n{NOTIFY}\n\
                 time.sleep(600)"
            );
            let server = Server::python(
                &script,
                &[text(&path), "STATUS=up", "READY=1", text(&go)],
                None,
            );
            let held = held();
            let watched = watch(&how, &held, &[server.pid()], Some(notify));
            let stranger = UnixDatagram::unbound().expect("a socket");
            stranger
                .send_to(b"STATUS=liar\nREADY=1", &path)
                .expect("it is bound");
            say(&go);
            let report = watched.ready();
            assert_eq!(
                (report.how, report.accepting_pid),
                (Evidence::Notified, Some(server.pid()))
            );
            assert_eq!(
                watched.probe.status().as_deref(),
                Some("up"),
                "the stranger came first and was not heard"
            );
            // Later ones are received and dropped: a full queue would block the server.
            for _ in 0..2_000 {
                stranger
                    .send_to(b"WATCHDOG=1", &path)
                    .expect("somebody reads");
            }
            drop(watched);
            until("the socket to be removed", || {
                (!path.exists()).then_some(())
            });
        }
    }

    #[test]
    fn a_helper_that_has_left_may_say_ready() {
        if !have(&["python3"]) {
            return;
        }
        let notify = NotifySocket::bind().expect("a temp folder");
        let helper = Server::python(NOTIFY, &[text(notify.path()), "READY=1"], None);
        helper.ended();
        let watched = watch(&ReadyBy::Notify, &Held::default(), &[], Some(notify));
        assert_eq!(watched.ready().how, Evidence::Notified);
    }

    #[test]
    fn a_dropped_probe_ends_at_once_and_says_nothing() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let log = ReadyBy::Log(Regex::new("up").expect("a regex"));
        let delay = ReadyBy::Delay(Duration::from_secs(1));
        for how in [
            ReadyBy::Accepting,
            ReadyBy::Http("/".to_owned()),
            ReadyBy::Notify,
            log,
            delay,
        ] {
            let waits_for_answer = matches!(how, ReadyBy::Http(_));
            let held = held();
            let (sender, reports) = mpsc::channel::<ReadyReport>();
            // What only the thread owns tells when it has ended.
            let report = move |report| sender.send(report).expect("the test waits for it");
            let tree = move || {
                if waits_for_answer {
                    vec![Pid::this()]
                } else {
                    Vec::new()
                }
            };
            let view = match waits_for_answer {
                true => HeldView {
                    inodes: vec![nix::sys::stat::fstat(&silent).expect("open").st_ino],
                    addresses: vec![Address::Tcp(silent.local_addr().expect("bound"))],
                },
                false => held.view(),
            };
            let probe = Probe::start(&how, view, tree, None, report).expect("a thread");
            // It asks, and this server accepts, reads, and never answers.
            let _accepted = waits_for_answer.then(|| {
                let (mut accepted, _) = silent.accept().expect("it connects");
                let mut first = [0; 5];
                accepted.read_exact(&mut first).expect("it asks");
                assert_eq!(&first, b"GET /");
                accepted
            });
            let dropped = Instant::now();
            drop(probe);
            assert_eq!(
                reports.recv_timeout(DEADLINE),
                Err(RecvTimeoutError::Disconnected)
            );
            assert!(dropped.elapsed() < ANSWER / 2, "{:?}", dropped.elapsed());
        }
    }

    #[test]
    fn a_tree_that_listens_nowhere_is_seen_so() {
        let server = Server::start(&["sleep", "600"], None);
        let watched = watch(&ReadyBy::Accepting, &Held::default(), &[server.pid()], None);
        until("a look", || {
            (watched.probe.state() == State::Nowhere).then_some(())
        });
        assert!(watched.is_silent());
    }

    #[test]
    fn sockets_of_tools_are_no_service() {
        let temp = env::temp_dir();
        for (address, is) in [
            (Address::Tcp(([127, 0, 0, 1], 9229).into()), false),
            (Address::Tcp(([127, 0, 0, 1], 9228).into()), true),
            (Address::Unix("@/tmp/abstract".into()), false),
            (Address::Unix(temp.join("tsx-0/17.pipe")), false),
            (Address::Unix(temp.join("app.sock")), true),
            (Address::Unix("/run/app/app.sock".into()), true),
        ] {
            assert_eq!(is_service(&address), is, "{address:?}");
        }
    }

    #[test]
    fn the_status_is_read_from_the_first_line() {
        for (answer, status) in [
            ("HTTP/1.1 204 No Content\r\n", Some(204)),
            ("HTTP/1.0 301\n", Some(301)),
            ("HTTP/1.1 99\r\n", None),
            ("HTTP/2 200\r\n", None),
            ("\x15\x03\x01\x00\x02\x02", None),
            ("", None),
            ("\n", None),
        ] {
            assert_eq!(status_of(answer.as_bytes()), status, "{answer:?}");
        }
    }
}

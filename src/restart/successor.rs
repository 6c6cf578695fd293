//! Finds whom a server has started to succeed it, and helps the two to part.
//!
//! For a hot restart in which the server forks by itself: devwatch signals it and must know which of its processes is
//! the new generation. It only looks, and connects without saying anything; signals, time limits and what a missing
//! successor means are the supervisor's. That the one found *accepts* is for `ready` to show, with the tree below it
//! and [`listening_sockets`] of the old one. All of it reads Linux's `/proc`; elsewhere a search cannot be started.
#![expect(
    clippy::disallowed_methods,
    reason = "an edge: pokes are limited in time, on a thread of their own"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::config::Address;
use crate::process::tree::{self, Process};

use super::evidence;
use super::ready::is_service;
use super::sockets::HeldView;

/// How soon, and at last how seldom, a search looks. A Go server has forked some 4 ms after the signal, so it begins
/// with many looks.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(10);
const FIRST_LOOKS: u32 = 10;

/// Between two pokes. At this pace an idle falcore was gone after about 60 ms instead of up to 2.7 s.
const POKE_EVERY: Duration = Duration::from_millis(20);

/// Whether a process would survive a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preflight {
    /// It has a handler. That proves little: the Go runtime catches everything, and a Go program without a use for
    /// SIGHUP still dies of it.
    Caught,
    /// It has none: the signal would kill it, or be ignored.
    NotCaught,
    /// It has none but blocks the signal, perhaps to read it from a descriptor; or the process cannot be seen.
    Unknown,
}

/// What `pid` would do with `signal`.
pub fn preflight(pid: Pid, signal: Signal) -> Preflight {
    match fs::read_to_string(format!("/proc/{pid}/status")) {
        Ok(status) => parse_preflight(&status, signal),
        Err(_) => Preflight::Unknown,
    }
}

/// Looks for the successor until it is found. Dropping it ends that: after `drop` returns nothing is reported.
pub struct Search {
    cancelled: Arc<Mutex<bool>>,
    /// Closing it wakes the thread.
    _cancel: Sender<()>,
}

impl Search {
    /// Starts looking. The successor is a process that
    /// * is not among `known`: pid and start time of what was there before the signal;
    /// * executes a program of its own. Until it does, a fork is a copy of its parent, sockets included; Go forks a
    ///   throw-away one before its first child;
    /// * runs the `artefact` as it is now, or was when the search began; without one, the program of one of the
    ///   `known` that hold the sockets, as an interpreter's script does;
    /// * has one of the sockets with the inodes `listening` open; without any, this is not asked.
    ///
    /// Of several, it is the one above the others. `tree` gives the pids among which it may be, whenever asked;
    /// `report` is called at most once, from the search's thread, and must neither block nor drop the search.
    ///
    /// # Errors: no thread to be had, or no `/proc` to look into.
    pub fn start(
        known: Vec<(Pid, u64)>,
        artefact: Option<PathBuf>,
        listening: Vec<u64>,
        tree: impl Fn() -> Vec<Pid> + Send + 'static,
        mut report: impl FnMut(Pid) + Send + 'static,
    ) -> io::Result<Search> {
        if !evidence::VISIBLE {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a successor cannot be found here: this system does not show processes in /proc",
            ));
        }
        let wanted = Wanted {
            program: Program::of(artefact, &known, &listening),
            known: known.into_iter().collect(),
            listening,
        };
        let (cancel, waker) = mpsc::channel();
        let cancelled = Arc::new(Mutex::new(false));
        let shared = Arc::clone(&cancelled);
        thread::Builder::new()
            .name("successor".to_owned())
            .spawn(move || {
                let mut pause = FIRST_LOOK;
                for looks in 1.. {
                    if let Some(pid) = wanted.find(&tree()) {
                        // Held while reporting, so that a dropped search has either reported or never will.
                        let cancelled = lock(&shared);
                        if !*cancelled {
                            report(pid);
                        }
                        return;
                    }
                    if is_over(&waker, pause) {
                        return;
                    }
                    if looks >= FIRST_LOOKS {
                        pause = (pause * 2).min(LAST_LOOK);
                    }
                }
            })?;
        Ok(Search {
            cancelled,
            _cancel: cancel,
        })
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        *lock(&self.cancelled) = true;
    }
}

/// The sockets on which `pids` listen by themselves, without those of tools: what a successor inherits, and what a
/// [`Probe`](super::ready::Probe) of it is to look at.
pub fn listening_sockets(pids: &[Pid]) -> HeldView {
    let mut view = HeldView::default();
    for listener in evidence::listeners(pids) {
        if is_service(&listener.address) {
            view.inodes.push(listener.inode);
            view.addresses.push(listener.address);
        }
    }
    view
}

/// Who has one of the sockets with these inodes open although it is neither of the new generation, given as its pids
/// or some of them, nor started by it, nor devwatch itself; ascending. Asked once the old generation should be gone.
/// Looks at every process there is.
pub fn extra_owners(inodes: &[u64], new: &[Pid]) -> Vec<Pid> {
    let me = Pid::this();
    evidence::all_pids()
        .into_iter()
        .filter(|&pid| pid != me && !new.contains(&pid))
        .filter(|&pid| {
            let sockets = evidence::sockets_of(pid);
            inodes.iter().any(|inode| sockets.contains(inode))
        })
        // A process of devwatch's own that has not called exec yet holds copies of everything for an instant.
        .filter(|&pid| {
            tree::process(pid).is_some_and(|process| process.executed || process.parent != me)
        })
        // Whoever the new generation has started since it was listed.
        .filter(|&pid| !ancestors(pid).any(|ancestor| new.contains(&ancestor)))
        .collect()
}

/// Connects to the sockets of an old generation and leaves again, so that an accept that waits in it returns: falcore
/// notices that it is to stop only then, and one whose sockets block, after a failed attempt to start a successor,
/// never would. To a server it is a client that says nothing. Dropping it ends it.
pub struct Poke {
    /// Closing it wakes the thread.
    _cancel: Sender<()>,
}

impl Poke {
    /// Pokes at once and then every 20 ms, while `while_held` says that the old generation still holds its sockets,
    /// and for `at_most` this long. A wildcard host is reached through loopback.
    ///
    /// # Errors: no thread to be had.
    pub fn start(
        addresses: Vec<Address>,
        while_held: impl Fn() -> bool + Send + 'static,
        at_most: Duration,
    ) -> io::Result<Poke> {
        let (cancel, waker) = mpsc::channel();
        let began = Instant::now();
        thread::Builder::new()
            .name("poke".to_owned())
            .spawn(move || {
                while began.elapsed() < at_most && while_held() {
                    for address in &addresses {
                        // Refused or full is as good: nobody waits for a connection then.
                        drop(evidence::connect(address));
                    }
                    if is_over(&waker, POKE_EVERY) {
                        return;
                    }
                }
            })?;
        Ok(Poke { _cancel: cancel })
    }
}

/// What tells the successor from everybody else.
struct Wanted {
    known: BTreeSet<(Pid, u64)>,
    program: Program,
    listening: Vec<u64>,
}

impl Wanted {
    fn find(&self, pids: &[Pid]) -> Option<Pid> {
        let fitting: Vec<Process> = pids.iter().filter_map(|&pid| self.fits(pid)).collect();
        let above = fitting.iter().find(|process| {
            let mut ancestors = ancestors(process.pid);
            !ancestors.any(|ancestor| fitting.iter().any(|other| other.pid == ancestor))
        });
        above.map(|process| process.pid)
    }

    fn fits(&self, pid: Pid) -> Option<Process> {
        let process = tree::process(pid)?;
        let fits = process.executed
            && !self.known.contains(&(pid, process.start))
            && self.program.is_run_by(pid)
            && self.holds_a_socket(pid);
        fits.then_some(process)
    }

    fn holds_a_socket(&self, pid: Pid) -> bool {
        self.listening.is_empty()
            || evidence::sockets_of(pid)
                .iter()
                .any(|inode| self.listening.contains(inode))
    }
}

/// What the successor executes.
enum Program {
    /// This file, as it is at each look. The open one, as it was at first, keeps its inode from being given to the
    /// next build while it is searched for.
    Artefact(PathBuf, Option<File>),
    /// One of these, by device and inode; processes that run keep them from being given away.
    OneOf(Vec<(u64, u64)>),
    Any,
}

impl Program {
    fn of(artefact: Option<PathBuf>, known: &[(Pid, u64)], listening: &[u64]) -> Program {
        if let Some(path) = artefact {
            let open = open_unread(&path).ok();
            return Program::Artefact(path, open);
        }
        let holders = known.iter().map(|(pid, _)| *pid).filter(|&pid| {
            evidence::sockets_of(pid)
                .iter()
                .any(|inode| listening.contains(inode))
        });
        let programs: Vec<(u64, u64)> = holders.filter_map(program_of).collect();
        if programs.is_empty() {
            Program::Any
        } else {
            Program::OneOf(programs)
        }
    }

    fn is_run_by(&self, pid: Pid) -> bool {
        match self {
            Program::Artefact(path, open) => {
                let Some(program) = program_of(pid) else {
                    return false;
                };
                let at_first = open.as_ref().and_then(|open| open.metadata().ok());
                let now = fs::metadata(path).ok();
                let mut files = at_first.iter().chain(&now);
                files.any(|file| (file.dev(), file.ino()) == program)
            }
            Program::OneOf(programs) => {
                program_of(pid).is_some_and(|program| programs.contains(&program))
            }
            Program::Any => true,
        }
    }
}

/// Device and inode of what a process executes, whatever has become of the file's name.
fn program_of(pid: Pid) -> Option<(u64, u64)> {
    let file = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((file.dev(), file.ino()))
}

/// Opens a file for nothing but to have it: an executable may not be readable.
#[cfg(target_os = "linux")]
fn open_unread(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    File::options()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_unread(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// The parent of a process, its parent, and so on, as far as they can be seen.
fn ancestors(pid: Pid) -> impl Iterator<Item = Pid> {
    let parent = |pid: &Pid| {
        tree::process(*pid)
            .map(|process| process.parent)
            .filter(|parent| parent.as_raw() > 1)
    };
    std::iter::successors(parent(&pid), parent)
}

/// Reads `SigCgt`, `SigIgn` and `SigBlk` of `/proc/PID/status`.
fn parse_preflight(status: &str, signal: Signal) -> Preflight {
    let mask = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let bit = 1 << (signal as i32 - 1);
    let is_in = |mask: u64| mask & bit != 0;
    match (mask("SigCgt"), mask("SigIgn"), mask("SigBlk")) {
        (Some(caught), _, _) if is_in(caught) => Preflight::Caught,
        (Some(_), Some(ignored), Some(blocked)) if is_in(ignored) || !is_in(blocked) => {
            Preflight::NotCaught
        }
        (Some(_) | None, _, _) => Preflight::Unknown,
    }
}

/// Waits, and says whether the owner has gone meanwhile.
fn is_over(waker: &Receiver<()>, pause: Duration) -> bool {
    match waker.recv_timeout(pause) {
        Err(RecvTimeoutError::Timeout) => false,
        Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::TryRecvError;

    use nix::sys::signal::kill;

    use super::super::ready::Probe;
    use super::super::sockets::take_listeners;
    use super::super::trial::{DEADLINE, Server, go_build, have, until};
    use super::*;
    use crate::config::ReadyBy;
    use crate::supervisor::event::Evidence;

    #[test]
    fn what_a_signal_would_do_is_read_from_three_masks() {
        // HUP is bit 0, TERM bit 14.
        let status = |ignored: &str, caught: &str, blocked: &str| {
            format!("Name:\tx SigCgt:\nSigBlk:\t{blocked}\nSigIgn:\t{ignored}\nSigCgt:\t{caught}\n")
        };
        let (none, hup, term) = ("0000000000000000", "0000000000000001", "0000000000004000");
        for (text, expected) in [
            (status(none, hup, none), Preflight::Caught),
            (status(none, "fffffffe7ffbfeff", none), Preflight::Caught),
            (status(none, hup, hup), Preflight::Caught),
            (status(none, none, none), Preflight::NotCaught),
            (status(none, term, none), Preflight::NotCaught),
            (status(hup, none, none), Preflight::NotCaught),
            (status(hup, none, hup), Preflight::NotCaught),
            (status(none, none, hup), Preflight::Unknown),
            (status("", none, none), Preflight::Unknown),
            (format!("SigCgt:\t{none}\n"), Preflight::Unknown),
            (format!("SigCgt:\t{hup}\n"), Preflight::Caught),
            (String::new(), Preflight::Unknown),
        ] {
            assert_eq!(parse_preflight(&text, Signal::SIGHUP), expected, "{text}");
        }
        let text = status(none, term, none);
        assert_eq!(parse_preflight(&text, Signal::SIGTERM), Preflight::Caught);
    }

    #[test]
    fn a_process_that_a_signal_would_kill_is_known_before() {
        let mut traps = Server::start(
            &[
                "sh",
                "-c",
                "trap 'echo hup' HUP; echo up; while :; do sleep 1; done",
            ],
            None,
        );
        assert_eq!(traps.line(), "up");
        assert_eq!(preflight(traps.pid(), Signal::SIGHUP), Preflight::Caught);
        let sleeps = Server::start(&["sleep", "600"], None);
        until("it is no shell any more", || {
            (preflight(sleeps.pid(), Signal::SIGHUP) == Preflight::NotCaught).then_some(())
        });
        let gone = Pid::from_raw(i32::MAX);
        assert_eq!(preflight(gone, Signal::SIGHUP), Preflight::Unknown);
    }

    /// A program whose file is in `folder`: a shell, of which every copy is a program of its own.
    fn build(folder: &Path) -> PathBuf {
        let (made, program) = (folder.join("making"), folder.join("server"));
        fs::copy("/bin/sh", &made).expect("a shell");
        fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).expect("ours");
        fs::rename(&made, &program).expect("ours");
        program
    }

    fn text(path: &Path) -> &str {
        path.to_str().expect("temp folders have plain names")
    }

    fn word(folder: &Path, name: &str) -> PathBuf {
        folder.join(name)
    }

    fn say(word: &Path) {
        fs::write(word, "").expect("the folder is ours");
    }

    fn known(pids: &[Pid]) -> Vec<(Pid, u64)> {
        let start = |&pid: &Pid| Some((pid, tree::start_time(pid)?));
        pids.iter().filter_map(start).collect()
    }

    fn with_descendants(pid: Pid) -> impl Fn() -> Vec<Pid> + Send + 'static {
        move || [vec![pid], tree::descendants(pid)].concat()
    }

    struct Searching {
        found: Receiver<Pid>,
        _search: Search,
    }

    fn search(
        known: Vec<(Pid, u64)>,
        artefact: Option<PathBuf>,
        listening: Vec<u64>,
        below: Pid,
    ) -> Searching {
        let (sender, found) = mpsc::channel();
        let report = move |pid| sender.send(pid).expect("the test waits for it");
        let tree = with_descendants(below);
        let search = Search::start(known, artefact, listening, tree, report).expect("a thread");
        Searching {
            found,
            _search: search,
        }
    }

    impl Searching {
        fn is_silent(&self) {
            // Several looks at the slowest pace.
            assert_eq!(
                self.found.recv_timeout(LAST_LOOK * 8),
                Err(RecvTimeoutError::Timeout)
            );
        }

        fn found(&self) -> Pid {
            self.found.recv_timeout(DEADLINE).expect("it is found")
        }
    }

    fn inode_of(listener: &TcpListener) -> u64 {
        nix::sys::stat::fstat(listener).expect("open").st_ino
    }

    fn pid_in(line: &str) -> Pid {
        Pid::from_raw(line.parse().expect("a pid"))
    }

    fn stays(seconds: &str) -> String {
        format!("while :; do sleep {seconds}; done")
    }

    /// Everything that is not the successor, one after the other, and then the successor with a worker of its own.
    #[test]
    fn the_successor_is_told_from_whatever_else_appears() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let program = build(folder.path());
        let next = |name: &str| word(folder.path(), name);
        let wait = |name: &str| format!("until [ -e {} ]; do sleep 0.005; done", text(&next(name)));
        let program_text = text(&program);
        let stay = stays("600");
        // A copy of the old server, its old program once more, the new one without the socket, another program with
        // it, and at last the new one with it, which starts itself once more.
        let script = format!(
            "echo old
             {}; ({stay}) & echo $!
             {}; \"$(readlink -f /proc/$$/exe | sed 's/ (deleted)//;s/server$/first/')\" -c '{stay}' & echo $!
             {}; {program_text} -c '{stay}' 3<&- & echo $!
             {}; sleep 600 & echo $!
             {}; {program_text} -c '{program_text} -c \"{stay}\" & {stay}' & echo $!
             {stay}",
            wait("1"),
            wait("2"),
            wait("3"),
            wait("4"),
            wait("5"),
        );
        // The old program keeps another name, under which it can be executed after the new build.
        fs::hard_link(&program, next("first")).expect("ours");
        let mut old = Server::start(&[program_text, "-c", &script], Some(listener.as_fd()));
        let _all = KillsBelow(old.pid());
        assert_eq!(old.line(), "old");
        build(folder.path());
        let before = known(&with_descendants(old.pid())());
        let artefact = Some(program.clone());
        let searching = search(before, artefact, vec![inode_of(&listener)], old.pid());
        for stage in ["1", "2", "3", "4"] {
            say(&next(stage));
            let pid = pid_in(&old.line());
            until("it is as it stays", || {
                let process = tree::process(pid)?;
                (process.executed || stage == "1").then_some(())
            });
            searching.is_silent();
        }
        say(&next("5"));
        let successor = pid_in(&old.line());
        assert_eq!(searching.found(), successor);
        // It is found although it is replaced by yet another build meanwhile.
        let pinned = search(
            known(&[old.pid()]),
            Some(program.clone()),
            vec![inode_of(&listener)],
            old.pid(),
        );
        build(folder.path());
        assert_eq!(pinned.found(), successor);
    }

    /// What hangs below a test's server. The server itself ends by its own guard.
    struct KillsBelow(Pid);

    impl Drop for KillsBelow {
        fn drop(&mut self) {
            until("nothing is left below", || {
                let below = tree::descendants(self.0);
                let running = below
                    .iter()
                    .filter(|&&pid| tree::process(pid).is_some_and(|process| process.state != 'Z'));
                let running: Vec<_> = running.collect();
                for &&pid in &running {
                    let _ = kill(pid, Signal::SIGSTOP);
                    let _ = kill(pid, Signal::SIGKILL);
                }
                running.is_empty().then_some(())
            });
        }
    }

    #[test]
    fn without_an_artefact_the_successor_runs_the_program_of_its_predecessor() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let program = build(folder.path());
        let go = word(folder.path(), "go");
        let (shown, stay) = (text(&program), stays("600"));
        let script = format!(
            "({stay}) & sleep 600 & echo up
             until [ -e {} ]; do sleep 0.005; done
             {shown} -c '{stay}' & echo $!; {stay}",
            text(&go)
        );
        let mut old = Server::start(&[shown, "-c", &script], Some(listener.as_fd()));
        let _all = KillsBelow(old.pid());
        assert_eq!(old.line(), "up");
        let searching = search(
            known(&[old.pid()]),
            None,
            vec![inode_of(&listener)],
            old.pid(),
        );
        searching.is_silent();
        say(&go);
        let successor = pid_in(&old.line());
        assert_eq!(searching.found(), successor);
    }

    #[test]
    fn a_dropped_search_ends_at_once_and_says_nothing() {
        let (sender, found) = mpsc::channel::<Pid>();
        let report = move |pid| sender.send(pid).expect("the test waits for it");
        let me = || vec![Pid::this()];
        let search = Search::start(known(&me()), None, Vec::new(), me, report).expect("a thread");
        assert_eq!(
            found.recv_timeout(LAST_LOOK * 2),
            Err(RecvTimeoutError::Timeout)
        );
        drop(search);
        // What only the thread owned is gone.
        assert_eq!(
            found.recv_timeout(DEADLINE),
            Err(RecvTimeoutError::Disconnected)
        );
        // And one who is not known is found at once, so the search was not blind.
        let (sender, found) = mpsc::channel::<Pid>();
        let report = move |pid| sender.send(pid).expect("the test waits for it");
        let _search = Search::start(Vec::new(), None, Vec::new(), me, report).expect("a thread");
        assert_eq!(found.recv_timeout(DEADLINE), Ok(Pid::this()));
    }

    /// A server that hands over as Go frameworks do: on HUP it starts its own path anew with the listener as
    /// descriptor 3, and goes on accepting until it is told to end.
    const SELF_FORKING: &str = r#"package main
import ("fmt"; "net"; "os"; "os/signal"; "syscall")
func main() {
	var listener net.Listener
	if len(os.Args) > 1 {
		listener, _ = net.FileListener(os.NewFile(3, "taken"))
	} else {
		listener, _ = net.Listen("tcp", "127.0.0.1:0")
	}
	file, _ := listener.(*net.TCPListener).File()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for { connection, err := listener.Accept(); if err != nil { return }; go connection.Read(make([]byte, 1)) }
	}()
	fmt.Println(os.Getpid())
	for range hup {
		files := []*os.File{os.Stdin, os.Stdout, os.Stderr, file}
		os.StartProcess(os.Args[0], []string{os.Args[0], "taken"}, &os.ProcAttr{Files: files})
	}
}
"#;

    #[test]
    fn a_go_server_that_forks_itself_is_found_and_proven_beside_its_predecessor() {
        if !have(&["go"]) {
            return;
        }
        let folder = tempfile::tempdir().expect("a temp folder");
        let program = PathBuf::from(go_build(folder.path(), SELF_FORKING));
        let (mut to_found, mut to_proven) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            let mut old = Server::start(&[text(&program)], None);
            let below = KillsBelow(old.pid());
            assert_eq!(pid_in(&old.line()), old.pid());
            // Another file at the same path, as a build makes it.
            let made = folder.path().join("making");
            fs::copy(&program, &made).expect("ours");
            fs::rename(&made, &program).expect("ours");
            assert_eq!(preflight(old.pid(), Signal::SIGHUP), Preflight::Caught);
            let sockets = listening_sockets(&[old.pid()]);
            assert_eq!(sockets.inodes.len(), 1);
            let searching = search(
                known(&with_descendants(old.pid())()),
                Some(program.clone()),
                sockets.inodes.clone(),
                old.pid(),
            );
            let began = Instant::now();
            kill(old.pid(), Signal::SIGHUP).expect("it lives");
            let new = searching.found();
            to_found.push(began.elapsed());
            let (sender, ready) = mpsc::channel();
            let report = move |report| sender.send(report).expect("the test waits for it");
            let probe = Probe::start(
                &ReadyBy::Accepting,
                sockets.clone(),
                with_descendants(new),
                None,
                report,
            );
            let probe = probe.expect("a thread");
            let shown = ready.recv_timeout(DEADLINE).expect("it accepts");
            to_proven.push(began.elapsed());
            assert_eq!(
                (shown.how, shown.accepting_pid),
                (Evidence::Proven, Some(new))
            );
            assert_eq!(pid_in(&old.line()), new);
            drop(probe);
            assert_eq!(extra_owners(&sockets.inodes, &[new]), [old.pid()]);
            assert_eq!(
                extra_owners(&sockets.inodes, &[old.pid()]),
                [],
                "it is its child"
            );
            assert_eq!(take_listeners(new).expect("ours").len(), 1);
            drop(below);
            drop(old);
        }
        to_found.sort();
        to_proven.sort();
        println!(
            "signal to found: median {:?}, most {:?}; to proven beside the old one: median {:?}, most {:?}",
            to_found[4], to_found[7], to_proven[4], to_proven[7]
        );
    }

    /// Says when it is up, accepts until it is told to stop, and looks whether it is only after an accept.
    const STUBBORN: &str = "
import os, socket, sys
s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1])
while not os.path.exists(sys.argv[1]): s.accept()[0].close(); print('one')
s.close(); print('closed')
import time; time.sleep(600)
";

    #[test]
    fn pokes_free_a_server_that_waits_in_accept_and_end_with_its_socket() {
        if !have(&["python3"]) {
            return;
        }
        let folder = tempfile::tempdir().expect("a temp folder");
        let stop = word(folder.path(), "stop");
        let mut old = Server::python(STUBBORN, &[text(&stop)], None);
        let port: u16 = old.line().parse().expect("a port");
        let sockets = listening_sockets(&[old.pid()]);
        assert_eq!(
            sockets.addresses,
            [Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))]
        );
        let (pid, inodes) = (old.pid(), sockets.inodes);
        let (tell, ended) = mpsc::channel::<()>();
        let while_held = move || {
            let _lives = &tell;
            let open = evidence::sockets_of(pid);
            inodes.iter().any(|inode| open.contains(inode))
        };
        let _poke = Poke::start(sockets.addresses, while_held, DEADLINE).expect("a thread");
        assert_eq!(
            (old.line(), old.line()),
            ("one".into(), "one".into()),
            "again and again"
        );
        say(&stop);
        until("it is closed", || (old.line() == "closed").then_some(()));
        assert_eq!(
            ended.recv_timeout(DEADLINE),
            Err(RecvTimeoutError::Disconnected)
        );
    }

    #[test]
    fn pokes_end_when_dropped_and_when_their_time_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = Address::Tcp(listener.local_addr().expect("bound"));
        for dropped in [true, false] {
            let (tell, ended) = mpsc::channel::<()>();
            let held = Arc::new(AtomicBool::new(false));
            let asked = Arc::clone(&held);
            let while_held = move || {
                let _lives = &tell;
                asked.store(true, Ordering::Relaxed);
                true
            };
            let at_most = if dropped { DEADLINE } else { POKE_EVERY };
            let poke = Poke::start(vec![address.clone()], while_held, at_most).expect("a thread");
            listener.accept().expect("the first comes at once");
            assert!(held.load(Ordering::Relaxed));
            if dropped {
                assert_eq!(ended.try_recv(), Err(TryRecvError::Empty));
                drop(poke);
                assert_eq!(
                    ended.recv_timeout(DEADLINE),
                    Err(RecvTimeoutError::Disconnected)
                );
            } else {
                assert_eq!(
                    ended.recv_timeout(DEADLINE),
                    Err(RecvTimeoutError::Disconnected)
                );
                drop(poke);
            }
        }
    }

    #[test]
    fn our_own_copy_of_a_socket_is_no_extra_owner() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let inodes = [inode_of(&listener)];
        assert_eq!(extra_owners(&inodes, &[]), []);
        let server = Server::start(&["sleep", "600"], Some(listener.as_fd()));
        until("sleep has it", || {
            (extra_owners(&inodes, &[]) == [server.pid()]).then_some(())
        });
        assert_eq!(extra_owners(&inodes, &[server.pid()]), []);
        assert_eq!(extra_owners(&[], &[]), []);
    }
}

//! Three ways to watch a folder, each in a process of its own: devwatch's watcher, raw inotify, one notify watch.
//!
//! The process says `ready` with what it took, then tells what it sees and answers each line it is sent with how
//! many events it has seen. It ends with its input.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use devwatch::config::Poll;
use devwatch::watch::{Scope, Seen, Watcher};
use ignore::gitignore::Gitignore;
use inotify::{Inotify, WatchMask};
use notify::{RecursiveMode, Watcher as _};

use crate::proc::{clock, memory};
use crate::{Outcome, PATIENCE};

/// Who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// `devwatch::watch::Watcher`.
    Devwatch,
    /// A watch for each directory that `.gitignore` leaves, and nothing but reading the events.
    Raw,
    /// One recursive watch of the whole tree by the crate `notify`.
    Notify,
}

impl Who {
    pub(crate) const ALL: [Who; 3] = [Who::Devwatch, Who::Raw, Who::Notify];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Who::Devwatch => "devwatch",
            Who::Raw => "raw",
            Who::Notify => "notify",
        }
    }

    pub(crate) fn named(name: &str) -> Outcome<Who> {
        let who = Who::ALL.into_iter().find(|who| who.name() == name);
        who.ok_or_else(|| format!("nobody is called {name}").into())
    }
}

/// What devwatch is told by its default config.
pub(crate) const DEBOUNCE: Duration = Duration::from_millis(30);

fn scope(root: &Path, debounce: Duration) -> Scope {
    Scope {
        root: root.to_owned(),
        extra_roots: Vec::new(),
        ignore: Vec::new(),
        always: Vec::new(),
        settings: vec![root.join("devwatch.toml")],
        debounce,
        max_wait: Duration::from_secs(1),
        poll: Poll::Auto,
        follow_links: false,
        groups: Vec::new(),
        made: Vec::new(),
        cookies: None,
    }
}

// ---------------------------------------------------------------- in the process

/// Watches `root` until there is no more input.
pub(crate) fn watch(who: Who, root: &Path, debounce: Duration) -> Outcome {
    let events = Arc::new(AtomicUsize::new(0));
    let before = memory(std::process::id())?;
    let from = clock()?;
    let ready = || -> Outcome {
        let took = clock()? - from;
        println!("ready {took} {}", before.resident);
        answer(&events)
    };
    match who {
        Who::Devwatch => {
            let counted = Arc::clone(&events);
            let watcher = Watcher::start(scope(root, debounce), move |seen| tell(seen, &counted))?;
            ready()?;
            drop(watcher);
        }
        Who::Raw => {
            let mut inotify = Inotify::init()?;
            place(&inotify, root)?;
            let counted = Arc::clone(&events);
            thread::spawn(move || {
                let mut buffer = [0; 64 * 1024];
                while let Ok(events) = inotify.read_events_blocking(&mut buffer) {
                    counted.fetch_add(events.count(), Ordering::Relaxed);
                }
            });
            ready()?;
        }
        Who::Notify => {
            let counted = Arc::clone(&events);
            let count = move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
            };
            let mut watcher = notify::recommended_watcher(count)?;
            watcher.watch(root, RecursiveMode::Recursive)?;
            ready()?;
        }
    }
    Ok(())
}

/// The least that is possible: each directory is watched, then listed, by one thread.
fn place(inotify: &Inotify, root: &Path) -> Outcome {
    let mask = WatchMask::CREATE
        | WatchMask::DELETE
        | WatchMask::MODIFY
        | WatchMask::ATTRIB
        | WatchMask::CLOSE_WRITE
        | WatchMask::MOVE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF;
    let (rules, error) = Gitignore::new(root.join(".gitignore"));
    if let Some(error) = error {
        return Err(error.into());
    }
    let mut watches = inotify.watches();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        watches.add(&dir, mask)?;
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let path = entry.path();
                if !rules.matched(&path, true).is_ignore() {
                    dirs.push(path);
                }
            }
        }
    }
    Ok(())
}

fn tell(seen: Seen, count: &AtomicUsize) {
    let now = clock().unwrap_or_default();
    // Whoever does not read any more does not want to know.
    let _ = match seen {
        Seen::Read(_) | Seen::Heard(..) | Seen::CaughtUp(_) => Ok(()),
        Seen::Changes(set) if set.changes.is_empty() => Ok(()),
        Seen::Changes(set) => {
            count.fetch_add(set.changes.len(), Ordering::Relaxed);
            let first = set.changes[0].path.display();
            writeln!(std::io::stdout(), "changes {now} {first}")
        }
        Seen::Settings(_) => writeln!(std::io::stdout(), "settings {now} "),
        Seen::Note(text) => writeln!(std::io::stdout(), "note {now} {text}"),
    };
}

fn answer(events: &AtomicUsize) -> Outcome {
    for line in std::io::stdin().lines() {
        line?;
        println!("seen {}", events.load(Ordering::Relaxed));
    }
    Ok(())
}

// ---------------------------------------------------------------- the process, from outside

/// A process that watches. Ended with this.
pub(crate) struct Contender {
    pub(crate) pid: u32,
    /// How long it took to be ready, in ns.
    pub(crate) took: u64,
    /// What it had in memory before, in KiB.
    pub(crate) before: u64,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Contender {
    pub(crate) fn start(who: Who, root: &Path, debounce: Duration) -> Outcome<Contender> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["watch", who.name()])
            .arg(root)
            .arg(debounce.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = lines(child.stdout.take().ok_or("no stdout")?);
        let mut contender = Contender {
            pid: child.id(),
            took: 0,
            before: 0,
            input: child.stdin.take(),
            child,
            lines,
        };
        let ready = contender.next("ready")?;
        let (took, before) = ready.split_once(' ').ok_or("not ready")?;
        contender.took = took.parse()?;
        contender.before = before.parse()?;
        Ok(contender)
    }

    /// How many events it has seen, devwatch: changes.
    pub(crate) fn seen(&mut self) -> Outcome<usize> {
        let input = self.input.as_mut().ok_or("no input")?;
        input.write_all(b"\n")?;
        Ok(self.next("seen")?.parse()?)
    }

    /// What it says next about `what`; other lines are passed over.
    fn next(&self, what: &str) -> Outcome<String> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.map_err(|_| format!("a process that watches never said {what}"))?;
            if let Some(rest) = line.strip_prefix(what) {
                return Ok(rest.trim_start().to_owned());
            }
        }
    }

    /// When it next said `what` with a text that `fits`.
    pub(crate) fn told(&self, what: &str, fits: impl Fn(&str) -> bool) -> Outcome<u64> {
        loop {
            let line = self.next(what)?;
            let (at, text) = line.split_once(' ').ok_or("no time in a line")?;
            if fits(text) {
                return Ok(at.parse()?);
            }
        }
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // It ends with its input, unless it has been stopped.
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, read by a thread of their own.
pub(crate) fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

//! The few files whose content is devwatch's own business: its config, env files, ignore files outside of the tree.
//!
//! Each is read whole after a quiet time and counts only if its content differs from what was last seen. The
//! tree's watches wake this up; notify-debouncer-full, on the files' directories because editors rename over
//! them, then says when it has become quiet. It exists only while events flow: its thread polls. It may lose
//! an event (a rename and a removal within one quiet time), so the last look is always this module's own.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use notify_debouncer_full::{Debouncer, NoCache, new_debouncer_opt};

use super::fingerprint::{self, Fingerprint};
use super::hints::{Message, What};

/// What a settings file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reported to whoever started the watcher.
    Setting,
    /// Decides which files of the tree are watched.
    Ignore,
}

/// What has really changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    /// Absolute, sorted.
    pub(super) settings: Vec<PathBuf>,
    /// An ignore file outside of the tree differs.
    pub(super) ignore: bool,
}

/// The settings of one watcher.
pub(super) struct Settings {
    files: Vec<(PathBuf, Purpose, Seen)>,
    /// The files and every directory above them: an event on one of these may concern a file.
    concerned: HashSet<PathBuf>,
    quiet: Duration,
    inbox: SyncSender<Message>,
    live: Option<Live>,
}

/// Content and length of a file.
type Seen = Option<(Fingerprint, usize)>;

/// Events flow.
struct Live {
    /// Held for its callback. Without it (no inotify instance left) `until` alone decides.
    _debouncer: Option<Debouncer<notify::RecommendedWatcher, NoCache>>,
    since: Instant,
    /// When to look for the last time.
    until: Instant,
    /// Something was written and not closed yet.
    open: bool,
}

/// A file that never rests is read this long after the first event all the same.
const LONGEST: Duration = Duration::from_secs(1);

impl Settings {
    /// Remembers the present contents. `targets`: where settings that are links point to; `quiet`: how long a file
    /// must rest before it is read.
    pub(super) fn new(
        files: Vec<(PathBuf, Purpose)>,
        targets: &[PathBuf],
        quiet: Duration,
        inbox: SyncSender<Message>,
    ) -> Settings {
        let paths = files.iter().map(|(path, _)| path).chain(targets);
        let concerned = paths
            .flat_map(|path| path.ancestors().map(Path::to_owned))
            .collect();
        let files = files.into_iter().map(|(path, purpose)| {
            let seen = see(&path);
            (path, purpose, seen)
        });
        let files = files.collect();
        // The debouncer's tick is a quarter of it, and must not be zero.
        let quiet = quiet.clamp(Duration::from_millis(10), Duration::from_millis(100));
        Settings {
            files,
            concerned,
            quiet,
            inbox,
            live: None,
        }
    }

    /// Whether an event on `path` may concern a settings file.
    pub(super) fn concerned(&self, path: &Path) -> bool {
        self.concerned.contains(path)
    }

    /// An event on a path that concerns a settings file, or lost events (`Unsure`).
    pub(super) fn stir(&mut self, now: Instant, what: What) {
        if self.live.is_none() {
            self.live = Some(Live {
                _debouncer: self.debouncer(),
                since: now,
                until: now,
                open: false,
            });
        }
        let live = self.live.as_mut().expect("it was just made");
        match what {
            // Half of it may be there, or nothing yet.
            What::Created | What::Written => live.open = true,
            What::Attributes => {}
            What::Closed | What::MovedIn | What::MovedAway | What::Removed | What::Unsure => {
                live.open = false;
            }
        }
        let rest = if live.open { LONGEST } else { 2 * self.quiet };
        live.until = (now + rest).min(live.since + LONGEST);
    }

    /// When to look for the last time; `None` while nothing moves.
    pub(super) fn due(&self) -> Option<Instant> {
        self.live.as_ref().map(|live| live.until)
    }

    /// The debouncer says that it is quiet.
    pub(super) fn settled(&mut self) -> Differences {
        if self.live.as_ref().is_some_and(|live| live.open) {
            return Differences::default();
        }
        // An empty file may be one that was truncated and not yet written: left to the last look.
        self.differences(false)
    }

    /// Events flow no more. Looks for the last time, and lets the debouncer go.
    pub(super) fn last_look(&mut self) -> Differences {
        self.live = None;
        self.differences(true)
    }

    fn differences(&mut self, empty_counts: bool) -> Differences {
        let mut found = Differences::default();
        for (path, purpose, seen) in &mut self.files {
            let now = see(path);
            let emptied = matches!(now, None | Some((_, 0)));
            if now == *seen || emptied && !empty_counts {
                continue;
            }
            *seen = now;
            match purpose {
                Purpose::Setting => found.settings.push(path.clone()),
                Purpose::Ignore => found.ignore = true,
            }
        }
        found.settings.sort();
        found.settings.dedup();
        found
    }

    fn debouncer(&self) -> Option<Debouncer<notify::RecommendedWatcher, NoCache>> {
        let inbox = self.inbox.clone();
        let report = move |_: notify_debouncer_full::DebounceEventResult| {
            // If the channel is full, the last look does it.
            let _ = inbox.try_send(Message::Settings);
        };
        let mut debouncer = new_debouncer_opt(
            self.quiet,
            None,
            report,
            NoCache::new(),
            notify::Config::default(),
        )
        .ok()?;
        let dirs: HashSet<&Path> = self
            .files
            .iter()
            .filter_map(|(path, ..)| path.parent())
            .collect();
        for dir in dirs {
            // A directory that is missing has nothing to tell; its parent is watched by the tree.
            let _ = debouncer.watch(dir, notify::RecursiveMode::NonRecursive);
        }
        Some(debouncer)
    }
}

/// Follows a symlink: what an env file says counts, not where it lies. A missing file has no content.
fn see(path: &Path) -> Seen {
    let meta = fs::metadata(path).ok()?;
    // Opening a pipe would wait for its writer.
    if !meta.is_file() {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    Some((fingerprint::of_bytes(&bytes), bytes.len()))
}

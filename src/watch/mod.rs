//! 1 SEE: kernel events in, changed paths whose content differs out.
//!
//! `hints` is the edge to `notify`; `tree` holds what was last reported and judges; `walk` lists directories and has
//! them watched; `filter` says what is watched at all; `file` is one file as it was seen; `quiet` (pure) says when a
//! burst is over, `git` whether it is to wait; `settings` follows the config and env files; `mounts` knows where no
//! events come from, `limits` what the kernel refuses; `cookie` asks how far the kernel has come with its tale;
//! `fingerprint` turns a content into a number, `sums` many of them into one. Events are hints, the comparison is the
//! truth.
//!
//! One thread owns all of it and sleeps without a timeout while nothing happens. It never builds, never reads a
//! rule, and never decides what a change means: that is `rules`.

mod cookie;
mod file;
mod filter;
pub mod fingerprint;
mod git;
mod hints;
mod limits;
mod mounts;
pub mod quiet;
mod settings;
mod sums;
mod tree;
mod walk;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel,
};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;

pub use sums::Sum;

use crate::config::{Globs, Poll};
use cookie::{Cookie, Crumb};
use file::{Reading, Stamp};
use filter::{Filter, Pins};
use git::Repositories;
use hints::{Flags, Kernel, Message, What};
use mounts::Mounts;
use quiet::{Quiet, Sign};
use settings::{Differences, Purpose, Settings};
use sums::Sums;
use tree::{Judgement, Means, Root, Tree};
use walk::Watches;

/// What to watch.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Absolute, symlinks resolved: paths of changes are relative to it.
    pub root: PathBuf,
    /// Absolute folders outside of it that are watched as well.
    pub extra_roots: Vec<PathBuf>,
    /// gitignore lines, stronger than every ignore file.
    pub ignore: Vec<String>,
    /// Absolute files that are watched even where an ignore rule hides them.
    pub always: Vec<PathBuf>,
    /// Absolute: the config file and env files, whether they exist or not.
    pub settings: Vec<PathBuf>,
    /// Cap of the adaptive quiet time. Default 30 ms in the config; 0 means at once.
    pub debounce: Duration,
    /// A change is reported at most this long after its first event; only git's lock may delay it further (5 s).
    pub max_wait: Duration,
    /// When to look although no event came.
    pub poll: Poll,
    /// Whether symlinks that lead to folders outside of the roots are watched like folders of their own name.
    pub follow_links: bool,
    /// Groups of files, paths relative to the root, that a sum is kept of.
    pub groups: Vec<Globs>,
    /// What commands write: in no group, although it is watched.
    pub made: Vec<Globs>,
    /// A folder that is watched for nothing else, to make files in for a moment: what the kernel has told of these tells
    /// how much it has told of the tree. If it says nothing about the first of them within a second, it says nothing
    /// about any file, and everything is polled. Where there is none, or no file can be made in it, the kernel is
    /// believed, and [`Watcher::catch_up`] compares the whole tree. Nothing in it is ever reported.
    pub cookies: Option<PathBuf>,
}

/// Changes of one burst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSet {
    /// Sorted by path, each path once; empty only if `stirred` is not.
    pub changes: Vec<Change>,
    /// Sorted by path.
    pub stirred: Vec<Stirred>,
    /// One per group of the [`Scope`], with these changes; `None` before [`Seen::Read`].
    pub sums: Option<Vec<Sum>>,
    /// When the first event of the burst came.
    pub first_at: Instant,
}

/// One file (or symlink) whose content differs from what was last reported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Relative to the root; `../lib/x.go` for extra roots.
    pub path: PathBuf,
    /// How it differs.
    pub kind: ChangeKind,
    /// When the first event about it came.
    pub since: Instant,
}

/// One file whose content is what was last reported, but was not all the time: whoever has read it since `since` may have
/// read something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stirred {
    /// As in [`Change`].
    pub path: PathBuf,
    /// When the first event about it came.
    pub since: Instant,
    /// When the last one came: whoever began to read after that has read what is there.
    pub until: Instant,
}

/// How a file differs from what was last reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It was not there.
    Created,
    /// Other content.
    Modified,
    /// It is not there any more.
    Removed,
}

/// What the watcher reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Files of the tree.
    Changes(ChangeSet),
    /// The sums of the groups, in their order. Told when the contents of all files that were there at the start have been
    /// read, and again whenever the sums are others than last told and there are no [`Seen::Changes`] to tell them: an
    /// edited ignore file hides files or shows them, or a file is read at last whose stamp alone has counted.
    Read(Vec<Sum>),
    /// Absolute paths of settings files whose content differs, appeared or disappeared.
    Settings(Vec<PathBuf>),
    /// The kernel has told of everything that had happened before [`Watcher::catch_up`] was called with this token; it is
    /// still to be reported. Whatever it told later than this happened after the call. Not said where files are compared instead.
    Heard(u64, Instant),
    /// Everything that had happened in the tree before [`Watcher::catch_up`] was called with this token was reported, if
    /// there was anything to report.
    CaughtUp(u64),
    /// One line worth telling: lost events, a limit, a lost root.
    Note(String),
}

/// Watches until it is dropped. After the drop nothing is reported any more.
#[derive(Debug)]
pub struct Watcher {
    inbox: SyncSender<Message>,
    flags: Arc<Flags>,
    counts: Arc<Counts>,
    coordinator: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    files: AtomicUsize,
    dirs: AtomicUsize,
    unwatched: AtomicUsize,
}

/// Events that may wait for the coordinating thread; 50,000 files touched at once fit. More set the overflow flag.
const INBOX: usize = 64 * 1024;

/// A storm must not keep the coordinating thread from looking at the time.
const BATCH: usize = 4096;

/// Within a burst messages are taken together. Shorter than any quiet time, and far longer than it takes to wake up.
const NAP: Duration = Duration::from_millis(1);

/// A living kernel tells of a cookie within a millisecond; a machine may be busy.
const COOKIE_PATIENCE: Duration = Duration::from_secs(1);

/// How often everything is looked at where no event ever comes.
const DEAF_POLL: Duration = Duration::from_secs(1);

/// What surrounds a watcher; tests change it.
struct Surroundings<B> {
    /// Messages that may wait.
    capacity: usize,
    /// The kernel's table of mounts.
    mounts: PathBuf,
    /// How long the kernel has for a cookie.
    cookie_patience: Duration,
    /// Runs before each batch of messages is taken.
    before_batch: B,
}

impl Default for Surroundings<fn()> {
    fn default() -> Self {
        Surroundings {
            capacity: INBOX,
            mounts: PathBuf::from("/proc/self/mountinfo"),
            cookie_patience: COOKIE_PATIENCE,
            before_batch: || (),
        }
    }
}

impl Watcher {
    /// Places every watch and takes the snapshot; a save made after the return is never lost. `report` is called
    /// on the watcher's own thread and must not wait for whoever drops the watcher.
    ///
    /// # Errors
    /// The root is not a folder, or no thread can be started. An exhausted inotify is no error: what cannot be
    /// watched is polled, and a [`Seen::Note`] says so.
    pub fn start(
        scope: Scope,
        report: impl FnMut(Seen) + Send + 'static,
    ) -> anyhow::Result<Watcher> {
        Watcher::start_in(Surroundings::default(), scope, report)
    }

    fn start_in(
        surroundings: Surroundings<impl FnMut() + Send + 'static>,
        scope: Scope,
        report: impl FnMut(Seen) + Send + 'static,
    ) -> anyhow::Result<Watcher> {
        let root = &scope.root;
        let meta =
            std::fs::metadata(root).with_context(|| format!("cannot watch {}", root.display()))?;
        anyhow::ensure!(
            meta.is_dir(),
            "cannot watch {}: not a folder",
            root.display()
        );

        let (inbox, messages) = sync_channel(surroundings.capacity);
        let flags = Arc::new(Flags::default());
        let mut tops = vec![root.clone()];
        tops.extend(scope.extra_roots.iter().cloned());
        let sources = Filter::outside_sources(&tops);
        let targets = targets(&scope.settings);
        let pinned: Vec<&PathBuf> = scope.settings.iter().chain(&targets).collect();
        let filter = Filter::new(
            root,
            &scope.ignore,
            Pins::new(&scope.always, pinned.iter().copied()),
        );
        let mut roots = vec![Root::whole(root, false)];
        roots.extend(scope.extra_roots.iter().map(|top| Root::whole(top, true)));
        roots.extend(passages(&tops, scope.always.iter().chain(pinned), &sources));
        let means = Means {
            poll: scope.poll,
            follow_links: scope.follow_links,
        };
        let tree = Tree::new(
            root,
            roots,
            filter,
            Kernel::new(inbox.clone(), Arc::clone(&flags)),
            means,
            Mounts::new(surroundings.mounts),
            now(),
        );
        // Read after the watches are placed: what changes in between is seen by both, and a save after by one.
        let settings = scope
            .settings
            .iter()
            .map(|path| (path.clone(), Purpose::Setting));
        let settings = settings
            .chain(sources.into_iter().map(|path| (path, Purpose::Ignore)))
            .collect();
        let settings = Settings::new(settings, &targets, scope.debounce, inbox.clone());

        let counts = Arc::new(Counts::default());
        let mut coordinator = Coordinator {
            tree,
            settings,
            quiet: Quiet::new(scope.debounce, scope.max_wait),
            tops,
            debounce: scope.debounce,
            repositories: None,
            messages,
            flags: Arc::clone(&flags),
            counts: Arc::clone(&counts),
            baseline: None,
            sums: Some(Sums::new(scope.groups, scope.made)),
            told_sums: None,
            poll_at: None,
            poll_took: Duration::ZERO,
            cookies: scope.cookies,
            cookie_patience: surroundings.cookie_patience,
            cookie: None,
            is_believed: scope.poll != Poll::Auto,
            asked: Vec::new(),
            caught_up: Vec::new(),
            events_lost: None,
            said_lost: false,
            before_batch: surroundings.before_batch,
            report,
        };
        coordinator.count();
        if let Some(folder) = &coordinator.cookies {
            cookie::sweep(folder);
        }
        if scope.poll == Poll::Auto {
            coordinator.cookie = coordinator.bake();
        }
        coordinator.baseline = Some(Baseline {
            folders: coordinator.tree.folders(),
            hand_out: start_baseline(inbox.clone(), Arc::clone(&flags))?,
        });
        coordinator.hand_out();
        let thread = thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || coordinator.run());
        let coordinator = Some(thread.context("cannot start the watching thread")?);
        Ok(Watcher {
            inbox,
            flags,
            counts,
            coordinator,
        })
    }

    /// Compares the whole tree with what was last reported, because events may be missing: this process was stopped,
    /// or the machine slept.
    pub fn compare(&self) {
        Flags::raise(&self.flags.doubted, &self.inbox);
    }

    /// Asks for one [`Seen::CaughtUp`] with this token, as soon as everything that has happened in the tree until now has
    /// been reported: within a millisecond if nothing has, else with the report, after its quiet time. Settings have
    /// a time of their own. Where the kernel does not tell of everything, the whole tree is compared. A watcher that is
    /// dropped before answers nothing.
    pub fn catch_up(&self, token: u64) {
        let asked = self.flags.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).push(token);
        // If there is no room, it looks after what is in there.
        let _ = self.inbox.try_send(Message::Wake);
    }

    /// How many files are watched.
    pub fn files(&self) -> usize {
        self.counts.files.load(Ordering::Relaxed)
    }

    /// How many folders are watched or polled.
    pub fn dirs(&self) -> usize {
        self.counts.dirs.load(Ordering::Relaxed)
    }

    /// How many of them no event comes from, because the kernel refuses or polling was asked for.
    pub fn unwatched(&self) -> usize {
        self.counts.unwatched.load(Ordering::Relaxed)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        Flags::raise(&self.flags.stop, &self.inbox);
        let Some(coordinator) = self.coordinator.take() else {
            return;
        };
        // Dropped from within `report`, it ends by itself.
        if coordinator.thread().id() != thread::current().id() {
            let _ = coordinator.join();
        }
    }
}

/// The thread that owns everything.
struct Coordinator<B, R> {
    tree: Tree<Kernel>,
    settings: Settings,
    quiet: Quiet,
    tops: Vec<PathBuf>,
    debounce: Duration,
    /// git, as far as it may hold the present flush; looked for when one is due.
    repositories: Option<Repositories>,
    messages: Receiver<Message>,
    flags: Arc<Flags>,
    counts: Arc<Counts>,
    /// While there are contents to be read for it.
    baseline: Option<Baseline>,
    /// Until there is no more to be read for the baseline.
    sums: Option<Sums>,
    /// The sums as whoever watches knows them.
    told_sums: Option<Vec<Sum>>,
    poll_at: Option<Instant>,
    /// How long the last look without events took.
    poll_took: Duration,
    cookies: Option<PathBuf>,
    cookie_patience: Duration,
    /// The one that is on its way.
    cookie: Option<Cookie>,
    /// Whom it answers.
    asked: Vec<u64>,
    /// The kernel has told of something, or polling is decided whatever it tells.
    is_believed: bool,
    /// Whoever is to be told as soon as nothing is in doubt any more.
    caught_up: Vec<u64>,
    /// Since the last flush; which watches to place again.
    events_lost: Option<Watches>,
    /// Likewise; it was said.
    said_lost: bool,
    before_batch: B,
    report: R,
}

/// What the reader of contents has still to be given.
struct Baseline {
    folders: Vec<PathBuf>,
    hand_out: Sender<Unread>,
}

impl<B: FnMut(), R: FnMut(Seen)> Coordinator<B, R> {
    fn run(&mut self) {
        self.tell();
        self.tell_sums();
        self.poll_at = self
            .tree
            .poll_after(self.poll_took)
            .map(|after| now() + after);
        while let Some(first) = self.receive() {
            crate::failpoint::pass();
            (self.before_batch)();
            let mut next = first;
            for _ in 0..BATCH {
                let Some(message) = next else { break };
                self.take(message);
                next = self.messages.try_recv().ok();
            }
            if let Some(message) = next {
                self.take(message);
            }
            if self.flags.stop.load(Ordering::SeqCst) {
                return;
            }
            self.act(now());
        }
    }

    /// Waits for a message or the next deadline; without a deadline, for as long as nothing happens. `None`: everybody has gone.
    #[expect(
        clippy::disallowed_methods,
        reason = "what it naps for is more messages, and it looks for them next"
    )]
    fn receive(&self) -> Option<Option<Message>> {
        let cookie = self.cookie.as_ref().map(Cookie::until);
        let due = [self.quiet.due(), self.settings.due(), self.poll_at, cookie]
            .into_iter()
            .flatten()
            .min();
        let Some(due) = due else {
            return self.messages.recv().ok().map(Some);
        };
        // In a burst more is sure to come before anything is due: whoever sends it need not wake this thread each time.
        if let Some(end) = self.quiet.due() {
            thread::sleep(end.saturating_duration_since(now()).min(NAP));
            match self.messages.try_recv() {
                Ok(message) => return Some(Some(message)),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
        }
        match self
            .messages
            .recv_timeout(due.saturating_duration_since(now()))
        {
            Ok(message) => Some(Some(message)),
            Err(RecvTimeoutError::Timeout) => Some(None),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Hint(hint) => {
                if let Some(cookie) = &mut self.cookie {
                    match cookie.take(&hint) {
                        Crumb::Other => {}
                        Crumb::Eaten => return,
                        Crumb::Back => {
                            for token in &self.asked {
                                (self.report)(Seen::Heard(*token, hint.at));
                            }
                            return self.cookie_is_back();
                        }
                    }
                }
                if self.settings.concerned(&hint.path) {
                    self.settings.stir(hint.at, hint.what);
                }
                self.tree.take(&hint, &mut self.quiet);
            }
            Message::Baseline(contents) => {
                let now = now();
                for (path, stamp, reading) in contents {
                    self.tree.learn(&path, stamp, reading, now, &mut self.quiet);
                }
                self.hand_out();
            }
            Message::Settings => {
                let differences = self.settings.settled();
                self.tell_settings(differences);
            }
            Message::Wake => {}
        }
    }

    /// Gives the reader of contents its next files; without any, lets it go.
    fn hand_out(&mut self) {
        /// Few enough not to be waited for.
        const FILES: usize = 256;
        let Some(baseline) = &mut self.baseline else {
            return;
        };
        let mut files = Vec::new();
        while files.len() < FILES
            && let Some(folder) = baseline.folders.pop()
        {
            files.extend(self.tree.unread(&folder));
        }
        if files.is_empty() || baseline.hand_out.send(files).is_err() {
            self.baseline = None;
        }
    }

    /// Does what is due.
    fn act(&mut self, now: Instant) {
        self.tree.mend(now, &mut self.quiet);
        let lost = self.flags.overflow.swap(false, Ordering::SeqCst);
        if lost && !std::mem::replace(&mut self.said_lost, true) {
            (self.report)(Seen::Note(
                "events were lost; comparing every file".to_owned(),
            ));
        }
        if lost {
            // Whatever was not heard may have taken a watch along. Or a cookie, and this answers for it.
            self.compare_soon(now, Watches::All);
            self.cookie_is_back();
        } else if self.flags.doubted.swap(false, Ordering::SeqCst) {
            self.compare_soon(now, Watches::Missing);
        }
        if self
            .cookie
            .as_ref()
            .is_some_and(|cookie| cookie.until() <= now)
        {
            self.cookie_is_late(now);
        }
        if self.poll_at.is_some_and(|at| at <= now) {
            self.poll_at = None;
            let began = self::now();
            self.tree.poll(began, &mut self.quiet);
            self.poll_took = began.elapsed();
            // Where the tree has no watches the settings may have none either.
            if self.settings.due().is_none() {
                let differences = self.settings.last_look();
                self.tell_settings(differences);
            }
        }
        if self.settings.due().is_some_and(|due| due <= now) {
            let differences = self.settings.last_look();
            self.tell_settings(differences);
        }
        if self.quiet.due().is_some_and(|due| due <= now) {
            let held = self.git_is_busy();
            if !self.quiet.wait_for_git(now, held) {
                self.flush(now);
            }
        }
        self.tree.mend(now, &mut self.quiet);
        if self.poll_at.is_none() {
            let after = self.tree.poll_after(self.poll_took);
            self.poll_at = after.map(|after| self::now() + after);
        }
        self.catch_up(now);
        self.tell();
        self.tell_sums();
        self.answer();
    }

    /// Events are missing, or may be. Compared when the storm is over, not once for each overflow in it.
    fn compare_soon(&mut self, now: Instant, watches: Watches) {
        self.events_lost = self.events_lost.max(Some(watches));
        self.settings.stir(now, What::Unsure);
        self.quiet.seen(now, &self.tops[0], Sign::Open);
    }

    /// Sends a cookie on its way, if there is a folder for it and every lane tells of that.
    ///
    /// The folder is watched for as long as somebody waits: then it does not matter if it is removed and made again
    /// meanwhile.
    fn bake(&self) -> Option<Cookie> {
        let folder = self.cookies.as_deref()?;
        let queues = self.tree.hear(folder)?;
        let cookie = Cookie::bake(folder, queues, now() + self.cookie_patience);
        if let Err(error) = &cookie {
            log::debug!(target: "watch", "no cookie in {folder:?}: {error}");
            self.tree.unhear(folder);
        }
        cookie.ok()
    }

    fn end_cookie(&mut self) -> Option<Cookie> {
        let cookie = self.cookie.take()?;
        if let Some(folder) = &self.cookies {
            self.tree.unhear(folder);
        }
        Some(cookie)
    }

    fn cookie_is_back(&mut self) {
        self.end_cookie();
        self.is_believed = true;
        self.caught_up.append(&mut self.asked);
    }

    fn cookie_is_late(&mut self, now: Instant) {
        let Some(cookie) = self.end_cookie() else {
            return;
        };
        if !self.asked.is_empty() {
            log::debug!(target: "watch", "{cookie:?} did not come back");
            self.compare_soon(now, Watches::Missing);
            self.caught_up.append(&mut self.asked);
        }
        if cookie.was_heard() || std::mem::replace(&mut self.is_believed, true) {
            return;
        }
        self.tree.is_deaf(DEAF_POLL);
        (self.report)(Seen::Note(
            "the kernel tells of no change here (a file was made and nothing was heard of it); every folder is polled"
                .to_owned(),
        ));
    }

    /// Takes up what was asked for: sends a cookie, or has everything compared.
    fn catch_up(&mut self, now: Instant) {
        // The one that is on its way was made before they asked.
        if self.cookie.is_some() {
            return;
        }
        let asked = self.flags.asked.lock();
        self.asked
            .append(&mut asked.unwrap_or_else(PoisonError::into_inner));
        if self.asked.is_empty() {
            return;
        }
        if self.events_lost.is_none() {
            if self.tree.hears_all() {
                self.cookie = self.bake();
            }
            if self.cookie.is_some() {
                return;
            }
            self.compare_soon(now, Watches::Missing);
        }
        self.caught_up.append(&mut self.asked);
    }

    /// Whoever waits is answered as soon as nothing is in doubt.
    fn answer(&mut self) {
        if self.quiet.due().is_some() || self.events_lost.is_some() {
            return;
        }
        for token in std::mem::take(&mut self.caught_up) {
            (self.report)(Seen::CaughtUp(token));
        }
    }

    fn flush(&mut self, now: Instant) {
        let first_at = self.quiet.first_at().unwrap_or(now);
        if let Some(watches) = self.events_lost.take() {
            self.tree.compare_all(watches, now, &mut self.quiet);
        }
        let Some(Judgement { changes, stirred }) = self.tree.judge(now, &mut self.quiet) else {
            return;
        };
        self.quiet.flushed();
        self.said_lost = false;
        self.repositories = None;
        self.count();
        if !changes.is_empty() || !stirred.is_empty() {
            let sums = self.tree.sums().map(<[Sum]>::to_vec);
            self.told_sums.clone_from(&sums);
            (self.report)(Seen::Changes(ChangeSet {
                changes,
                stirred,
                sums,
                first_at,
            }));
        }
    }

    /// git writes the tree file by file.
    fn git_is_busy(&mut self) -> bool {
        // Asked anew for each burst: a repository may have been made since.
        let tops = &self.tops;
        let repositories = self
            .repositories
            .get_or_insert_with(|| Repositories::of(tops, self.debounce));
        repositories.are_busy()
    }

    fn tell_settings(&mut self, differences: Differences) {
        if differences.ignore {
            let now = now();
            self.tree
                .compare_all(Watches::Missing, now, &mut self.quiet);
        }
        if !differences.settings.is_empty() {
            (self.report)(Seen::Settings(differences.settings));
        }
    }

    fn tell(&mut self) {
        for note in self.tree.notes() {
            (self.report)(Seen::Note(note));
        }
    }

    /// As soon as there is nothing left to read for the baseline.
    fn tell_sums(&mut self) {
        if self.baseline.is_some() {
            return;
        }
        if let Some(sums) = self.sums.take() {
            self.tree.begin_sums(sums);
        }
        if let Some(sums) = self.tree.sums()
            && self.told_sums.as_deref() != Some(sums)
        {
            let sums = sums.to_vec();
            self.told_sums = Some(sums.clone());
            (self.report)(Seen::Read(sums));
        }
    }

    fn count(&mut self) {
        self.counts
            .files
            .store(self.tree.files(), Ordering::Relaxed);
        self.counts.dirs.store(self.tree.dirs(), Ordering::Relaxed);
        self.counts
            .unwatched
            .store(self.tree.unwatched(), Ordering::Relaxed);
    }
}

/// Where settings that are symlinks point to: that is where they are written.
fn targets(settings: &[PathBuf]) -> Vec<PathBuf> {
    settings
        .iter()
        .filter(|path| path.is_symlink())
        .filter_map(|path| path.canonicalize().ok())
        .collect()
}

/// The folders to watch besides the roots: for each pinned file outside of every root the nearest one above it that
/// exists, and those of ignore files outside of the tree (`.git/info` is outside: `.git` is never entered).
fn passages<'a>(
    tops: &[PathBuf],
    pinned: impl Iterator<Item = &'a PathBuf>,
    sources: &'a [PathBuf],
) -> impl Iterator<Item = Root> {
    let outside = pinned.filter(|file| !tops.iter().any(|top| file.starts_with(top)));
    let nearest = outside.filter_map(|file| file.ancestors().skip(1).find(|dir| dir.is_dir()));
    let mut found: BTreeMap<&Path, bool> = nearest.map(|dir| (dir, true)).collect();
    for dir in sources
        .iter()
        .filter_map(|file| file.parent())
        .filter(|dir| dir.is_dir())
    {
        // Inside of a root the tree sees it by itself, except in git's own folder.
        let in_git = dir.components().any(|part| part.as_os_str() == ".git");
        if in_git || !tops.iter().any(|top| dir.starts_with(top)) {
            found.entry(dir).or_insert(false);
        }
    }
    let found: Vec<Root> = found
        .into_iter()
        .map(|(dir, awaited)| Root::passage(dir, awaited))
        .collect();
    found.into_iter()
}

/// Files whose contents are to be read.
type Unread = Vec<(PathBuf, Stamp)>;

/// Reads the contents of the baseline beside everything else; a file that changes before its turn counts as changed.
/// Whoever owns the tree hands out the files little by little, so that no second list of all of them is needed. It ends
/// when there are no more.
fn start_baseline(inbox: SyncSender<Message>, flags: Arc<Flags>) -> anyhow::Result<Sender<Unread>> {
    let (hand_out, unread) = channel::<Unread>();
    let read = move || {
        for files in unread {
            let contents = files.into_iter().map(|(path, stamp)| {
                let reading = Reading::of(&path, stamp);
                (path, stamp, reading)
            });
            let contents = contents.collect();
            if flags.stop.load(Ordering::SeqCst) || inbox.send(Message::Baseline(contents)).is_err()
            {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("watch baseline".to_owned())
        .spawn(read)
        .context("cannot start a thread")?;
    Ok(hand_out)
}

/// `path` as seen from `root`: `../lib/x.go` for what lies outside of it. Both are absolute.
fn relative(root: &Path, path: &Path) -> PathBuf {
    if let Ok(below) = path.strip_prefix(root) {
        return below.to_owned();
    }
    let common = root
        .components()
        .zip(path.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = root.components().skip(common).map(|_| Component::ParentDir);
    up.chain(path.components().skip(common)).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one clock of watching; `quiet` and `tree` take it as an argument"
)]
fn now() -> Instant {
    Instant::now()
}

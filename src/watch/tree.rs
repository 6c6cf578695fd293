//! The tree as it was last reported, and how it differs now.
//!
//! Hints make paths dirty; [`Tree::judge`] decides by `lstat` and content whether anything changed. Walks keep the
//! watches in step with the directories. Everything unusual (lost events, edited ignore files, polling) is the same
//! comparison over more paths.
//!
//! It never trusts an event's word for what is on disk, and never asks for the time.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::file::{Look, Reading, Stamp, is_file_or_link};
use super::filter::{Chain, Entry, Filter, Sources};
use super::hints::{self, Hint, Place, Placed, What};
use super::mounts::Mounts;
use super::quiet::{Quiet, Sign};
use super::sums::{Sum, Sums};
use super::walk::{Extent, Found, Identity, Step, Walk, Watches, split};
use super::{Change, ChangeKind, Stirred};
use crate::config::Poll;

/// A directory of the tree.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) identity: Identity,
    /// Younger than the clock's grain when it was visited.
    pub(super) is_racy: bool,
    chain: Chain,
    sources: Sources,
    pub(super) watch: Placed,
    /// Kept files as last reported.
    pub(super) files: HashMap<OsString, Look>,
    /// Directories below that are in the tree too.
    pub(super) subs: HashSet<OsString>,
    /// It could not be listed; a change of its attributes may lift that.
    unlisted: bool,
}

/// Where a walk begins.
#[derive(Clone, Debug)]
pub(super) struct Root {
    path: PathBuf,
    entry: Entry,
    /// Whether to look out for it while it is not there.
    awaited: bool,
    lost: bool,
    /// It may be a symlink.
    may_be_link: bool,
    /// A symlink stood where a folder was when it was last looked at: nobody tells when that changes again.
    is_detour: bool,
}

impl Root {
    /// A folder whose files are watched. `may_be_link`: it was not resolved, so a symlink in its place means nothing.
    pub(super) fn whole(path: &Path, may_be_link: bool) -> Root {
        Root {
            path: path.to_owned(),
            entry: Entry::Enter,
            awaited: true,
            lost: false,
            may_be_link,
            is_detour: false,
        }
    }

    /// A folder that is watched for pinned files alone.
    pub(super) fn passage(path: &Path, awaited: bool) -> Root {
        Root {
            path: path.to_owned(),
            entry: Entry::Pass,
            awaited,
            lost: false,
            may_be_link: true,
            is_detour: false,
        }
    }

    fn is_waited_for(&self) -> bool {
        self.lost && self.awaited
    }

    /// To be called before its identity is taken: what changes in between is found out by the next look.
    fn look(&mut self) {
        self.is_detour = !self.may_be_link && self.path.is_symlink();
    }
}

/// A path that may differ from what was last reported.
#[derive(Debug)]
struct Doubt {
    /// What it was then.
    before: Option<Look>,
    /// When the first event came; the last judgement, where no event tells.
    since: Instant,
    /// When the last event came. None: it was found by looking, and none may tell what becomes of it.
    until: Option<Instant>,
    /// How often something was moved into its place since.
    arrivals: u8,
    /// Whoever read it meanwhile may have met another content, or none.
    stirred: bool,
}

impl Doubt {
    fn of(before: Option<Look>, since: Instant) -> Doubt {
        Doubt {
            before,
            since,
            until: Some(since),
            arrivals: 0,
            stirred: false,
        }
    }

    /// Takes in what an event says about the time between then and now.
    fn hear(&mut self, what: What, at: Instant) {
        self.until = self.until.max(self.until.map(|_| at));
        match what {
            What::Written | What::Created | What::MovedAway | What::Removed | What::Unsure => {
                self.stirred = true;
            }
            // One that replaces it by its like leaves no moment with anything else.
            What::MovedIn => {
                self.stirred |= self.arrivals > 0;
                self.arrivals = 1;
            }
            What::Closed | What::Attributes => {}
        }
    }
}

/// What [`Tree::judge`] finds.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// Sorted by path.
    pub(super) changes: Vec<Change>,
    /// Sorted by path.
    pub(super) stirred: Vec<Stirred>,
}

/// How the tree is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means {
    /// When to look although no event came.
    pub(super) poll: Poll,
    /// Whether symlinks to directories outside of the roots are walked.
    pub(super) follow_links: bool,
}

/// The kept directories, their files as last reported, and what may differ from that.
pub(super) struct Tree<P> {
    root: PathBuf,
    filter: Filter,
    place: P,
    means: Means,
    mounts: Mounts,
    roots: Vec<Root>,
    /// In boxes, because a table has room to spare.
    dirs: HashMap<PathBuf, Box<Dir>>,
    /// Symlinks that are followed, and where they lead.
    links: HashMap<PathBuf, PathBuf>,
    dirty: HashMap<PathBuf, Doubt>,
    /// When it was last known what differs.
    judged_at: Instant,
    /// Of the files as last judged: one in doubt counts as what it was, wherever its directory is by now. `None` until
    /// they are first counted.
    sums: Option<Sums>,
    /// Directories whose ignore files may have changed.
    doubtful: BTreeSet<PathBuf>,
    /// Directories that are looked at although no event came.
    polled: BTreeSet<PathBuf>,
    /// Directories that were given up. A directory that moved shares its watch with its old name, and loses it then.
    given_up: HashSet<Identity>,
    files: usize,
    /// Something has gone since the roots were last looked at. A root that a process is in goes without an event, but
    /// what was in it goes first.
    has_shrunk: bool,
    /// What is worth telling, since last asked.
    notes: Vec<String>,
    /// A directory was refused its watch because there are no more.
    is_full: bool,
    /// There was a directory without a watch, whatever the reason.
    is_partial: bool,
    said_full: bool,
    said_remote: bool,
    said_failed: bool,
}

/// How long until a tree is looked at again that gives no events: so long that looking takes at most a twentieth
/// of the time, between these bounds.
const POLL_SHARE: u32 = 20;
const POLL_LEAST: Duration = Duration::from_millis(500);
const POLL_MOST: Duration = Duration::from_secs(5);

/// Files that are read without a thought for the events that opening them makes, and how many are read at most while
/// events wait: they make one each, and the kernel keeps 16,384.
const FEW: usize = 16;
const GATED: usize = 8000;

/// How often to look whether a root is back.
const ROOT_BACK: Duration = Duration::from_millis(250);

impl<P: Place + Sync> Tree<P> {
    /// Watches and lists everything below `roots`; changes are named relative to `root`. `now`: when this began.
    pub(super) fn new(
        root: &Path,
        roots: Vec<Root>,
        filter: Filter,
        place: P,
        means: Means,
        mounts: Mounts,
        now: Instant,
    ) -> Tree<P> {
        let mut tree = Tree {
            root: root.to_owned(),
            filter,
            place,
            means,
            mounts,
            roots,
            dirs: HashMap::new(),
            links: HashMap::new(),
            dirty: HashMap::new(),
            judged_at: now,
            sums: None,
            doubtful: BTreeSet::new(),
            polled: BTreeSet::new(),
            given_up: HashSet::new(),
            files: 0,
            has_shrunk: false,
            notes: Vec::new(),
            is_full: false,
            is_partial: false,
            said_full: false,
            said_remote: false,
            said_failed: false,
        };
        // Nothing waits on the first walk, so its quiet time is nobody's.
        let mut quiet = Quiet::new(Duration::ZERO, Duration::ZERO);
        for at in 0..tree.roots.len() {
            tree.walk_root(at, Extent::First, Watches::Missing, now, &mut quiet);
        }
        for (path, dir) in &mut tree.dirs {
            for (name, look) in &mut dir.files {
                look.read_if_young(&path.join(name));
            }
        }
        tree
    }

    /// How many files are watched.
    pub(super) fn files(&self) -> usize {
        self.files
    }

    /// How many directories are watched or polled.
    pub(super) fn dirs(&self) -> usize {
        self.dirs.len()
    }

    /// How many directories no event comes from.
    pub(super) fn unwatched(&self) -> usize {
        if !self.is_partial {
            return 0;
        }
        let dirs = self.dirs.values();
        dirs.filter(|dir| !matches!(dir.watch, Placed::Watched(_)))
            .count()
    }

    /// What happened that is worth a line, since the last call.
    pub(super) fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// How long until the tree has to be looked at although no event came, if the last look took `took`; `None` if
    /// events are enough.
    pub(super) fn poll_after(&self, took: Duration) -> Option<Duration> {
        let lost = self.roots.iter().any(|root| self.may_go_unseen(root));
        let polled = match self.means.poll {
            Poll::Off => None,
            Poll::Auto => Some((took * POLL_SHARE).clamp(POLL_LEAST, POLL_MOST)),
            Poll::Every(interval) => Some(interval),
        };
        let polled = polled.filter(|_| !self.polled.is_empty());
        let root = lost.then_some(ROOT_BACK);
        polled.into_iter().chain(root).min()
    }

    /// No event comes from the kernel at all: everything is polled from now on, at `interval`.
    pub(super) fn is_deaf(&mut self, interval: Duration) {
        self.means.poll = Poll::Every(interval);
        self.is_partial = true;
        for (path, dir) in &mut self.dirs {
            dir.watch = Placed::Unwanted;
            self.polled.insert(path.clone());
        }
    }

    /// The directories that are in the tree.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.dirs.keys().cloned().collect()
    }

    /// Files in `folder` without a baseline that are small enough to have one.
    pub(super) fn unread(&self, folder: &Path) -> impl Iterator<Item = (PathBuf, Stamp)> {
        let files = self.dirs.get(folder).map(|dir| dir.files.iter());
        files
            .into_iter()
            .flatten()
            .filter_map(move |(name, look)| Some((folder.join(name), look.unread()?)))
    }

    /// What `path` was while its stamp was `stamp`. If it was changing, it is in doubt: nobody else may ever read it.
    pub(super) fn learn(
        &mut self,
        path: &Path,
        stamp: Stamp,
        reading: Reading,
        at: Instant,
        quiet: &mut Quiet,
    ) {
        // Of a file in doubt it is known now what it is to be compared with.
        let (look, in_doubt) = match self.dirty.get_mut(path) {
            Some(doubt) => (doubt.before.as_mut(), true),
            None => (self.look_mut(path), false),
        };
        let Some(look) = look else { return };
        let before = *look;
        let learnt = look.learn(stamp, reading);
        let now = *look;
        if learnt {
            if let Some(sums) = &mut self.sums {
                let shown = super::relative(&self.root, path);
                sums.replace(&shown, Some(&before), Some(&now));
            }
        } else if !in_doubt {
            // Nobody tells whether who writes has finished.
            self.doubt(path, at, Sign::Open, quiet);
            self.found_by_looking(path);
        }
    }

    fn look_mut(&mut self, path: &Path) -> Option<&mut Look> {
        let (parent, name) = split(path)?;
        self.dirs.get_mut(parent)?.files.get_mut(name)
    }

    /// Adds all the files to `sums`, which are of none yet. From now on they are kept.
    pub(super) fn begin_sums(&mut self, mut sums: Sums) {
        let mut file = PathBuf::new();
        for (path, dir) in &self.dirs {
            let shown = super::relative(&self.root, path);
            for (name, look) in &dir.files {
                file.clear();
                file.push(path);
                file.push(name);
                if !self.dirty.contains_key(&file) {
                    file.clear();
                    file.push(&shown);
                    file.push(name);
                    sums.replace(&file, None, Some(look));
                }
            }
        }
        for (path, doubt) in &self.dirty {
            let shown = super::relative(&self.root, path);
            sums.replace(&shown, None, doubt.before.as_ref());
        }
        self.sums = Some(sums);
    }

    /// One sum per group, of the files as last judged; `None` before [`Tree::begin_sums`].
    pub(super) fn sums(&self) -> Option<&[Sum]> {
        self.sums.as_ref().map(Sums::get)
    }

    /// Takes one hint: keeps the watches in step with the directories, and remembers what is in doubt.
    pub(super) fn take(&mut self, hint: &Hint, quiet: &mut Quiet) {
        let Hint { path, what, at } = hint;
        self.has_shrunk |= matches!(what, What::Removed | What::MovedAway);
        let structural = match what {
            What::Created | What::MovedIn | What::MovedAway | What::Removed | What::Unsure => true,
            What::Written | What::Closed | What::Attributes => false,
        };
        if let Some(root) = self.roots.iter().position(|root| root.path == *path) {
            if structural {
                self.check_root(root, Watches::All, *at, quiet);
            }
            return;
        }
        let Some((parent, name)) = split(path) else {
            return;
        };
        let Some(dir) = self.dirs.get(parent) else {
            log::debug!(target: "watch", "{what:?} {path:?}: dropped, its folder is not watched");
            return;
        };
        if Filter::is_source(name) {
            self.doubtful.insert(parent.to_owned());
            quiet.seen(*at, path, Sign::Finished);
        }
        match what {
            What::Written | What::Closed => {
                if self.dirty.contains_key(path) || self.filter.keeps_file(&dir.chain, path) {
                    let sign = if *what == What::Closed {
                        Sign::Finished
                    } else {
                        Sign::Open
                    };
                    self.doubt(path, *at, sign, quiet);
                } else {
                    self.trace_ignored(path, false);
                }
            }
            What::Attributes => {
                if self.dirs.get(path).is_some_and(|dir| dir.unlisted) {
                    self.walk_known(path, Extent::Whole, Watches::All, *at, quiet);
                } else if dir.files.get(name).is_some_and(Look::is_unreadable) {
                    self.doubt(path, *at, Sign::Finished, quiet);
                }
            }
            What::Created | What::MovedIn | What::MovedAway | What::Removed | What::Unsure => {
                self.take_structural(path, *what, *at, quiet);
            }
        }
        if let Some(doubt) = self.dirty.get_mut(path) {
            doubt.hear(*what, *at);
        }
    }

    /// Something came or went at `path`, whose parent is in the tree.
    fn take_structural(&mut self, path: &Path, what: What, at: Instant, quiet: &mut Quiet) {
        let (parent, name) = split(path).expect("the parent is in the tree");
        let found = fs::symlink_metadata(path).ok();
        if found.as_ref().is_some_and(Metadata::is_dir) {
            self.links.remove(path);
            let dir = self
                .dirs
                .get_mut(parent)
                .expect("the parent is in the tree");
            let was_file = dir.files.contains_key(name);
            let entry = self.filter.entry(&dir.chain, path);
            if was_file || self.dirty.contains_key(path) {
                self.doubt(path, at, Sign::Finished, quiet);
            }
            if entry == Entry::Skip {
                self.trace_ignored(path, true);
                self.forget_dir(path, at, quiet);
            } else {
                // Even if it is known: it may be another one by now, or the watch may have left with the old name.
                self.walk_known(path, Extent::Whole, Watches::All, at, quiet);
            }
            return;
        }
        let was_followed = self.links.contains_key(path);
        if was_followed {
            self.follow_links(vec![path.to_owned()], Extent::Whole, at, quiet);
        } else {
            self.forget_dir(path, at, quiet);
        }
        let dir = self
            .dirs
            .get_mut(parent)
            .expect("the parent is in the tree");
        match found.filter(is_file_or_link) {
            Some(found) => {
                if self.filter.keeps_file(&dir.chain, path) {
                    let sign = if what == What::Created {
                        Sign::Open
                    } else {
                        Sign::Finished
                    };
                    self.doubt(path, at, sign, quiet);
                    if found.is_symlink() && self.means.follow_links && !was_followed {
                        self.follow_links(vec![path.to_owned()], Extent::Whole, at, quiet);
                    }
                } else {
                    self.trace_ignored(path, false);
                }
            }
            None if dir.files.contains_key(name)
                || self
                    .dirty
                    .get(path)
                    .is_some_and(|doubt| doubt.before.is_some()) =>
            {
                self.doubt(path, at, Sign::Gone, quiet);
            }
            None if self.filter.keeps_file(&dir.chain, path) => {
                log::debug!(target: "watch", "{what:?} {path:?}: came and went");
                self.dirty
                    .entry(path.to_owned())
                    .or_insert(Doubt::of(None, at));
                quiet.passed(at, path);
            }
            None => self.trace_ignored(path, false),
        }
    }

    /// Events were lost, or the rules have changed: everything is compared.
    pub(super) fn compare_all(&mut self, watches: Watches, at: Instant, quiet: &mut Quiet) {
        for root in 0..self.roots.len() {
            self.check_root(root, watches, at, quiet);
        }
    }

    /// Whether an event comes for everything that happens in the tree. Where one root may go unseen, or a directory is
    /// polled or has no watch, only a comparison knows.
    pub(super) fn hears_all(&self) -> bool {
        let polls = matches!(self.means.poll, Poll::Every(_)) || !self.polled.is_empty();
        let unseen = self.roots.iter().any(|root| self.may_go_unseen(root));
        !polls && !unseen && self.unwatched() == 0
    }

    /// Has the kernel tell of one folder that is not in the tree, on each lane. How many tell of it; `None` if not all do.
    pub(super) fn hear(&self, folder: &Path) -> Option<usize> {
        // It has a watch of its own then, which would go with this one.
        if self.dirs.contains_key(folder) {
            return None;
        }
        let lanes = self.place.lanes();
        let told = lanes
            .iter()
            .all(|lane| self.place.watch(folder, true, *lane) == Placed::Watched(*lane));
        if !told || lanes.is_empty() {
            self.unhear(folder);
            return None;
        }
        Some(lanes.len())
    }

    /// No more of a folder that [`Tree::hear`] was called for.
    pub(super) fn unhear(&self, folder: &Path) {
        for lane in self.place.lanes() {
            self.place.unwatch(folder, lane);
        }
    }

    /// Looks where no events come from.
    pub(super) fn poll(&mut self, at: Instant, quiet: &mut Quiet) {
        self.check_roots(at, quiet);
        let steps = self
            .polled
            .iter()
            .filter_map(|dir| self.step(dir))
            .collect();
        // Nobody tells whether who writes has finished.
        self.walk(
            steps,
            Extent::Shallow,
            Watches::Missing,
            Sign::Open,
            at,
            quiet,
        );
    }

    /// Directories that were given up may have taken the watch of their new names along; these are watched and
    /// listed again. To be called after each batch of hints and after each walk.
    pub(super) fn mend(&mut self, at: Instant, quiet: &mut Quiet) {
        while !self.given_up.is_empty() {
            let given_up = std::mem::take(&mut self.given_up);
            let moved = self
                .dirs
                .iter()
                .filter(|(_, dir)| given_up.contains(&dir.identity));
            let steps: Vec<Step> = moved.filter_map(|(path, _)| self.step(path)).collect();
            self.walk(
                steps,
                Extent::Shallow,
                Watches::All,
                Sign::Finished,
                at,
                quiet,
            );
        }
    }

    /// Decides what has changed since the last report, sorted by path. `None`: a file is empty that was not,
    /// and `quiet` grants it more time.
    pub(super) fn judge(&mut self, now: Instant, quiet: &mut Quiet) -> Option<Judgement> {
        self.settle_ignore_files(now, quiet);
        if std::mem::take(&mut self.has_shrunk) {
            self.check_roots(now, quiet);
        }
        self.settle_folders(now, quiet);
        let mut looks = Vec::with_capacity(self.dirty.len());
        let mut waits = false;
        for (path, doubt) in &self.dirty {
            if self
                .roots
                .iter()
                .any(|root| root.is_waited_for() && path.starts_with(&root.path))
            {
                continue;
            }
            let found = self.lies_at(path).filter(is_file_or_link);
            let emptied = doubt
                .before
                .as_ref()
                .is_some_and(|before| before.was_emptied(found.as_ref()));
            waits = waits || emptied;
            looks.push((path.clone(), found));
        }
        if waits && quiet.wait_for_content(now) {
            return None;
        }
        self.judged_at = now;
        let mut found_out = Judgement::default();
        let (gate, are_many) = (self.place.gate(), looks.len() > FEW);
        let mut held = None;
        for (place, (path, found)) in looks.into_iter().enumerate() {
            if are_many && place % GATED == 0 {
                if held.take().is_some() {
                    hints::let_others_go_on();
                }
                held = Some(gate.lock().unwrap_or_else(PoisonError::into_inner));
            }
            let doubt = self.dirty.remove(&path).expect("it was just looked at");
            let shown = super::relative(&self.root, &path);
            match self.verdict(&path, &shown, doubt.before, found) {
                Some(kind) => {
                    log::debug!(target: "watch", "{path:?}: {kind:?}");
                    found_out.changes.push(Change {
                        path: shown,
                        kind,
                        since: doubt.since,
                    });
                }
                None if doubt.stirred && self.may_be_kept(&path) => {
                    log::debug!(target: "watch", "{path:?}: it is what it was, but not all the time");
                    found_out.stirred.push(Stirred {
                        path: shown,
                        since: doubt.since,
                        until: doubt.until.unwrap_or(now),
                    });
                }
                None => {
                    log::debug!(target: "watch", "{path:?}: dropped, its content is what it was");
                }
            }
        }
        found_out.changes.sort_by(|a, b| a.path.cmp(&b.path));
        found_out.stirred.sort_by(|a, b| a.path.cmp(&b.path));
        Some(found_out)
    }

    /// What lies at `path` itself: not what a symlink on the way there leads to.
    fn lies_at(&self, path: &Path) -> Option<Metadata> {
        let mut above = path.parent()?;
        // A folder of the tree is one, and so is everything above it.
        while !self.dirs.contains_key(above) {
            if above.is_symlink() {
                return None;
            }
            above = above.parent()?;
        }
        fs::symlink_metadata(path).ok()
    }

    fn may_be_kept(&self, path: &Path) -> bool {
        let dir = path.parent().and_then(|parent| self.dirs.get(parent));
        dir.is_none_or(|dir| self.filter.keeps_file(&dir.chain, path))
    }

    /// Compares one path with what it was, and remembers what it is. `shown`: relative to the root.
    fn verdict(
        &mut self,
        path: &Path,
        shown: &Path,
        before: Option<Look>,
        found: Option<Metadata>,
    ) -> Option<ChangeKind> {
        let (parent, name) = split(path)?;
        let on_disk = found.is_some();
        let dir = self.dirs.get_mut(parent);
        let kept = dir
            .as_ref()
            .is_some_and(|dir| self.filter.keeps_file(&dir.chain, path));
        let now = found
            .filter(|_| kept)
            .and_then(|found| Look::into(path, &found));
        if let Some(dir) = dir {
            let held = match now {
                Some(now) => dir.files.insert(name.to_owned(), now).is_some(),
                None => dir.files.remove(name).is_some(),
            };
            self.files = self.files + usize::from(now.is_some()) - usize::from(held);
        }
        if let Some(sums) = &mut self.sums {
            sums.replace(shown, before.as_ref(), now.as_ref());
        }
        match (before, now) {
            (None, None) => None,
            (None, Some(_)) => Some(ChangeKind::Created),
            // Still there, but ignored by now: nothing happened to the file.
            (Some(_), None) if on_disk && !kept => None,
            (Some(_), None) => Some(ChangeKind::Removed),
            (Some(before), Some(now)) => now.differs(&before).then_some(ChangeKind::Modified),
        }
    }

    /// Walks again below every directory whose ignore files have changed, so that the set of watches follows at once.
    fn settle_ignore_files(&mut self, at: Instant, quiet: &mut Quiet) {
        for dir in std::mem::take(&mut self.doubtful) {
            let changed = self
                .dirs
                .get(&dir)
                .is_some_and(|known| known.sources != Filter::sources(&dir));
            if changed {
                log::debug!(target: "watch", "{dir:?}: its ignore rules have changed");
                self.walk_known(&dir, Extent::Whole, Watches::Missing, at, quiet);
            }
        }
    }

    /// Takes up directories that are back before anything has told of it. Their files would be taken for ignored ones, and
    /// nobody would ever hear that they are gone if they go again before that is noticed.
    fn settle_folders(&mut self, at: Instant, quiet: &mut Quiet) {
        let mut tops: BTreeSet<&Path> = BTreeSet::new();
        for path in self.dirty.keys() {
            let above = path.ancestors().skip(1);
            let unknown = above.take_while(|dir| !self.dirs.contains_key(*dir));
            // Without a directory of the tree above it there is a root that has gone.
            if let Some(top) = unknown.last()
                && top
                    .parent()
                    .is_some_and(|parent| self.dirs.contains_key(parent))
            {
                tops.insert(top);
            }
        }
        let back = tops
            .into_iter()
            .filter(|top| fs::symlink_metadata(top).is_ok_and(|found| found.is_dir()));
        let back: Vec<PathBuf> = back.map(Path::to_owned).collect();
        for top in back {
            self.walk_known(&top, Extent::Whole, Watches::All, at, quiet);
        }
    }

    /// Looks whether the roots are there, and are what they were.
    fn check_roots(&mut self, at: Instant, quiet: &mut Quiet) {
        for root in 0..self.roots.len() {
            self.roots[root].look();
            let Root { path, lost, .. } = &self.roots[root];
            let known = self.dirs.get(path).map(|dir| dir.identity);
            if *lost || Identity::at(path, true) != known {
                self.check_root(root, Watches::All, at, quiet);
            }
        }
    }

    /// Whether nobody may tell when this root comes, goes or becomes another one: it is not there, a symlink leads to it,
    /// or nothing is in it whose going would be seen.
    fn may_go_unseen(&self, root: &Root) -> bool {
        let dir = self.dirs.get(&root.path);
        let is_empty = dir.is_some_and(|dir| dir.files.is_empty() && dir.subs.is_empty());
        root.awaited && (root.lost || is_empty || root.is_detour)
    }

    /// A root that is gone is waited for; one that is there is compared in whole.
    fn check_root(&mut self, at: usize, watches: Watches, now: Instant, quiet: &mut Quiet) {
        let Root {
            path,
            awaited,
            lost,
            ..
        } = self.roots[at].clone();
        let found = Identity::at(&path, true);
        let shown = path.display();
        let Some(found) = found else {
            if !lost {
                self.forget_dir(&path, now, quiet);
                self.roots[at].lost = true;
                if awaited {
                    self.notes
                        .push(format!("{shown} is gone; waiting for it to come back"));
                }
            }
            return;
        };
        if lost {
            self.roots[at].lost = false;
            // What was in doubt when it went is judged now, even if nothing is found in it.
            quiet.seen(now, &path, Sign::Open);
            self.notes
                .push(format!("{shown} is back; comparing every file"));
        } else if self
            .dirs
            .get(&path)
            .is_none_or(|known| known.identity != found)
        {
            self.notes.push(format!(
                "{shown} is another folder than before; comparing every file"
            ));
        }
        self.walk_root(at, Extent::Whole, watches, now, quiet);
    }

    fn walk_root(
        &mut self,
        at: usize,
        extent: Extent,
        watches: Watches,
        now: Instant,
        quiet: &mut Quiet,
    ) {
        self.roots[at].look();
        let step = self.root_step(at);
        let path = step.path.clone();
        self.walk(vec![step], extent, watches, Sign::Finished, now, quiet);
        if extent == Extent::First && !self.dirs.contains_key(&path) {
            self.roots[at].lost = true;
            self.notes
                .push(format!("{} is not there; waiting for it", path.display()));
        }
    }

    /// Walks a directory that is a root or whose parent is in the tree.
    fn walk_known(
        &mut self,
        path: &Path,
        extent: Extent,
        watches: Watches,
        at: Instant,
        quiet: &mut Quiet,
    ) {
        let Some(step) = self.step(path) else {
            return;
        };
        if step.entry == Entry::Skip {
            self.forget_dir(path, at, quiet);
            return;
        }
        if let Some((parent, name)) = split(path)
            && let Some(dir) = self.dirs.get_mut(parent)
            && !self.roots.iter().any(|root| root.path == *path)
        {
            dir.subs.insert(name.to_owned());
        }
        self.walk(vec![step], extent, watches, Sign::Finished, at, quiet);
    }

    /// How to get to a directory that is a root or whose parent is in the tree.
    fn step(&self, path: &Path) -> Option<Step> {
        if let Some(root) = self.roots.iter().position(|root| root.path == *path) {
            return Some(self.root_step(root));
        }
        let above = self.dirs.get(path.parent()?)?.chain.clone();
        let entry = self.filter.entry(&above, path);
        Some(Step {
            path: path.to_owned(),
            above,
            entry,
        })
    }

    fn root_step(&self, at: usize) -> Step {
        let Root { path, entry, .. } = &self.roots[at];
        Step {
            path: path.clone(),
            above: self.filter.above(path),
            entry: *entry,
        }
    }

    /// Visits `steps` and what is below them, and takes up what was found. `sign` is for the files that differ.
    fn walk(
        &mut self,
        steps: Vec<Step>,
        extent: Extent,
        watches: Watches,
        sign: Sign,
        at: Instant,
        quiet: &mut Quiet,
    ) {
        let walk = Walk {
            filter: &self.filter,
            place: match self.means.poll {
                Poll::Auto | Poll::Off => Some(&self.place),
                Poll::Every(_) => None,
            },
            roots: self.roots.iter().map(|root| root.path.as_path()).collect(),
            links: &self.links,
            wants_links: self.means.follow_links,
            known: &self.dirs,
            extent,
            watches,
        };
        let visits = walk.run(steps);
        let (mut gone, mut links) = (Vec::new(), Vec::new());
        for visit in visits {
            self.given_up.extend(visit.missed);
            match visit.found {
                Some(found) => {
                    links.extend(found.links.iter().map(|name| visit.path.join(name)));
                    self.take_up(visit.path, found, sign, at, quiet);
                }
                None => gone.push(visit.path),
            }
        }
        // Only now: the parent of each is taken up.
        for path in gone {
            self.forget_dir(&path, at, quiet);
        }
        self.say_if_full();
        if !links.is_empty() {
            self.follow_links(links, extent, at, quiet);
        }
    }

    /// A directory was visited: it is in the tree as it was found.
    fn take_up(&mut self, path: PathBuf, found: Found, sign: Sign, at: Instant, quiet: &mut Quiet) {
        self.polls(&path, &found);
        let Found {
            identity,
            is_racy,
            chain,
            sources,
            watch,
            subs,
            unlisted,
            files,
            doubts,
            links: _,
        } = found;
        let mut gone = Vec::new();
        match self.dirs.get_mut(&path) {
            Some(dir) => {
                if dir.identity != identity {
                    self.given_up.insert(dir.identity);
                }
                (dir.identity, dir.is_racy, dir.watch) = (identity, is_racy, watch);
                dir.unlisted = unlisted.is_some();
                (dir.chain, dir.sources) = (chain, sources);
                if let Some(mut subs) = subs {
                    for name in &dir.subs {
                        if subs.contains(name) {
                            continue;
                        }
                        let below = path.join(name);
                        // A followed link stands among the files.
                        if self.links.contains_key(&below) {
                            subs.insert(name.clone());
                        } else {
                            gone.push(below);
                        }
                    }
                    dir.subs = subs;
                }
            }
            None => {
                self.files += files.len();
                let dir = Box::new(Dir {
                    identity,
                    is_racy,
                    chain,
                    sources,
                    watch,
                    files,
                    subs: subs.unwrap_or_default(),
                    unlisted: unlisted.is_some(),
                });
                self.dirs.insert(path.clone(), dir);
            }
        }
        for (name, its) in doubts {
            let sign = if its == Sign::Gone { its } else { sign };
            let file = path.join(name);
            self.doubt(&file, at, sign, quiet);
            self.found_by_looking(&file);
        }
        for gone in gone {
            self.forget_dir(&gone, at, quiet);
        }
    }

    /// Decides whether a directory is looked at without events.
    fn polls(&mut self, path: &Path, found: &Found) {
        let remote = match self.means.poll {
            Poll::Auto => self.mounts.remote(found.identity.device),
            Poll::Off | Poll::Every(_) => None,
        };
        // Once it may be read, its attributes have changed, and that is an event; nothing tells when there is room again.
        let failed = found
            .unlisted
            .filter(|kind| *kind != ErrorKind::PermissionDenied);
        let polled = match found.watch {
            Placed::Full | Placed::Unwanted => true,
            Placed::Watched(_) | Placed::Refused | Placed::Gone => {
                remote.is_some() || failed.is_some()
            }
        };
        if let Some(kind) = failed
            && !self.said_failed
        {
            self.said_failed = true;
            self.notes.push(format!(
                "cannot list {}: {kind}; it is tried again and again",
                path.display()
            ));
        }
        if let Some(kind) = remote
            && !self.said_remote
        {
            self.said_remote = true;
            self.notes.push(format!(
                "{} is on {kind}, which does not tell of changes made elsewhere; it is polled",
                path.display()
            ));
        }
        self.is_full |= found.watch == Placed::Full;
        self.is_partial |= !matches!(found.watch, Placed::Watched(_));
        if polled {
            self.polled.insert(path.to_owned());
        } else {
            self.polled.remove(path);
        }
    }

    /// Symlinks that may lead to directories. Those that lead to a place outside of the roots that is not watched yet
    /// are walked under their own names; what all others lead to is watched where it lies, or not at all: loops end.
    fn follow_links(
        &mut self,
        mut links: Vec<PathBuf>,
        extent: Extent,
        at: Instant,
        quiet: &mut Quiet,
    ) {
        // In one order, whatever the walk's was: of two links to the same place the first is followed.
        links.sort();
        for link in links {
            let target = fs::canonicalize(&link)
                .ok()
                .filter(|target| target.is_dir() && self.leads_out(&link, target));
            if self.links.get(&link) != target.as_ref() {
                self.forget_dir(&link, at, quiet);
                self.links.remove(&link);
            }
            let Some(target) = target else { continue };
            let is_new = self.links.insert(link.clone(), target).is_none();
            if is_new || extent == Extent::Whole {
                self.walk_known(&link, extent, Watches::Missing, at, quiet);
            }
        }
    }

    fn leads_out(&self, link: &Path, target: &Path) -> bool {
        let apart = |other: &Path| !target.starts_with(other) && !other.starts_with(target);
        let mut others = self.links.iter().filter(|(other, _)| *other != link);
        self.roots
            .iter()
            .all(|root| root.entry == Entry::Pass || apart(&root.path))
            && others.all(|(_, other)| apart(other))
    }

    /// `path` may differ from what was last reported.
    fn doubt(&mut self, path: &Path, at: Instant, sign: Sign, quiet: &mut Quiet) {
        let known = match self.dirty.get(path) {
            Some(doubt) => doubt.before.is_some(),
            None => {
                let before = split(path)
                    .and_then(|(parent, name)| self.dirs.get(parent)?.files.get(name).copied());
                self.dirty.insert(path.to_owned(), Doubt::of(before, at));
                before.is_some()
            }
        };
        let sign = if sign == Sign::Finished && !known {
            Sign::New
        } else {
            sign
        };
        quiet.seen(at, path, sign);
    }

    /// A file is in doubt without an event: none may tell when it goes again, or becomes again what it was.
    fn found_by_looking(&mut self, path: &Path) {
        if let Some(doubt) = self.dirty.get_mut(path) {
            doubt.stirred = true;
            doubt.since = doubt.since.min(self.judged_at);
            doubt.until = None;
        }
    }

    /// `path` is no directory of the tree any more; all its files are in doubt.
    fn forget_dir(&mut self, path: &Path, at: Instant, quiet: &mut Quiet) {
        if !self.dirs.contains_key(path) {
            return;
        }
        if let Some((parent, name)) = split(path)
            && let Some(dir) = self.dirs.get_mut(parent)
        {
            dir.subs.remove(name);
        }
        let mut stack = vec![path.to_owned()];
        while let Some(path) = stack.pop() {
            let Some(dir) = self.dirs.remove(&path) else {
                continue;
            };
            self.polled.remove(&path);
            self.files -= dir.files.len();
            for (name, look) in dir.files {
                let file = path.join(name);
                quiet.seen(at, &file, Sign::Gone);
                let doubt = self.dirty.entry(file).or_insert(Doubt::of(Some(look), at));
                doubt.stirred = true;
                doubt.since = doubt.since.min(self.judged_at);
                doubt.until = None;
            }
            stack.extend(dir.subs.iter().map(|name| path.join(name)));
            self.links.remove(&path);
            self.given_up.insert(dir.identity);
            // Mostly the watch is gone with the directory; that of one that was moved away went along with it.
            if let Placed::Watched(lane) = dir.watch {
                self.place.unwatch(&path, lane);
            }
        }
    }

    /// Why `path` is of no interest, for whoever reads the trace.
    fn trace_ignored(&self, path: &Path, is_dir: bool) {
        let chain = split(path).and_then(|(parent, _)| Some(&self.dirs.get(parent)?.chain));
        if log::log_enabled!(target: "watch", log::Level::Debug)
            && let Some(chain) = chain
            && let Some(ignored) = self.filter.ignored_by(chain, path, is_dir)
        {
            log::debug!(target: "watch", "{path:?}: dropped, {ignored}");
        }
    }

    fn say_if_full(&mut self) {
        if !self.is_full || self.said_full {
            return;
        }
        self.said_full = true;
        let wanted = self.dirs.len();
        let placed = wanted - self.unwatched();
        let meanwhile = match self.means.poll {
            Poll::Off => "are not watched, because polling is off",
            Poll::Auto | Poll::Every(_) => "are polled meanwhile",
        };
        let limit = self.place.limit(placed, wanted);
        self.notes
            .push(format!("{limit}; {} folders {meanwhile}", wanted - placed));
    }
}

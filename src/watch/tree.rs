//! The tree as it was last reported, and how it differs now.
//!
//! Hints make paths dirty; [`Tree::judge`] decides by `lstat` and content whether anything changed. Every kept
//! directory is watched before it is listed, so that what appears in between is seen by one or the other. Everything
//! unusual (lost events, edited ignore files, polling) is the same comparison over more paths.
//!
//! It never trusts an event's word for what is on disk, never follows a symlink, and knows no time of its own
//! except to distrust files that are younger than the clock's grain.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::filter::{Chain, Entry, Filter, Sources};
use super::fingerprint::{self, Fingerprint};
use super::hints::{Hint, What};
use super::quiet::{Quiet, Sign};
use super::{Change, ChangeKind};

/// Files up to this many bytes are compared by content: 78 µs to read and hash. Larger ones count as changed when
/// size, time of modification or inode differ; generated data of that size is rarely saved without effect.
pub(super) const CONTENT_LIMIT: u64 = 1024 * 1024;

/// The kernel stamps files with a clock that ticks every 1 to 10 ms. Two writes within one tick can leave
/// the same stamp, so a stamp is no evidence before that much time has passed since. Twice the tick, in nanoseconds.
const CLOCK_GRAIN: i128 = 20_000_000;

/// Who places the watches.
pub(super) trait Place {
    /// Watches one directory, not what is below it. Placing it twice is harmless.
    fn watch(&mut self, dir: &Path, is_root: bool) -> Placed;
    /// Forgets it. Unknown directories are passed over.
    fn unwatch(&mut self, dir: &Path);
    /// Which limit [`Placed::Full`] has met, and how to raise it: the beginning of a sentence.
    fn limit(&self) -> String;
}

/// What came of [`Place::watch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Watched,
    /// The directory is not there any more.
    Gone,
    /// The system gives no more watches: it has to be polled.
    Full,
    /// It may not be watched (permissions); a change of its attributes is seen by its parent.
    Refused,
}

/// All that `lstat` tells about whether a file may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    modified: i128,
    changed: i128,
    inode: u64,
    device: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Not read yet.
    Unknown,
    /// May not be read; a change of its attributes may lift that.
    Unreadable,
    /// Beyond [`CONTENT_LIMIT`].
    Large,
    Known(Fingerprint),
}

#[derive(Clone, Copy, Debug)]
struct Meta {
    stamp: Stamp,
    is_link: bool,
    /// Younger than the clock's grain when it was looked at.
    racy: bool,
    content: Content,
}

/// Tells a directory from its successor at the same path; inode numbers are reused at once on ext4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

#[derive(Debug)]
struct Dir {
    identity: Identity,
    chain: Chain,
    sources: Sources,
    /// Kept files as last reported.
    files: HashMap<OsString, Meta>,
    /// Directories below that are in the tree too.
    subs: HashSet<OsString>,
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
}

impl Root {
    /// A folder whose files are watched.
    pub(super) fn whole(path: &Path) -> Root {
        Root {
            path: path.to_owned(),
            entry: Entry::Enter,
            awaited: true,
            lost: false,
        }
    }

    /// A folder that is watched for pinned files alone.
    pub(super) fn passage(path: &Path, awaited: bool) -> Root {
        Root {
            path: path.to_owned(),
            entry: Entry::Pass,
            awaited,
            lost: false,
        }
    }

    fn is_waited_for(&self) -> bool {
        self.lost && self.awaited
    }
}

/// How thoroughly to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    /// The first time: what is there is the baseline.
    First,
    /// Everything, and every watch placed again.
    Again,
    /// This directory, and below it only what is new.
    Shallow,
}

/// The kept directories, their files as last reported, and what may differ from that.
pub(super) struct Tree<P> {
    root: PathBuf,
    filter: Filter,
    place: P,
    roots: Vec<Root>,
    dirs: HashMap<PathBuf, Dir>,
    /// What each path in doubt was when last reported.
    dirty: HashMap<PathBuf, Option<Meta>>,
    /// Directories whose ignore files may have changed.
    doubtful: BTreeSet<PathBuf>,
    /// Directories for which there is no watch.
    polled: BTreeSet<PathBuf>,
    files: usize,
    /// What is worth telling, since last asked.
    notes: Vec<String>,
    said_full: bool,
}

impl<P: Place> Tree<P> {
    /// Watches and lists everything below `roots`; changes are named relative to `root`.
    pub(super) fn new(root: &Path, roots: Vec<Root>, filter: Filter, place: P) -> Tree<P> {
        let mut tree = Tree {
            root: root.to_owned(),
            filter,
            place,
            roots,
            dirs: HashMap::new(),
            dirty: HashMap::new(),
            doubtful: BTreeSet::new(),
            polled: BTreeSet::new(),
            files: 0,
            notes: Vec::new(),
            said_full: false,
        };
        let now = clock();
        // Nothing waits on the first walk, so its quiet time is nobody's.
        let mut quiet = Quiet::new(Duration::ZERO, Duration::ZERO);
        for at in 0..tree.roots.len() {
            tree.walk_root(at, Walk::First, now, &mut quiet);
        }
        tree.hash_the_young();
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

    /// What happened that is worth a line, since the last call.
    pub(super) fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// How long until the tree has to be looked at although no event came; `None` if events are enough.
    pub(super) fn poll_after(&self) -> Option<Duration> {
        if self.roots.iter().any(Root::is_waited_for) {
            Some(Duration::from_millis(250))
        } else if !self.polled.is_empty() {
            Some(Duration::from_secs(1))
        } else {
            None
        }
    }

    /// Files without a baseline that are small enough to have one.
    pub(super) fn without_content(&self) -> Vec<(PathBuf, Stamp)> {
        let mut found = Vec::new();
        for (path, dir) in &self.dirs {
            let wanting = dir
                .files
                .iter()
                .filter(|(_, meta)| meta.content == Content::Unknown);
            found.extend(wanting.map(|(name, meta)| (path.join(name), meta.stamp)));
        }
        found
    }

    /// The content of `path` while its stamp was `stamp`.
    pub(super) fn learn(&mut self, path: &Path, stamp: Stamp, content: Fingerprint) {
        let Some((parent, name)) = split(path) else {
            return;
        };
        let Some(meta) = self
            .dirs
            .get_mut(parent)
            .and_then(|dir| dir.files.get_mut(name))
        else {
            return;
        };
        if meta.stamp == stamp && meta.content == Content::Unknown {
            meta.content = Content::Known(content);
        }
    }

    /// Takes one hint: keeps the watches in step with the directories, and remembers what is in doubt.
    pub(super) fn take(&mut self, hint: &Hint, quiet: &mut Quiet) {
        let Hint { path, what, at } = hint;
        let structural = match what {
            What::Created | What::MovedIn | What::MovedAway | What::Removed | What::Unsure => true,
            What::Written | What::Closed | What::Attributes => false,
        };
        if let Some(root) = self.roots.iter().position(|root| root.path == *path) {
            if structural {
                self.check_root(root, *at, quiet);
            }
            return;
        }
        let Some((parent, name)) = split(path) else {
            return;
        };
        let Some(dir) = self.dirs.get(parent) else {
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
                }
            }
            What::Attributes => {
                if self.dirs.get(path).is_some_and(|dir| dir.unlisted) {
                    self.walk_known(path, Walk::Again, *at, quiet);
                } else if dir
                    .files
                    .get(name)
                    .is_some_and(|meta| meta.content == Content::Unreadable)
                {
                    self.doubt(path, *at, Sign::Finished, quiet);
                }
            }
            What::Created | What::MovedIn | What::MovedAway | What::Removed | What::Unsure => {
                self.take_structural(path, *what, *at, quiet);
            }
        }
    }

    /// Something came or went at `path`, whose parent is in the tree.
    fn take_structural(&mut self, path: &Path, what: What, at: Instant, quiet: &mut Quiet) {
        let (parent, name) = split(path).expect("the parent is in the tree");
        let found = fs::symlink_metadata(path).ok();
        if found.as_ref().is_some_and(Metadata::is_dir) {
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
                self.forget_dir(path, false, at, quiet);
            } else {
                // Even if it is known: it may be another one by now, or the watch may have left with the old name.
                self.walk_known(path, Walk::Again, at, quiet);
            }
            return;
        }
        // notify has removed its watches together with the event that told us.
        self.forget_dir(path, false, at, quiet);
        let dir = self
            .dirs
            .get_mut(parent)
            .expect("the parent is in the tree");
        match found.filter(is_file_or_link) {
            Some(_) => {
                if self.filter.keeps_file(&dir.chain, path) {
                    let sign = if what == What::Created {
                        Sign::Open
                    } else {
                        Sign::Finished
                    };
                    self.doubt(path, at, sign, quiet);
                }
            }
            None if dir.files.contains_key(name)
                || matches!(self.dirty.get(path), Some(Some(_))) =>
            {
                self.doubt(path, at, Sign::Gone, quiet);
            }
            None => {
                self.dirty.remove(path);
                quiet.forget(path);
            }
        }
    }

    /// Events were lost, or the rules have changed: everything is compared.
    pub(super) fn compare_all(&mut self, at: Instant, quiet: &mut Quiet) {
        for root in 0..self.roots.len() {
            self.check_root(root, at, quiet);
        }
    }

    /// Looks where no events come from.
    pub(super) fn poll(&mut self, at: Instant, quiet: &mut Quiet) {
        for root in 0..self.roots.len() {
            if self.roots[root].lost {
                self.check_root(root, at, quiet);
            }
        }
        for dir in self.polled.clone() {
            self.walk_known(&dir, Walk::Shallow, at, quiet);
        }
    }

    /// Decides what has changed since the last report, sorted by path. `None`: a file is empty that was not,
    /// and `quiet` grants it more time.
    pub(super) fn judge(&mut self, now: Instant, quiet: &mut Quiet) -> Option<Vec<Change>> {
        self.settle_ignore_files(now, quiet);
        let mut looks = Vec::with_capacity(self.dirty.len());
        let mut waits = false;
        for (path, before) in &self.dirty {
            if self
                .roots
                .iter()
                .any(|root| root.is_waited_for() && path.starts_with(&root.path))
            {
                continue;
            }
            let found = fs::symlink_metadata(path).ok().filter(is_file_or_link);
            let emptied = |before: &Meta| {
                before.stamp.size > 0 && found.as_ref().is_some_and(|now| now.len() == 0)
            };
            waits = waits || before.as_ref().is_some_and(emptied);
            looks.push((path.clone(), found));
        }
        if waits && quiet.wait_for_content(now) {
            return None;
        }
        let mut changes = Vec::new();
        for (path, found) in looks {
            let before = self.dirty.remove(&path).expect("it was just looked at");
            if let Some(kind) = self.verdict(&path, before, found) {
                changes.push(Change {
                    path: super::relative(&self.root, &path),
                    kind,
                });
            }
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        Some(changes)
    }

    /// Compares one path with what it was, and remembers what it is.
    fn verdict(
        &mut self,
        path: &Path,
        before: Option<Meta>,
        found: Option<Metadata>,
    ) -> Option<ChangeKind> {
        let (parent, name) = split(path)?;
        let on_disk = found.is_some();
        let dir = self.dirs.get_mut(parent);
        let kept = dir
            .as_ref()
            .is_some_and(|dir| self.filter.keeps_file(&dir.chain, path));
        let now = found.filter(|_| kept).and_then(|found| read(path, &found));
        if let Some(dir) = dir {
            let held = match now {
                Some(now) => dir.files.insert(name.to_owned(), now).is_some(),
                None => dir.files.remove(name).is_some(),
            };
            self.files = self.files + usize::from(now.is_some()) - usize::from(held);
        }
        match (before, now) {
            (None, None) => None,
            (None, Some(_)) => Some(ChangeKind::Created),
            // Still there, but ignored by now: nothing happened to the file.
            (Some(_), None) if on_disk && !kept => None,
            (Some(_), None) => Some(ChangeKind::Removed),
            (Some(before), Some(now)) => differs(&before, &now).then_some(ChangeKind::Modified),
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
                self.walk_known(&dir, Walk::Again, at, quiet);
            }
        }
    }

    /// A root that is gone is waited for; one that is there is compared in whole.
    fn check_root(&mut self, at: usize, now: Instant, quiet: &mut Quiet) {
        let Root {
            path,
            awaited,
            lost,
            ..
        } = self.roots[at].clone();
        let found = fs::metadata(&path)
            .ok()
            .filter(Metadata::is_dir)
            .map(|meta| identity(&meta));
        let shown = path.display();
        let Some(found) = found else {
            if !lost {
                self.forget_dir(&path, true, now, quiet);
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
        self.walk_root(at, Walk::Again, now, quiet);
    }

    fn walk_root(&mut self, at: usize, walk: Walk, now: Instant, quiet: &mut Quiet) {
        let Root { path, entry, .. } = &self.roots[at];
        let (path, entry) = (path.clone(), *entry);
        let above = self.filter.above(&path);
        self.walk(path.clone(), above, entry, walk, now, quiet);
        if walk == Walk::First && !self.dirs.contains_key(&path) {
            self.roots[at].lost = true;
            self.notes
                .push(format!("{} is not there; waiting for it", path.display()));
        }
    }

    /// Walks a directory that is a root or whose parent is in the tree.
    fn walk_known(&mut self, path: &Path, walk: Walk, at: Instant, quiet: &mut Quiet) {
        if let Some(root) = self.roots.iter().position(|root| root.path == *path) {
            return self.walk_root(root, walk, at, quiet);
        }
        let Some((parent, name)) = split(path) else {
            return;
        };
        let Some(dir) = self.dirs.get_mut(parent) else {
            return;
        };
        let entry = self.filter.entry(&dir.chain, path);
        if entry == Entry::Skip {
            self.forget_dir(path, true, at, quiet);
            return;
        }
        dir.subs.insert(name.to_owned());
        let chain = dir.chain.clone();
        self.walk(path.to_owned(), chain, entry, walk, at, quiet);
    }

    /// Watches, then lists, then compares; `above` is the chain of the parent of `start`.
    fn walk(
        &mut self,
        start: PathBuf,
        above: Chain,
        entry: Entry,
        walk: Walk,
        at: Instant,
        quiet: &mut Quiet,
    ) {
        let mut stack = vec![(start, above, entry)];
        let mut placed = Vec::new();
        let mut unwatched = false;
        while let Some((path, above, entry)) = stack.pop() {
            let is_root = self.roots.iter().any(|root| root.path == path);
            let found = if is_root {
                fs::metadata(&path)
            } else {
                fs::symlink_metadata(&path)
            };
            let Some(identity) = found
                .ok()
                .filter(Metadata::is_dir)
                .map(|meta| identity(&meta))
            else {
                unwatched |= self.forget_dir(&path, true, at, quiet);
                continue;
            };
            let known = self.dirs.remove(&path);
            let replaced = known
                .as_ref()
                .is_some_and(|known| known.identity != identity);
            if replaced {
                self.place.unwatch(&path);
                unwatched = true;
            }
            if known.is_none() || replaced || walk != Walk::Shallow || self.polled.contains(&path) {
                match self.place.watch(&path, is_root) {
                    Placed::Watched => {
                        self.polled.remove(&path);
                        placed.push((path.clone(), is_root));
                    }
                    Placed::Full => {
                        self.polled.insert(path.clone());
                    }
                    Placed::Refused => {}
                    Placed::Gone => {
                        if let Some(known) = known {
                            self.dirs.insert(path.clone(), known);
                        }
                        unwatched |= self.forget_dir(&path, true, at, quiet);
                        continue;
                    }
                }
            }
            let (chain, sources) = self.filter.enter(&above, &path, entry);
            let (known_files, known_subs) = known
                .map(|known| (known.files, known.subs))
                .unwrap_or_default();
            let mut dir = Dir {
                identity,
                chain,
                sources,
                files: known_files,
                subs: HashSet::new(),
                unlisted: false,
            };
            let mut seen = HashSet::new();
            match fs::read_dir(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    // Removed since it was watched: the event is on its way, or comes with its parent's.
                    dir.subs = known_subs;
                    self.dirs.insert(path.clone(), dir);
                    unwatched |= self.forget_dir(&path, true, at, quiet);
                    continue;
                }
                Err(_) => dir.unlisted = true,
                Ok(entries) => {
                    for entry in entries.flatten() {
                        let Ok(kind) = entry.file_type() else {
                            continue;
                        };
                        let (name, below) = (entry.file_name(), entry.path());
                        if kind.is_dir() {
                            if self.roots.iter().any(|root| root.path == below) {
                                // It has a walk and rules of its own.
                                continue;
                            }
                            let entry = self.filter.entry(&dir.chain, &below);
                            if entry == Entry::Skip {
                                continue;
                            }
                            if walk != Walk::Shallow || !self.dirs.contains_key(&below) {
                                stack.push((below, dir.chain.clone(), entry));
                            }
                            dir.subs.insert(name);
                        } else if (kind.is_file() || kind.is_symlink())
                            && self.filter.keeps_file(&dir.chain, &below)
                        {
                            seen.insert(name);
                        }
                    }
                }
            }
            let gone: Vec<PathBuf> = known_subs
                .difference(&dir.subs)
                .map(|name| path.join(name))
                .collect();
            if walk == Walk::First {
                for name in seen {
                    if let Some(meta) = look(&path.join(&name)) {
                        self.files += usize::from(dir.files.insert(name, meta).is_none());
                    }
                }
                self.dirs.insert(path, dir);
            } else {
                let doubted = doubted(&path, &dir, seen);
                self.dirs.insert(path, dir);
                for (path, sign) in doubted {
                    self.doubt(&path, at, sign, quiet);
                }
            }
            for gone in gone {
                unwatched |= self.forget_dir(&gone, true, at, quiet);
            }
        }
        if unwatched {
            // A directory that was moved kept its watch; giving up the old name took it from the new one.
            for (path, is_root) in placed {
                if self.dirs.contains_key(&path) {
                    self.place.watch(&path, is_root);
                }
            }
        }
        self.say_if_full();
    }

    /// `path` may differ from what was last reported.
    fn doubt(&mut self, path: &Path, at: Instant, sign: Sign, quiet: &mut Quiet) {
        let known = match self.dirty.get(path) {
            Some(before) => before.is_some(),
            None => {
                let before = split(path)
                    .and_then(|(parent, name)| self.dirs.get(parent)?.files.get(name).copied());
                self.dirty.insert(path.to_owned(), before);
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

    /// `path` is no directory of the tree any more; all its files are in doubt. Whether it was one.
    fn forget_dir(&mut self, path: &Path, unwatch: bool, at: Instant, quiet: &mut Quiet) -> bool {
        if !self.dirs.contains_key(path) {
            return false;
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
            for (name, meta) in dir.files {
                let file = path.join(name);
                quiet.seen(at, &file, Sign::Gone);
                self.dirty.entry(file).or_insert(Some(meta));
            }
            stack.extend(dir.subs.iter().map(|name| path.join(name)));
            if unwatch {
                self.place.unwatch(&path);
            }
        }
        true
    }

    /// Files younger than the clock's grain are read before anybody relies on the baseline: a save right after
    /// could leave the same stamp, and the content read later would pass for the old one.
    fn hash_the_young(&mut self) {
        for (path, dir) in &mut self.dirs {
            for (name, meta) in dir.files.iter_mut().filter(|(_, meta)| meta.racy) {
                meta.content = content(&path.join(name), meta.stamp.size);
            }
        }
    }

    fn say_if_full(&mut self) {
        if self.polled.is_empty() || self.said_full {
            return;
        }
        self.said_full = true;
        let (polled, all) = (self.polled.len(), self.dirs.len());
        self.notes.push(format!(
            "{}; {polled} of {all} folders are polled every second",
            self.place.limit()
        ));
    }
}

/// Which files of a directory that was just listed may differ from what was last reported.
fn doubted(path: &Path, dir: &Dir, seen: HashSet<OsString>) -> Vec<(PathBuf, Sign)> {
    let gone = dir
        .files
        .keys()
        .filter(|name| !seen.contains(*name))
        .map(|name| (path.join(name), Sign::Gone));
    let mut doubted: Vec<(PathBuf, Sign)> = gone.collect();
    for name in &seen {
        let file = path.join(name);
        let same = dir.files.get(name).is_some_and(|known| {
            !known.racy
                && look(&file)
                    .is_some_and(|now| now.stamp == known.stamp && now.is_link == known.is_link)
        });
        if !same {
            doubted.push((file, Sign::Finished));
        }
    }
    doubted
}

/// What a file is, without its content. `None` for what is neither file nor symlink.
fn look(path: &Path) -> Option<Meta> {
    let found = fs::symlink_metadata(path).ok().filter(is_file_or_link)?;
    let stamp = stamp(&found);
    let content = if found.len() > CONTENT_LIMIT {
        Content::Large
    } else {
        Content::Unknown
    };
    Some(Meta {
        stamp,
        is_link: found.is_symlink(),
        racy: is_young(stamp),
        content,
    })
}

/// What a file is, with its content; `found` was looked at before, so a write in between makes it differ again.
fn read(path: &Path, found: &Metadata) -> Option<Meta> {
    let stamp = stamp(found);
    let racy = is_young(stamp);
    let content = content(path, stamp.size);
    // Gone since: the event is on its way, but the answer can be right already.
    if content == Content::Unknown {
        return None;
    }
    Some(Meta {
        stamp,
        is_link: found.is_symlink(),
        racy,
        content,
    })
}

/// `Unknown` if there is no file.
fn content(path: &Path, size: u64) -> Content {
    if size > CONTENT_LIMIT {
        return Content::Large;
    }
    match fingerprint::of_file(path) {
        Ok(Some(content)) => Content::Known(content),
        Ok(None) => Content::Unknown,
        Err(_) => Content::Unreadable,
    }
}

fn differs(before: &Meta, now: &Meta) -> bool {
    if before.is_link != now.is_link {
        return true;
    }
    match (before.content, now.content) {
        (Content::Known(before), Content::Known(now)) => before != now,
        (Content::Large, Content::Large) | (Content::Unreadable, Content::Unreadable) => {
            let by = |stamp: &Stamp| (stamp.size, stamp.modified, stamp.inode, stamp.device);
            by(&before.stamp) != by(&now.stamp)
        }
        // No baseline yet. Only a stamp that is as it was, and old enough to be evidence, says "unchanged".
        (Content::Unknown, _) => before.racy || before.stamp != now.stamp,
        (Content::Unreadable | Content::Large | Content::Known(_), _) => true,
    }
}

/// The stamp of the file at `path`, if it is one.
pub(super) fn stamp_of(path: &Path) -> Option<Stamp> {
    fs::symlink_metadata(path)
        .ok()
        .filter(is_file_or_link)
        .map(|meta| stamp(&meta))
}

fn stamp(meta: &Metadata) -> Stamp {
    let nanoseconds =
        |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Stamp {
        size: meta.len(),
        modified: nanoseconds(meta.mtime(), meta.mtime_nsec()),
        changed: nanoseconds(meta.ctime(), meta.ctime_nsec()),
        inode: meta.ino(),
        device: meta.dev(),
    }
}

fn identity(meta: &Metadata) -> Identity {
    Identity {
        device: meta.dev(),
        inode: meta.ino(),
        born: meta.created().ok(),
    }
}

/// Sockets, pipes and devices are no sources, and a server that makes its socket must not trigger its own restart.
fn is_file_or_link(meta: &Metadata) -> bool {
    meta.is_file() || meta.is_symlink()
}

fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

#[expect(
    clippy::disallowed_methods,
    reason = "file times are wall-clock times; compared with nothing else"
)]
fn is_young(stamp: Stamp) -> bool {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as i128);
    stamp.changed + CLOCK_GRAIN >= now
}

#[expect(
    clippy::disallowed_methods,
    reason = "the first walk has no event to take its time from"
)]
fn clock() -> Instant {
    Instant::now()
}

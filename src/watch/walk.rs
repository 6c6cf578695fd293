//! One walk through directories, several at once where there are many: each is watched, then listed, then compared
//! with what is known of it.
//!
//! In this order: what appears after the listing gives an event, what appears before it is listed. A walk reads the
//! disk and places watches; what it found becomes part of the tree only when [`super::tree`] takes it up. It never
//! follows a symlink by itself and never reads a source file.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::SystemTime;

use nix::dir::{Dir as Folder, Type};
use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, fstatat};

use super::file::{CLOCK_GRAIN, Look};
use super::filter::{Chain, Entry, Filter, Sources};
use super::hints::{Lane, Place, Placed};
use super::quiet::Sign;
use super::tree::Dir;

/// Directories after which a walk takes helpers: below, starting threads costs more than it gains. Tests have small
/// trees and shall see helpers, too.
const CROWD: usize = if cfg!(test) { 3 } else { 48 };

/// Tells a directory from its successor at the same path; inode numbers are reused at once on ext4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    /// The filesystem.
    pub(super) device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

impl Identity {
    /// Of the directory at `path`; `through`: at the end of the symlink `path`.
    pub(super) fn at(path: &Path, through: bool) -> Option<Identity> {
        let found = if through {
            fs::metadata(path)
        } else {
            fs::symlink_metadata(path)
        };
        Identity::of(&found.ok()?)
    }

    /// Whether another directory may come to bear the same one: whoever is made at the same inode within the same tick of
    /// the clock. One that has been there for longer cannot be taken for its successor.
    #[expect(
        clippy::disallowed_methods,
        reason = "file times are wall-clock times; compared with nothing else"
    )]
    pub(super) fn is_racy(&self) -> bool {
        self.born
            .is_none_or(|born| born + CLOCK_GRAIN >= SystemTime::now())
    }

    fn of(found: &Metadata) -> Option<Identity> {
        found.is_dir().then(|| Identity {
            device: found.dev(),
            inode: found.ino(),
            born: found.created().ok(),
        })
    }
}

/// How far a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The first time: what is there is the baseline.
    First,
    /// Everything.
    Whole,
    /// These directories, and below them only what is new.
    Shallow,
}

/// Which watches a walk places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watches {
    /// Those that are missing.
    Missing,
    /// Every one: some may have been lost without a word.
    All,
}

/// A directory to be visited; `above` is the chain of its parent.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) path: PathBuf,
    pub(super) above: Chain,
    pub(super) entry: Entry,
}

/// What became of one directory.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) path: PathBuf,
    /// `None`: it is no directory any more.
    pub(super) found: Option<Found>,
    /// What bore its name for a moment meanwhile: watches of these may have been given up with it.
    pub(super) missed: Vec<Identity>,
}

/// A directory as it is now.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) identity: Identity,
    /// As [`Identity::is_racy`] was when it was visited.
    pub(super) is_racy: bool,
    pub(super) chain: Chain,
    pub(super) sources: Sources,
    pub(super) watch: Placed,
    /// `None`: the same as known.
    pub(super) subs: Option<HashSet<OsString>>,
    /// It could not be listed: everything in it is as it was, for all that is known.
    pub(super) unlisted: Option<ErrorKind>,
    /// Its files, on the first walk.
    pub(super) files: HashMap<OsString, Look>,
    /// The files that may differ from what is known, on every other walk.
    pub(super) doubts: Vec<(OsString, Sign)>,
    /// Symlinks among its files, if links are followed.
    pub(super) links: Vec<OsString>,
}

/// What a walk needs to know.
pub(super) struct Walk<'a, P> {
    pub(super) filter: &'a Filter,
    /// `None`: no watches are wanted.
    pub(super) place: Option<&'a P>,
    /// Directories that have rules of their own and are not entered from above.
    pub(super) roots: HashSet<&'a Path>,
    /// Symlinks that are walked like directories.
    pub(super) links: &'a HashMap<PathBuf, PathBuf>,
    /// Whether to look out for symlinks.
    pub(super) wants_links: bool,
    pub(super) known: &'a HashMap<PathBuf, Box<Dir>>,
    pub(super) extent: Extent,
    pub(super) watches: Watches,
}

impl<P: Place + Sync> Walk<'_, P> {
    /// Visits `steps` and what is below them. The visits come in any order.
    pub(super) fn run(&self, steps: Vec<Step>) -> Vec<Visit> {
        let full = AtomicBool::new(false);
        let mut todo = steps;
        let mut visits = Vec::new();
        while visits.len() < CROWD || todo.len() < 2 {
            let Some(step) = todo.pop() else {
                return visits;
            };
            visits.push(self.visit(step, Lane(0), &full, &mut todo));
        }
        let queue = Queue::new(todo);
        let work = |lane| {
            let mut visits = Vec::new();
            let mut below = Vec::new();
            queue.enter();
            while let Some(step) = queue.next(&mut below) {
                visits.push(self.visit(step, lane, &full, &mut below));
            }
            visits
        };
        thread::scope(|scope| {
            let helpers: Vec<_> = (1..Lane::COUNT)
                .filter_map(|lane| {
                    thread::Builder::new()
                        .name(format!("watch walk {lane}"))
                        .spawn_scoped(scope, move || work(Lane(lane)))
                        .ok()
                })
                .collect();
            visits.append(&mut work(Lane(0)));
            for helper in helpers {
                match helper.join() {
                    Ok(mut found) => visits.append(&mut found),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        visits
    }

    fn visit(&self, step: Step, lane: Lane, full: &AtomicBool, below: &mut Vec<Step>) -> Visit {
        let path = step.path.clone();
        let mut missed = Vec::new();
        let found = self.find(step, lane, full, below, &mut missed);
        Visit {
            path,
            found,
            missed,
        }
    }

    fn find(
        &self,
        step: Step,
        lane: Lane,
        full: &AtomicBool,
        below: &mut Vec<Step>,
        missed: &mut Vec<Identity>,
    ) -> Option<Found> {
        let Step { path, above, entry } = step;
        let is_root = self.roots.contains(path.as_path());
        let through = is_root || self.links.contains_key(&path);
        let known = self.known.get(&path).map(Box::as_ref);
        let (opened, identity, watch) = loop {
            // Opened before it is watched: opening is an event, too.
            let (opened, identity) = match open(&path, through) {
                Ok((folder, identity)) => (Ok(folder), identity),
                Err(error) if is_gone(&error) => return None,
                Err(error) => (Err(error), Identity::at(&path, through)?),
            };
            let watch = self.watch(&path, is_root, identity, known, lane, full);
            let is_old = known.is_some_and(|known| self.trusts(known, identity));
            match watch {
                _ if is_old => {}
                Placed::Gone => return None,
                // A watch is placed by name, and what bears the name may have been replaced since it was opened.
                Placed::Watched(lane) => match Identity::at(&path, through) {
                    Some(now) if now == identity => {}
                    now => {
                        missed.extend([Some(identity), now].into_iter().flatten());
                        if let Some(place) = self.place {
                            place.unwatch(&path, lane);
                        }
                        continue;
                    }
                },
                Placed::Full | Placed::Refused | Placed::Unwanted => {}
            }
            break (opened, identity, watch);
        };
        let is_racy = identity.is_racy();
        let (mut folder, unlisted) = match opened {
            Ok(folder) => (Some(folder), None),
            Err(error) => (None, Some(error.kind())),
        };
        let names = folder.as_mut().map_or_else(Vec::new, list);
        let holds = |name: &str| {
            let mut names = names.iter();
            names.any(|(other, _)| other.to_bytes() == name.as_bytes())
        };
        let (chain, sources) = self.filter.enter(&above, &path, entry, holds);
        let mut found = Found {
            identity,
            is_racy,
            chain,
            sources,
            watch,
            subs: None,
            unlisted,
            files: HashMap::new(),
            doubts: Vec::new(),
            links: Vec::new(),
        };
        let mut subs: Vec<&OsStr> = Vec::new();
        let files_known = known.map(|known| &known.files);
        let mut met = 0;
        let mut file = path.join("_");
        for (entry, kind) in &names {
            let name = OsStr::from_bytes(entry.to_bytes());
            file.set_file_name(name);
            match kind {
                Kind::Directory => {
                    // A root has a walk and rules of its own.
                    if self.roots.contains(file.as_path()) {
                        continue;
                    }
                    let entry = self.filter.entry(&found.chain, &file);
                    if entry == Entry::Skip {
                        continue;
                    }
                    if self.extent != Extent::Shallow || !self.known.contains_key(&file) {
                        below.push(Step {
                            path: file.clone(),
                            above: found.chain.clone(),
                            entry,
                        });
                    }
                    subs.push(name);
                }
                Kind::File | Kind::Link => {
                    if !self.filter.keeps_file(&found.chain, &file) {
                        continue;
                    }
                    if *kind == Kind::Link && self.wants_links {
                        found.links.push(name.to_owned());
                    }
                    let now = folder.as_ref().and_then(|folder| Look::of(folder, entry));
                    if self.extent == Extent::First {
                        if let Some(now) = now {
                            found.files.insert(name.to_owned(), now);
                        }
                        continue;
                    }
                    let before = files_known.and_then(|files| files.get(name));
                    met += usize::from(before.is_some());
                    let same = before
                        .zip(now)
                        .is_some_and(|(before, now)| before.is_evidently(&now));
                    if !same {
                        found.doubts.push((name.to_owned(), Sign::Finished));
                    }
                }
            }
        }
        let same = known.is_some_and(|known| {
            known.subs.len() == subs.len() && subs.iter().all(|name| known.subs.contains(*name))
        });
        if !same && unlisted.is_none() {
            found.subs = Some(subs.into_iter().map(OsStr::to_owned).collect());
        }
        // Mostly all are still there, and a set of them would be made for nothing.
        if let Some(files) = files_known.filter(|files| files.len() > met && unlisted.is_none()) {
            let there: HashSet<&OsStr> = names
                .iter()
                .filter(|(_, kind)| *kind != Kind::Directory)
                .map(|(name, _)| OsStr::from_bytes(name.to_bytes()))
                .filter(|name| self.filter.keeps_file(&found.chain, &path.join(name)))
                .collect();
            let gone = files
                .keys()
                .filter(|name| !there.contains(name.as_os_str()));
            found
                .doubts
                .extend(gone.map(|name| (name.clone(), Sign::Gone)));
        }
        Some(found)
    }

    /// Whether the watch of a directory is taken to be there still, on just this one.
    fn trusts(&self, known: &Dir, identity: Identity) -> bool {
        self.watches == Watches::Missing
            && matches!(known.watch, Placed::Watched(_))
            && known.identity == identity
            && !known.is_racy
    }

    /// Has the directory watched, unless it is already.
    fn watch(
        &self,
        path: &Path,
        is_root: bool,
        identity: Identity,
        known: Option<&Dir>,
        lane: Lane,
        full: &AtomicBool,
    ) -> Placed {
        let Some(place) = self.place else {
            return Placed::Unwanted;
        };
        let mut lane = lane;
        if let Some(known) = known
            && let Placed::Watched(its) = known.watch
        {
            lane = its;
            if known.identity != identity {
                place.unwatch(path, lane);
            } else if self.trusts(known, identity) {
                return known.watch;
            }
        }
        // Who was refused once in this walk is refused again: asking ten thousand times takes long.
        if full.load(Ordering::Relaxed) {
            return Placed::Full;
        }
        let placed = place.watch(path, is_root, lane);
        if placed == Placed::Full {
            full.store(true, Ordering::Relaxed);
        }
        placed
    }
}

/// What a directory entry is. Sockets, pipes and devices are no sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Link,
}

fn open(path: &Path, through: bool) -> std::io::Result<(Folder, Identity)> {
    let no_link = if through { 0 } else { libc::O_NOFOLLOW };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | no_link)
        .open(path)?;
    let identity = Identity::of(&file.metadata()?).ok_or(ErrorKind::NotADirectory)?;
    Ok((Folder::from_fd(file.into())?, identity))
}

/// Whether there is no directory any more. Everything else (no permission, too many open files) says nothing about that.
fn is_gone(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)
    )
}

fn list(folder: &mut Folder) -> Vec<(CString, Kind)> {
    let entries: Vec<_> = folder.iter().flatten().collect();
    let mut names = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        // Some filesystems do not tell the type.
        let kind = match entry.file_type().or_else(|| type_of(folder, name)) {
            Some(Type::Directory) => Kind::Directory,
            Some(Type::File) => Kind::File,
            Some(Type::Symlink) => Kind::Link,
            Some(Type::Fifo | Type::CharacterDevice | Type::BlockDevice | Type::Socket) | None => {
                continue;
            }
        };
        names.push((name.to_owned(), kind));
    }
    names
}

fn type_of(folder: &Folder, name: &CStr) -> Option<Type> {
    let found = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    match SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => Some(Type::Directory),
        SFlag::S_IFREG => Some(Type::File),
        SFlag::S_IFLNK => Some(Type::Symlink),
        _ => None,
    }
}

/// The parent of a path, and its name there.
pub(super) fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

/// The steps that are still to be made, shared by those who make them.
struct Queue {
    steps: Mutex<Steps>,
    changed: Condvar,
}

struct Steps {
    waiting: Vec<Step>,
    /// How many are being made at this moment and may add more.
    at_work: usize,
}

impl Queue {
    fn new(waiting: Vec<Step>) -> Queue {
        Queue {
            steps: Mutex::new(Steps {
                waiting,
                at_work: 0,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more is at work, before its first [`Queue::next`].
    fn enter(&self) {
        self.lock().at_work += 1;
    }

    /// Hands in what was found on the last step and takes the next one; `None` when nobody can find any more.
    fn next(&self, below: &mut Vec<Step>) -> Option<Step> {
        let mut steps = self.lock();
        if !below.is_empty() {
            steps.waiting.append(below);
            self.changed.notify_all();
        }
        steps.at_work -= 1;
        loop {
            if let Some(step) = steps.waiting.pop() {
                steps.at_work += 1;
                return Some(step);
            }
            if steps.at_work == 0 {
                self.changed.notify_all();
                return None;
            }
            steps = self
                .changed
                .wait(steps)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

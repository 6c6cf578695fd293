//! What commands have left for which key, kept for the day on which the inputs are as they were.
//!
//! `.devwatch/cache` holds `blobs`, contents by their number, which entries share; `entries`, one manifest per key;
//! and `tmp`, where everything is made before it is renamed into its place, whole and checked. A content is copied
//! into the cache and out of it: as a hard link it would change when a tool writes into its output in place.
//!
//! Of an output its content and permission bits are kept, not its times, owner, extended attributes (file
//! capabilities among them) or hard links; a rule that needs more says `cache = false`. Empty folders are not kept.
//!
//! Nothing is flushed to the disk: after a power cut an entry that did not get there fails its check. Any kill
//! leaves whole entries, and rubbish that the next devwatch clears away when it first keeps or restores something.
//! One devwatch has the folder at a time; within it several threads may use one [`Cache`].
//!
//! This never decides whether a command runs, and never removes an output: those that are there and that an entry
//! does not name stay.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::{Key, from_hex};
use crate::watch::fingerprint::{self, Fingerprint};
use folder::{Folder, Missing, Parents, Seen, SeenKind};
use manifest::{Kind, Output};

mod folder;
mod manifest;

/// How much of the disk a cache takes by default, in bytes: fifty servers of 20 MB, which is further back than
/// people undo, and little beside what `target` or `node_modules` take.
pub const LIMIT: u64 = 1024 * 1024 * 1024;

/// `.devwatch/cache` of one project.
pub struct Cache {
    root: PathBuf,
    limit: u64,
    /// Held for reading by whoever relies on a blob that is there, for writing by who removes those that no manifest
    /// names: a blob of which the manifest is yet to come is among them.
    using: RwLock<()>,
    known: Mutex<Known>,
    /// For names in `tmp`.
    next: AtomicU64,
}

/// The outputs that a command left for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    key: Key,
    outputs: Vec<Output>,
}

/// What became of outputs that were to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// They are found under their key from now on.
    Whole,
    /// There were none.
    Nothing,
    /// One of them is not what its command left any more. Nothing of them was kept.
    Changed,
    /// They take more than the whole limit. Nothing of them was kept.
    TooLarge,
}

/// What this devwatch knows of the folder without looking.
#[derive(Default)]
struct Known {
    /// What a killed devwatch left in `tmp` is gone.
    tidy: bool,
    /// What there is at most. Unknown before everything was looked at once.
    size: Option<Size>,
}

#[derive(Clone, Copy, Default)]
struct Size {
    /// Of blobs and manifests, see [`on_disk`].
    bytes: u64,
    entries: usize,
}

struct Rooms {
    entries: Folder,
    blobs: Folder,
    tmp: Folder,
}

impl Cache {
    /// The cache of the project at `root`, which is to take at most `limit` bytes of the disk ([`LIMIT`] by
    /// default). Nothing is made before something is kept.
    pub fn new(root: &Path, limit: u64) -> Cache {
        Cache {
            root: root.to_owned(),
            limit,
            using: RwLock::new(()),
            known: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }

    /// Whether nothing can be in it. May say no all the same.
    pub fn is_empty(&self) -> bool {
        !self.root.join(in_cache("entries")).exists()
    }

    /// What was kept for `key`, if `may_write` says of each path in it (relative to the root) that it may be
    /// restored: that it is an output of the rule. An entry that is damaged or names other paths is removed.
    pub fn find(&self, key: Key, may_write: impl Fn(&Path) -> bool) -> Option<Entry> {
        let root = Folder::root(&self.root).ok()?;
        let entries = root.below(&in_cache("entries"), Missing::Fails).ok()?;
        entries.look(name_of(key).as_ref()).ok()??;
        let outputs = read_manifest(&entries, key)
            .filter(|outputs| outputs.iter().all(|output| may_write(&output.path)));
        if outputs.is_none() {
            let _ = entries.remove(name_of(key).as_ref());
        }
        outputs.map(|outputs| Entry { key, outputs })
    }

    /// Keeps `files` (relative to the root, with what the command left in them) for `key`, in place of what was
    /// kept for it before. Entries that were neither kept nor restored for longest go where the limit asks for it.
    ///
    /// # Errors
    /// An output is gone, cannot be read, lies behind a symlink or has a set-user-id bit; or the cache cannot be
    /// written. Whatever the error, an entry is whole or is not found.
    pub fn keep(&self, key: Key, files: &[(PathBuf, Fingerprint)]) -> io::Result<Kept> {
        if files.is_empty() {
            return Ok(Kept::Nothing);
        }
        let kept = self.store(key, files)?;
        if kept == Kept::Whole {
            self.shrink(key)?;
        }
        Ok(kept)
    }

    /// Puts the outputs of `entry` in their places, with now as their time. Folders on the way are made; no symlink
    /// is followed, be it in the place of an output or of a folder. They are put there only after all of them have
    /// been copied and checked, each whole, by a rename. Of those that are there as they were kept only the time
    /// changes.
    ///
    /// # Errors
    /// A blob is missing or damaged: then the entry is removed ([`ErrorKind::InvalidData`]). Or a folder on the way
    /// is a symlink, an output is a folder, the disk is full. In all these cases no output was touched. Only where
    /// a rename is refused after all that (permissions, a quota) some outputs may have been restored and others not.
    pub fn restore(&self, entry: &Entry) -> io::Result<()> {
        let _using = self.using();
        let root = Folder::root(&self.root)?;
        let rooms = self.rooms(&root, Missing::Fails)?;
        let mut notes = Vec::new();
        let restored = self.put_in_place(entry, &root, &rooms, &mut notes);
        for note in notes {
            clear(&root, &rooms.tmp, &note);
        }
        if restored.is_ok() {
            // An entry that is thought to be older than it is goes too early, no more.
            let _ = rooms.entries.touch(name_of(entry.key).as_ref());
        }
        restored
    }

    fn using(&self) -> RwLockReadGuard<'_, ()> {
        self.using.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folders of the cache, after what a killed devwatch left is cleared away: before this one makes
    /// anything in `tmp`.
    fn rooms(&self, root: &Folder, missing: Missing) -> io::Result<Rooms> {
        let room = |name| root.below(&in_cache(name), missing);
        let (entries, blobs, tmp) = (room("entries")?, room("blobs")?, room("tmp")?);
        let mut known = self.known();
        if !known.tidy {
            for name in tmp.names()? {
                clear(root, &tmp, &name);
            }
            known.tidy = true;
        }
        Ok(Rooms {
            entries,
            blobs,
            tmp,
        })
    }

    // --- keeping ---

    fn store(&self, key: Key, files: &[(PathBuf, Fingerprint)]) -> io::Result<Kept> {
        let _using = self.using();
        let root = Folder::root(&self.root)?;
        let files: BTreeMap<&Path, Fingerprint> = files
            .iter()
            .map(|(path, content)| (path.as_path(), *content))
            .collect();
        let mut sizes = HashMap::new();
        let mut parents = Parents::new(&root, Missing::Fails);
        for (path, content) in &files {
            let seen = look(&mut parents, path)?;
            if seen.kind == SeenKind::File {
                sizes.insert(*content, on_disk(seen.size));
            }
        }
        if sizes.values().sum::<u64>() > self.limit {
            return Ok(Kept::TooLarge);
        }
        let rooms = self.rooms(&root, Missing::IsMade)?;
        let mut outputs = Vec::new();
        let mut blobs = HashMap::new();
        for (path, content) in files {
            let staged = self.take(path, content, &mut parents, &rooms, &blobs);
            let Some((kind, blob)) = staged.map_err(|error| naming(path, error))? else {
                return Ok(Kept::Changed);
            };
            if let Some(blob) = blob {
                blobs.insert(content, blob);
            }
            let path = path.to_owned();
            outputs.push(Output {
                path,
                content,
                kind,
            });
        }
        let text = manifest::encode(key, &outputs);
        let size = on_disk(text.len() as u64);
        if sizes.values().sum::<u64>() + size > self.limit || text.len() as u64 > MOST_MANIFEST {
            return Ok(Kept::TooLarge);
        }
        let (manifest, mut file) = self.temporary(&rooms.tmp)?;
        file.write_all(&text)?;
        // Known to be there before it is: an error in the middle leaves blobs.
        let added = blobs.keys().map(|content| sizes.get(content).unwrap_or(&0));
        self.grow(added.sum::<u64>() + size);
        for (content, blob) in blobs {
            blob.put(&rooms.blobs, manifest::hex(content).as_ref())?;
        }
        // Last: whoever finds it finds all that it names.
        manifest.put(&rooms.entries, name_of(key).as_ref())?;
        Ok(Kept::Whole)
    }

    /// What is to be written of one output into the manifest, and its blob if the cache has none of that content
    /// yet. `None`: it does not hold `content`.
    fn take<'a>(
        &self,
        path: &Path,
        content: Fingerprint,
        parents: &mut Parents<'_>,
        rooms: &'a Rooms,
        new: &HashMap<Fingerprint, Temporary<'a>>,
    ) -> io::Result<Option<(Kind, Option<Temporary<'a>>)>> {
        let (folder, name) = parents.of(path)?;
        let kind = folder.look(name)?.ok_or(ErrorKind::NotFound)?.kind;
        match kind {
            SeenKind::Other => return Ok(None),
            SeenKind::Link => {
                let target = folder.target(name)?;
                let same = fingerprint::of_link(&target) == content;
                return Ok(same.then_some((Kind::Link(target), None)));
            }
            SeenKind::File => {}
        }
        let file = folder.read(name)?;
        let metadata = file.metadata()?;
        let mode = metadata.mode() & 0o7777;
        if mode > 0o777 {
            return Err(io::Error::other(format!(
                "mode {mode:o} is more than permissions, which is not kept"
            )));
        }
        let kind = Kind::File(mode);
        let blob = rooms.blobs.look(manifest::hex(content).as_ref())?;
        let size = metadata.size();
        // One of another size is damaged, and will be replaced. Whoever restores looks closer.
        let is_good = |seen: Seen| seen.kind == SeenKind::File && seen.size == size;
        if new.contains_key(&content) || blob.is_some_and(is_good) {
            let same = fingerprint::of_open(file, size)? == content;
            return Ok(same.then_some((kind, None)));
        }
        let (temporary, copy) = self.temporary(&rooms.tmp)?;
        let same = folder::copy(&file, size, copy, BLOB_MODE)? == content;
        Ok(same.then_some((kind, Some(temporary))))
    }

    fn grow(&self, bytes: u64) {
        if let Some(size) = &mut self.known().size {
            size.bytes += bytes;
            size.entries += 1;
        }
    }

    /// Keeps within the limits. The entry of `newest` stays.
    fn shrink(&self, newest: Key) -> io::Result<()> {
        let within = |size: Size| size.bytes <= self.limit && size.entries <= ENTRIES;
        if self.known().size.is_some_and(within) {
            return Ok(());
        }
        let _alone = self.using.write().unwrap_or_else(PoisonError::into_inner);
        let root = Folder::root(&self.root)?;
        let rooms = self.rooms(&root, Missing::Fails)?;
        let blobs = blobs(&rooms.blobs)?;
        let mut entries = entries(&rooms.entries, &blobs)?;
        entries.sort_by_key(|entry| (entry.key != newest, std::cmp::Reverse(entry.used)));
        let mut stay = Stay::within(self.limit, ENTRIES, &entries, &blobs);
        if stay.size.entries < entries.len() {
            // Some more than must: a full cache is not to be looked through at every turn.
            let limit = self.limit - self.limit / 8;
            stay = Stay::within(limit, ENTRIES - ENTRIES / 8, &entries, &blobs);
        }
        // Manifests first: none ever names a blob that is gone.
        for entry in &entries[stay.size.entries..] {
            rooms.entries.remove(name_of(entry.key).as_ref())?;
        }
        for content in blobs.keys().filter(|content| !stay.blobs.contains(content)) {
            rooms.blobs.remove(manifest::hex(*content).as_ref())?;
        }
        self.known().size = Some(stay.size);
        Ok(())
    }

    // --- restoring ---

    /// `notes`: the names in `tmp` of symlinks that say which files were made elsewhere, see [`clear`].
    fn put_in_place(
        &self,
        entry: &Entry,
        root: &Folder,
        rooms: &Rooms,
        notes: &mut Vec<OsString>,
    ) -> io::Result<()> {
        let (right, missing): (Vec<&Output>, Vec<&Output>) = {
            let mut parents = Parents::new(root, Missing::Fails);
            let outputs = entry.outputs.iter();
            outputs.partition(|output| is_right(output, &mut parents, rooms).unwrap_or(false))
        };
        let mut staged = Vec::new();
        for output in missing {
            let Some(temporary) = self.bring(output, rooms)? else {
                let _ = rooms.entries.remove(name_of(entry.key).as_ref());
                let why = "what was kept of it is missing or damaged; the entry was removed";
                return Err(naming(
                    &output.path,
                    io::Error::new(ErrorKind::InvalidData, why),
                ));
            };
            staged.push((output, temporary, None));
        }
        let mut parents = Parents::new(root, Missing::IsMade);
        for (output, _, beside) in &mut staged {
            let path = &output.path;
            let (folder, name) = parents.of(path)?;
            if folder
                .look(name)?
                .is_some_and(|seen| seen.kind == SeenKind::Other)
            {
                let why = io::Error::new(
                    ErrorKind::AlreadyExists,
                    "a folder or device is in its place",
                );
                return Err(naming(path, why));
            }
            if folder.mount()? != rooms.tmp.mount()? {
                let made = self.bring_beside(output, folder, rooms, notes);
                *beside = Some(made.map_err(|error| naming(path, error))?);
            }
        }
        let mut parents = Parents::new(root, Missing::Fails);
        for (output, temporary, beside) in staged {
            let (folder, name) = parents.of(&output.path)?;
            let put = match beside {
                Some(beside) => folder.rename(&beside, folder, name),
                None => temporary.put(folder, name),
            };
            put.map_err(|error| naming(&output.path, error))?;
        }
        for output in right {
            let (folder, name) = parents.of(&output.path)?;
            // A time that stays old costs those who look at times some work.
            let _ = folder.touch(name);
        }
        Ok(())
    }

    /// An output in `tmp`. `None` if its blob is missing or damaged, which it no longer is when it is kept again.
    fn bring<'a>(&self, output: &Output, rooms: &'a Rooms) -> io::Result<Option<Temporary<'a>>> {
        let mode = match &output.kind {
            Kind::Link(target) => {
                let good = fingerprint::of_link(target) == output.content;
                return good
                    .then(|| self.temporary_link(&rooms.tmp, target))
                    .transpose();
            }
            Kind::File(mode) => *mode,
        };
        let name = manifest::hex(output.content);
        let Some(seen) = rooms.blobs.look(name.as_ref())? else {
            return Ok(None);
        };
        if seen.kind == SeenKind::File {
            let blob = rooms.blobs.read(name.as_ref())?;
            let (temporary, file) = self.temporary(&rooms.tmp)?;
            if folder::copy(&blob, seen.size, file, mode)? == output.content {
                return Ok(Some(temporary));
            }
        }
        let _ = rooms.blobs.remove(name.as_ref());
        Ok(None)
    }

    /// An output in `folder`, which is on another mount than `tmp`, and its name there.
    fn bring_beside(
        &self,
        output: &Output,
        folder: &Folder,
        rooms: &Rooms,
        notes: &mut Vec<OsString>,
    ) -> io::Result<OsString> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let beside = OsString::from(format!("{BESIDE}{number}"));
            if folder.look(&beside)?.is_some() {
                // Not ours: what we left was cleared away.
                continue;
            }
            let path = output.path.with_file_name(&beside);
            let note = self.temporary_link(&rooms.tmp, path.as_os_str())?;
            notes.push(note.leave());
            match &output.kind {
                Kind::Link(target) => folder.link(&beside, target)?,
                Kind::File(mode) => {
                    // Not from `tmp`: an output may be one that even its owner may not read.
                    let blob = rooms.blobs.read(manifest::hex(output.content).as_ref())?;
                    let size = blob.metadata()?.size();
                    let file = folder.create(&beside)?;
                    if folder::copy(&blob, size, file, *mode)? != output.content {
                        return Err(io::Error::other("its copy differs from what was kept"));
                    }
                }
            }
            return Ok(beside);
        }
    }

    // --- temporary files ---

    fn temporary<'a>(&self, tmp: &'a Folder) -> io::Result<(Temporary<'a>, std::fs::File)> {
        self.new_name(tmp, |name| tmp.create(name))
    }

    fn temporary_link<'a>(&self, tmp: &'a Folder, target: &OsStr) -> io::Result<Temporary<'a>> {
        let made = self.new_name(tmp, |name| tmp.link(name, target))?;
        Ok(made.0)
    }

    fn new_name<'a, T>(
        &self,
        folder: &'a Folder,
        make: impl Fn(&OsStr) -> io::Result<T>,
    ) -> io::Result<(Temporary<'a>, T)> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let name = OsString::from(number.to_string());
            match make(&name) {
                // Something that could not be cleared away.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(made) => return Ok((Temporary { folder, name }, made)),
            }
        }
    }
}

impl Entry {
    /// Its files and symlinks, relative to the root, and what they held, as [`fingerprint::of_file`] tells it.
    /// Sorted by path; at least one.
    pub fn files(&self) -> impl Iterator<Item = (&Path, Fingerprint)> {
        let outputs = self.outputs.iter();
        outputs.map(|output| (output.path.as_path(), output.content))
    }
}

/// A file or symlink that goes when this does, unless it was put into its place.
struct Temporary<'a> {
    folder: &'a Folder,
    name: OsString,
}

impl Temporary<'_> {
    fn put(mut self, folder: &Folder, name: &OsStr) -> io::Result<()> {
        self.folder.rename(&self.name, folder, name)?;
        self.name.clear();
        Ok(())
    }

    /// Its name; from here on somebody else sees to it.
    fn leave(mut self) -> OsString {
        std::mem::take(&mut self.name)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            let _ = self.folder.remove(&self.name);
        }
    }
}

/// Removes what is under `name` in `tmp`. A symlink there may be a note of a file that was to be renamed into its
/// place from beside it, on another mount: that goes as well. A name that only we give: whatever else a note
/// says, nothing else is removed.
fn clear(root: &Folder, tmp: &Folder, name: &OsStr) {
    let noted = tmp.target(name).ok().map(PathBuf::from);
    if let Some(path) = noted.filter(|path| manifest::is_plain(path)) {
        let mut parents = Parents::new(root, Missing::Fails);
        let ours = |name: &OsStr| name.as_bytes().starts_with(BESIDE.as_bytes());
        if let Ok((folder, name)) = parents.of(&path)
            && ours(name)
        {
            let _ = folder.remove(name);
        }
    }
    // What cannot be removed is in nobody's way.
    let _ = tmp.remove(name);
}

/// What is at `path`, which is to be an output.
fn look(parents: &mut Parents<'_>, path: &Path) -> io::Result<Seen> {
    if !manifest::is_plain(path) {
        return Err(naming(path, ErrorKind::InvalidInput.into()));
    }
    let (folder, name) = parents.of(path)?;
    let seen = folder.look(name).map_err(|error| naming(path, error))?;
    seen.ok_or_else(|| naming(path, ErrorKind::NotFound.into()))
}

/// Whether an output is there as it was kept. Most of many often are, and new files are dear: ext4 takes half a
/// millisecond for each where many have been deleted within the last minute, as builds do.
fn is_right(output: &Output, parents: &mut Parents<'_>, rooms: &Rooms) -> io::Result<bool> {
    let (folder, name) = parents.of(&output.path)?;
    let seen = folder.look(name)?;
    match (&output.kind, seen.map(|seen| seen.kind)) {
        (Kind::Link(target), Some(SeenKind::Link)) => Ok(folder.target(name)? == *target),
        (Kind::File(mode), Some(SeenKind::File)) => {
            let file = folder.read(name)?;
            let metadata = file.metadata()?;
            let blob = rooms.blobs.look(manifest::hex(output.content).as_ref())?;
            if metadata.mode() & 0o7777 != *mode
                || blob.map(|blob| blob.size) != Some(metadata.size())
            {
                return Ok(false);
            }
            Ok(fingerprint::of_open(file, metadata.size())? == output.content)
        }
        (Kind::Link(_) | Kind::File(_), _) => Ok(false),
    }
}

/// One entry, as far as it matters for how long it stays.
struct Held {
    key: Key,
    used: (i64, i64),
    /// Of its manifest.
    size: u64,
    blobs: HashSet<Fingerprint>,
}

/// The entries that stay: the first so many, and their blobs.
#[derive(Default)]
struct Stay {
    size: Size,
    blobs: HashSet<Fingerprint>,
}

impl Stay {
    /// As many of `entries` as fit, but at least the first.
    fn within(
        limit: u64,
        most: usize,
        entries: &[Held],
        blobs: &HashMap<Fingerprint, u64>,
    ) -> Stay {
        let mut stay = Stay::default();
        for entry in entries {
            let new = entry
                .blobs
                .difference(&stay.blobs)
                .map(|content| blobs[content]);
            let bytes = stay.size.bytes + entry.size + new.sum::<u64>();
            if stay.size.entries > 0 && (bytes > limit || stay.size.entries == most) {
                break;
            }
            stay.blobs.extend(&entry.blobs);
            stay.size.bytes = bytes;
            stay.size.entries += 1;
        }
        stay
    }
}

/// The blobs and what they take. What else is in their folder is removed.
fn blobs(folder: &Folder) -> io::Result<HashMap<Fingerprint, u64>> {
    let mut blobs = HashMap::new();
    for name in folder.names()? {
        let content = name.to_str().and_then(from_hex).map(Fingerprint::from);
        let file = folder
            .look(&name)?
            .filter(|seen| seen.kind == SeenKind::File);
        if let (Some(content), Some(file)) = (content, file) {
            blobs.insert(content, on_disk(file.size));
        } else {
            let _ = folder.remove(&name);
        }
    }
    Ok(blobs)
}

/// The entries that can be restored. What else is in their folder is removed.
fn entries(folder: &Folder, blobs: &HashMap<Fingerprint, u64>) -> io::Result<Vec<Held>> {
    let mut entries = Vec::new();
    for name in folder.names()? {
        let key = name.to_str().and_then(|name| name.parse::<Key>().ok());
        let seen = folder.look(&name)?;
        let outputs = key.and_then(|key| read_manifest(folder, key));
        let named = outputs.map(|outputs| {
            let files = outputs
                .into_iter()
                .filter(|output| matches!(output.kind, Kind::File(_)));
            files.map(|output| output.content).collect::<HashSet<_>>()
        });
        let named = named.filter(|named| named.iter().all(|content| blobs.contains_key(content)));
        if let (Some(key), Some(seen), Some(blobs)) = (key, seen, named) {
            let (used, size) = (seen.modified, on_disk(seen.size));
            entries.push(Held {
                key,
                used,
                size,
                blobs,
            });
        } else {
            let _ = folder.remove(&name);
        }
    }
    Ok(entries)
}

fn read_manifest(folder: &Folder, key: Key) -> Option<Vec<Output>> {
    let file = folder.read(name_of(key).as_ref()).ok()?;
    let mut text = Vec::new();
    // One that is longer was not written by us.
    file.take(MOST_MANIFEST + 1).read_to_end(&mut text).ok()?;
    manifest::decode(key, &text)
}

fn name_of(key: Key) -> String {
    key.to_string()
}

fn in_cache(room: &str) -> PathBuf {
    Path::new(".devwatch/cache").join(room)
}

fn naming(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// What a file of so many bytes takes: thousands of tiny ones are not for nothing.
fn on_disk(bytes: u64) -> u64 {
    const BLOCK: u64 = 4096;
    bytes.next_multiple_of(BLOCK)
}

/// How many keys are kept at most: more than anybody saves in days, few enough to look through in milliseconds
/// (all manifests are read when something has to go).
const ENTRIES: usize = 1000;
/// In bytes: some 500,000 outputs. So much memory a manifest may cost, whoever wrote it.
const MOST_MANIFEST: u64 = 64 * 1024 * 1024;
/// Like a private output: nobody else may read it, whatever folder it is in.
const BLOB_MODE: u32 = 0o600;
/// How the names of files begin that are made beside an output.
const BESIDE: &str = ".devwatch-new-";

#[cfg(test)]
mod tests;

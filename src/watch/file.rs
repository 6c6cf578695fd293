//! One file as it was seen: its stamp, which only hints at a change, and its content, which decides.
//!
//! It never trusts a time: a stamp that is as it was proves something only when it is older than the clock's grain.
//! What is neither file nor symlink has no look at all.

use std::ffi::CStr;
use std::fs::{self, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, fstatat};

use super::fingerprint::{self, Fingerprint};

/// Files up to this many bytes are compared by content: 78 µs to read and hash. Larger ones count as changed when
/// size, time of modification or inode differ; generated data of that size is rarely saved without effect.
pub(super) const CONTENT_LIMIT: u64 = 1024 * 1024;

/// The kernel stamps files with a clock that ticks every 1 to 10 ms. Two writes within one tick can leave
/// the same stamp, so a stamp is no evidence before that much time has passed since: twice the tick.
pub(super) const CLOCK_GRAIN: Duration = Duration::from_millis(20);

/// All that `lstat` tells about whether a file may have changed. Times are nanoseconds since 1970; they wrap around
/// after 292 years, which equality survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    modified: i64,
    changed: i64,
    inode: u64,
    device: u32,
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

/// A file or symlink at one moment. Kept for every watched file, so it is small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    stamp: Stamp,
    content: Content,
    is_link: bool,
    /// Younger than the clock's grain when it was looked at.
    racy: bool,
}

/// What came of reading a file for the baseline.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    Content(Fingerprint),
    Unreadable,
    /// It is not there any more, or not as it was: an event is on its way, or a poll will find it.
    Changed,
}

impl Reading {
    /// Of the file at `path`, whose stamp was `stamp` when it was seen.
    pub(super) fn of(path: &Path, stamp: Stamp) -> Reading {
        let read = fingerprint::of_file(path);
        // Only now: what it was before the reading is known, and a write in between shows.
        if Stamp::at(path) != Some(stamp) {
            return Reading::Changed;
        }
        match read {
            Ok(Some(content)) => Reading::Content(content),
            Ok(None) => Reading::Changed,
            Err(_) => Reading::Unreadable,
        }
    }
}

impl Look {
    /// Without its content, of the entry `name` of an open directory. `None` for what is neither file nor symlink.
    pub(super) fn of(dir: impl AsFd, name: &CStr) -> Option<Look> {
        let found = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
        let is_link = kind == SFlag::S_IFLNK;
        if !is_link && kind != SFlag::S_IFREG {
            return None;
        }
        let stamp = Stamp {
            size: found.st_size as u64,
            modified: nanoseconds(found.st_mtime, found.st_mtime_nsec),
            changed: nanoseconds(found.st_ctime, found.st_ctime_nsec),
            inode: found.st_ino,
            device: found.st_dev as u32,
        };
        let content = if stamp.size > CONTENT_LIMIT {
            Content::Large
        } else {
            Content::Unknown
        };
        Some(Look {
            stamp,
            content,
            is_link,
            racy: stamp.is_young(),
        })
    }

    /// With its content. `found` was taken before the reading, so a write in between makes it differ again.
    pub(super) fn into(path: &Path, found: &Metadata) -> Option<Look> {
        let stamp = Stamp::of(found);
        let racy = stamp.is_young();
        let content = content(path, found);
        // Gone since: the event is on its way, but the answer can be right already.
        if content == Content::Unknown {
            return None;
        }
        Some(Look {
            stamp,
            content,
            is_link: found.is_symlink(),
            racy,
        })
    }

    /// Whether this later look at the same path shows no sign of a change, so that its content need not be read.
    pub(super) fn is_evidently(&self, now: &Look) -> bool {
        !self.racy && self.stamp == now.stamp && self.is_link == now.is_link
    }

    /// Whether it is other content than `before`.
    pub(super) fn differs(&self, before: &Look) -> bool {
        if before.is_link != self.is_link {
            return true;
        }
        match (before.content, self.content) {
            (Content::Known(before), Content::Known(now)) => before != now,
            (Content::Large, Content::Large) | (Content::Unreadable, Content::Unreadable) => {
                let by = |stamp: &Stamp| (stamp.size, stamp.modified, stamp.inode, stamp.device);
                by(&before.stamp) != by(&self.stamp)
            }
            // No baseline yet. Only a stamp that is as it was, and old enough to be evidence, says "unchanged".
            (Content::Unknown, _) => before.racy || before.stamp != self.stamp,
            (Content::Unreadable | Content::Large | Content::Known(_), _) => true,
        }
    }

    /// Whether `found` is empty and this was not: probably truncated by a writer who has not written yet.
    pub(super) fn was_emptied(&self, found: Option<&Metadata>) -> bool {
        self.stamp.size > 0 && found.is_some_and(|now| now.len() == 0)
    }

    /// The stamp, if its content is still to be read for the baseline.
    pub(super) fn unread(&self) -> Option<Stamp> {
        (self.content == Content::Unknown).then_some(self.stamp)
    }

    /// Whether it could not be read.
    pub(super) fn is_unreadable(&self) -> bool {
        self.content == Content::Unreadable
    }

    /// What it was while its stamp was `stamp`. `false`: it was changing, and is still to be read.
    pub(super) fn learn(&mut self, stamp: Stamp, reading: Reading) -> bool {
        if self.unread() == Some(stamp) {
            self.content = match reading {
                Reading::Content(content) => Content::Known(content),
                Reading::Unreadable => Content::Unreadable,
                Reading::Changed => return false,
            };
        }
        true
    }

    /// Appends what this file is, in bytes: of two looks the same if and only if neither [`Look::differs`] from the
    /// other, but for those without a content.
    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) {
        let kind = match self.content {
            Content::Unknown => b'?',
            Content::Unreadable => b'!',
            Content::Large => b'+',
            Content::Known(_) => b'=',
        };
        bytes.extend([kind, u8::from(self.is_link)]);
        let Stamp {
            size,
            modified,
            changed,
            inode,
            device,
        } = self.stamp;
        match self.content {
            Content::Known(content) => return bytes.extend(content.to_bytes()),
            Content::Unknown => bytes.extend(changed.to_le_bytes()),
            Content::Unreadable | Content::Large => {}
        }
        bytes.extend(size.to_le_bytes());
        bytes.extend(modified.to_le_bytes());
        bytes.extend(inode.to_le_bytes());
        bytes.extend(device.to_le_bytes());
    }

    /// A file younger than the clock's grain is read before anybody relies on the baseline: a save right after
    /// could leave the same stamp, and the content read later would pass for the old one.
    pub(super) fn read_if_young(&mut self, path: &Path) {
        if self.racy
            && let Ok(found) = fs::symlink_metadata(path)
        {
            self.content = content(path, &found);
        }
    }
}

impl Stamp {
    /// Of the file at `path`, if it is one.
    pub(super) fn at(path: &Path) -> Option<Stamp> {
        fs::symlink_metadata(path)
            .ok()
            .filter(is_file_or_link)
            .map(|meta| Stamp::of(&meta))
    }

    fn of(meta: &Metadata) -> Stamp {
        Stamp {
            size: meta.len(),
            modified: nanoseconds(meta.mtime(), meta.mtime_nsec()),
            changed: nanoseconds(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
            // Major and minor number of a device have 32 bits together.
            device: meta.dev() as u32,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "file times are wall-clock times; compared with nothing else"
    )]
    fn is_young(&self) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as i64);
        self.changed.wrapping_add(CLOCK_GRAIN.as_nanos() as i64) >= now
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(rest)
}

/// Sockets, pipes and devices are no sources, and a server that makes its socket must not trigger its own restart.
pub(super) fn is_file_or_link(meta: &Metadata) -> bool {
    meta.is_file() || meta.is_symlink()
}

/// `Unknown` if there is no file.
fn content(path: &Path, found: &Metadata) -> Content {
    if found.len() > CONTENT_LIMIT {
        return Content::Large;
    }
    match fingerprint::of_seen(path, found) {
        Ok(Some(content)) => Content::Known(content),
        Ok(None) => Content::Unknown,
        Err(_) => Content::Unreadable,
    }
}

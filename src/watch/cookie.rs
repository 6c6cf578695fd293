//! A file that is made and removed at once in a folder of devwatch's own: whoever has heard of it has heard of everything
//! that happened before it.
//!
//! The kernel keeps the order of events, but only within one queue, and the tree is watched on several: a cookie has
//! come back when each of them has told of it. This module makes the file and counts; it neither places watches nor
//! knows what is waited for. Nothing is left behind by it, but by a devwatch that was killed in the middle: see [`sweep`].

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::hints::{Hint, What};

/// How the names begin.
const PREFIX: &str = "seen.";

/// A cookie that is on its way.
#[derive(Debug)]
pub(super) struct Cookie {
    file: PathBuf,
    /// Queues that have not told of it yet.
    missing: usize,
    /// One has.
    heard: bool,
    until: Instant,
}

/// What a hint means for a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crumb {
    /// Nothing: it is about something else.
    Other,
    /// It is about the cookie, or comes too late, or there are queues that have not told of it.
    Eaten,
    /// Every queue has told of it now.
    Back,
}

impl Cookie {
    /// In `folder`, which is watched on `queues` queues; they have time `until` then.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn bake(folder: &Path, queues: usize, until: Instant) -> io::Result<Cookie> {
        // A name that nobody else has: for a moment two watchers of one devwatch may use the same folder.
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let file = folder.join(format!("{PREFIX}{}.{serial}", process::id()));
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&file)?;
        // Its creation is in the queues by now, whatever becomes of it.
        let _ = fs::remove_file(&file);
        Ok(Cookie {
            file,
            missing: queues,
            heard: false,
            until,
        })
    }

    /// Takes a hint in.
    pub(super) fn take(&mut self, hint: &Hint) -> Crumb {
        if hint.path != self.file {
            return Crumb::Other;
        }
        // It is created once in each queue; what else is said of it comes any number of times.
        if hint.what != What::Created || hint.at > self.until {
            return Crumb::Eaten;
        }
        self.heard = true;
        self.missing = self.missing.saturating_sub(1);
        if self.missing == 0 {
            Crumb::Back
        } else {
            Crumb::Eaten
        }
    }

    /// When it is given up.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Whether any queue has told of it.
    pub(super) fn was_heard(&self) -> bool {
        self.heard
    }
}

/// Removes what a killed devwatch may have left in `folder`.
pub(super) fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let left = entries.filter(|entry| {
        entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
    });
    for entry in left {
        let _ = fs::remove_file(entry.path());
    }
}

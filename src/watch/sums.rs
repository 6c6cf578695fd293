//! One number for each group of files, so that "is this what it was then?" costs nobody a look at them.
//!
//! A group is what some globs match. Its sum changes when a file of it comes, goes or gets another content, and is
//! again what it was when that is undone. [`super::tree`] says what each file was and is; this module adds up. It
//! reads no file, and forgets nothing but the files themselves: there is no second list of them.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::file::Look;
use crate::config::Globs;

/// The wrapping sum, over the files of a group, of xxh3_128 of (path, 0, what the file is). Zero is the sum of no
/// files.
///
/// A sum forgets the order, so that one file that changes costs one subtraction and one addition, whatever else is
/// there. That two trees have the same one by accident is as unlikely as for any hash of 128 bits. Somebody could
/// make two on purpose, more easily than with a hash over everything; nobody does that to his own build, and the sum is
/// never the only evidence.
///
/// What a file is: its content, or the target of a symlink. For one too large to be read at every save, or not
/// readable: size, time of modification, inode and device. For one that has not been read yet: all that `lstat` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sum(pub u128);

/// The sums of all groups.
#[derive(Debug)]
pub(super) struct Sums {
    groups: Vec<Globs>,
    /// What commands write: in no group.
    made: Vec<Globs>,
    /// One per group.
    sums: Vec<Sum>,
}

impl Sums {
    /// Of no files. `made`: in no group, whatever its globs say.
    pub(super) fn new(groups: Vec<Globs>, made: Vec<Globs>) -> Sums {
        let sums = vec![Sum::default(); groups.len()];
        Sums { groups, made, sums }
    }

    /// One per group, in their order.
    pub(super) fn get(&self) -> &[Sum] {
        &self.sums
    }

    /// What is to be counted at `path`, relative to the root, was `before` and is `now`; `None` for nothing.
    pub(super) fn replace(&mut self, path: &Path, before: Option<&Look>, now: Option<&Look>) {
        let mut difference = None;
        for (globs, sum) in self.groups.iter().zip(&mut self.sums) {
            if !globs.matches(path) {
                continue;
            }
            let difference = *difference.get_or_insert_with(|| {
                if self.made.iter().any(|made| made.matches(path)) {
                    return 0;
                }
                let term = |look: Option<&Look>| look.map_or(0, |look| term(path, look));
                term(now).wrapping_sub(term(before))
            });
            sum.0 = sum.0.wrapping_add(difference);
        }
    }
}

fn term(path: &Path, look: &Look) -> u128 {
    let path = path.as_os_str().as_bytes();
    let mut bytes = Vec::with_capacity(path.len() + 64);
    bytes.extend_from_slice(path);
    // No path has one, so no path runs into what follows it.
    bytes.push(0);
    look.append_to(&mut bytes);
    xxh3_128(&bytes)
}

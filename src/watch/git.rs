//! Whether git is at work on a tree: it writes file by file, and what is half checked out is nothing to build.
//!
//! It holds `index.lock` meanwhile, but only for moments: a stash ends with a second process, a rebase lets go after each
//! commit. So an index that was just written counts as well, and files of a rebase that just changed. A rebase that
//! has stopped for somebody, and a lock that a killed git left behind, hold nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::filter;

/// A lock older than this was left behind by a git that died.
const STALE_LOCK: Duration = Duration::from_secs(10);

/// A rebase whose files have not changed for this long waits for somebody.
const REBASE_REST: Duration = Duration::from_millis(500);

/// Where a rebase keeps what it does, by the backend.
const REBASES: [&str; 2] = ["rebase-merge", "rebase-apply"];

/// The repositories of the watched folders.
#[derive(Debug)]
pub(super) struct Repositories {
    /// `.git`, or of a linked worktree its own folder.
    own: Vec<PathBuf>,
    /// How long after the index was written git may go on.
    rest: Duration,
}

impl Repositories {
    /// Those that contain `tops`, as things are now. `rest`: the quiet time of an unfinished save.
    pub(super) fn of(tops: &[PathBuf], rest: Duration) -> Repositories {
        let own = tops.iter().filter_map(|top| filter::own_git_dir_of(top));
        Repositories {
            own: own.collect(),
            rest,
        }
    }

    /// Whether git works on one of them, or may go on at once.
    pub(super) fn are_busy(&self) -> bool {
        self.own.iter().any(|own| {
            is_younger(&own.join("index.lock"), STALE_LOCK)
                || is_younger(&own.join("index"), self.rest)
                || REBASES.iter().any(|rebase| goes_on(&own.join(rebase)))
        })
    }
}

fn goes_on(rebase: &Path) -> bool {
    let files = fs::read_dir(rebase).into_iter().flatten().flatten();
    files
        .map(|file| file.path())
        .any(|file| is_younger(&file, REBASE_REST))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the age of a file is a matter of wall-clock time"
)]
fn is_younger(file: &Path, age: Duration) -> bool {
    let Ok(modified) = fs::symlink_metadata(file).and_then(|meta| meta.modified()) else {
        return false;
    };
    let now = SystemTime::now();
    // A time in the future is no reason to take it for old.
    now.duration_since(modified)
        .map_or(true, |since| since < age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    /// Of that age, in milliseconds; negative: in the future.
    fn make(file: &Path, age: i64) {
        fs::create_dir_all(file.parent().expect("a folder")).expect("mkdir");
        let file = File::create(file).expect("create");
        #[expect(clippy::disallowed_methods, reason = "ages are counted from now")]
        let now = SystemTime::now();
        let away = Duration::from_millis(age.unsigned_abs());
        let time = if age < 0 { now + away } else { now - away };
        file.set_modified(time).expect("touch");
    }

    #[test]
    fn git_is_at_work_while_its_files_are_young() {
        for (name, age, expected) in [
            ("HEAD", 0, false),
            ("index.lock", 0, true),
            ("index.lock", 9_000, true),
            ("index.lock", -5_000, true),
            ("index.lock", 11_000, false),
            ("index", 0, true),
            ("index", 3_000, false),
            ("rebase-merge/done", 100, true),
            ("rebase-merge/done", 700, false),
            ("rebase-apply/next", 100, true),
        ] {
            let dir = tempfile::tempdir().expect("temp dir");
            make(&dir.path().join(".git").join(name), age);
            let tops = [dir.path().join("sub")];
            fs::create_dir(&tops[0]).expect("mkdir");
            let repositories = Repositories::of(&tops, Duration::from_secs(2));
            assert_eq!(repositories.are_busy(), expected, "{name} {age}");
        }
    }
}

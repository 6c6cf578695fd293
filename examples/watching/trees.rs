//! Trees of source files, and what is done to all of them at once.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::Outcome;

/// Files in each directory.
pub(crate) const FILES: usize = 5;

/// Directories in a directory.
const FAN_OUT: usize = 8;

/// Ignored folders directly below the root and its first children, each with its share of what is ignored.
const IGNORED_TOPS: usize = 4;

/// What every contender that can ignore leaves out.
pub(crate) const IGNORE: &str = "# What is made, not written.\n.devwatch/\nnode_modules/\ntarget/\n*.log\n*.tmp\n/build\n!/build/keep\n";

/// The least that devwatch needs to know: a build that costs nothing.
pub(crate) const CONFIG: &str =
    "[[rule]]\nname = \"build\"\nfiles = [\"**/*.go\"]\nrun = [\"true\"]\n";

/// Bytes of a source file.
const LENGTH: usize = 1024;

/// Makes `kept` directories (the root is one) with five files each, and `ignored` ones among them.
pub(crate) fn grow(root: &Path, kept: usize, ignored: usize) -> Outcome {
    let dirs = dirs(root, kept);
    for dir in &dirs {
        fill(dir)?;
    }
    if ignored > 0 {
        for (at, dir) in dirs.iter().take(IGNORED_TOPS).enumerate() {
            let name = if at % 2 == 0 {
                "node_modules"
            } else {
                "target"
            };
            for dir in self::dirs(&dir.join(name), ignored / IGNORED_TOPS) {
                fill(&dir)?;
            }
        }
    }
    fs::write(root.join(".gitignore"), IGNORE)?;
    fs::write(root.join("devwatch.toml"), CONFIG)?;
    Ok(())
}

/// The paths of `count` directories, parents first: eight in each.
fn dirs(root: &Path, count: usize) -> Vec<PathBuf> {
    let mut dirs = vec![root.to_owned()];
    for at in 1..count {
        let up = &dirs[(at - 1) / FAN_OUT];
        dirs.push(up.join(format!("dir{at}")));
    }
    dirs
}

fn fill(dir: &Path) -> Outcome {
    fs::create_dir_all(dir)?;
    for path in files(dir) {
        write(&path, 0)?;
    }
    Ok(())
}

fn files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    (0..FILES).map(|at| dir.join(format!("file{at}.go")))
}

/// The last kept file of a tree of `kept` directories.
pub(crate) fn last(root: &Path, kept: usize) -> PathBuf {
    let dirs = dirs(root, kept);
    files(&dirs[kept - 1]).last().expect("five files in each")
}

/// Overwrites in place, with the same length whatever the version. Not as editors do, who truncate first: ext4 flushes
/// such a file when it is closed, and ten thousand of them take longer than devwatch waits for the end of a burst.
pub(crate) fn write(path: &Path, version: usize) -> Outcome {
    let mut content = format!("// version {version:>10} of {}\n", path.display());
    while content.len() < LENGTH {
        content.push_str("var greeting = \"hello\" // one line as good as any other\n");
    }
    content.truncate(LENGTH);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.write_all(content.as_bytes())?;
    Ok(())
}

/// Gives every kept file another content, as fast as one thread can.
pub(crate) fn rewrite(root: &Path, kept: usize, version: usize) -> Outcome {
    for dir in dirs(root, kept) {
        for path in files(&dir) {
            write(&path, version)?;
        }
    }
    Ok(())
}

/// Gives every kept file another time, as touch(1) does.
pub(crate) fn touch(root: &Path, kept: usize) -> Outcome {
    for dir in dirs(root, kept) {
        for path in files(&dir) {
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_modified(SystemTime::now())?;
        }
    }
    Ok(())
}

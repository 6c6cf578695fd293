//! Random file operations at full speed against an independent walk: whatever happened, what was reported covers
//! the difference, the snapshot is the tree, and every kept directory is still watched.
//!
//! 25 fixed seeds in `cargo test`; `DEVWATCH_FUZZ_SEEDS=1000 cargo test --release fuzz` runs more.
//! `DEVWATCH_FUZZ_SEED=17` repeats one.

#![expect(
    clippy::disallowed_methods,
    reason = "random pauses and deadlines of a test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::fingerprint::{self, Fingerprint};
use super::tests::scope;
use super::{Scope, Seen, Watcher};

const OPERATIONS: usize = 400;

/// How many kinds of operation [`operate`] chooses from; the last one edits ignore files.
const WITH_IGNORE_FILES: usize = 16;
const WITHOUT: usize = WITH_IGNORE_FILES - 1;

/// Kept, ignored as directories only, ignored as files only, ignored by the built-in table.
const NAMES: [&str; 12] = [
    "a",
    "b",
    "c",
    "d",
    "e.go",
    "f.go",
    "ign1",
    "ign2",
    "x.log",
    "y.log",
    "z~",
    "node_modules",
];
const IGNORE_FILES: [&str; 2] = [".gitignore", ".ignore"];
const IGNORES: [&str; 6] = ["", "a\n", "/b/\n", "?.go\n!e.go\n", "!ign1/\n", "c/d\n"];
const IGNORE: &str = "ign*/\n*.log\n!keep.log\n";

/// xorshift: a seed is a test.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.roll(NAMES.len())]
    }

    /// A path below `root`, one to four names deep, whether anything is there or not.
    fn path(&mut self, root: &Path) -> PathBuf {
        (0..1 + self.roll(4)).fold(root.to_owned(), |path, _| path.join(self.name()))
    }
}

/// One operation. Any of them may fail, as they do in life: the tree is what counts.
fn operate(dice: &mut Dice, root: &Path, outside: &Path, serial: usize, kinds: usize) {
    let path = dice.path(root);
    let other = dice.path(root);
    let away = outside.join(dice.name());
    let _ = match dice.roll(kinds) {
        0..=3 => fs::write(&path, format!("{}", dice.roll(5))),
        4 => fs::create_dir_all(&path),
        5 => fs::create_dir_all(&path)
            .and_then(|()| fs::write(path.join("new.go"), serial.to_string())),
        6 => fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)),
        7 => fs::remove_file(&path),
        8 => fs::rename(&path, &other),
        9 => fs::write(root.join("save.tmp"), serial.to_string())
            .and_then(|()| fs::rename(root.join("save.tmp"), &path)),
        10 => symlink(&other, &path),
        11 => fs::rename(&path, &away),
        12 => fs::rename(&away, &path),
        13 => fs::rename(&path, root.join("swap"))
            .and_then(|()| fs::rename(&other, &path))
            .and_then(|()| fs::rename(root.join("swap"), &other)),
        14 => fs::remove_dir_all(&path)
            .and_then(|()| fs::create_dir_all(&path))
            .and_then(|()| fs::write(path.join("again.go"), serial.to_string())),
        _ => fs::write(
            path.with_file_name(IGNORE_FILES[dice.roll(2)]),
            IGNORES[dice.roll(IGNORES.len())],
        ),
    };
}

type Snapshot = BTreeMap<PathBuf, Fingerprint>;

/// What the rules keep, by ripgrep's walk.
fn snapshot(root: &Path) -> (Snapshot, BTreeSet<PathBuf>) {
    let mut files = Snapshot::new();
    let mut dirs = BTreeSet::new();
    let kept = |entry: &ignore::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
        !(name.ends_with('~') || name == "node_modules" && is_dir)
    };
    let walk = ignore::WalkBuilder::new(root)
        .hidden(false)
        .require_git(false)
        .filter_entry(kept)
        .build();
    for entry in walk.flatten() {
        if entry.file_type().is_some_and(|kind| kind.is_dir()) {
            dirs.insert(entry.path().to_owned());
        } else if let Ok(Some(content)) = fingerprint::of_file(entry.path()) {
            let path = entry.path().strip_prefix(root).expect("below").to_owned();
            files.insert(path, content);
        }
    }
    (files, dirs)
}

/// Writes markers until one is reported after all else; adds what was reported to `reported`.
fn settle(root: &Path, seen: &Receiver<Seen>, marker: &str, reported: &mut BTreeSet<PathBuf>) {
    fs::write(root.join(marker), marker).expect("marker");
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match seen
            .recv_timeout(until.saturating_duration_since(Instant::now()))
            .expect("the marker was lost")
        {
            Seen::Changes(set) => {
                reported.extend(set.changes.into_iter().map(|change| change.path));
                if reported.contains(Path::new(marker)) {
                    return;
                }
            }
            Seen::Note(_) => {}
            Seen::Settings(paths) => panic!("settings {paths:?}"),
        }
    }
}

fn run(seed: u64, capacity: usize, kinds: usize) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let dir = tempfile::tempdir().expect("temp dir");
    let base = dir.path().canonicalize().expect("base");
    let (root, outside) = (base.join("root"), base.join("outside"));
    fs::create_dir_all(&root).expect("mkdir");
    fs::create_dir_all(&outside).expect("mkdir");
    fs::write(root.join(".gitignore"), IGNORE).expect("write");
    for serial in 0..60 {
        operate(&mut dice, &root, &outside, serial, kinds);
    }
    // A tree at rest for the first look; whoever reads the clock's grain must not be fooled by it.
    let (before, _) = snapshot(&root);
    let (send, seen) = channel();
    let scope = Scope {
        debounce: Duration::from_millis(10),
        ..scope(&root)
    };
    let watcher = Watcher::start_with(scope, capacity, || (), move |seen| drop(send.send(seen)))
        .expect("start");

    let mut reported = BTreeSet::new();
    for serial in 0..OPERATIONS {
        operate(&mut dice, &root, &outside, 100 + serial, kinds);
        if dice.roll(20) == 0 {
            std::thread::sleep(Duration::from_millis(dice.roll(30) as u64));
        }
    }
    settle(&root, &seen, "marker-1", &mut reported);
    let (after, dirs) = snapshot(&root);
    let paths: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    for path in paths {
        // A file that an edited ignore file hides has not changed, and it may go while it is hidden.
        let hidden = kinds == WITH_IGNORE_FILES && !after.contains_key(path);
        if before.get(path) != after.get(path) && !hidden {
            assert!(
                reported.contains(path),
                "seed {seed}: {} was never reported",
                path.display()
            );
        }
    }
    assert_eq!(
        watcher.files(),
        after.len(),
        "seed {seed}: the snapshot is not the tree"
    );
    assert_eq!(
        watcher.dirs(),
        dirs.len(),
        "seed {seed}: not the directories a walk would choose"
    );

    // Each kept directory is alive, and nothing else is reported.
    let mut reported = BTreeSet::new();
    let mut expected = BTreeSet::from([PathBuf::from("marker-2")]);
    for dir in &dirs {
        fs::write(dir.join("alive.go"), seed.to_string()).expect("write");
        expected.insert(dir.strip_prefix(&root).expect("below").join("alive.go"));
    }
    settle(&root, &seen, "marker-2", &mut reported);
    assert_eq!(reported, expected, "seed {seed}");
}

fn seeds(fixed: std::ops::Range<u64>) -> Vec<u64> {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    match (number("DEVWATCH_FUZZ_SEED"), number("DEVWATCH_FUZZ_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, Some(count)) => (0..count).collect(),
        (None, None) => fixed.collect(),
    }
}

#[test]
fn fuzz_random_operations_are_never_lost() {
    for seed in seeds(0..25) {
        run(seed, super::INBOX, WITHOUT);
    }
}

/// With a channel that overflows again and again.
#[test]
fn fuzz_lost_events_are_always_made_up_for() {
    for seed in seeds(1000..1010) {
        run(seed, 4, WITHOUT);
    }
}

/// With ignore files that change.
#[test]
fn fuzz_edited_ignore_files_are_followed() {
    for seed in seeds(2000..2010) {
        run(seed, super::INBOX, WITH_IGNORE_FILES);
    }
}

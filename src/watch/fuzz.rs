//! Random file operations at full speed against an independent walk: whatever happened, what was reported covers
//! the difference, the snapshot is the tree, every kept directory is still watched, the sums of groups are those
//! of the files on the disk, and whoever asks to be caught up with has been told all of it by then.
//!
//! The same with a channel without room, with edited ignore files, without events (polling), and with a watcher that is
//! stopped while the kernel's queues overflow.
//!
//! 10 or 25 fixed seeds of each in `cargo test`; `DEVWATCH_FUZZ_SEEDS=400 cargo test --release --lib watch::fuzz` runs more.
//! `DEVWATCH_FUZZ_SEED=17` repeats one.

#![expect(
    clippy::disallowed_methods,
    reason = "random pauses and deadlines of a test"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::config::{Globs, Poll};

use super::fingerprint::{self, Fingerprint};
use super::tests::{scope, sum};
use super::{Scope, Seen, Sum, Surroundings, Watcher};

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

/// A group of files: its globs, and what they mean in other words: of the names on the way to a file.
type Group = (&'static [&'static str], fn(&[&str]) -> bool);

const GROUPS: [Group; 4] = [
    (&["**"], |_| true),
    (&["**/*.go"], |names| {
        names.last().is_some_and(|name| name.ends_with(".go"))
    }),
    (&["a/**", "*", "!**/e.go"], |names| {
        (names.len() == 1 || names[0] == "a") && names.last() != Some(&"e.go")
    }),
    (&["b/**/c/*"], |names| {
        names.len() > 2 && names[0] == "b" && names[names.len() - 2] == "c"
    }),
];
const MADE: [Group; 2] = [
    (&["**/new.go"], |names| names.last() == Some(&"new.go")),
    (&["c/**"], |names| names.len() > 1 && names[0] == "c"),
];

fn globs(groups: &[Group]) -> Vec<Globs> {
    let globs = groups.iter().map(|(patterns, _)| Globs::new(patterns));
    globs.collect::<Result<_, _>>().expect("good globs")
}

/// The sums of [`GROUPS`] as the disk has them now.
fn sums(root: &Path) -> Vec<Sum> {
    let (files, _) = snapshot(root);
    let of = |path: &Path, (_, holds): &Group| {
        let names: Vec<&str> = path
            .iter()
            .map(|name| name.to_str().expect("ASCII"))
            .collect();
        holds(&names)
    };
    let sums = GROUPS.iter().map(|group| {
        let files = files.keys().map(PathBuf::as_path);
        let files = files.filter(|path| of(path, group));
        sum(
            root,
            files.filter(|path| !MADE.iter().any(|made| of(path, made))),
        )
    });
    sums.collect()
}

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
        // Too large to be read: a hole of a few sizes.
        0 if serial.is_multiple_of(8) => {
            fs::File::create(&path).and_then(|file| file.set_len((2 << 20) + dice.roll(2) as u64))
        }
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

/// How a run makes life hard for the watcher.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Full speed.
    None,
    /// A channel with hardly any room, which overflows again and again.
    Crowd,
    /// Ignore files change.
    Ignores,
    /// No event ever comes.
    Polling,
    /// The watcher is a process of its own that is stopped while the kernel's queues overflow.
    Stopped,
}

/// A watcher, and the sums as it last told them.
struct Eye {
    at: Place,
    sums: Option<Vec<Sum>>,
}

/// Here or in a process of its own.
enum Place {
    Here(Watcher, Receiver<Seen>),
    There(Child),
}

/// What it says next.
enum Said {
    Changed(Vec<PathBuf>, Option<Vec<Sum>>),
    Read(Vec<Sum>),
    CaughtUp,
    Lost,
}

fn watched(root: &Path) -> Scope {
    Scope {
        debounce: Duration::from_millis(10),
        groups: globs(&GROUPS),
        made: globs(&MADE),
        cookies: Some(root.with_file_name("cookies")),
        ..scope(root)
    }
}

impl Eye {
    fn open(root: &Path, trouble: Trouble) -> Eye {
        if trouble == Trouble::Stopped {
            return Eye {
                at: Place::There(Child::start(root)),
                sums: None,
            };
        }
        let (send, seen) = channel();
        let scope = Scope {
            poll: match trouble {
                Trouble::Polling => Poll::Every(Duration::from_millis(20)),
                Trouble::None | Trouble::Crowd | Trouble::Ignores | Trouble::Stopped => Poll::Auto,
            },
            ..watched(root)
        };
        let surroundings = Surroundings {
            capacity: if trouble == Trouble::Crowd {
                4
            } else {
                super::INBOX
            },
            ..Surroundings::default()
        };
        let watcher = Watcher::start_in(surroundings, scope, move |seen| drop(send.send(seen)));
        Eye {
            at: Place::Here(watcher.expect("start"), seen),
            sums: None,
        }
    }

    fn says(&mut self) -> Said {
        self.says_within(PATIENCE).expect("the marker was lost")
    }

    fn says_within(&mut self, patience: Duration) -> Option<Said> {
        let said = match &mut self.at {
            Place::Here(_, seen) => match next(seen, patience)? {
                Seen::Changes(set) => {
                    let paths = set.changes.into_iter().map(|change| change.path);
                    Said::Changed(paths.collect(), set.sums)
                }
                Seen::Read(sums) => Said::Read(sums),
                Seen::Heard(..) => unreachable!("passed over"),
                Seen::CaughtUp(_) => Said::CaughtUp,
                Seen::Note(_) => Said::Lost,
                Seen::Settings(paths) => panic!("settings {paths:?}"),
            },
            Place::There(child) => child.says_within(patience)?,
        };
        match &said {
            Said::Changed(_, sums) => {
                assert!(self.sums.is_none() || sums.is_some(), "known and forgotten");
                self.sums.clone_from(sums);
            }
            Said::Read(sums) => {
                assert_ne!(self.sums.as_ref(), Some(sums), "told for nothing");
                self.sums = Some(sums.clone());
            }
            Said::CaughtUp | Said::Lost => {}
        }
        Some(said)
    }

    /// Waits until it tells the sums that the disk has. Meanwhile nothing may change.
    fn sums_up(&mut self, root: &Path, seed: u64) {
        let expected = sums(root);
        while self.sums.as_ref() != Some(&expected) {
            let said = self.says_within(Duration::from_secs(5));
            assert!(
                said.is_some(),
                "seed {seed}: told {:?}, but they are {expected:?}",
                self.sums
            );
        }
    }

    /// Waits until a marker is reported, and so all that was done before; adds what was reported to `reported`.
    /// Whether events were lost, as it says.
    fn settle(&mut self, root: &Path, marker: &str, reported: &mut BTreeSet<PathBuf>) -> bool {
        let mut lost = false;
        // At one stroke: a marker that is seen half written would be seen twice.
        let beside = root.with_file_name(marker);
        fs::write(&beside, marker).expect("marker");
        fs::rename(beside, root.join(marker)).expect("marker");
        while !reported.contains(Path::new(marker)) {
            match self.says() {
                Said::Changed(paths, _) => reported.extend(paths),
                Said::Read(_) => {}
                Said::CaughtUp => panic!("nobody has asked"),
                Said::Lost => lost = true,
            }
        }
        lost
    }

    /// All that it says until it has caught up.
    fn catch_up(&mut self) -> BTreeSet<PathBuf> {
        match &mut self.at {
            Place::Here(watcher, _) => watcher.catch_up(0),
            Place::There(child) => child.ask("catch up"),
        }
        let mut reported = BTreeSet::new();
        loop {
            match self.says() {
                Said::Changed(paths, _) => reported.extend(paths),
                Said::Read(_) | Said::Lost => {}
                Said::CaughtUp => return reported,
            }
        }
    }

    /// Files and directories that it says it watches.
    fn counts(&mut self) -> (usize, usize) {
        match &mut self.at {
            Place::Here(watcher, _) => (watcher.files(), watcher.dirs()),
            Place::There(child) => child.counts(),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

/// This test program again, watching a tree and printing what it sees.
struct Child {
    process: process::Child,
    lines: Receiver<String>,
    /// Passed over, and still to be heard.
    kept: VecDeque<String>,
}

impl Child {
    fn start(root: &Path) -> Child {
        let mut process = process::Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                "--ignored",
                "--nocapture",
                "watch::fuzz::watches_for_another",
            ])
            .env("DEVWATCH_TEST_ROOT", root)
            .stdin(process::Stdio::piped())
            .stdout(process::Stdio::piped())
            .spawn()
            .expect("spawn");
        let out = BufReader::new(process.stdout.take().expect("piped"));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut child = Child {
            process,
            lines,
            kept: VecDeque::new(),
        };
        // Its contents may have been read before it comes to say so.
        while let line = child.line(PATIENCE).expect("the other one says nothing")
            && line != "ready"
        {
            if line.starts_with("read ") {
                child.kept.push_back(line);
            }
        }
        child
    }

    fn line(&self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    fn says_within(&mut self, patience: Duration) -> Option<Said> {
        let line = self.kept.pop_front().or_else(|| self.line(patience))?;
        Some(Child::said(&line))
    }

    /// `changed SUMS PATH...`, `read SUMS` or `note ...`, where sums are `-` or numbers with commas.
    fn said(line: &str) -> Said {
        let sums = |text: &str| {
            let sums = text.split(',').map(|sum| sum.parse().map(Sum).ok());
            sums.collect::<Option<Vec<Sum>>>()
        };
        if let Some((known, paths)) = line
            .strip_prefix("changed ")
            .and_then(|said| said.split_once(' '))
        {
            let paths = paths.split(' ').filter(|path| !path.is_empty());
            return Said::Changed(paths.map(PathBuf::from).collect(), sums(known));
        }
        if let Some(told) = line.strip_prefix("read ") {
            return Said::Read(sums(told).expect("sums"));
        }
        if line == "caught up" {
            return Said::CaughtUp;
        }
        assert!(line.starts_with("note "), "{line}");
        Said::Lost
    }

    fn ask(&mut self, what: &str) {
        let stdin = self.process.stdin.as_mut().expect("piped");
        writeln!(stdin, "{what}").expect("write");
    }

    fn counts(&mut self) -> (usize, usize) {
        self.ask("counts");
        loop {
            let line = self.line(PATIENCE).expect("the other one says nothing");
            if let Some((files, dirs)) =
                line.strip_prefix("counts ").and_then(|c| c.split_once(' '))
            {
                return (files.parse().expect("files"), dirs.parse().expect("dirs"));
            }
            self.kept.push_back(line);
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).expect("signal");
    }

    /// The inodes that the kernel watches for it: `inotify wd:1 ino:2a sdev:...`.
    fn watched_inodes(&self) -> BTreeSet<u64> {
        let folder = format!("/proc/{}/fdinfo", self.process.id());
        let infos = fs::read_dir(folder).expect("fdinfo").flatten();
        let texts = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
        let inode = |line: &str| {
            let text = line.strip_prefix("inotify ")?.split(" ino:").nth(1)?;
            u64::from_str_radix(text.split(' ').next()?, 16).ok()
        };
        let inodes: Vec<Vec<u64>> = texts
            .map(|text| text.lines().filter_map(inode).collect())
            .collect();
        inodes.into_iter().flatten().collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What is said next, but for how far the kernel has come.
fn next(seen: &Receiver<Seen>, patience: Duration) -> Option<Seen> {
    loop {
        let said = seen.recv_timeout(patience).ok()?;
        if !matches!(said, Seen::Heard(..)) {
            return Some(said);
        }
    }
}

#[test]
#[ignore = "the other half of the tests with a stopped watcher"]
fn watches_for_another() {
    let Some(root) = std::env::var_os("DEVWATCH_TEST_ROOT") else {
        return;
    };
    let shown = |sums: &[Sum]| {
        let sums = sums.iter().map(|sum| sum.0.to_string());
        sums.collect::<Vec<_>>().join(",")
    };
    let watcher = Watcher::start(watched(Path::new(&root)), move |seen| match seen {
        Seen::Note(text) => println!("note {text}"),
        Seen::Settings(paths) => panic!("settings {paths:?}"),
        Seen::Read(sums) => println!("read {}", shown(&sums)),
        Seen::Heard(..) => {}
        Seen::CaughtUp(_) => println!("caught up"),
        Seen::Changes(set) => {
            let paths = set
                .changes
                .iter()
                .map(|change| change.path.display().to_string());
            println!(
                "changed {} {}",
                set.sums.as_deref().map_or("-".to_owned(), shown),
                paths.collect::<Vec<_>>().join(" ")
            );
        }
    });
    let watcher = watcher.expect("start");
    println!("ready");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        if line == "catch up" {
            watcher.catch_up(0);
        } else {
            println!("counts {} {}", watcher.files(), watcher.dirs());
        }
    }
}

/// More events than the kernel keeps, in every directory that is watched: files that are ignored, written in turn,
/// because the kernel folds equal events into one.
fn storm(root: &Path) {
    const EVENTS: usize = 16_384 + 4_000;
    /// Opened, written, closed.
    const PER_WRITE: usize = 3;
    /// Those of one directory may not fill their queue, those of all are sure to.
    const WRITES: usize = EVENTS / PER_WRITE / 4;
    let (_, dirs) = snapshot(root);
    for dir in dirs.iter().chain(std::iter::repeat_n(&root.to_owned(), 4)) {
        let names = ["storm-1.log", "storm-2.log"].map(|name| dir.join(name));
        for n in 0..WRITES {
            let _ = fs::write(&names[n % 2], "");
        }
        let _ = names.map(fs::remove_file);
    }
}

fn run(seed: u64, trouble: Trouble) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let kinds = match trouble {
        Trouble::Ignores => WITH_IGNORE_FILES,
        Trouble::None | Trouble::Crowd | Trouble::Polling | Trouble::Stopped => WITHOUT,
    };
    let dir = tempfile::tempdir().expect("temp dir");
    let base = dir.path().canonicalize().expect("base");
    let (root, outside) = (base.join("root"), base.join("outside"));
    fs::create_dir_all(&root).expect("mkdir");
    fs::create_dir_all(&outside).expect("mkdir");
    fs::create_dir_all(base.join("cookies")).expect("mkdir");
    fs::write(root.join(".gitignore"), IGNORE).expect("write");
    for serial in 0..60 {
        operate(&mut dice, &root, &outside, serial, kinds);
    }
    // A tree at rest for the first look; whoever reads the clock's grain must not be fooled by it.
    let (before, _) = snapshot(&root);
    let mut eye = Eye::open(&root, trouble);

    let mut reported = BTreeSet::new();
    for serial in 0..OPERATIONS {
        if let Place::There(child) = &eye.at {
            match serial % (OPERATIONS / 2) {
                50 => {
                    child.signal(Signal::SIGSTOP);
                    storm(&root);
                }
                150 => child.signal(Signal::SIGCONT),
                _ => {}
            }
        }
        operate(&mut dice, &root, &outside, 100 + serial, kinds);
        if dice.roll(20) == 0 {
            std::thread::sleep(Duration::from_millis(dice.roll(30) as u64));
        }
    }
    let lost = eye.settle(&root, "marker-1", &mut reported);
    assert!(
        lost || !matches!(trouble, Trouble::Crowd | Trouble::Stopped),
        "seed {seed}: nothing was lost, so nothing is shown"
    );
    if trouble == Trouble::Polling {
        // A look at the whole tree takes its time, and the marker may come in the middle of it.
        reported.extend(eye.catch_up());
    }
    let (after, dirs) = snapshot(&root);
    covers(&reported, &before, &after, trouble, &format!("seed {seed}"));
    assert_eq!(
        eye.counts(),
        (after.len(), dirs.len()),
        "seed {seed}: not the files and directories that a walk would choose"
    );
    if let Place::There(child) = &eye.at {
        let inodes = dirs
            .iter()
            .map(|dir| fs::metadata(dir).expect("there").ino())
            .collect();
        assert_eq!(
            child.watched_inodes(),
            inodes,
            "seed {seed}: what the kernel watches"
        );
    }

    eye.sums_up(&root, seed);

    // Each kept directory is alive, and nothing else is reported.
    let mut reported = BTreeSet::new();
    let mut expected = BTreeSet::from([PathBuf::from("marker-2")]);
    for dir in &dirs {
        fs::write(dir.join("alive.go"), seed.to_string()).expect("write");
        expected.insert(dir.strip_prefix(&root).expect("below").join("alive.go"));
    }
    eye.settle(&root, "marker-2", &mut reported);
    // Without events the marker may be seen before the others.
    while trouble == Trouble::Polling && reported.len() < expected.len() {
        if let Said::Changed(paths, _) = eye.says() {
            reported.extend(paths);
        }
    }
    assert_eq!(reported, expected, "seed {seed}");
    eye.sums_up(&root, seed);

    // Whoever has caught up has heard everything, without a marker or a pause.
    for round in 0..10 {
        let (before, _) = snapshot(&root);
        for serial in 0..20 {
            operate(&mut dice, &root, &outside, 1000 + serial, kinds);
        }
        let reported = eye.catch_up();
        let (after, _) = snapshot(&root);
        let when = format!("seed {seed}, caught up {round}");
        covers(&reported, &before, &after, trouble, &when);
        assert_eq!(eye.sums, Some(sums(&root)), "{when}");
    }
    if let Place::There(child) = &eye.at {
        let folder = fs::metadata(base.join("cookies")).expect("there").ino();
        let watched = child.watched_inodes().contains(&folder);
        assert!(!watched, "seed {seed}: nobody asks, and it is woken up");
    }
    let left = fs::read_dir(base.join("cookies")).expect("read").count();
    assert_eq!(left, 0, "seed {seed}: cookies are left");
}

/// Everything that differs was reported.
fn covers(
    reported: &BTreeSet<PathBuf>,
    before: &Snapshot,
    after: &Snapshot,
    trouble: Trouble,
    when: &str,
) {
    let paths: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    for path in paths {
        // A file that an edited ignore file hides has not changed, and it may go while it is hidden.
        let hidden = trouble == Trouble::Ignores && !after.contains_key(path);
        if before.get(path) != after.get(path) && !hidden {
            assert!(
                reported.contains(path),
                "{when}: {} was never reported",
                path.display()
            );
        }
    }
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
        run(seed, Trouble::None);
    }
}

#[test]
fn fuzz_lost_events_are_always_made_up_for() {
    for seed in seeds(1000..1010) {
        run(seed, Trouble::Crowd);
    }
}

#[test]
fn fuzz_edited_ignore_files_are_followed() {
    for seed in seeds(2000..2010) {
        run(seed, Trouble::Ignores);
    }
}

#[test]
fn fuzz_without_events_nothing_is_lost() {
    for seed in seeds(3000..3010) {
        run(seed, Trouble::Polling);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn fuzz_a_stopped_watcher_makes_up_for_what_the_kernel_could_not_keep() {
    for seed in seeds(4000..4010) {
        run(seed, Trouble::Stopped);
    }
}

//! Real files, real events. A test never waits for time: it waits for a report, or writes a marker file and looks
//! at everything that was reported before it. The kernel keeps the order, so "nothing" can be shown.

#![expect(
    clippy::disallowed_methods,
    reason = "tests run git, vim and sed, and wait with deadlines"
)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::config::{Globs, Poll};

use super::ChangeKind::{Created, Modified, Removed};
use super::file::CLOCK_GRAIN;
use super::{
    BATCH, Change, ChangeKind, INBOX, Scope, Seen, Sum, Surroundings, Watcher, fingerprint,
};

/// Generous: only a failing test waits that long.
const DEADLINE: Duration = Duration::from_secs(20);

/// The quiet time that unfinished saves get: long enough for a test thread that is not scheduled for a while.
const PATIENT: Duration = Duration::from_millis(300);

pub(super) fn scope(root: &Path) -> Scope {
    Scope {
        root: root.to_owned(),
        extra_roots: Vec::new(),
        ignore: Vec::new(),
        always: Vec::new(),
        settings: Vec::new(),
        debounce: Duration::from_millis(30),
        max_wait: Duration::from_secs(1),
        poll: Poll::Auto,
        follow_links: false,
        groups: Vec::new(),
        made: Vec::new(),
        cookies: None,
    }
}

fn patient(root: &Path) -> Scope {
    Scope {
        debounce: PATIENT,
        max_wait: Duration::from_secs(5),
        ..scope(root)
    }
}

/// A watcher and what it says.
struct Sight {
    root: PathBuf,
    seen: Receiver<Seen>,
    watcher: Watcher,
    markers: std::cell::Cell<usize>,
    /// As last told.
    sums: std::cell::RefCell<Option<Vec<Sum>>>,
}

impl Sight {
    fn new(scope: Scope) -> Sight {
        Sight::within(Surroundings::default(), scope)
    }

    fn within(surroundings: Surroundings<impl FnMut() + Send + 'static>, scope: Scope) -> Sight {
        let (send, seen) = channel();
        let root = scope.root.clone();
        let watcher = Watcher::start_in(surroundings, scope, move |seen| drop(send.send(seen)))
            .expect("start");
        Sight {
            root,
            seen,
            watcher,
            markers: std::cell::Cell::new(0),
            sums: std::cell::RefCell::default(),
        }
    }

    /// The next report; that contents were read is passed over.
    fn next(&self) -> Seen {
        loop {
            let seen = self.next_of_all();
            if !matches!(seen, Seen::Read(_)) {
                return seen;
            }
        }
    }

    fn next_of_all(&self) -> Seen {
        let seen = self
            .seen
            .recv_timeout(DEADLINE)
            .expect("nothing was reported");
        match &seen {
            Seen::Read(sums) => *self.sums.borrow_mut() = Some(sums.clone()),
            Seen::Changes(set) => self.sums.borrow_mut().clone_from(&set.sums),
            Seen::Heard(..) | Seen::CaughtUp(_) | Seen::Settings(_) | Seen::Note(_) => {}
        }
        seen
    }

    /// Asks to be caught up with, and gives all that is reported until then.
    fn catch_up(&self, token: u64) -> Vec<(String, ChangeKind)> {
        self.watcher.catch_up(token);
        self.until_caught_up(token)
    }

    fn until_caught_up(&self, token: u64) -> Vec<(String, ChangeKind)> {
        let mut all = Vec::new();
        loop {
            match self.next() {
                Seen::Changes(set) => all.extend(shown(&set.changes)),
                Seen::Note(_) | Seen::Read(_) | Seen::Heard(..) => {}
                Seen::Settings(paths) => panic!("settings {paths:?}"),
                Seen::CaughtUp(answered) => {
                    assert_eq!(answered, token);
                    return all;
                }
            }
        }
    }

    /// Waits until the contents of the baseline are known.
    fn has_read(&self) {
        while self.sums.borrow().is_none() {
            self.next_of_all();
        }
    }

    /// Waits until the sums last told are those of `files`, which lie where their names say.
    fn has_sums_of(&self, groups: &[&[&str]]) {
        let expected = groups
            .iter()
            .map(|files| sum(&self.root, files.iter().map(Path::new)));
        let expected: Vec<Sum> = expected.collect();
        while self.sums.borrow().as_ref() != Some(&expected) {
            self.next_of_all();
        }
    }

    /// The next changes; notes are passed over.
    fn changes(&self) -> Vec<(String, ChangeKind)> {
        loop {
            match self.next() {
                // What was only stirred is the subject of tests of its own.
                Seen::Changes(set) if set.changes.is_empty() => {}
                Seen::Changes(set) => return shown(&set.changes),
                Seen::Note(_) | Seen::Read(_) | Seen::Heard(..) => {}
                Seen::Settings(paths) => panic!("settings {paths:?}"),
                Seen::CaughtUp(token) => panic!("caught up {token}"),
            }
        }
    }

    fn settings(&self) -> Vec<PathBuf> {
        loop {
            if let Seen::Settings(paths) = self.next() {
                return paths;
            }
        }
    }

    /// Everything reported until now, joined: a marker is written, and what comes before it or with it counts.
    fn until_now(&self) -> Vec<(String, ChangeKind)> {
        self.markers.set(self.markers.get() + 1);
        let marker = format!("marker-{}", self.markers.get());
        // Moved there whole: one that is read half written is told of once more, later.
        let aside = self.root.with_extension("marker");
        fs::write(&aside, &marker).expect("write marker");
        fs::rename(&aside, self.root.join(&marker)).expect("move marker");
        let mut all = Vec::new();
        loop {
            let mut set = self.changes();
            let found = set.iter().position(|(path, _)| *path == marker);
            if let Some(at) = found {
                set.remove(at);
            }
            all.extend(set);
            if found.is_some() {
                return all;
            }
        }
    }

    fn write(&self, path: &str, text: &str) {
        write(&self.root, path, text);
    }
}

/// The sum over these files, named relative to `root`, as the disk has them now.
pub(super) fn sum<'a>(root: &Path, files: impl Iterator<Item = &'a Path>) -> Sum {
    let mut sum = 0_u128;
    for shown in files {
        let path = root.join(shown);
        let meta = fs::symlink_metadata(&path).expect("it is there");
        let mut bytes = [shown.as_os_str().as_bytes(), b"\0"].concat();
        let kind = |content| [content, u8::from(meta.is_symlink())];
        if let (true, Ok(content)) = (meta.len() <= 1 << 20, fingerprint::of_file(&path)) {
            bytes.extend(kind(b'='));
            bytes.extend(content.expect("it is there").to_bytes());
        } else {
            bytes.extend(kind(if meta.len() > 1 << 20 { b'+' } else { b'!' }));
            bytes.extend(meta.len().to_le_bytes());
            bytes.extend((meta.mtime() * 1_000_000_000 + meta.mtime_nsec()).to_le_bytes());
            bytes.extend(meta.ino().to_le_bytes());
            bytes.extend((meta.dev() as u32).to_le_bytes());
        }
        sum = sum.wrapping_add(xxhash_rust::xxh3::xxh3_128(&bytes));
    }
    Sum(sum)
}

fn globs(patterns: &[&str]) -> Globs {
    Globs::new(patterns).expect("good globs")
}

fn shown(changes: &[Change]) -> Vec<(String, ChangeKind)> {
    changes
        .iter()
        .map(|change| (change.path.to_string_lossy().into_owned(), change.kind))
        .collect()
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
    fs::write(path, text).expect("write");
}

fn temp(files: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("temp dir");
    let root = dir.path().canonicalize().expect("root").join("app");
    fs::create_dir(&root).expect("mkdir");
    for (path, text) in files {
        write(&root, path, text);
    }
    (dir, root)
}

fn one(path: &str, kind: ChangeKind) -> Vec<(String, ChangeKind)> {
    vec![(path.to_owned(), kind)]
}

/// Does `save` to `main.rs` and asserts one change of it, and nothing after.
fn saves_once(save: impl FnOnce(&Path)) {
    let (_dir, root) = temp(&[("src/main.rs", "old\n")]);
    let sight = Sight::new(patient(&root));
    save(&root.join("src"));
    assert_eq!(sight.changes(), one("src/main.rs", Modified));
    assert_eq!(sight.until_now(), []);
}

#[test]
fn truncate_and_write_is_one_change() {
    saves_once(|src| fs::write(src.join("main.rs"), "new\n").expect("write"));
}

#[test]
fn rename_over_is_one_change() {
    saves_once(|src| {
        fs::write(src.join("main.rs.tmp"), "new\n").expect("write");
        fs::rename(src.join("main.rs.tmp"), src.join("main.rs")).expect("rename");
    });
}

#[test]
fn rename_from_outside_of_the_tree_is_one_change() {
    let (dir, root) = temp(&[("main.rs", "old")]);
    let sight = Sight::new(patient(&root));
    fs::write(dir.path().join("new"), "new").expect("write");
    fs::rename(dir.path().join("new"), root.join("main.rs")).expect("rename");
    assert_eq!(sight.changes(), one("main.rs", Modified));
    assert_eq!(sight.until_now(), []);
}

/// vim, backupcopy=auto and no: the old file becomes the backup, a new one is written.
#[test]
fn vim_renaming_is_one_change() {
    saves_once(|src| {
        fs::write(src.join("4913"), "").expect("probe");
        fs::remove_file(src.join("4913")).expect("probe");
        fs::rename(src.join("main.rs"), src.join("main.rs~")).expect("rename");
        fs::write(src.join("main.rs"), "new\n").expect("write");
        fs::set_permissions(src.join("main.rs"), fs::Permissions::from_mode(0o644)).expect("chmod");
        fs::remove_file(src.join("main.rs~")).expect("remove");
    });
}

/// vim, backupcopy=yes: the backup is a copy, the file is written in place.
#[test]
fn vim_copying_is_one_change() {
    saves_once(|src| {
        fs::copy(src.join("main.rs"), src.join("main.rs~")).expect("copy");
        fs::write(src.join("main.rs"), "new\n").expect("write");
        fs::remove_file(src.join("main.rs~")).expect("remove");
    });
}

#[test]
fn jetbrains_safe_write_is_one_change() {
    saves_once(|src| {
        fs::write(src.join("main.rs___jb_tmp___"), "new\n").expect("write");
        fs::rename(src.join("main.rs"), src.join("main.rs___jb_old___")).expect("rename");
        fs::rename(src.join("main.rs___jb_tmp___"), src.join("main.rs")).expect("rename");
        fs::remove_file(src.join("main.rs___jb_old___")).expect("remove");
    });
}

#[test]
fn emacs_is_one_change_and_its_backup_none() {
    saves_once(|src| {
        symlink("me@here.1:2", src.join(".#main.rs")).expect("lock");
        fs::rename(src.join("main.rs"), src.join("main.rs~")).expect("rename");
        fs::write(src.join("main.rs"), "new\n").expect("write");
        fs::remove_file(src.join(".#main.rs")).expect("unlock");
    });
}

#[test]
fn real_vim_is_one_change_in_every_backup_mode() {
    if Command::new("vim").arg("--version").output().is_err() {
        eprintln!("skipped: no vim on PATH");
        return;
    }
    for mode in ["auto", "yes", "no"] {
        saves_once(|src| {
            let options = format!("set backupskip= writebackup backupcopy={mode}");
            let vim = Command::new("vim")
                .args([
                    "-u",
                    "NONE",
                    "-es",
                    "-c",
                    &options,
                    "-c",
                    "%s/old/new/",
                    "-c",
                    "wq",
                    "main.rs",
                ])
                .current_dir(src)
                .output()
                .expect("vim");
            assert!(vim.status.success(), "{vim:?}");
            assert_eq!(
                fs::read_to_string(src.join("main.rs")).expect("read"),
                "new\n"
            );
        });
    }
}

#[test]
fn sed_in_place_is_one_change() {
    saves_once(|src| {
        let sed = Command::new("sed")
            .args(["-i", "s/old/new/", "main.rs"])
            .current_dir(src)
            .output()
            .expect("sed");
        assert!(sed.status.success());
    });
}

#[test]
fn a_file_that_is_empty_for_a_moment_is_seen_with_its_content() {
    let (_dir, root) = temp(&[("f", "old")]);
    let sight = Sight::new(patient(&root));
    // Closed empty, as `> f` does, and written by another open.
    fs::write(root.join("f"), "").expect("truncate");
    fs::write(root.join("f"), "new").expect("write");
    assert_eq!(sight.changes(), one("f", Modified));
    assert_eq!(sight.until_now(), []);
    // Empty for good is a change all the same.
    fs::write(root.join("f"), "").expect("truncate");
    assert_eq!(sight.changes(), one("f", Modified));
}

#[test]
fn create_and_remove_are_told_apart() {
    let (_dir, root) = temp(&[("f", "x")]);
    let sight = Sight::new(scope(&root));
    sight.write("g", "y");
    assert_eq!(sight.changes(), one("g", Created));
    fs::remove_file(root.join("f")).expect("remove");
    assert_eq!(sight.changes(), one("f", Removed));
    fs::rename(root.join("g"), root.join("h")).expect("rename");
    assert_eq!(
        sight.until_now(),
        [("g".to_owned(), Removed), ("h".to_owned(), Created)]
    );
    fs::write(root.join("i"), "").expect("write");
    fs::remove_file(root.join("i")).expect("remove");
    assert_eq!(sight.until_now(), []);
}

/// `mkdir -p a/b && echo > a/b/x.go`, a hundred times.
#[test]
fn files_in_directories_created_a_moment_before_are_never_lost() {
    let (_dir, root) = temp(&[]);
    let sight = Sight::new(scope(&root));
    let mut missing: Vec<String> = (0..100).map(|n| format!("a{n}/b/x.go")).collect();
    for path in &missing {
        sight.write(path, "package x");
    }
    while !missing.is_empty() {
        for (path, kind) in sight.changes() {
            assert_eq!(kind, Created);
            let at = missing
                .iter()
                .position(|known| *known == path)
                .expect("reported once");
            missing.remove(at);
        }
    }
    // And the new directories are watched.
    for n in 0..100 {
        fs::write(root.join(format!("a{n}/b/x.go")), "package y").expect("write");
    }
    assert_eq!(sight.until_now().len(), 100);
    assert_eq!(sight.watcher.dirs(), 201);
    assert_eq!(sight.watcher.files(), 101);
}

#[test]
fn a_directory_renamed_in_moved_and_renamed_out_brings_its_files_along() {
    let (dir, root) = temp(&[("keep", "")]);
    write(dir.path(), "new/a/f", "x");
    write(dir.path(), "new/g", "x");
    let sight = Sight::new(patient(&root));
    fs::rename(dir.path().join("new"), root.join("in")).expect("rename");
    assert_eq!(
        sight.until_now(),
        [("in/a/f".to_owned(), Created), ("in/g".to_owned(), Created)]
    );
    sight.write("in/a/f", "y");
    assert_eq!(sight.until_now(), one("in/a/f", Modified));
    fs::rename(root.join("in"), root.join("moved")).expect("rename");
    let moved = sight.until_now();
    let expected = [
        ("in/a/f", Removed),
        ("in/g", Removed),
        ("moved/a/f", Created),
        ("moved/g", Created),
    ];
    assert_eq!(moved, expected.map(|(path, kind)| (path.to_owned(), kind)));
    sight.write("moved/a/f", "z");
    assert_eq!(sight.until_now(), one("moved/a/f", Modified));
    fs::rename(root.join("moved"), dir.path().join("out")).expect("rename");
    assert_eq!(
        sight.until_now(),
        [
            ("moved/a/f".to_owned(), Removed),
            ("moved/g".to_owned(), Removed)
        ]
    );
    fs::write(dir.path().join("out/g"), "unseen").expect("write");
    assert_eq!(sight.until_now(), []);
    assert_eq!(sight.watcher.dirs(), 1);
}

#[test]
fn a_file_becomes_a_directory_and_back() {
    let (_dir, root) = temp(&[("f", "x")]);
    let sight = Sight::new(patient(&root));
    fs::remove_file(root.join("f")).expect("remove");
    sight.write("f/g", "y");
    assert_eq!(
        sight.until_now(),
        [("f".to_owned(), Removed), ("f/g".to_owned(), Created)]
    );
    fs::remove_dir_all(root.join("f")).expect("remove");
    sight.write("f", "z");
    assert_eq!(
        sight.until_now(),
        [("f".to_owned(), Created), ("f/g".to_owned(), Removed)]
    );
    assert_eq!(sight.watcher.dirs(), 1);
}

#[test]
fn a_directory_removed_and_restored_alike_is_no_change_and_still_watched() {
    let (_dir, root) = temp(&[("d/e/f", "x"), ("d/g", "y")]);
    let sight = Sight::new(patient(&root));
    sight.write("d/e/f", "x2");
    assert_eq!(sight.until_now(), one("d/e/f", Modified));
    fs::remove_dir_all(root.join("d")).expect("remove");
    sight.write("d/e/f", "x2");
    sight.write("d/g", "y");
    let said = sight.until_now();
    // `d/g` may not have had its baseline yet: then it counts as changed.
    assert!(said.is_empty() || said == one("d/g", Modified), "{said:?}");
    sight.write("d/e/f", "x3");
    assert_eq!(sight.until_now(), one("d/e/f", Modified));
}

#[test]
fn links_are_files_and_are_not_followed() {
    let (dir, root) = temp(&[("f", "x")]);
    write(dir.path(), "outside/g", "x");
    symlink(dir.path().join("outside"), root.join("link")).expect("link");
    symlink("..", root.join("loop")).expect("link");
    let sight = Sight::new(patient(&root));
    assert_eq!((sight.watcher.files(), sight.watcher.dirs()), (3, 1));
    write(dir.path(), "outside/g", "y");
    assert_eq!(sight.until_now(), []);
    symlink(dir.path(), root.join("link.new")).expect("link");
    fs::rename(root.join("link.new"), root.join("link")).expect("rename");
    assert_eq!(sight.until_now(), one("link", Modified));
    fs::remove_file(root.join("link")).expect("remove");
    sight.write("link/f", "a directory now");
    assert_eq!(
        sight.until_now(),
        [("link".to_owned(), Removed), ("link/f".to_owned(), Created)]
    );
}

#[test]
fn what_leaves_the_content_as_it_was_is_no_change() {
    let (_dir, root) = temp(&[]);
    let sight = Sight::new(patient(&root));
    let f = root.join("f");
    // Their contents are known once they were reported; those found at the start are read a little later.
    sight.write("f", "x");
    sight.write("g", "y");
    assert_eq!(sight.until_now().len(), 2);
    // The same bytes, in place and by rename.
    sight.write("f", "x");
    assert_eq!(sight.until_now(), []);
    sight.write("f.tmp", "x");
    fs::rename(root.join("f.tmp"), &f).expect("rename");
    assert_eq!(sight.until_now(), []);
    // touch, chmod, both ways.
    let file = fs::File::options().write(true).open(&f).expect("open");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .expect("touch");
    drop(file);
    fs::set_permissions(&f, fs::Permissions::from_mode(0o755)).expect("chmod");
    assert_eq!(sight.until_now(), []);
    // There and back within one burst.
    sight.write("f", "other");
    sight.write("f", "x");
    fs::rename(root.join("g"), root.join("h")).expect("rename");
    fs::rename(root.join("h"), root.join("g")).expect("rename");
    assert_eq!(sight.until_now(), []);
    // Reading is nothing.
    fs::read(&f).expect("read");
    assert_eq!(sight.until_now(), []);
    // And a change with the old times is one.
    let times = fs::metadata(&f).expect("stat").modified().expect("mtime");
    sight.write("f", "y");
    fs::File::options()
        .write(true)
        .open(&f)
        .expect("open")
        .set_modified(times)
        .expect("touch");
    assert_eq!(sight.until_now(), one("f", Modified));
}

#[test]
fn large_files_change_with_their_times_and_not_with_their_mode() {
    let (_dir, root) = temp(&[("big", &"x".repeat(2 * 1024 * 1024))]);
    let sight = Sight::new(patient(&root));
    fs::set_permissions(root.join("big"), fs::Permissions::from_mode(0o755)).expect("chmod");
    assert_eq!(sight.until_now(), []);
    sight.write("big", &"y".repeat(2 * 1024 * 1024));
    assert_eq!(sight.until_now(), one("big", Modified));
}

#[test]
fn sockets_and_pipes_are_no_sources() {
    let (_dir, root) = temp(&[("f", "x")]);
    let sight = Sight::new(patient(&root));
    let _socket = std::os::unix::net::UnixListener::bind(root.join("app.sock")).expect("bind");
    nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    assert_eq!(sight.until_now(), []);
    fs::remove_file(root.join("f")).expect("remove");
    nix::unistd::mkfifo(&root.join("f"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    assert_eq!(sight.until_now(), one("f", Removed));
}

#[test]
fn ignored_directories_are_not_watched_and_say_nothing() {
    let (_dir, root) = temp(&[
        (".gitignore", "/gen/\n*.log\n"),
        ("Cargo.toml", ""),
        ("gen/a/b", ""),
        ("target/debug/app", ""),
        ("node_modules/p/index.js", ""),
        (".git/HEAD", ""),
        (".devwatch/state", ""),
        ("src/main.rs", ""),
    ]);
    let sight = Sight::new(Scope {
        ignore: vec!["*.tmp".to_owned()],
        ..patient(&root)
    });
    assert_eq!((sight.watcher.files(), sight.watcher.dirs()), (3, 2));
    for path in [
        "gen/a/b",
        "gen/new/c",
        "target/debug/app",
        "node_modules/q/index.js",
        ".git/index",
        ".devwatch/state",
    ] {
        sight.write(path, "changed");
    }
    for path in [
        "src/x.log",
        "src/x.tmp",
        "src/.main.rs.swp",
        "src/main.rs~",
        "src/__pycache__/x.pyc",
    ] {
        sight.write(path, "changed");
    }
    assert_eq!(sight.until_now(), []);
    assert_eq!(sight.watcher.dirs(), 2);
    sight.write("src/.env", "dot files are not hidden");
    assert_eq!(sight.until_now(), one("src/.env", Created));
}

#[test]
fn editing_an_ignore_file_changes_the_set_at_once() {
    let (_dir, root) = temp(&[
        (".gitignore", "/gen/\n"),
        ("gen/a/f", "x"),
        ("src/.gitignore", "*\n"),
        ("src/g", "y"),
    ]);
    let sight = Sight::new(patient(&root));
    assert_eq!((sight.watcher.files(), sight.watcher.dirs()), (1, 2));
    sight.write(".gitignore", "");
    assert_eq!(
        sight.until_now(),
        [
            (".gitignore".to_owned(), Modified),
            ("gen/a/f".to_owned(), Created)
        ]
    );
    sight.write("gen/a/f", "y");
    assert_eq!(sight.until_now(), one("gen/a/f", Modified));
    sight.write(".gitignore", "/gen/\n");
    assert_eq!(sight.until_now(), one(".gitignore", Modified));
    sight.write("gen/a/f", "z");
    assert_eq!(sight.until_now(), []);
    // One that ignores itself is followed as well.
    sight.write("src/.gitignore", "*.log\n");
    assert_eq!(
        sight.until_now(),
        [
            ("src/.gitignore".to_owned(), Created),
            ("src/g".to_owned(), Created)
        ]
    );
    fs::remove_file(root.join(".gitignore")).expect("remove");
    assert_eq!(
        sight.until_now(),
        [
            (".gitignore".to_owned(), Removed),
            ("gen/a/f".to_owned(), Created)
        ]
    );
}

#[test]
fn ignore_files_outside_of_the_tree_are_followed_too() {
    let (_dir, root) = temp(&[(".git/info/exclude", "f\n"), ("app/f", "x"), ("app/g", "y")]);
    let sight = Sight::new(scope(&root.join("app")));
    assert_eq!(sight.watcher.files(), 1);
    write(&root, ".git/info/exclude", "g\n");
    assert_eq!(sight.changes(), one("f", Created));
    fs::write(root.join("app/g"), "ignored now").expect("write");
    assert_eq!(sight.until_now(), []);
    // One above the root, which was not there before: the file is ignored from some moment on.
    write(&root, ".gitignore", "f\n");
    let until = Instant::now() + DEADLINE;
    for n in 0.. {
        assert!(Instant::now() < until, "the ignore file was not noticed");
        fs::write(root.join("app/f"), n.to_string()).expect("write");
        if sight.until_now().is_empty() {
            break;
        }
    }
}

#[test]
fn always_files_are_watched_inside_ignored_folders() {
    let (dir, root) = temp(&[
        (".gitignore", "dist\n"),
        ("dist/a/other", "x"),
        (".git/HEAD", "ref"),
    ]);
    let always = vec![
        root.join("dist/a/pin"),
        root.join("dist/late/pin"),
        root.join(".git/HEAD"),
        dir.path().join("out/f"),
    ];
    let sight = Sight::new(Scope {
        always,
        ..patient(&root)
    });
    sight.write("dist/a/pin", "x");
    sight.write("dist/a/other", "y");
    assert_eq!(sight.until_now(), one("dist/a/pin", Created));
    sight.write("dist/late/pin", "x");
    sight.write("dist/late/other", "y");
    assert_eq!(sight.until_now(), one("dist/late/pin", Created));
    sight.write(".git/HEAD", "other");
    sight.write(".git/index", "other");
    assert_eq!(sight.until_now(), one(".git/HEAD", Modified));
    write(dir.path(), "out/f", "x");
    write(dir.path(), "out/g", "x");
    assert_eq!(sight.until_now(), one("../out/f", Created));
}

#[test]
fn extra_roots_are_watched_and_named_from_the_root() {
    let (dir, root) = temp(&[("f", "x")]);
    write(dir.path(), "lib/deep/x.go", "x");
    write(dir.path(), "lib/.gitignore", "gen\n");
    write(dir.path(), "lib/gen/y.go", "x");
    let extra = dir.path().canonicalize().expect("root").join("lib");
    let sight = Sight::new(Scope {
        extra_roots: vec![extra],
        ..patient(&root)
    });
    write(dir.path(), "lib/deep/x.go", "y");
    write(dir.path(), "lib/gen/y.go", "y");
    assert_eq!(sight.until_now(), one("../lib/deep/x.go", Modified));
    write(dir.path(), "lib/new/z.go", "y");
    assert_eq!(sight.until_now(), one("../lib/new/z.go", Created));
}

/// A build may have read what was in it, and nothing in the tree tells of that any more.
#[test]
fn what_came_with_a_folder_and_went_with_it_is_not_passed_over() {
    let (dir, root) = temp(&[("f", "x")]);
    write(dir.path(), "away/d2/f4", "y");
    let [away, here] = [dir.path().join("away/d2"), root.join("d2")];
    let (began, batches) = channel();
    let surroundings = Surroundings {
        before_batch: move || {
            let _ = began.send(());
        },
        capacity: INBOX,
        mounts: Surroundings::default().mounts,
        cookie_patience: DEADLINE,
    };
    let slow = Scope {
        debounce: Duration::from_secs(1),
        ..patient(&root)
    };
    let sight = Sight::within(surroundings, slow);
    while batches.try_recv().is_ok() {}
    fs::rename(&away, &here).expect("rename");
    // Each of these makes a batch after that of the folder; when one begins, those before it are done.
    let mut begun = 0;
    for n in 0.. {
        sight.write(&format!("poke-{n}"), "");
        let batch = batches.recv_timeout(Duration::from_millis(20));
        begun += usize::from(batch.is_ok());
        if begun == 3 {
            break;
        }
    }
    fs::rename(&here, &away).expect("rename");
    let mut told = Vec::new();
    while !told.iter().any(|path| path == Path::new("d2/f4")) {
        match sight.next() {
            Seen::Changes(set) => {
                told.extend(set.changes.into_iter().map(|change| change.path));
                told.extend(set.stirred.into_iter().map(|stirred| stirred.path));
            }
            Seen::Settings(_)
            | Seen::Note(_)
            | Seen::Read(_)
            | Seen::Heard(..)
            | Seen::CaughtUp(_) => {}
        }
    }
}

#[test]
fn names_that_are_not_utf8_survive() {
    let (_dir, root) = temp(&[]);
    let odd = |bytes: &[u8]| root.join(OsStr::from_bytes(bytes));
    let sight = Sight::new(patient(&root));
    fs::create_dir(odd(b"d\xff\n")).expect("mkdir");
    fs::write(odd(b"d\xff\n/\xfe $(id)"), "x").expect("write");
    let Seen::Changes(set) = sight.next() else {
        panic!("no changes")
    };
    assert_eq!(set.changes.len(), 1);
    assert_eq!(
        set.changes[0].path.as_os_str().as_bytes(),
        b"d\xff\n/\xfe $(id)"
    );
}

#[test]
fn a_save_right_after_the_start_is_never_lost() {
    for n in 0..50 {
        let (_dir, root) = temp(&[("f", "aaaa")]);
        let sight = Sight::new(scope(&root));
        sight.write("f", "bbbb");
        assert_eq!(sight.changes(), one("f", Modified), "{n}");
    }
}

#[test]
fn a_file_written_all_the_time_does_not_delay_the_others_for_long() {
    let (_dir, root) = temp(&[("f", "x")]);
    let sight = Sight::new(scope(&root));
    let (stop, stopped) = channel::<()>();
    let log = root.join("app.log");
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let mut log = fs::File::create(log).expect("create");
        while stopped.recv_timeout(Duration::from_millis(2)).is_err() {
            log.write_all(b"line\n").expect("write");
        }
    });
    assert_eq!(sight.changes(), one("app.log", Created));
    let mut waits = Vec::new();
    for n in 0..10 {
        sight.write("f", &n.to_string());
        let saved = Instant::now();
        while !sight.changes().contains(&("f".to_owned(), Modified)) {}
        waits.push(saved.elapsed());
    }
    stop.send(()).expect("stop");
    writer.join().expect("writer");
    waits.sort();
    // Two caps are 60 ms; the median leaves room for a busy machine, max_wait would be 1000.
    assert!(waits[5] < Duration::from_millis(200), "{waits:?}");
}

#[test]
fn lost_events_are_made_up_for_by_comparing() {
    let (_dir, root) = temp(&[
        ("same", "x"),
        ("changed", "x"),
        ("removed", "x"),
        ("old/f", "x"),
        ("chmod", "x"),
    ]);
    let gate = Arc::new(Mutex::new(()));
    let held = Arc::clone(&gate);
    let surroundings = Surroundings {
        capacity: 8,
        before_batch: move || drop(held.lock().expect("gate")),
        mounts: PathBuf::new(),
        cookie_patience: DEADLINE,
    };
    let sight = Sight::within(surroundings, patient(&root));
    let lock = gate.lock().expect("gate");
    for n in 0..200 {
        sight.write(&format!("noise-{n}"), "x");
        fs::remove_file(root.join(format!("noise-{n}"))).expect("remove");
    }
    sight.write("changed", "y");
    fs::remove_file(root.join("removed")).expect("remove");
    fs::remove_dir_all(root.join("old")).expect("remove");
    sight.write("new/deep/f", "x");
    fs::set_permissions(root.join("chmod"), fs::Permissions::from_mode(0o755)).expect("chmod");
    drop(lock);
    assert_eq!(
        sight.next(),
        Seen::Note("events were lost; comparing every file".to_owned())
    );
    let expected = [
        ("changed", Modified),
        ("new/deep/f", Created),
        ("old/f", Removed),
        ("removed", Removed),
    ];
    assert_eq!(
        sight.changes(),
        expected.map(|(path, kind)| (path.to_owned(), kind))
    );
    // The directories made meanwhile are watched.
    sight.write("new/deep/f", "y");
    assert_eq!(sight.until_now(), one("new/deep/f", Modified));
    assert_eq!(sight.watcher.dirs(), 3);
}

/// A process that does not outlive its test, stopped or not.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// More events than the kernel keeps (16384) while the whole process is stopped.
#[test]
fn the_kernels_own_overflow_is_made_up_for() {
    use std::io::{BufRead, BufReader};
    let (_dir, root) = temp(&[("hot", "x"), ("f", "x"), ("old/f", "x")]);
    let exe = std::env::current_exe().expect("this test");
    let child = Command::new(exe)
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "watch::tests::says_what_it_sees",
        ])
        .env("DEVWATCH_TEST_ROOT", &root)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("spawn");
    let mut child = Ended(child);
    let mut lines = BufReader::new(child.0.stdout.take().expect("piped"))
        .lines()
        .map(|line| line.expect("line"));
    let pid = nix::unistd::Pid::from_raw(child.0.id().cast_signed());
    let signal = |signal| nix::sys::signal::kill(pid, signal).expect("signal");
    assert!(lines.any(|line| line.contains("ready")));
    // From here on its content is known; before, a busy machine may not have come to read it.
    write(&root, "hot", "y");
    assert_eq!(lines.next().as_deref(), Some("hot Modified"));
    signal(nix::sys::signal::Signal::SIGSTOP);
    for n in 0..20_000 {
        let (from, to) = if n % 2 == 0 {
            ("hot", "cold")
        } else {
            ("cold", "hot")
        };
        fs::rename(root.join(from), root.join(to)).expect("rename");
    }
    write(&root, "f", "y");
    write(&root, "late/g", "y");
    fs::remove_dir_all(root.join("old")).expect("remove");
    signal(nix::sys::signal::Signal::SIGCONT);
    let said: Vec<String> = lines.by_ref().take(4).collect();
    write(&root, "late/g", "z");
    let more = lines.next();
    write(&root, "end", "");
    assert!(child.0.wait().expect("wait").success());
    assert!(said[0].contains("events were lost"), "{said:?}");
    assert_eq!(said[1..], ["f Modified", "late/g Created", "old/f Removed"]);
    assert_eq!(more.as_deref(), Some("late/g Modified"));
}

#[test]
#[ignore = "the stopped half of another test"]
fn says_what_it_sees() {
    let Some(root) = std::env::var_os("DEVWATCH_TEST_ROOT") else {
        return;
    };
    let sight = Sight::new(patient(Path::new(&root)));
    println!("ready");
    loop {
        match sight.next() {
            Seen::Note(text) => println!("{text}"),
            Seen::Settings(paths) => println!("{paths:?}"),
            Seen::Read(_) | Seen::Heard(..) | Seen::CaughtUp(_) => {}
            Seen::Changes(set) => {
                for (path, kind) in shown(&set.changes) {
                    if path == "end" {
                        return;
                    }
                    println!("{path} {kind:?}");
                }
            }
        }
    }
}

fn git(dir: &Path, args: &[&str]) {
    let git = Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "init.defaultBranch=main",
            "-c",
            "gc.auto=0",
        ])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .current_dir(dir)
        .output()
        .expect("git");
    assert!(git.status.success(), "{args:?}: {git:?}");
}

#[test]
fn a_checkout_that_changes_500_files_is_one_set() {
    let (_dir, root) = temp(&[]);
    for n in 0..500 {
        write(&root, &format!("d{}/f{n}", n % 50), "old");
    }
    git(&root, &["init"]);
    git(&root, &["add", "."]);
    git(&root, &["commit", "-m", "one"]);
    git(&root, &["checkout", "-b", "other"]);
    let mut expected = Vec::new();
    for n in 0..500 {
        let path = format!("d{}/f{n}", n % 50);
        if n % 50 == 7 {
            fs::remove_file(root.join(&path)).expect("remove");
            write(&root, &format!("new{n}/deep/f"), "new");
            expected.push((path, Removed));
            expected.push((format!("new{n}/deep/f"), Created));
        } else {
            write(&root, &path, "new");
            expected.push((path, Modified));
        }
    }
    expected.sort_by(|a, b| Path::new(&a.0).cmp(Path::new(&b.0)));
    git(&root, &["add", "-A"]);
    git(&root, &["commit", "-m", "two"]);
    git(&root, &["checkout", "main"]);

    let sight = Sight::new(scope(&root));
    git(&root, &["checkout", "other"]);
    assert_eq!(sight.changes(), expected);
    // What git does without changing the tree is nothing.
    git(&root, &["status"]);
    git(&root, &["commit", "--allow-empty", "-m", "three"]);
    assert_eq!(sight.until_now(), []);
}

#[test]
fn checking_out_and_back_within_a_burst_is_no_change() {
    let (_dir, root) = temp(&[("a", "1"), ("b/c", "1")]);
    git(&root, &["init"]);
    git(&root, &["add", "."]);
    git(&root, &["commit", "-m", "one"]);
    write(&root, "a", "2");
    write(&root, "b/c", "2");
    let gate = Arc::new(Mutex::new(()));
    let held = Arc::clone(&gate);
    let surroundings = Surroundings {
        capacity: INBOX,
        mounts: PathBuf::new(),
        cookie_patience: DEADLINE,
        before_batch: move || drop(held.lock().expect("gate")),
    };
    let sight = Sight::within(surroundings, patient(&root));
    // So that both have their baseline: it comes before this in the channel, or they are reported here.
    sight.write("a", "3");
    sight.write("b/c", "3");
    sight.until_now();
    let lock = gate.lock().expect("gate");
    git(&root, &["stash"]);
    git(&root, &["stash", "pop"]);
    drop(lock);
    assert_eq!(sight.until_now(), []);
}

#[test]
fn nothing_is_reported_while_git_holds_its_lock() {
    let (_dir, root) = temp(&[("f", "x"), ("g", "x"), (".git/HEAD", "")]);
    let sight = Sight::new(scope(&root));
    sight.has_read();
    sight.write(".git/index.lock", "");
    sight.write("f", "y");
    assert!(sight.seen.recv_timeout(Duration::from_millis(300)).is_err());
    sight.write("g", "y");
    fs::remove_file(root.join(".git/index.lock")).expect("remove");
    assert_eq!(
        sight.changes(),
        [("f".to_owned(), Modified), ("g".to_owned(), Modified)]
    );
    // One that a dead git left behind holds nothing.
    sight.write(".git/index.lock", "");
    let lock = fs::File::options()
        .write(true)
        .open(root.join(".git/index.lock"))
        .expect("open");
    lock.set_modified(std::time::SystemTime::now() - Duration::from_secs(60))
        .expect("age");
    sight.write("f", "z");
    assert_eq!(sight.changes(), one("f", Modified));
}

#[test]
fn settings_are_read_whole_and_only_their_content_counts() {
    let (dir, root) = temp(&[
        ("devwatch.toml", "a"),
        (".env", "A=1"),
        (".gitignore", ".env\n"),
    ]);
    let settings = vec![
        root.join("devwatch.toml"),
        root.join(".env"),
        root.join("conf/missing.env"),
        dir.path().join("shared/env"),
    ];
    let sight = Sight::new(Scope {
        settings: settings.clone(),
        ..scope(&root)
    });
    // By rename over, as editors do.
    for text in ["b", "c"] {
        sight.write("devwatch.toml.tmp", text);
        fs::rename(root.join("devwatch.toml.tmp"), root.join("devwatch.toml")).expect("rename");
        assert_eq!(sight.settings(), settings[..1]);
    }
    // In place, and ignored by git.
    sight.write(".env", "A=2");
    assert_eq!(sight.settings(), settings[1..2]);
    // On a busy machine it may have been read between its truncation and its content, and once more after that.
    sight.write("devwatch.toml.tmp", "d");
    fs::rename(root.join("devwatch.toml.tmp"), root.join("devwatch.toml")).expect("rename");
    while !sight.settings().contains(&settings[0]) {}
    // The same bytes are nothing; a missing one that appears, in a folder that was not there, is something.
    sight.write(".env.tmp", "A=2");
    fs::rename(root.join(".env.tmp"), root.join(".env")).expect("rename");
    // Moved there: between its creation and its content it could be read, too.
    let put = |path: &Path, text: &str| {
        write(dir.path(), "aside", text);
        fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        fs::rename(dir.path().join("aside"), path).expect("rename");
    };
    put(&settings[2], "B=1");
    assert_eq!(sight.settings(), settings[2..3]);
    put(&settings[3], "C=1");
    assert_eq!(sight.settings(), settings[3..4]);
    fs::remove_file(root.join(".env")).expect("remove");
    assert_eq!(sight.settings(), settings[1..2]);
    fs::remove_dir_all(root.join("conf")).expect("remove");
    assert_eq!(sight.settings(), settings[2..3]);
}

#[test]
fn a_setting_that_is_a_link_is_followed() {
    let (dir, root) = temp(&[]);
    write(dir.path(), "secrets/env", "A=1");
    symlink("../secrets/env", root.join(".env")).expect("link");
    let sight = Sight::new(Scope {
        settings: vec![root.join(".env")],
        ..scope(&root)
    });
    write(dir.path(), "secrets/env", "A=2");
    assert_eq!(sight.settings(), [root.join(".env")]);
}

#[test]
fn a_root_that_is_removed_and_restored_is_compared() {
    let (dir, root) = temp(&[("a", "1"), ("d/b", "1"), ("c", "1")]);
    let sight = Sight::new(patient(&root));
    sight.write("a", "2");
    assert_eq!(sight.until_now(), one("a", Modified));
    fs::remove_dir_all(&root).expect("remove");
    assert!(matches!(sight.next(), Seen::Note(text) if text.contains("is gone")));
    write(dir.path(), "new/a", "2");
    write(dir.path(), "new/d/b", "2");
    fs::rename(dir.path().join("new"), &root).expect("rename");
    assert!(matches!(sight.next(), Seen::Note(text) if text.contains("is back")));
    let expected = [("c", Removed), ("d/b", Modified), ("marker-1", Removed)];
    assert_eq!(
        sight.until_now(),
        expected.map(|(path, kind)| (path.to_owned(), kind))
    );
    // Replaced by another one at once.
    fs::rename(&root, dir.path().join("old")).expect("rename");
    write(&root, "d/b", "3");
    let expected = [("a", Removed), ("d/b", Modified), ("marker-2", Removed)];
    assert_eq!(
        sight.until_now(),
        expected.map(|(path, kind)| (path.to_owned(), kind))
    );
    // Away and back: the same folder, but the kernel's watches are another matter.
    fs::rename(&root, dir.path().join("away")).expect("rename");
    fs::rename(dir.path().join("away"), &root).expect("rename");
    write(&root, "d/b", "4");
    assert_eq!(sight.until_now(), one("d/b", Modified));
    fs::write(dir.path().join("old/a"), "unseen").expect("write");
    assert_eq!(sight.until_now(), []);
}

#[test]
fn a_folder_that_may_not_be_read_is_seen_once_it_may() {
    let (_dir, root) = temp(&[("secret/f", "x"), ("z/g", "x")]);
    let secret = root.join("secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("chmod");
    if fs::read_dir(&secret).is_ok() {
        eprintln!("skipped: this user may read everything");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o755)).expect("chmod");
        return;
    }
    let sight = Sight::new(patient(&root));
    sight.write("z/g", "y");
    assert_eq!(sight.until_now(), one("z/g", Modified));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o755)).expect("chmod");
    assert_eq!(sight.until_now(), one("secret/f", Created));
    sight.write("secret/f", "y");
    assert_eq!(sight.until_now(), one("secret/f", Modified));
}

/// Runs `test` of this file again, in a user namespace of its own where `limit` is `value`. Needs no privilege.
fn under_limit(limit: &str, value: u32, test: &str) {
    let exe = std::env::current_exe().expect("this test");
    let script = format!(
        "echo {value} > /proc/sys/user/{limit} || exit 77; exec \"$0\" --exact --ignored {test} --nocapture"
    );
    let run = Command::new("unshare")
        .args(["-Ur", "sh", "-c", &script])
        .arg(&exe)
        .output();
    match run {
        Ok(run)
            if run.status.code() == Some(77)
                || String::from_utf8_lossy(&run.stderr).contains("unshare") =>
        {
            eprintln!("skipped: no user namespaces here");
        }
        Ok(run) => assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        ),
        Err(error) => eprintln!("skipped: no unshare ({error})"),
    }
}

#[test]
fn what_exceeds_the_limit_of_watches_is_polled() {
    under_limit(
        "max_inotify_watches",
        5,
        "watch::tests::every_file_is_seen_whatever_the_limit",
    );
}

#[test]
fn without_any_inotify_everything_is_polled() {
    under_limit(
        "max_inotify_instances",
        0,
        "watch::tests::every_file_is_seen_whatever_the_limit",
    );
}

#[test]
#[ignore = "run by the tests of the limits"]
fn every_file_is_seen_whatever_the_limit() {
    let (_dir, root) = temp(&[("conf/env", "x")]);
    for n in 0..10 {
        write(&root, &format!("d{n}/f"), "x");
    }
    let sight = Sight::new(Scope {
        settings: vec![root.join("conf/env")],
        ..scope(&root)
    });
    assert!(
        matches!(sight.next(), Seen::Note(text) if text.contains("are polled meanwhile") && text.contains("sudo sysctl -w user.max_inotify_"))
    );
    for n in 0..10 {
        write(&root, &format!("d{n}/f"), "y");
        assert_eq!(sight.changes(), one(&format!("d{n}/f"), Modified));
    }
    write(&root, "conf/env", "y");
    assert_eq!(sight.settings(), [root.join("conf/env")]);
    write(&root, "new/deep/f", "y");
    while !sight
        .changes()
        .contains(&("new/deep/f".to_owned(), Created))
    {}
    write(&root, "new/deep/f", "z");
    assert_eq!(sight.changes(), one("new/deep/f", Modified));
    fs::remove_dir_all(root.join("new")).expect("remove");
    assert_eq!(sight.changes(), one("new/deep/f", Removed));
}

/// A change without an event, as another machine makes it: the kernel tells only of the name that was used.
struct Elsewhere {
    _dir: TempDir,
    root: PathBuf,
    other_name: PathBuf,
}

impl Elsewhere {
    fn new() -> Elsewhere {
        let (dir, base) = temp(&[("root/sub/f", "x"), ("far/keep", "")]);
        let other_name = base.join("far/f");
        fs::hard_link(base.join("root/sub/f"), &other_name).expect("link");
        Elsewhere {
            _dir: dir,
            root: base.join("root"),
            other_name,
        }
    }

    /// On a filesystem of this kind, as far as the table of mounts says.
    fn on(&self, kind: &str) -> Surroundings<fn()> {
        let device = fs::metadata(&self.root).expect("root").dev();
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        let mounts = self.other_name.with_file_name("mounts");
        let line = format!("1 1 {major}:{minor} / / rw - {kind} host:/ rw\n");
        fs::write(&mounts, line).expect("write");
        Surroundings {
            mounts,
            ..Surroundings::default()
        }
    }

    fn change(&self, content: &str) {
        fs::write(&self.other_name, content).expect("write");
    }
}

#[test]
fn what_changes_without_an_event_is_found_when_somebody_asks_to_compare() {
    let elsewhere = Elsewhere::new();
    let sight = Sight::new(scope(&elsewhere.root));
    sight.has_read();
    elsewhere.change("y");
    assert_eq!(sight.until_now(), []);
    sight.watcher.compare();
    assert_eq!(sight.changes(), one("sub/f", Modified));
    assert_eq!(sight.watcher.unwatched(), 0);
}

#[test]
fn where_others_write_folders_are_polled_beside_their_events_and_that_is_said() {
    let elsewhere = Elsewhere::new();
    let sight = Sight::within(elsewhere.on("nfs4"), scope(&elsewhere.root));
    assert!(matches!(sight.next(), Seen::Note(text) if text.contains("is on nfs4")));
    elsewhere.change("y");
    assert_eq!(sight.changes(), one("sub/f", Modified));
    // Not only then: an event is faster.
    sight.write("sub/f", "z");
    assert_eq!(sight.changes(), one("sub/f", Modified));
    assert_eq!(sight.watcher.unwatched(), 0);

    let off = Scope {
        poll: Poll::Off,
        ..scope(&elsewhere.root)
    };
    let sight = Sight::within(elsewhere.on("nfs4"), off);
    sight.has_read();
    elsewhere.change("off");
    assert_eq!(sight.until_now(), []);
}

#[test]
fn an_interval_polls_everything_and_places_no_watch() {
    let elsewhere = Elsewhere::new();
    let sight = Sight::new(Scope {
        poll: Poll::Every(Duration::from_millis(20)),
        ..scope(&elsewhere.root)
    });
    assert_eq!(sight.watcher.unwatched(), 2);
    elsewhere.change("y");
    assert_eq!(sight.changes(), one("sub/f", Modified));
    sight.write("new/deep/g", "x");
    assert_eq!(sight.changes(), one("new/deep/g", Created));
    fs::remove_dir_all(elsewhere.root.join("new")).expect("remove");
    assert_eq!(sight.changes(), one("new/deep/g", Removed));
    assert_eq!(sight.watcher.dirs(), 2);
}

#[test]
fn a_kernel_that_says_nothing_is_found_out_and_one_that_speaks_is_believed() {
    let elsewhere = Elsewhere::new();
    let cookies = elsewhere.root.with_file_name("cookies");
    fs::create_dir(&cookies).expect("mkdir");
    fs::write(cookies.join("seen.1.2"), "").expect("write");
    fs::write(cookies.join("state"), "").expect("write");
    let probing = || Scope {
        cookies: Some(cookies.clone()),
        ..scope(&elsewhere.root)
    };
    let sight = Sight::new(probing());
    assert_eq!(sight.until_now(), []);
    assert_eq!(sight.watcher.unwatched(), 0);
    drop(sight);
    // Its own are gone, and what a killed one has left.
    assert_eq!(fs::read_dir(&cookies).expect("read").count(), 1);

    let surroundings = Surroundings {
        cookie_patience: Duration::ZERO,
        ..Surroundings::default()
    };
    let sight = Sight::within(surroundings, probing());
    assert!(matches!(sight.next(), Seen::Note(text) if text.contains("tells of no change")));
    elsewhere.change("y");
    assert_eq!(sight.changes(), one("sub/f", Modified));
    assert_eq!(sight.watcher.unwatched(), 2);
}

/// A tree that takes all lanes, and a folder for cookies beside it.
fn wide() -> (TempDir, PathBuf, Scope) {
    let (dir, base) = temp(&[]);
    fs::create_dir(base.join("cookies")).expect("mkdir");
    let root = base.join("root");
    for n in 0..100 {
        write(&root, &format!("d{n}/sub/f"), "x");
    }
    let scope = Scope {
        cookies: Some(base.join("cookies")),
        ..scope(&root)
    };
    (dir, root, scope)
}

/// Each round changes something, another thing than all others, asks at once, and it has to be told before the answer.
fn catches_up(sight: &Sight, rounds: std::ops::Range<u64>) {
    let mut told_late = Vec::new();
    for round in rounds {
        let n = round * 37 % 100;
        let (path, kind) = match round % 4 {
            0 | 1 => (format!("d{n}/sub/f"), Modified),
            2 => (format!("d{n}/new-{round}/deep/g"), Created),
            _ => (format!("d{n}/moved-{round}/f"), Created),
        };
        let gate = Arc::clone(&sight.watcher.flags.gate);
        let held = round.is_multiple_of(80).then(|| gate.lock().expect("gate"));
        if held.is_some() {
            // The queue that will tell of it has a lot to tell before, more than is taken at once, while the others have
            // nothing to do. All of it is ignored: two names in turn, because the kernel folds equal events into one.
            for noise in 0..BATCH {
                let name = format!("d{n}/sub/noise-{}~", noise % 2);
                fs::write(sight.root.join(name), "").expect("write");
            }
        }
        if round % 4 == 3 {
            let [from, to] = ["sub", &format!("moved-{round}")]
                .map(|name| sight.root.join(format!("d{n}")).join(name));
            fs::rename(from, to).expect("rename");
        } else {
            sight.write(&path, &round.to_string());
        }
        sight.watcher.catch_up(round);
        drop(held);
        let told = sight.until_caught_up(round);
        if !told.contains(&(path.clone(), kind)) {
            told_late.push((round, path, told));
        }
        if round % 4 == 3 {
            write(&sight.root, &format!("d{n}/sub/f"), "x");
        }
    }
    assert!(told_late.is_empty(), "{told_late:?}");
}

#[test]
fn what_happened_before_somebody_asked_is_told_before_the_answer() {
    let (_dir, _, scope) = wide();
    let cookies = scope.cookies.clone().expect("given");
    let surroundings = Surroundings {
        cookie_patience: DEADLINE,
        ..Surroundings::default()
    };
    let sight = Sight::within(surroundings, scope);
    catches_up(&sight, 0..400);
    assert_eq!(sight.watcher.unwatched(), 0);
    assert_eq!(fs::read_dir(&cookies).expect("read").count(), 0);
    // What else is written there is no business of anybody.
    sight.catch_up(0);
    write(&cookies, "state", "x");
    assert_eq!(sight.catch_up(0), []);
    // It may go, and come back.
    fs::remove_dir_all(&cookies).expect("remove");
    catches_up(&sight, 400..408);
    fs::create_dir(&cookies).expect("mkdir");
    catches_up(&sight, 408..416);
}

#[test]
fn without_cookies_or_without_events_a_comparison_answers() {
    let (_dir, root, scope) = wide();
    let hour = Duration::from_secs(3600);
    let locked = root.with_file_name("locked");
    fs::create_dir(&locked).expect("mkdir");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).expect("chmod");
    let all = [
        (None, Poll::Auto),
        // Not there; nobody may write, not even root; nobody but root.
        (Some(root.with_file_name("missing")), Poll::Auto),
        (Some(PathBuf::from("/proc/self")), Poll::Auto),
        (Some(locked), Poll::Off),
        (scope.cookies.clone(), Poll::Every(hour)),
    ];
    for (part, (cookies, poll)) in (0..).zip(all) {
        let sight = Sight::new(Scope {
            cookies,
            poll,
            ..scope.clone()
        });
        catches_up(&sight, part * 12..part * 12 + 12);
    }
    // A cookie that never comes back, in time.
    let surroundings = Surroundings {
        cookie_patience: Duration::ZERO,
        ..Surroundings::default()
    };
    let off = Scope {
        poll: Poll::Off,
        ..scope
    };
    let sight = Sight::within(surroundings, off);
    catches_up(&sight, 100..112);
    assert_eq!(sight.watcher.unwatched(), 0);
}

/// The look that misses the folder, and the one that would find it again, leave room for a judgement in between.
#[test]
fn a_folder_that_goes_comes_back_and_goes_again_is_told_to_be_gone() {
    let (_dir, root) = temp(&[("keep", "x")]);
    let sight = Sight::new(Scope {
        debounce: Duration::from_millis(5),
        poll: Poll::Every(Duration::from_millis(20)),
        ..scope(&root)
    });
    for round in 0..60 {
        sight.write("d/e/f", "x");
        sight.catch_up(round);
        // Any moment will do, and the right one is among them.
        let pause = Duration::from_millis(round * 7 % 25);
        fs::remove_dir_all(root.join("d")).expect("remove");
        std::thread::sleep(pause);
        sight.write("d/e/f", "x");
        std::thread::sleep(Duration::from_millis(8));
        fs::remove_dir_all(root.join("d")).expect("remove");
        let told = sight.catch_up(round);
        assert!(
            told.contains(&("d/e/f".to_owned(), Removed)),
            "round {round}: {told:?}"
        );
    }
}

#[test]
fn a_comparison_after_lost_events_answers_too() {
    let (_dir, root, scope) = wide();
    let surroundings = Surroundings {
        capacity: 4,
        ..Surroundings::default()
    };
    let sight = Sight::within(surroundings, scope);
    let (stop, stopped) = channel::<()>();
    let noise = std::thread::spawn(move || {
        for n in 0.. {
            if stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty) {
                return;
            }
            let _ = fs::write(root.join(format!("d{}/noise", n % 100)), n.to_string());
            std::thread::sleep(Duration::from_micros(50));
        }
    });
    catches_up(&sight, 0..60);
    drop(stop);
    noise.join().expect("noise");
}

#[test]
fn everybody_who_asks_is_answered_once() {
    let (_dir, root, scope) = wide();
    let sight = Sight::new(scope);
    let mut answered = Vec::new();
    for token in 0..100 {
        for n in 0..20 {
            write(&root, &format!("d{n}/storm-{token}"), "x");
        }
        sight.watcher.catch_up(token);
    }
    while answered.len() < 100 {
        if let Seen::CaughtUp(token) = sight.next() {
            answered.push(token);
        }
    }
    assert_eq!(sight.catch_up(100), []);
    // Whoever asks too late is not answered at all.
    let Sight { seen, watcher, .. } = sight;
    drop(watcher);
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::CaughtUp(_))));
    answered.sort_unstable();
    assert!(answered.into_iter().eq(0..100));
}

#[test]
fn without_files_or_groups_sums_are_told_all_the_same() {
    let (_dir, root) = temp(&[]);
    let sight = Sight::new(Scope {
        groups: vec![globs(&["**"]), globs(&[])],
        ..scope(&root)
    });
    assert_eq!(sight.next_of_all(), Seen::Read(vec![Sum(0), Sum(0)]));
    let sight = Sight::new(scope(&root));
    assert_eq!(sight.next_of_all(), Seen::Read(Vec::new()));
    sight.write("f", "x");
    assert_eq!(sight.changes(), one("f", Created));
    sight.has_sums_of(&[]);
}

#[test]
fn sums_are_those_of_the_files_whatever_kind_they_are_and_where_they_lie() {
    let (dir, root) = temp(&[
        ("src/a.rs", "x"),
        ("src/b.rs", "y"),
        ("out/made.rs", "x"),
        ("big", &"x".repeat(2 << 20)),
        ("ignored.log", "x"),
        (".gitignore", "*.log\n"),
    ]);
    write(dir.path(), "lib/x.go", "x");
    write(dir.path(), "linked/y.go", "x");
    symlink(dir.path().join("linked"), root.join("link")).expect("link");
    let extra = dir.path().canonicalize().expect("root").join("lib");
    let sight = Sight::new(Scope {
        extra_roots: vec![extra],
        follow_links: true,
        groups: vec![
            globs(&["**/*.rs"]),
            globs(&["**", "../lib/**", "!src/**"]),
            globs(&["**/*.go", "../**/*.go"]),
        ],
        made: vec![globs(&["out/**"])],
        ..patient(&root)
    });
    let all = |more: &[&'static str]| {
        let kept = [".gitignore", "big", "link", "link/y.go", "../lib/x.go"];
        [&kept, more].concat()
    };
    let go = ["link/y.go", "../lib/x.go"];
    let rs = ["src/a.rs", "src/b.rs"];
    sight.has_sums_of(&[&rs, &all(&[]), &go]);
    let before = sight.sums.borrow().clone();

    sight.write("src/a.rs", "y");
    sight.write("src/b.rs", "x");
    sight.write("big", &"y".repeat(2 << 20));
    sight.write("new", "x");
    write(dir.path(), "lib/x.go", "y");
    write(dir.path(), "linked/y.go", "y");
    sight.has_sums_of(&[&rs, &all(&["new"]), &go]);
    let after = sight.sums.borrow().clone();
    // The same contents under each other's names are other sums.
    for (before, after) in before.iter().flatten().zip(after.iter().flatten()) {
        assert_ne!(before, after);
    }
    sight.write("out/made.rs", "y");
    assert!(
        sight
            .until_now()
            .contains(&("out/made.rs".to_owned(), Modified))
    );
    let kept = sight.sums.borrow().clone().map(|sums| (sums[0], sums[2]));
    assert_eq!(kept, after.map(|sums| (sums[0], sums[2])));

    // A file, and a link with the same text.
    sight.write("src/a.rs", "b.rs");
    sight.has_sums_of(&[&rs, &all(&["new", "marker-1"]), &go]);
    fs::remove_file(root.join("src/a.rs")).expect("remove");
    symlink("b.rs", root.join("src/a.rs")).expect("link");
    sight.has_sums_of(&[&rs, &all(&["new", "marker-1"]), &go]);
    fs::rename(root.join("src"), dir.path().join("away")).expect("rename");
    fs::remove_file(root.join("link")).expect("remove");
    sight.has_sums_of(&[
        &[],
        &[".gitignore", "big", "new", "marker-1", "../lib/x.go"],
        &["../lib/x.go"],
    ]);
}

#[test]
fn sums_follow_an_ignore_file_even_if_no_file_of_the_tree_has_changed() {
    let (_dir, root) = temp(&[
        (".git/info/exclude", "f\n"),
        ("app/f", "x"),
        ("app/g", "y"),
        ("app/gen/h", "z"),
    ]);
    let sight = Sight::new(Scope {
        groups: vec![globs(&["**"])],
        ..scope(&root.join("app"))
    });
    sight.has_sums_of(&[&["g", "gen/h"]]);
    write(&root, ".git/info/exclude", "g\ngen\n");
    sight.has_sums_of(&[&["f"]]);
    write(&root, ".git/info/exclude", "\n");
    sight.has_sums_of(&[&["f", "g", "gen/h"]]);
    // Nothing but a file that is hidden: that is no change, and told all the same.
    write(&root, ".git/info/exclude", "g\n");
    assert!(matches!(sight.next_of_all(), Seen::Read(_)));
    sight.has_sums_of(&[&["f", "gen/h"]]);
}

/// Its attributes are no change, so no event has it read again.
#[test]
fn what_was_changing_when_its_turn_came_to_be_read_counts_with_its_content() {
    let (_dir, root) = temp(&[]);
    let names: Vec<String> = (0..1500).map(|n| format!("f{n}")).collect();
    for name in &names {
        write(&root, name, name);
    }
    // Those younger than the clock's grain are read at once.
    let newest = fs::metadata(root.join("f1499")).expect("stat").modified();
    let newest = newest.expect("time");
    while newest.elapsed().unwrap_or_default() < 2 * CLOCK_GRAIN {
        std::thread::yield_now();
    }
    let sight = Sight::new(Scope {
        groups: vec![globs(&["*"])],
        ..scope(&root)
    });
    for name in &names {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    sight.has_sums_of(&[&names]);
}

/// Neither an event nor a content says what a file is that nobody may read, but when that ends there is something to
/// tell.
#[test]
fn what_may_not_be_read_counts_until_it_may() {
    let (_dir, root) = temp(&[("f", "x")]);
    fs::set_permissions(root.join("f"), fs::Permissions::from_mode(0o000)).expect("chmod");
    if fs::read(root.join("f")).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    let sight = Sight::new(Scope {
        groups: vec![globs(&["**"])],
        ..patient(&root)
    });
    sight.has_sums_of(&[&["f"]]);
    fs::set_permissions(root.join("f"), fs::Permissions::from_mode(0o644)).expect("chmod");
    assert_eq!(sight.changes(), one("f", Modified));
    sight.has_sums_of(&[&["f"]]);
}

#[test]
fn links_are_followed_when_asked_and_loops_end() {
    let (_dir, base) = temp(&[("root/src/f", "x"), ("lib/a/f", "x"), ("lib/b/f", "x")]);
    let root = base.join("root");
    let link =
        |target: &str, name: &str| symlink(base.join(target), root.join(name)).expect("link");
    link("lib", "lib");
    link("lib", "twice");
    link("root/src", "inside");
    link("", "around");
    symlink(base.join("lib/a"), base.join("lib/a/itself")).expect("link");
    let sight = Sight::new(Scope {
        follow_links: true,
        ..scope(&root)
    });
    // The root, src, and below the one link that is followed: itself, a, b.
    assert_eq!(sight.watcher.dirs(), 5);
    write(&base, "lib/a/f", "y");
    assert_eq!(sight.changes(), one("lib/a/f", Modified));
    write(&base, "lib/new/deep/f", "y");
    assert_eq!(sight.changes(), one("lib/new/deep/f", Created));
    write(&base, "root/src/f", "y");
    assert_eq!(sight.changes(), one("src/f", Modified));

    // A link that leads elsewhere is another folder.
    write(&base, "other/g", "x");
    fs::remove_file(root.join("lib")).expect("remove");
    link("other", "lib");
    let changes = sight.until_now();
    for expected in [("lib", Modified), ("lib/a/f", Removed), ("lib/g", Created)] {
        let (path, kind) = expected;
        assert!(
            changes.contains(&(path.to_owned(), kind)),
            "{expected:?} in {changes:?}"
        );
    }
    write(&base, "other/g", "y");
    assert_eq!(sight.changes(), one("lib/g", Modified));
    fs::remove_file(root.join("lib")).expect("remove");
    let changes = sight.until_now();
    assert!(
        changes.contains(&("lib/g".to_owned(), Removed)),
        "{changes:?}"
    );
}

#[test]
fn dropping_the_watcher_ends_its_threads_and_its_reports() {
    let (_dir, root) = temp(&[("f", "x")]);
    let sight = Sight::new(scope(&root));
    sight.has_read();
    let Sight { seen, watcher, .. } = sight;
    drop(watcher);
    fs::write(root.join("f"), "y").expect("write");
    // The sender lives in the watcher's thread: it has gone with it.
    assert_eq!(
        seen.recv_timeout(DEADLINE),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
    );
}

#[test]
fn a_root_that_is_no_folder_is_an_error() {
    let (_dir, root) = temp(&[("f", "x")]);
    for path in [root.join("f"), root.join("missing")] {
        let error = Watcher::start(scope(&path), |_| ()).expect_err("no folder");
        assert!(error.to_string().contains("cannot watch"), "{error}");
    }
}

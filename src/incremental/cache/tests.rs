//! On real folders: what comes back, what does not, and what is left when devwatch is killed between any two steps.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

use super::*;

const ONE: Key = Key(1);
const TWO: Key = Key(2);
const THREE: Key = Key(3);
/// What one entry with one small file takes: a blob and a manifest.
const SMALL: u64 = 2 * 4096;

/// A project below a folder of its own, so that `../` is ours too.
struct Project {
    _above: TempDir,
    root: PathBuf,
    cache: Cache,
}

impl Project {
    fn new() -> Project {
        Project::within(LIMIT)
    }

    fn within(limit: u64) -> Project {
        let above = tempfile::tempdir().expect("a folder");
        let root = above.path().join("project");
        fs::create_dir(&root).expect("a folder");
        let cache = Cache::new(&root, limit);
        Project {
            _above: above,
            root,
            cache,
        }
    }

    /// As if devwatch had ended and were started again.
    fn again(&mut self) {
        self.cache = Cache::new(&self.root, self.cache.limit);
    }

    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("folders");
        fs::write(path, text).expect("writes");
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| error.to_string())
    }

    /// What is there now, as the caller of `keep` has it.
    fn looked<P: AsRef<Path>>(&self, paths: &[P]) -> Vec<(PathBuf, Fingerprint)> {
        let look = |path: &Path| fingerprint::of_file(&self.at(path)).expect("reads");
        let looked = paths.iter().map(|path| {
            let path = path.as_ref();
            (path.to_owned(), look(path).expect("is there"))
        });
        looked.collect()
    }

    fn keep(&self, key: Key, paths: &[&str]) -> Kept {
        self.cache.keep(key, &self.looked(paths)).expect("keeps")
    }

    /// Writes one output and keeps it.
    fn keep_text(&self, key: Key, text: &str) {
        self.write("out", text);
        assert_eq!(self.keep(key, &["out"]), Kept::Whole);
    }

    fn find(&self, key: Key) -> Option<Entry> {
        self.cache.find(key, |_| true)
    }

    fn restore(&self, key: Key) -> io::Result<()> {
        self.cache.restore(&self.find(key).expect("is found"))
    }

    fn names(&self, room: &str) -> Vec<OsString> {
        let listed = fs::read_dir(self.at(in_cache(room))).expect("a folder");
        let mut names: Vec<_> = listed
            .map(|entry| entry.expect("a name").file_name())
            .collect();
        names.sort();
        names
    }

    fn blob(&self, text: &str) -> PathBuf {
        let name = manifest::hex(fingerprint::of_bytes(text.as_bytes()));
        self.at(in_cache("blobs")).join(name)
    }

    fn entry(&self, key: Key) -> PathBuf {
        self.at(in_cache("entries")).join(name_of(key))
    }

    /// When an entry was used last, in seconds since 1970.
    fn used(&self, key: Key, seconds: u64) {
        let file = File::open(self.entry(key)).expect("an entry");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
            .expect("a time");
    }

    /// That the folder holds what it has to and nothing else.
    fn assert_clean(&self) {
        assert_eq!(self.names("tmp"), Vec::<OsString>::new());
        let mut named = HashSet::new();
        for name in self.names("entries") {
            let key = name.to_str().expect("a key").parse().expect("a key");
            let entry = self.find(key).expect("a whole manifest");
            let files = entry
                .outputs
                .iter()
                .filter(|output| matches!(output.kind, Kind::File(_)));
            named.extend(files.map(|output| OsString::from(manifest::hex(output.content))));
        }
        assert_eq!(
            self.names("blobs").into_iter().collect::<HashSet<_>>(),
            named
        );
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("is there").mode() & 0o7777
}

#[test]
fn files_links_modes_and_odd_names_come_back_as_they_were() {
    let project = Project::new();
    let odd = PathBuf::from(OsStr::from_bytes(b"gen/\xff\n %20"));
    for path in [
        "bin/api",
        "empty",
        "a/deep/er/file",
        "secret",
        "../lib/beside",
        "read-only",
    ] {
        project.write(path, &format!("text of {path}"));
    }
    project.write("empty", "");
    fs::create_dir(project.at("gen")).expect("a folder");
    fs::write(project.at(&odd), "odd").expect("writes");
    symlink("../bin/api", project.at("gen/link")).expect("links");
    symlink(OsStr::from_bytes(b"no \xff where"), project.at("dangling")).expect("links");
    let modes = [
        ("bin/api", 0o755),
        ("secret", 0o600),
        ("read-only", 0o444),
        ("empty", 0o666),
    ];
    for (path, mode) in modes {
        fs::set_permissions(project.at(path), Permissions::from_mode(mode)).expect("modes");
    }
    let paths: Vec<PathBuf> = [
        "bin/api",
        "empty",
        "a/deep/er/file",
        "secret",
        "../lib/beside",
    ]
    .into_iter()
    .chain(["read-only", "gen/link", "dangling"])
    .map(PathBuf::from)
    .chain([odd.clone()])
    .collect();
    let before = project.looked(&paths);
    assert_eq!(
        project.cache.keep(ONE, &before).expect("keeps"),
        Kept::Whole
    );
    project.assert_clean();

    let entry = project.find(ONE).expect("is found");
    let files: BTreeMap<_, _> = entry.files().collect();
    let expected = before
        .iter()
        .map(|(path, content)| (path.as_path(), *content));
    assert_eq!(files, expected.collect());
    for folder in ["bin", "a", "gen", "../lib"] {
        fs::remove_dir_all(project.at(folder)).expect("removes");
    }
    project.write("empty", "no more");
    fs::remove_file(project.at("dangling")).expect("removes");
    project.write("dangling", "a file now");
    project.cache.restore(&entry).expect("restores");
    assert_eq!(project.looked(&paths), before);
    for (path, expected) in modes {
        assert_eq!(mode(&project.at(path)), expected, "{path}");
    }
    assert_eq!(
        fs::read_link(project.at("gen/link")).expect("a link"),
        Path::new("../bin/api")
    );
    project.assert_clean();
}

#[test]
fn nothing_is_made_before_something_is_kept() {
    let project = Project::within(4096);
    assert_eq!(project.find(ONE), None);
    assert_eq!(project.keep(ONE, &[]), Kept::Nothing);
    project.write("out", "too much with its manifest");
    project.write("large", &"x".repeat(4097));
    assert_eq!(project.keep(ONE, &["large"]), Kept::TooLarge);
    assert!(!project.at(".devwatch").exists());
    assert_eq!(project.keep(ONE, &["out"]), Kept::TooLarge);
    assert_eq!(project.find(ONE), None);
    assert_eq!(project.names("blobs"), Vec::<OsString>::new());
}

#[test]
fn what_is_kept_is_a_copy_that_no_tool_writes_into() {
    let project = Project::new();
    project.keep_text(ONE, "first");
    // In place, as `cp` and some linkers do.
    fs::write(project.at("out"), "other").expect("writes");
    project.restore(ONE).expect("restores");
    assert_eq!(project.text("out"), "first");
    fs::write(project.at("out"), "other").expect("writes");
    project.restore(ONE).expect("restores again");
    assert_eq!(project.text("out"), "first");
}

#[test]
fn what_is_right_stays_and_is_new_to_whoever_looks_at_times() {
    let project = Project::new();
    for path in ["same", "mode", "other"] {
        project.write(path, path);
    }
    symlink("same", project.at("link")).expect("links");
    let paths = ["same", "mode", "other", "link"];
    let before = project.looked(&paths);
    assert_eq!(project.keep(ONE, &paths), Kept::Whole);
    project.write("other", "rehto");
    fs::set_permissions(project.at("mode"), Permissions::from_mode(0o777)).expect("modes");
    let old = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let inodes = || paths.map(|path| fs::symlink_metadata(project.at(path)).expect("is").ino());
    for path in ["same", "mode", "other"] {
        let file = File::open(project.at(path)).expect("opens");
        file.set_modified(old).expect("a time");
    }
    let inodes_before = inodes();
    project.restore(ONE).expect("restores");
    assert_eq!(project.looked(&paths), before);
    assert_ne!(mode(&project.at("mode")), 0o777);
    let stayed = inodes_before
        .iter()
        .zip(inodes())
        .map(|(before, now)| *before == now);
    assert_eq!(stayed.collect::<Vec<_>>(), [true, false, false, true]);
    let modified = |path: &Path| {
        fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .expect("a time")
    };
    for path in ["same", "mode", "other"] {
        let restored = modified(&project.at(path));
        assert!(
            restored > old && restored <= modified(&project.entry(ONE)),
            "{path}"
        );
    }
}

#[test]
fn entries_share_what_they_have_in_common() {
    let project = Project::new();
    for path in ["a", "b", "same"] {
        project.write(path, if path == "same" { "a" } else { path });
    }
    assert_eq!(project.keep(ONE, &["a", "b", "same"]), Kept::Whole);
    assert_eq!(project.names("blobs").len(), 2);
    project.write("b", "new");
    assert_eq!(project.keep(TWO, &["a", "b", "same"]), Kept::Whole);
    assert_eq!(project.names("blobs").len(), 3);
    project.restore(ONE).expect("restores");
    assert_eq!(
        (project.text("b"), project.text("same")),
        ("b".to_owned(), "a".to_owned())
    );
    project.assert_clean();
}

#[test]
fn what_is_kept_for_a_key_later_takes_the_place_of_what_was() {
    let mut project = Project::new();
    project.keep_text(ONE, "first");
    project.keep_text(ONE, "second");
    project.write("out", "");
    project.restore(ONE).expect("restores");
    assert_eq!(project.text("out"), "second");
    project.again();
    project.keep_text(TWO, "third");
    project.assert_clean();
}

#[test]
fn the_least_recently_used_go_first() {
    let mut project = Project::within(3 * SMALL);
    for (key, text) in [(ONE, "1"), (TWO, "2"), (THREE, "3")] {
        project.keep_text(key, text);
        project.used(key, 1000 + key.0 as u64);
    }
    project.restore(ONE).expect("restores");
    assert_eq!(project.names("entries").len(), 3);
    project.keep_text(Key(4), "4");
    // Seven eighths of the limit hold two.
    let there = |project: &Project| [1, 2, 3, 4].map(|key| project.find(Key(key)).is_some());
    assert_eq!(there(&project), [true, false, false, true]);
    project.assert_clean();

    // A clock that was set back must not cost what has just been kept.
    for (key, used) in [(ONE, 9_000_000_000), (Key(4), 9_000_000_001)] {
        project.used(key, used);
    }
    project.again();
    project.keep_text(TWO, "2");
    assert_eq!(there(&project), [true, true, false, true]);
    project.keep_text(THREE, "3");
    assert_eq!(there(&project), [false, false, true, true]);
    project.assert_clean();
}

#[test]
fn a_shared_blob_counts_once_and_stays_while_one_needs_it() {
    let project = Project::within(4096 * 8);
    project.write("shared", &"x".repeat(4096 * 4));
    for key in [ONE, TWO, THREE] {
        project.write("own", &key.to_string());
        assert_eq!(project.keep(key, &["shared", "own"]), Kept::Whole);
        project.used(key, 1000 + key.0 as u64);
        let there = project.names("entries").len();
        assert_eq!(there, if key == THREE { 1 } else { key.0 as usize });
    }
    project.write("shared", "");
    project.restore(THREE).expect("restores");
    assert_eq!(project.text("shared").len(), 4096 * 4);
    project.assert_clean();
}

#[test]
fn many_tiny_entries_are_bounded_too() {
    let project = Project::new();
    project.write("out", "the same for all");
    let looked = project.looked(&["out"]);
    for key in 0..=ENTRIES as u128 {
        project.cache.keep(Key(key), &looked).expect("keeps");
    }
    assert_eq!(project.names("entries").len(), ENTRIES - ENTRIES / 8);
    assert!(project.find(Key(ENTRIES as u128)).is_some());
    project.assert_clean();
}

#[test]
fn a_damaged_or_foreign_manifest_is_no_entry_and_goes() {
    let project = Project::new();
    let damages: [fn(&Path); 5] = [
        |path| fs::write(path, "").expect("writes"),
        |path| fs::write(path, "devwatch outputs 99\n").expect("writes"),
        |path| {
            let text = fs::read(path).expect("reads");
            fs::write(path, &text[..text.len() - 1]).expect("writes");
        },
        |path| {
            let another = path.with_file_name(name_of(TWO));
            fs::copy(another, path).expect("copies");
        },
        |path| {
            fs::rename(path, path.with_extension("x")).expect("renames");
            symlink(path.with_extension("x"), path).expect("links");
        },
    ];
    for damage in damages {
        project.keep_text(TWO, "two");
        project.keep_text(ONE, "one");
        damage(&project.entry(ONE));
        assert_eq!(project.find(ONE), None);
        assert!(
            fs::symlink_metadata(project.entry(ONE)).is_err(),
            "it is gone"
        );
        assert!(project.find(TWO).is_some());
    }
}

#[test]
fn an_entry_with_a_path_that_is_no_output_is_no_entry() {
    let project = Project::new();
    project.write("../elsewhere", "x");
    project.write("out", "x");
    assert_eq!(project.keep(ONE, &["../elsewhere", "out"]), Kept::Whole);
    assert!(project.cache.find(ONE, |_| true).is_some());
    assert_eq!(
        project.cache.find(ONE, |path| path == Path::new("out")),
        None
    );
    assert_eq!(project.cache.find(ONE, |_| true), None);
}

#[test]
fn a_damaged_blob_touches_no_output_and_costs_its_entry() {
    let project = Project::new();
    let damages: [fn(&Path); 6] = [
        |path| fs::write(path, "g00d").expect("writes"),
        |path| fs::write(path, "").expect("writes"),
        |path| fs::write(path, "good and more").expect("writes"),
        |path| fs::remove_file(path).expect("removes"),
        |path| {
            fs::remove_file(path).expect("removes");
            fs::create_dir(path).expect("a folder");
        },
        |path| {
            // Even to what is right: it could be anybody's.
            fs::rename(path, path.with_extension("x")).expect("renames");
            symlink(path.with_extension("x"), path).expect("links");
        },
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        project.write("a", "fine");
        project.write("z", "good");
        assert_eq!(project.keep(ONE, &["a", "z"]), Kept::Whole);
        damage(&project.blob("good"));
        for path in ["a", "z"] {
            project.write(path, "as it is now");
        }
        let error = project.restore(ONE).expect_err("it is damaged");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{number}: {error}");
        assert!(error.to_string().starts_with("z: "), "{error}");
        assert_eq!(
            [project.text("a"), project.text("z")],
            ["as it is now"; 2],
            "{number}"
        );
        assert_eq!(project.find(ONE), None, "{number}");
        assert_eq!(project.names("tmp"), Vec::<OsString>::new());
        if number == 4 {
            fs::remove_dir(project.blob("good")).expect("removes");
        }
        // And whoever keeps that content again has it whole again.
        project.write("z", "good");
        assert_eq!(project.keep(ONE, &["z"]), Kept::Whole);
        project.write("z", "as it is now");
        project.restore(ONE).expect("restores");
        assert_eq!(project.text("z"), "good", "{number}");
    }
    // Even before anybody noticed, where the size tells.
    fs::write(project.blob("good"), "cut").expect("writes");
    assert_eq!(project.keep(TWO, &["z"]), Kept::Whole);
    project.restore(ONE).expect("restores");
    assert_eq!(project.text("z"), "good");
}

#[test]
fn an_output_that_somebody_changed_meanwhile_is_not_kept() {
    let project = Project::new();
    let changes: [fn(&Path); 4] = [
        |path| fs::write(path, "other").expect("writes"),
        |path| fs::write(path, "").expect("writes"),
        |path| {
            fs::remove_file(path).expect("removes");
            symlink("built", path).expect("links");
        },
        |path| {
            fs::remove_file(path).expect("removes");
            fs::create_dir(path).expect("a folder");
        },
    ];
    for known in [false, true] {
        for (number, change) in changes.iter().enumerate() {
            project.write("a", "first");
            project.write("z", "built");
            if known {
                // Its blob is there already.
                assert_eq!(project.keep(TWO, &["z"]), Kept::Whole);
            }
            let looked = project.looked(&["a", "z"]);
            change(&project.at("z"));
            let kept = project.cache.keep(ONE, &looked).expect("nothing is wrong");
            assert_eq!(kept, Kept::Changed, "{number}");
            assert_eq!(project.find(ONE), None);
            assert_eq!(project.names("blobs").len(), usize::from(known));
            assert_eq!(project.names("tmp"), Vec::<OsString>::new());
            let _ = fs::remove_file(project.at("z")).or_else(|_| fs::remove_dir(project.at("z")));
        }
    }
}

#[test]
fn what_cannot_be_kept_is_an_error_that_names_it() {
    let project = Project::new();
    project.write("a", "a");
    project.write("real/z", "z");
    symlink("real", project.at("linked")).expect("links");
    let content = fingerprint::of_bytes(b"z");
    let keep = |path: &str| {
        let mut files = project.looked(&["a"]);
        files.push((PathBuf::from(path), content));
        project.cache.keep(ONE, &files).expect_err(path)
    };
    assert_eq!(keep("gone").kind(), ErrorKind::NotFound);
    assert_eq!(keep("gone/too").kind(), ErrorKind::NotFound);
    assert_eq!(keep("linked/z").kind(), ErrorKind::NotADirectory);
    assert_eq!(keep("a/z").kind(), ErrorKind::NotADirectory);
    for path in ["/etc/passwd", "real/../a", "./a", ".."] {
        assert_eq!(keep(path).kind(), ErrorKind::InvalidInput, "{path}");
    }
    for path in ["gone", "linked/z", "/etc/passwd"] {
        assert!(keep(path).to_string().contains(path.trim_end_matches("/z")));
    }
    fs::set_permissions(project.at("real/z"), Permissions::from_mode(0o4755)).expect("modes");
    assert!(keep("real/z").to_string().contains("4755"));
    fs::set_permissions(project.at("real/z"), Permissions::from_mode(0o000)).expect("modes");
    if !nix::unistd::geteuid().is_root() {
        assert_eq!(keep("real/z").kind(), ErrorKind::PermissionDenied);
    }
    assert_eq!(project.find(ONE), None);
    assert_eq!(project.names("blobs"), Vec::<OsString>::new());
    assert_eq!(project.names("tmp"), Vec::<OsString>::new());
}

#[test]
fn nothing_is_written_to_where_a_symlink_leads() {
    let project = Project::new();
    project.write("precious/out", "precious");
    project.write("dist/out", "built");
    project.write("first", "built");
    assert_eq!(project.keep(ONE, &["dist/out", "first"]), Kept::Whole);
    project.write("first", "as it is now");

    // In the place of the output: it gives way.
    fs::remove_file(project.at("dist/out")).expect("removes");
    symlink("../precious/out", project.at("dist/out")).expect("links");
    project.restore(ONE).expect("restores");
    assert!(!project.at("dist/out").is_symlink());
    assert_eq!(
        [project.text("dist/out"), project.text("first")],
        ["built"; 2]
    );

    // In the place of its folder: it is left, and so is everything else.
    project.write("first", "as it is now");
    fs::remove_dir_all(project.at("dist")).expect("removes");
    symlink("precious", project.at("dist")).expect("links");
    let error = project.restore(ONE).expect_err("a symlink is in the way");
    assert_eq!(error.kind(), ErrorKind::NotADirectory);
    assert!(error.to_string().contains("dist"), "{error}");
    assert_eq!(project.text("precious/out"), "precious");
    assert_eq!(project.text("first"), "as it is now");
    assert!(project.find(ONE).is_some(), "it is not the entry's fault");

    // A folder in the place of an output.
    fs::remove_file(project.at("dist")).expect("removes");
    fs::create_dir_all(project.at("dist/out")).expect("folders");
    let error = project.restore(ONE).expect_err("a folder is in the way");
    assert!(error.to_string().starts_with("dist/out: "), "{error}");
    assert_eq!(project.text("first"), "as it is now");
    assert_eq!(project.names("tmp"), Vec::<OsString>::new());
}

#[test]
fn a_cache_that_is_a_symlink_is_none() {
    for linked in [
        ".devwatch",
        ".devwatch/cache",
        ".devwatch/cache/blobs",
        ".devwatch/cache/tmp",
    ] {
        let mut project = Project::new();
        project.keep_text(ONE, "one");
        let entry = project.find(ONE).expect("is found");
        fs::rename(project.at(linked), project.at("../moved")).expect("moves");
        symlink(project.at("../moved"), project.at(linked)).expect("links");
        fs::write(project.at("../moved/precious"), "precious").expect("writes");
        project.again();
        project.write("out", "two");
        assert!(project.cache.restore(&entry).is_err(), "{linked}");
        assert!(
            project.cache.keep(TWO, &project.looked(&["out"])).is_err(),
            "{linked}"
        );
        assert_eq!(project.text("out"), "two");
        assert_eq!(project.text("../moved/precious"), "precious");
    }
}

#[test]
fn what_a_killed_devwatch_left_goes_when_something_is_kept() {
    let mut project = Project::new();
    project.keep_text(ONE, "one");
    project.write(".devwatch/cache/tmp/7", "half a fi");
    project.write(".devwatch/cache/entries/rubbish", "");
    project.write(".devwatch/cache/blobs/rubbish", "");
    let unnamed = project.blob("unnamed");
    fs::write(&unnamed, "unnamed").expect("writes");
    let lost = project.entry(THREE);
    fs::write(
        &lost,
        manifest::encode(THREE, &project.find(ONE).expect("is found").outputs),
    )
    .expect("writes");
    project.write("two", "two");
    assert_eq!(project.keep(TWO, &["two"]), Kept::Whole);
    fs::remove_file(project.blob("two")).expect("removes");
    // Beside an output on another mount, with its note.
    project.write("far/.devwatch-new-3", "half a fi");
    let note = |target: &str, number: u32| {
        symlink(target, project.at(in_cache("tmp")).join(number.to_string())).expect("links");
    };
    note("far/.devwatch-new-3", 3);
    // And notes that we did not write.
    for path in ["far/precious", "../precious", "real/.devwatch-new-4"] {
        project.write(path, "precious");
    }
    symlink("real", project.at("linked")).expect("links");
    for (number, target) in [
        "far/precious",
        "../precious",
        "linked/.devwatch-new-4",
        "/etc/hosts",
    ]
    .iter()
    .enumerate()
    {
        note(target, number as u32 + 10);
    }
    project.again();
    project.keep_text(ONE, "one");
    project.assert_clean();
    assert!(!unnamed.exists() && !project.at("far/.devwatch-new-3").exists());
    assert_eq!(project.find(TWO), None, "its blob is missing");
    assert!(project.find(THREE).is_some());
    for path in ["far/precious", "../precious", "real/.devwatch-new-4"] {
        assert_eq!(project.text(path), "precious");
    }
}

/// A file system that is not that of temporary folders, if there is one here that we may write to.
fn elsewhere(project: &Project) -> Option<TempDir> {
    let folder = tempfile::tempdir_in("/dev/shm").ok()?;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    (device(folder.path()) != device(&project.root)).then_some(folder)
}

/// How one says `folder` from the root.
fn from_root(project: &Project, folder: &Path) -> String {
    let root = project.root.canonicalize().expect("a folder");
    let up = "../".repeat(root.components().count() - 1);
    let below = folder
        .strip_prefix("/")
        .expect("absolute")
        .display()
        .to_string();
    up + &below
}

#[test]
fn outputs_on_another_filesystem_come_back_too() {
    let project = Project::new();
    let Some(far) = elsewhere(&project) else {
        return;
    };
    let far = from_root(&project, far.path());
    let (file, link) = (format!("{far}/dist/out"), format!("{far}/dist/link"));
    project.write(&file, "far");
    project.write("near", "near");
    symlink("out", project.at(&link)).expect("links");
    fs::set_permissions(project.at(&file), Permissions::from_mode(0o751)).expect("modes");
    let paths = [file.as_str(), &link, "near"];
    let before = project.looked(&paths);
    assert_eq!(project.keep(ONE, &paths), Kept::Whole);
    fs::remove_dir_all(project.at(&file).parent().expect("a folder")).expect("removes");
    project.write("near", "");
    project.restore(ONE).expect("restores");
    assert_eq!(project.looked(&paths), before);
    assert_eq!(mode(&project.at(&file)), 0o751);
    let listed = fs::read_dir(project.at(format!("{far}/dist"))).expect("a folder");
    assert_eq!(listed.count(), 2, "nothing is left beside them");
    project.assert_clean();
}

// --- killed between any two changes of the disk ---

/// Two files, one of them large enough to be copied in pieces, and a link.
fn build(project: &Project, text: &str) -> Vec<(PathBuf, Fingerprint)> {
    project.write("bin/api", &text.repeat(30_000));
    project.write("gen/list", text);
    let link = project.at("gen/link");
    let _ = fs::remove_file(&link);
    symlink(text, link).expect("links");
    project.looked(&["bin/api", "gen/link", "gen/list"])
}

#[test]
fn killed_while_keeping_it_leaves_a_whole_entry_or_none() {
    let paths = ["bin/api", "gen/link", "gen/list"];
    for first in [true, false] {
        for changes in 0.. {
            let mut project = Project::new();
            let old = build(&project, "old");
            if !first {
                project.cache.keep(ONE, &old).expect("keeps");
                project.again();
            }
            let new = build(&project, "new");
            let (kept, killed) = folder::kill::after(changes, || project.cache.keep(TWO, &new));
            assert_eq!(kept.is_err(), killed);
            assert_eq!(
                project.looked(&paths),
                new,
                "outputs are none of its business"
            );

            project.again();
            build(&project, "other");
            for (key, expected) in [(ONE, &old), (TWO, &new)] {
                match project.find(key) {
                    Some(entry) => {
                        project.cache.restore(&entry).expect("whole");
                        assert_eq!(project.looked(&paths), *expected);
                    }
                    None if key == ONE => assert!(first),
                    None => assert!(killed, "after {changes}"),
                }
            }
            project.keep_text(THREE, "three");
            project.assert_clean();
            if !killed {
                assert!(changes >= 10, "it was killed at {changes} moments only");
                break;
            }
        }
    }
}

#[test]
fn killed_while_restoring_every_output_is_whole_and_the_entry_serves_again() {
    for far in [false, true] {
        for changes in 0.. {
            let mut project = Project::new();
            let other = elsewhere(&project);
            if far && other.is_none() {
                return;
            }
            let mut paths = vec![
                "bin/api".to_owned(),
                "gen/link".to_owned(),
                "gen/list".to_owned(),
            ];
            if let (true, Some(other)) = (far, &other) {
                paths.push(from_root(&project, other.path()) + "/new/out");
            }
            let build = |project: &Project, text: &str| {
                build(project, text);
                if far {
                    project.write(&paths[3], text);
                }
                project.looked(&paths)
            };
            let new = build(&project, "new");
            project.cache.keep(ONE, &new).expect("keeps");
            let old = build(&project, "old");
            project.again();
            let entry = project.find(ONE).expect("is found");
            let (restored, killed) = folder::kill::after(changes, || project.cache.restore(&entry));
            // What is cleared away in the end, and the time of the entry, are no reason to say that it failed.
            assert!(killed || restored.is_ok());
            let there = project.looked(&paths);
            for (at, one) in there.iter().enumerate() {
                let whole = *one == old[at] || (*one == new[at]);
                assert!(whole, "after {changes}: {} is torn", one.0.display());
            }
            if restored.is_ok() {
                assert_eq!(there, new);
            }

            project.again();
            project.restore(ONE).expect("serves again");
            assert_eq!(project.looked(&paths), new);
            project.keep_text(TWO, "two");
            project.assert_clean();
            if let (true, Some(other)) = (far, &other) {
                let beside = fs::read_dir(other.path().join("new")).expect("a folder");
                assert_eq!(beside.count(), 1, "after {changes}");
            }
            if !killed {
                assert!(changes > 10, "it was killed at {changes} moments only");
                break;
            }
        }
    }
}

#[test]
fn killed_while_making_room_no_entry_lacks_a_blob() {
    for changes in 0.. {
        let mut project = Project::within(3 * SMALL);
        for (key, text) in [(ONE, "1"), (TWO, "2"), (THREE, "3")] {
            project.keep_text(key, text);
            project.used(key, 1000 + key.0 as u64);
        }
        project.write("out", "4");
        let looked = project.looked(&["out"]);
        let (_, killed) = folder::kill::after(changes, || project.cache.keep(Key(4), &looked));
        project.again();
        for key in [ONE, TWO, THREE, Key(4)] {
            if let Some(entry) = project.find(key) {
                project.cache.restore(&entry).expect("whole");
                assert_eq!(project.text("out"), key.0.to_string());
            }
        }
        project.keep_text(Key(5), "5");
        project.assert_clean();
        assert!(project.names("entries").len() <= 3);
        if !killed {
            return;
        }
    }
}

#[test]
fn rules_keep_and_restore_at_the_same_time() {
    // Room for few of them: each thread makes room all the time.
    for limit in [6 * SMALL, LIMIT] {
        let project = Project::within(limit);
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for rule in 0..4 {
                let (project, start) = (&project, &start);
                scope.spawn(move || {
                    let path = format!("out{rule}");
                    start.wait();
                    for turn in 0..60_u128 {
                        // Some contents are everybody's.
                        let text = if turn % 3 == 0 {
                            turn.to_string()
                        } else {
                            format!("{rule} {turn}")
                        };
                        let key = Key(rule * 1000 + turn);
                        project.write(&path, &text);
                        assert_eq!(project.keep(key, &[&path]), Kept::Whole);
                        project.write(&path, "");
                        // Others may have made room of it since; a found one may go before it is restored.
                        let restored = project.find(key).map(|entry| project.cache.restore(&entry));
                        match restored {
                            Some(Ok(())) => assert_eq!(project.text(&path), text),
                            Some(Err(error)) => assert_eq!(error.kind(), ErrorKind::InvalidData),
                            None => {}
                        }
                        assert!(limit < LIMIT || project.text(&path) == text, "turn {turn}");
                    }
                });
            }
        });
        project.assert_clean();
    }
}

//! What can happen to a tree besides saves: its root goes and comes back, devwatch sleeps through more than the
//! kernel remembers, the system gives no watches. Whatever it is, what was built becomes what is on disk.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::signal::Signal;

use crate::project::{Devwatch, PATIENCE, Project, eventually, tree};
use crate::saves::{MIRROR_RULE, PATIENT, Saves};

/// What was built becomes what is on disk by itself, and once more after another save.
#[track_caller]
fn catches_up(saves: &mut Saves) {
    let root = saves.project.root().to_owned();
    catches_up_in(saves, &root);
}

/// The same for a project that is not where its fixture is.
#[track_caller]
fn catches_up_in(saves: &mut Saves, root: &Path) {
    becomes_a_mirror(saves, root);
    let last = root.join("src/end-of-save");
    let number = fs::read_to_string(&last).map_or(0, |text| text.parse().expect("a number"));
    fs::write(last, format!("{}", number + 1)).expect("saved");
    becomes_a_mirror(saves, root);
}

#[track_caller]
fn becomes_a_mirror(saves: &mut Saves, root: &Path) {
    let folders = || ["src", "out"].map(|folder| tree(&root.join(folder)));
    let is_mirror = || {
        let [on_disk, built] = folders();
        on_disk == built
    };
    if !eventually(PATIENCE, is_mirror) {
        let [on_disk, built] = folders();
        let story = saves.devwatch.story();
        panic!("not what is on disk: {built:?}\nbut: {on_disk:?}\n{story}");
    }
}

// ---------------------------------------------------------------- the root

/// A project that goes away and comes back, and a devwatch that was started in it, as it usually is: a folder in
/// which a process is goes without a word to whoever watches it.
struct Wandering {
    saves: Saves,
    root: PathBuf,
    away: PathBuf,
}

/// How often it goes in each of the three ways: sixty times in all.
const JOURNEYS: usize = 20;

impl Wandering {
    fn new() -> Wandering {
        let project = Project::new();
        let (root, away) = (project.path("home"), project.path("away"));
        settle(&root, "first");
        let devwatch = project.devwatch_with(&[], |command| {
            command
                .current_dir(&root)
                .env("DEVWATCH_LOG", "incremental=debug");
        });
        let saves = Saves::of(project, devwatch);
        Wandering { saves, root, away }
    }

    /// Every other time devwatch has said that the root is gone before it comes back.
    #[track_caller]
    fn is_missed(&mut self, journey: usize) {
        if journey.is_multiple_of(2) {
            let devwatch = &mut self.saves.devwatch;
            devwatch.line("home is gone; waiting for it to come back");
        }
    }

    /// Every other time devwatch says that it is back, or that it reads the config which is back, and with it watches
    /// anew; always it is up to date again, and watches on.
    #[track_caller]
    fn is_found(&mut self, journey: usize) {
        if journey.is_multiple_of(2) {
            let devwatch = &mut self.saves.devwatch;
            devwatch.line_where("that home is back", |line| {
                line.contains("home is back; comparing every file")
                    || (line.contains(" begin (") && line.contains("devwatch.toml"))
            });
        }
        catches_up_in(&mut self.saves, &self.root);
    }
}

/// A whole project in this folder, of which every file says `text`.
fn settle(root: &Path, text: &str) {
    for file in ["src/a", "src/sub/b", "src/sub/deep/c"] {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        fs::write(path, text).expect("written");
    }
    fs::write(root.join("devwatch.toml"), MIRROR_RULE).expect("written");
}

#[test]
fn a_root_that_is_moved_away_and_back_misses_nothing() {
    let mut it = Wandering::new();
    for journey in 0..JOURNEYS {
        fs::rename(&it.root, &it.away).expect("moved away");
        it.is_missed(journey);
        fs::write(it.away.join("src/sub/b"), format!("{journey}")).expect("written");
        fs::rename(&it.away, &it.root).expect("moved back");
        it.is_found(journey);
    }
    it.saves.ends();
}

#[test]
fn a_root_that_is_deleted_and_made_again_misses_nothing() {
    let mut it = Wandering::new();
    for journey in 0..JOURNEYS {
        // devwatch may write into it meanwhile.
        let removed = eventually(PATIENCE, || fs::remove_dir_all(&it.root).is_ok());
        assert!(removed, "{}", it.saves.devwatch.story());
        it.is_missed(journey);
        settle(&it.root, &format!("{journey}"));
        it.is_found(journey);
    }
    it.saves.ends();
}

#[test]
fn a_root_that_becomes_a_link_to_another_folder_and_a_folder_again_misses_nothing() {
    let mut it = Wandering::new();
    let other = it.saves.project.path("other");
    for journey in 0..JOURNEYS {
        settle(&other, &format!("{journey}"));
        fs::rename(&it.root, &it.away).expect("moved away");
        it.is_missed(journey);
        symlink(&other, &it.root).expect("a link");
        it.is_found(journey);
        fs::remove_file(&it.root).expect("the link is gone");
        it.is_missed(journey);
        fs::rename(&it.away, &it.root).expect("moved back");
        it.is_found(journey);
    }
    it.saves.ends();
}

// ---------------------------------------------------------------- what devwatch sleeps through

/// Stops devwatch, lets `change` happen, and lets it go on.
fn asleep(saves: &mut Saves, change: impl FnOnce(&Project)) {
    saves.devwatch.signal(Signal::SIGSTOP);
    let stat = format!("/proc/{}/stat", saves.devwatch.pid());
    let stopped = || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "));
    assert!(eventually(PATIENCE, stopped), "it does not stop");
    change(&saves.project);
    saves.devwatch.signal(Signal::SIGCONT);
}

#[test]
fn what_happens_while_devwatch_is_stopped_is_one_build() {
    let project = Project::new();
    project.write("src/a", "first");
    project.write("src/b", "first");
    let mut saves = Saves::mirroring(project, PATIENT);
    for nap in 0..3 {
        asleep(&mut saves, |project| {
            project.write("src/a", &format!("{nap}"));
            project.replace("src/b", &format!("{nap}"));
            // As a laptop does: longer than any quiet time that was running.
            thread::sleep(Duration::from_millis(700));
            project.write("src/a", &format!("{nap} again"));
            project.write(&format!("src/new{nap}/deep/c"), "new");
        });
        saves.builds(&format!("3 files: src/a, src/b, src/new{nap}/deep/c"));
        let [on_disk, built] = ["src", "out"].map(|folder| tree(&saves.project.path(folder)));
        assert_eq!(on_disk, built);
    }
    saves.ends();
}

#[test]
fn more_events_than_the_kernel_remembers_lose_nothing() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("there");
    let limit: usize = limit.trim().parse().expect("a number");
    if limit > 100_000 {
        eprintln!("skipped: the kernel remembers {limit} events");
        return;
    }
    let project = Project::new();
    for file in ["d0/f", "d1/f", "d2/f", "sub0/gone"] {
        project.write(&format!("src/{file}"), "first");
    }
    let mut saves = Saves::mirroring(project, "");
    for storm in 0..8 {
        let news = ["a/deep/f", "b/f"].map(|file| format!("src/new{storm}/{file}"));
        let moved = format!("src/sub{}", storm + 1);
        asleep(&mut saves, |project| {
            // An event each, and none like the one before it, which the kernel would take for the same.
            let files = [0, 1, 2].map(|folder| {
                let file = project.path(&format!("src/d{folder}/f"));
                let file = fs::File::options().write(true).open(file);
                file.expect("opened")
            });
            for save in 0..limit + 1000 {
                let text = format!("{storm} {save:08}");
                let written = files[save % 3].write_all_at(text.as_bytes(), 0);
                written.expect("written");
            }
            // Nobody hears of these.
            for new in &news {
                project.write(new, "new");
            }
            let from = project.path(&format!("src/sub{storm}"));
            fs::rename(from, project.path(&moved)).expect("moved");
            fs::remove_file(project.path(&format!("{moved}/gone"))).expect("removed");
        });
        saves.devwatch.line("events were lost");
        catches_up(&mut saves);
        // The folders that were made or moved meanwhile are watched. The few files of a storm are all named in a
        // begin line, these and what is saved now.
        for file in news.into_iter().chain([format!("{moved}/gone")]) {
            saves.project.write(&file, "changed");
            saves.reasons_until(&file);
        }
        catches_up(&mut saves);
    }
    saves.ends();
}

// ---------------------------------------------------------------- limits

/// How many folders the project of the tests of limits has at the start: the root, `src` and those in it.
const FOLDERS: usize = 12;

/// A devwatch in a user namespace with this limit, which needs no privilege. None: there are no user namespaces,
/// which has been said.
fn limited(limit: &str, value: usize) -> Option<Saves> {
    let under_limit = format!("echo {value} > /proc/sys/user/{limit} && exec \"$0\"");
    let unshare = |program: &str| {
        let mut unshare = Command::new("unshare");
        unshare
            .args(["-Ur", "sh", "-c", &under_limit, program])
            .stdin(Stdio::null());
        unshare
    };
    match unshare("true").output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("skipped: no user namespaces here: {why}");
            return None;
        }
        Err(error) => {
            eprintln!("skipped: unshare: {error}");
            return None;
        }
    }
    let project = Project::new();
    for folder in 0..FOLDERS - 2 {
        project.write(&format!("src/d{folder}/f"), "first");
    }
    project.write("devwatch.toml", MIRROR_RULE);
    let mut devwatch = unshare(env!("CARGO_BIN_EXE_devwatch"));
    devwatch
        .current_dir(project.root())
        .env("DEVWATCH_LOG", "incremental=debug")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(Saves::of(project, Devwatch::run(devwatch)))
}

/// Saves of every kind, in every folder, old and new.
#[track_caller]
fn every_kind_of_save(saves: &mut Saves) {
    for folder in 0..FOLDERS - 2 {
        saves.project.write(&format!("src/d{folder}/f"), "changed");
    }
    catches_up(saves);
    saves.project.write("src/new/deep/f", "new");
    fs::rename(saves.project.path("src/d1"), saves.project.path("src/d99")).expect("renamed");
    catches_up(saves);
    saves.project.replace("src/new/deep/f", "changed");
    fs::remove_file(saves.project.path("src/d0/f")).expect("removed");
    catches_up(saves);
}

/// What devwatch has said about inotify, which is one line.
#[track_caller]
fn what_it_says(saves: &mut Saves) -> String {
    let said = saves.devwatch.said().iter();
    let said: Vec<&String> = said.filter(|line| line.contains("inotify")).collect();
    assert_eq!(said.len(), 1, "{said:#?}");
    said[0].clone()
}

#[track_caller]
fn nothing_is_lost_under_the_limit(mut saves: Saves, is_said: bool) {
    every_kind_of_save(&mut saves);
    if is_said {
        what_it_says(&mut saves);
    }
    // The config is looked after as well as the tree, and another config means another watcher.
    let edited = format!("# edited\n{MIRROR_RULE}");
    saves.project.write("devwatch.toml", &edited);
    saves.reasons_until("devwatch.toml");
    saves.project.write("src/d2/f", "changed again");
    catches_up(&mut saves);
    saves.ends();
}

#[test]
fn beyond_the_limit_of_watches_no_save_is_lost() {
    for watches in [0, 5, 20] {
        let Some(saves) = limited("max_inotify_watches", watches) else {
            return;
        };
        nothing_is_lost_under_the_limit(saves, true);
    }
}

#[test]
fn without_inotify_no_save_is_lost() {
    // One is enough for the tree, and whoever watches that sees the config there.
    for instances in [0, 1] {
        let Some(saves) = limited("max_inotify_instances", instances) else {
            return;
        };
        nothing_is_lost_under_the_limit(saves, instances == 0);
    }
}

#[test]
fn a_limit_is_said_with_the_number_there_the_number_needed_and_the_remedy() {
    for (limit, there, key) in [
        ("max_inotify_watches", 5, "watches"),
        ("max_inotify_instances", 0, "instances"),
    ] {
        let Some(mut saves) = limited(limit, there) else {
            return;
        };
        saves.project.write("src/d9/f", "changed");
        catches_up(&mut saves);
        let said = what_it_says(&mut saves);
        let keys = [
            format!("fs.inotify.max_user_{key}"),
            format!("user.max_inotify_{key}"),
        ];
        assert!(keys.iter().any(|key| said.contains(key)), "{said}");
        assert!(said.contains("sysctl -w"), "{said}");
        let numbers = said.split(|c: char| !c.is_ascii_digit());
        let numbers: Vec<usize> = numbers.filter_map(|digits| digits.parse().ok()).collect();
        assert!(numbers.contains(&there), "not the number there: {said}");
        if key == "watches" {
            let needed = |number: &usize| (FOLDERS..FOLDERS * 10).contains(number);
            assert!(numbers.iter().any(needed), "not the number needed: {said}");
        }
        saves.ends();
    }
}

// ---------------------------------------------------------------- links, times and names

#[test]
fn a_folder_that_becomes_a_link_and_a_folder_again_is_what_it_is() {
    let project = Project::new();
    project.write("src/sub/a", "a");
    project.write("src/sub/b", "b");
    project.write("src/z", "z");
    project.write("elsewhere/a", "not of the tree");
    let mut saves = Saves::mirroring(project, PATIENT);
    for round in 0..3 {
        saves
            .project
            .shell("mv src/sub kept && ln -s ../elsewhere src/sub");
        saves.builds("3 files: src/sub, src/sub/a, src/sub/b");
        // Where it leads to belongs to nobody.
        saves.project.write("elsewhere/a", &format!("{round}"));
        saves.project.write("src/z", &format!("{round}"));
        saves.builds("1 file: src/z");
        saves.project.shell("rm src/sub && mv kept src/sub");
        saves.builds("3 files: src/sub, src/sub/a, src/sub/b");
        saves.project.write("src/sub/a", &format!("{round}"));
        saves.builds("1 file: src/sub/a");
        assert_eq!(saves.project.read("out/sub/a"), format!("{round}"));
    }
    saves.ends();
}

#[test]
fn links_that_lead_in_circles_end() {
    let project = Project::new();
    project.write("src/sub/a", "a");
    let circles = |project: &Project, at: &str| {
        project.shell(&format!(
            "mkdir -p {at} && cd {at} && ln -s .. up && ln -s . here && ln -s self self && ln -s x y && ln -s y x"
        ));
    };
    circles(&project, "src/sub/old");
    let mut saves = Saves::mirroring(project, PATIENT);
    for round in 0..3 {
        circles(&saves.project, &format!("src/sub/new{round}"));
        let links = ["here", "self", "up", "x", "y"];
        let links = links.map(|link| format!("src/sub/new{round}/{link}"));
        saves.builds(&format!("5 files: {}", links.join(", ")));
        // Of all the paths that lead there it is named by the one.
        saves.project.write("src/sub/a", &format!("{round}"));
        saves.builds("1 file: src/sub/a");
    }
    saves.ends();
}

#[test]
fn another_content_is_one_build_whatever_the_times_say() {
    let project = Project::new();
    project.write("src/a", "00");
    let mut saves = Saves::mirroring(project, PATIENT);
    let path = saves.project.path("src/a");
    let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified());
    let as_before = modified(&path).expect("its time");
    let day = Duration::from_secs(24 * 60 * 60);
    let times = [
        as_before,
        UNIX_EPOCH,
        UNIX_EPOCH + day,
        as_before + 1000 * day,
        as_before - day,
    ];
    for (number, time) in times.into_iter().cycle().take(15).enumerate() {
        // Always of the same length.
        let content = format!("{:02}", number + 1);
        let file = if number % 2 == 0 {
            fs::File::options().write(true).open(&path)
        } else {
            fs::File::create(saves.project.path("src/a.tmp"))
        };
        let mut file = file.expect("opened");
        file.write_all(content.as_bytes()).expect("written");
        file.set_modified(time).expect("its time is set");
        drop(file);
        if number % 2 == 1 {
            fs::rename(saves.project.path("src/a.tmp"), &path).expect("renamed over");
        }
        saves.builds("1 file: src/a");
        assert_eq!(saves.project.read("out/a"), content);
        assert_eq!(modified(&path).expect("its time"), time);
    }
    saves.ends();
}

#[test]
fn odd_names_are_built_like_any_others() {
    const NAMES: [&[u8]; 9] = [
        b"-rf",
        b"a\nb",
        b"\xff\xfe",
        b"$(touch INJECTED)",
        b"`touch INJECTED`",
        b"\x1b]0;title\x07",
        b" ",
        b"'\"\\",
        b"!x",
    ];
    let project = Project::new();
    project.write("src/a", "a");
    let mut saves = Saves::mirroring(project, "");
    let src = saves.project.path("src");
    let all = |folder: &Path, change: &dyn Fn(&Path)| {
        for name in NAMES {
            change(&folder.join(OsStr::from_bytes(name)));
        }
    };
    let write = |path: &Path, text: &str| fs::write(path, text).expect("written");
    all(&src, &|path| write(path, "new"));
    catches_up(&mut saves);
    all(&src, &|path| write(path, "changed"));
    catches_up(&mut saves);
    all(&src, &|path| {
        fs::remove_file(path).expect("removed");
        fs::create_dir(path).expect("a folder");
        all(path, &|path| write(path, "below"));
    });
    catches_up(&mut saves);
    for name in NAMES {
        let folder = src.join(OsStr::from_bytes(name));
        all(&folder, &|path| write(path, "changed below"));
        catches_up(&mut saves);
        fs::rename(&folder, src.join("plain")).expect("renamed");
        catches_up(&mut saves);
        fs::remove_dir_all(src.join("plain")).expect("removed");
    }
    catches_up(&mut saves);
    let said = saves.devwatch.said();
    let odd = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
    assert!(!said.iter().any(|line| line.contains(odd)), "{said:#?}");
    assert!(!saves.project.path("INJECTED").exists());
    saves.ends();
}

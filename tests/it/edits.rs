//! Ten thousand edits at random moments, most of them while something is being built: after each quiet phase what was
//! built and what serves is what is on disk, byte for byte, and every begin has had its end.
//!
//! A build of everything makes good what was missed before it. So each name has a rule of its own besides, whose
//! copy only a change of this name renews.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::dice::Dice;
use crate::project::{
    Devwatch, PATIENCE, Project, built_example, eventually, field, get, port_of, tree,
};

const EDITS: usize = 10_000;
/// After each of these everything has to be right once.
const CHAPTERS: usize = 100;

/// Builds the tree `out/` and a list of every line in `src/`; fails while a file says that it is broken. Takes
/// up to a sixteenth of a second, in the middle, where an edit hurts most.
const BUILD: &str = "
rm -rf out
cp -R src out
sleep 0.$(printf %03d $(($(od -An -N1 -tu1 /dev/urandom) / 4)))
! grep -rq broken src || exit 1
{ find src -type f | LC_ALL=C sort | xargs -r grep -H '' || true; } > .devwatch/all.new
mv .devwatch/all.new out/all.list
";

#[test]
fn after_ten_thousand_random_edits_what_serves_is_what_is_on_disk() {
    let mut dice = Dice::seeded();
    let project = Project::new();
    for number in 0..20 {
        project.write(&format!("src/f{number}"), &format!("first {number}\n"));
    }
    project.write("build.sh", BUILD);
    project.write(
        "devwatch.toml",
        &format!(
            "{}[[rule]]\nname = \"build\"\nfiles = [\"src/**\"]\nrun = [\"sh\", \"-e\", \"build.sh\"]\noutputs = [\"out/**\"]\n\
             [server]\nrun = [{:?}, \"tag\", {:?}, \"listen\", \"fd\", \"serve-file\", \"out/all.list\"]\n\
             listen = [\"127.0.0.1:0\"]\n",
            names().map(|name| copying(&name)).collect::<String>(),
            built_example("child"),
            project.root(),
        ),
    );
    let mut tale = Tale::of(project.devwatch(&[]));
    tale.wait_for("the first server", |tale| tale.port != 0);
    let mut kills = 0;
    for chapter in 0..CHAPTERS {
        for _ in 0..EDITS / CHAPTERS {
            edit_something(&project, &mut dice);
            tale.pause(&mut dice);
        }
        // From time to time the server dies as well.
        if chapter % 20 == 2 {
            kills += usize::from(tale.kill_server(&project));
        }
        // And a build is broken for long enough to be told.
        if chapter % 20 == 4 {
            project.write("src/f0", &format!("broken {chapter}\n"));
            tale.wait_for("a failed build", |tale| {
                !tale.open && tale.last_end == "failed"
            });
        }
        mend(&project, chapter);
        tale.comes_to_rest(&project);
    }

    // Nothing is left to do: the next save is the next build.
    let last = tale.build;
    project.write("last.new", "the last\n");
    fs::rename(project.path("last.new"), project.path("src/last")).expect("moved in");
    tale.wait_for("the last save", |tale| !tale.open && tale.build > last);
    assert_eq!(tale.build, last + 1, "{}", tale.devwatch.story());
    assert_eq!(get(tale.port).expect("an answer"), listed(&project));
    println!("{} builds, {:?}, {kills} kills", tale.build, tale.ends);
    // What the test is about has happened at all.
    assert!(tale.build > 100, "only {} builds", tale.build);
    for word in ["serving", "failed", "superseded"] {
        assert!(tale.ends.contains_key(word), "none was {word}");
    }
    assert!(kills > 0, "the server was never killed");
    assert_eq!(tale.devwatch.terminate().code(), Some(143));
}

/// Every name that an edit can give to something in `src`.
fn names() -> impl Iterator<Item = String> {
    let files = (0..25).map(|number| format!("f{number}"));
    let folders = (0..3).map(|number| format!("d{number}"));
    let empty = (0..3).map(|number| number.to_string());
    files
        .chain(folders)
        .chain(empty)
        .chain(["chapter".to_owned()])
}

/// A rule that copies what has this name, and nothing else.
fn copying(name: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nfiles = [\"src/{name}\", \"src/{name}/**\"]\nthen = \"nothing\"\n\
         run = \"mkdir -p copies; rm -rf copies/{name}; cp -R src/{name} copies/ 2>/dev/null || test ! -e src/{name}\"\n\
         outputs = [\"copies/{name}\", \"copies/{name}/**\"]\n"
    )
}

/// The last edits of a chapter: nothing is broken after them.
fn mend(project: &Project, chapter: usize) {
    for path in files(project.root(), "src") {
        let text = project.read(&path);
        if text.contains("broken") {
            project.write(&path, &text.replace("broken", "mended"));
        }
    }
    // What was written into `out` by hand while the rule wrote there, too, nobody can tell apart.
    project.write("src/chapter", &format!("{chapter}\n"));
}

/// What the builds have copied, all at once and one by one, is what is on disk.
fn mirrored(project: &Project) -> bool {
    let mut built = tree(&project.path("out"));
    built.remove(Path::new("all.list"));
    let on_disk = tree(&project.path("src"));
    built == on_disk && tree(&project.path("copies")) == on_disk
}

/// What devwatch has told of its builds so far.
struct Tale {
    devwatch: Devwatch,
    build: u32,
    /// The last build has begun and not ended.
    open: bool,
    /// How often builds ended with which word.
    ends: BTreeMap<String, u32>,
    last_end: String,
    port: u16,
    server: Option<Pid>,
}

impl Tale {
    fn of(devwatch: Devwatch) -> Tale {
        Tale {
            devwatch,
            build: 0,
            open: false,
            ends: BTreeMap::new(),
            last_end: String::new(),
            port: 0,
            server: None,
        }
    }

    /// Begins and ends alternate, and are numbered without a gap.
    #[track_caller]
    fn hear(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("devwatch: build ") else {
            if line.contains(" crashed") {
                self.server = None;
            }
            return;
        };
        let words: Vec<&str> = rest.splitn(4, ' ').collect();
        let number: u32 = words[0].parse().expect("a number");
        match words[1] {
            "begin" => {
                assert!(!self.open, "two begins: {line}\n{}", self.devwatch.story());
                assert_eq!(number, self.build + 1, "{line}");
                (self.build, self.open) = (number, true);
            }
            "end" => {
                assert!(self.open, "two ends: {line}\n{}", self.devwatch.story());
                assert_eq!(number, self.build, "{line}");
                self.open = false;
                self.last_end = words[2].to_owned();
                *self.ends.entry(words[2].to_owned()).or_default() += 1;
                if words[2] == "serving" {
                    self.port = port_of(line);
                    let pid = field(line, "pid").and_then(|pid| pid.parse().ok());
                    self.server = pid.map(Pid::from_raw);
                }
            }
            other => panic!("neither begin nor end: {other}"),
        }
    }

    fn catch_up(&mut self) {
        while let Some(line) = self.devwatch.next_line(Duration::ZERO) {
            self.hear(&line);
        }
    }

    /// Quiet comes by itself, without another save, and then what serves is what is on disk.
    #[track_caller]
    fn comes_to_rest(&mut self, project: &Project) {
        let expected = listed(project);
        let rests = eventually(PATIENCE, || {
            // The answer first: it may have waited for a server whose lines came in the meantime.
            let answer = get(self.port);
            self.catch_up();
            let good = matches!(&*self.last_end, "serving" | "unchanged");
            // What was copied first may be older than what was listed last: then another build is about to begin.
            let good = good && answer.is_ok_and(|answer| answer == expected);
            !self.open && good && mirrored(project)
        });
        let [on_disk, one_by_one] = ["src", "copies"].map(|folder| tree(&project.path(folder)));
        let missed = on_disk
            .iter()
            .filter(|(path, _)| one_by_one.get(*path) != on_disk.get(*path));
        let left = one_by_one
            .keys()
            .filter(|path| !on_disk.contains_key(*path));
        assert!(
            rests,
            "not what is on disk:\n{:?}\nbut\n{expected}\nmissed {:?}, left {:?}\n{}",
            get(self.port),
            missed.map(|(path, _)| path).collect::<Vec<_>>(),
            left.collect::<Vec<_>>(),
            self.devwatch.story()
        );
    }

    #[track_caller]
    fn wait_for(&mut self, what: &str, done: impl Fn(&Tale) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.devwatch.next_line(left) {
                Some(line) => self.hear(&line),
                None => panic!("no {what}\n{}", self.devwatch.story()),
            }
        }
    }

    /// Lets some time pass, or something happen: nothing at all, or a few milliseconds or a line.
    #[track_caller]
    fn pause(&mut self, dice: &mut Dice) {
        let limit = match dice.below(100) {
            0..70 => return,
            70..94 => dice.below(4),
            94..99 => dice.below(40),
            _ => dice.below(200),
        };
        self.pass(Instant::now() + Duration::from_millis(limit));
    }

    #[track_caller]
    fn pass(&mut self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(line) = self.devwatch.next_line(left) {
            self.hear(&line);
        }
        self.catch_up();
    }

    /// Kills the server that was last heard of. False: it is gone already.
    #[track_caller]
    fn kill_server(&mut self, project: &Project) -> bool {
        self.catch_up();
        let Some(server) = self.server.take() else {
            return false;
        };
        let runs = project
            .processes()
            .iter()
            .any(|process| process.starts_with(&format!("{server} ")));
        runs && kill(server, Signal::SIGKILL).is_ok()
    }
}

/// One random change below `src/`, or what only looks like one.
fn edit_something(project: &Project, dice: &mut Dice) {
    let known = files(project.root(), "src");
    let fresh = |dice: &mut Dice| match dice.below(4) {
        0 => format!(
            "src/d{}/e{}/f{}",
            dice.below(3),
            dice.below(3),
            dice.below(3)
        ),
        1 => format!("src/d{}/f{}", dice.below(3), dice.below(5)),
        _ => format!("src/f{}", dice.below(25)),
    };
    let some = |dice: &mut Dice| match known.len() {
        0 => "src/f0".to_owned(),
        many => known[dice.below(many as u64) as usize].clone(),
    };
    let text = format!("{} {}\n", dice.below(1 << 32), dice.below(1 << 32));
    match dice.below(100) {
        0..30 => project.write(&some(dice), &text),
        30..50 => {
            let path = some(dice);
            if known.contains(&path) {
                project.replace(&path, &text);
            }
        }
        50..60 => project.write(&fresh(dice), &text),
        60..66 => _ = fs::remove_file(project.path(&some(dice))),
        66..69 => _ = fs::remove_dir_all(project.path(&format!("src/d{}", dice.below(3)))),
        69..75 => {
            let (from, to) = (some(dice), fresh(dice));
            let parent = project.path(&to);
            let parent = parent.parent().expect("it has one");
            fs::create_dir_all(parent).expect("a folder");
            let _ = fs::rename(project.path(&from), project.path(&to));
        }
        75..78 => {
            let folder = |number| project.path(&format!("src/d{number}"));
            let _ = fs::rename(folder(dice.below(3)), folder(dice.below(3)));
        }
        78..82 => project.write(&some(dice), &format!("broken {text}")),
        82..90 => {
            // Mended, and back to an earlier content.
            for path in &known {
                if project.read(path).contains("broken") {
                    project.write(path, "mended\n");
                }
            }
        }
        90..94 => {
            // The same bytes again.
            let path = some(dice);
            if let Ok(same) = fs::read_to_string(project.path(&path)) {
                project.write(&path, &same);
            }
        }
        94..97 => project.write(&format!("src/{}", dice.below(3)), ""),
        // Behind the rule's back.
        _ => _ = fs::write(project.path("out/all.list"), "not built\n"),
    }
}

/// The files below a folder, as paths from the root, sorted.
fn files(root: &Path, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.join(folder)];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path();
                let path = path.strip_prefix(root).expect("below the root");
                found.push(path.to_str().expect("text").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// What the list of lines has to say.
fn listed(project: &Project) -> String {
    let lines = |path: &String| -> Vec<String> {
        let text = project.read(path);
        text.lines()
            .map(|line| format!("{path}:{line}\n"))
            .collect()
    };
    let paths = files(project.root(), "src");
    paths.iter().flat_map(lines).collect()
}

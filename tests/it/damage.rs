//! What is served is what the sources say, wherever devwatch was killed and whatever has become of what it remembers.
//!
//! The rules write in place, slowly and in several pieces, and the sources have few contents, so that they often return to
//! earlier ones: half-written artefacts, stale ones and kept ones are always at hand to be taken for the right ones.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::dice::Dice;
use crate::project::{Devwatch, Project, get, port_of, tree};

const KILLS: usize = 50;
const DAMAGES: usize = 60;

/// The list of the rules that ran, beside all globs.
const RUNS: &str = ".devwatch/runs";

/// What every server has been started with, one after the other.
const SERVED: &str = ".devwatch/served";

const SOURCES: [&str; 4] = ["src/a", "src/b", "src/c", "src/d"];

/// Few enough that they come back.
const CONTENTS: [&str; 3] = ["one", "two", "three"];

/// A project whose artefact is all its sources and `end`.
struct Bench {
    project: Project,
    artefact: &'static str,
    /// What each source says.
    says: [&'static str; 4],
    /// Where it is asked.
    port: u16,
    /// How often something came out of the cache.
    cached: usize,
}

impl Bench {
    /// Where the artefact goes, and whether a second rule makes it of what the first one makes.
    fn new(artefact: &'static str, ignore: &str, in_two: bool) -> Bench {
        let project = Project::new();
        project.write(
            "write.sh",
            "# FROM... TO: in place, piece by piece.\n\
             for last; do to=$last; done\n\
             mkdir -p ${to%/*}\n\
             : > $to\n\
             for from; do [ $from = $to ] && break; sleep 0.02; cat $from >> $to; done\n\
             sleep 0.02\n\
             echo end >> $to\n",
        );
        // To be asked what a server was started with, also where it did not stay. In one write: it may be killed.
        project.write(
            "serve.sh",
            &format!(
                "cp {artefact} .devwatch/this; printf '%s\\n' \"$(tr '\\n' ' ' < .devwatch/this)\" >> {SERVED}; exec {}\n",
                project.child_line(&["listen", "fd", "serve-file", ".devwatch/this"])
            ),
        );
        if !ignore.is_empty() {
            project.write(".gitignore", ignore);
            project.shell("git init -q");
        }
        let rules = if in_two {
            format!(
                "[[rule]]\nname = \"whole\"\nfiles = [\"src/d\", \"gen/*\"]\noutputs = [{artefact:?}]\n\
                 run = \"echo whole >> {RUNS}; sh -e write.sh gen/part src/d {artefact}\"\n\
                 [[rule]]\nname = \"part\"\nfiles = [\"src/[a-c]\"]\noutputs = [\"gen/part\"]\n\
                 run = \"echo part >> {RUNS}; sh -e write.sh src/a src/b src/c gen/part\"\n"
            )
        } else {
            format!(
                "[[rule]]\nname = \"whole\"\nfiles = [\"src/*\"]\noutputs = [{artefact:?}]\n\
                 run = \"echo whole >> {RUNS}; sh -e write.sh src/a src/b src/c src/d {artefact}\"\n"
            )
        };
        project.write(
            "devwatch.toml",
            &format!("{rules}[server]\nrun = [\"sh\", \"serve.sh\"]\nlisten = [\"127.0.0.1:0\"]\n"),
        );
        let mut bench = Bench {
            project,
            artefact,
            says: [CONTENTS[0]; 4],
            port: 0,
            cached: 0,
        };
        for source in 0..SOURCES.len() {
            bench.save(source, CONTENTS[0]);
        }
        bench
    }

    fn save(&mut self, source: usize, content: &'static str) {
        self.says[source] = content;
        let text = format!("{} says {content}\n", SOURCES[source]);
        self.project.write(SOURCES[source], &text);
    }

    /// Has some sources say something. Whether all of them together say something new.
    fn edit(&mut self, dice: &mut Dice) -> bool {
        let before = self.says;
        for _ in 0..=dice.below(2) {
            let source = dice.below(SOURCES.len() as u64) as usize;
            let content = *dice.one(&CONTENTS);
            self.save(source, content);
        }
        self.says != before
    }

    /// Has something happen to the state, to something in the cache, or to the artefact.
    fn damage(&self, dice: &mut Dice) {
        let files = |folder: &str| -> Vec<PathBuf> {
            let folder = self.project.path(folder);
            let mut files: Vec<PathBuf> = tree(&folder).into_keys().collect();
            files.sort();
            files.into_iter().map(|file| folder.join(file)).collect()
        };
        let entries = files(".devwatch/cache/entries");
        let blobs = files(".devwatch/cache/blobs");
        let state = vec![self.project.path(".devwatch/state")];
        let artefacts = ["out/app", "gen/part"].map(|path| self.project.path(path));
        let group = match dice.below(100) {
            0..35 => &state,
            35..60 => &entries,
            60..85 => &blobs,
            _ => &artefacts.to_vec(),
        };
        if group.is_empty() {
            return;
        }
        let file = dice.one(group);
        let Ok(bytes) = fs::read(file) else { return };
        let place = dice.below(bytes.len().max(1) as u64) as usize;
        match dice.below(8) {
            0 => _ = fs::write(file, &bytes[..place]),
            1 => _ = fs::write(file, [&bytes[..], b"more\n"].concat()),
            2 => {
                let mut bytes = bytes;
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << dice.below(8);
                }
                let _ = fs::write(file, bytes);
            }
            3 => _ = fs::remove_file(file),
            4..7 => {
                // One in the place of the other.
                let other = dice.one(group);
                let beside = self.project.path(".devwatch/beside");
                let swapped = fs::rename(file, &beside)
                    .and_then(|()| fs::rename(other, file))
                    .and_then(|()| fs::rename(&beside, other));
                if swapped.is_err() {
                    let _ = fs::rename(&beside, file);
                }
            }
            // Through one in the place of an artefact a command would write into a source.
            _ if artefacts.contains(file) => {}
            _ => {
                let _ = fs::remove_file(file);
                let _ = std::os::unix::fs::symlink("../elsewhere", file);
            }
        }
    }

    /// The first cycle of this devwatch ends with a server that says what the sources say.
    #[track_caller]
    fn serves(&mut self, devwatch: &mut Devwatch) {
        let line = devwatch.end("serving");
        self.cached += usize::from(line.contains(" cached="));
        self.port = port_of(&line);
        let answer = get(self.port).expect("an answer");
        assert_eq!(answer, self.expected(), "{line}\n{}", devwatch.story());
    }

    /// The same after a change, which may be told in several cycles.
    #[track_caller]
    fn comes_to_serve(&mut self, devwatch: &mut Devwatch) {
        loop {
            let line = devwatch.line(" end ");
            self.cached += usize::from(line.contains(" cached="));
            if line.contains(" end serving ") {
                self.port = port_of(&line);
            }
            if matches!(get(self.port), Ok(answer) if answer == self.expected()) {
                return;
            }
        }
    }

    fn expected(&self) -> String {
        let line = |number: usize| format!("{} says {}\n", SOURCES[number], self.says[number]);
        let part: String = (0..3).map(line).collect();
        let between = match self.is_in_two() {
            true => "end\n",
            false => "",
        };
        format!("{part}{between}{}end\n", line(3))
    }

    fn is_in_two(&self) -> bool {
        self.project.read("devwatch.toml").contains("gen/part")
    }

    /// No server was ever started with half of anything, not even one that nobody asked.
    #[track_caller]
    fn nothing_half_was_served(&self) {
        let pieces = self.expected().lines().count();
        let served = self.project.read(SERVED);
        for line in served.lines() {
            let said = line.matches(" says ").count() + line.matches("end").count();
            assert!(said == pieces && line.ends_with("end "), "{line}");
        }
        println!("{} servers", served.lines().count());
    }
}

#[test]
fn killed_at_any_moment_of_a_build_it_never_serves_what_is_half_written_or_stale() {
    let mut dice = Dice::seeded();
    let variants = [
        ("out/app", "", false),
        ("out/app", "out/\n", false),
        (".devwatch/bin/app", "", false),
        ("out/app", "", true),
        ("out/app", "out/\ngen/\n", true),
    ];
    let mut kills = [0, 0];
    for (number, (artefact, ignore, in_two)) in variants.into_iter().enumerate() {
        let mut bench = Bench::new(artefact, ignore, in_two);
        let mut devwatch = bench.project.devwatch(&[]);
        bench.serves(&mut devwatch);
        while kills[1] < KILLS * (number + 1) / variants.len() {
            let changes = bench.edit(&mut dice);
            let mut open = changes && dice.percent(80);
            if open {
                devwatch.line(" begin (");
            }
            // About as long as a build takes.
            let limit = dice.below(if in_two { 250 } else { 130 });
            let until = Instant::now() + Duration::from_millis(limit);
            let left = || until.saturating_duration_since(Instant::now());
            while let Some(line) = devwatch.next_line(left()) {
                open = line.contains(" begin (") || (open && !line.contains(" end "));
            }
            devwatch.signal(Signal::SIGKILL);
            devwatch.ended();
            kills[usize::from(open)] += 1;
            if dice.percent(40) {
                bench.edit(&mut dice);
            }
            if dice.percent(20) {
                // Whatever is there is not what a rule has left.
                let _ = fs::write(bench.project.path(bench.artefact), "by hand\n");
            }
            devwatch = bench.project.devwatch(&[]);
            if dice.percent(25) {
                let limit = Duration::from_millis(dice.below(100));
                devwatch.next_line_where(limit, |line| line.contains(" end "));
                devwatch.signal(Signal::SIGKILL);
                devwatch.ended();
                devwatch = bench.project.devwatch(&[]);
            }
            bench.serves(&mut devwatch);
        }
        assert_eq!(devwatch.terminate().code(), Some(143));
        bench.nothing_half_was_served();
    }
    let [beside, during] = kills;
    println!("killed {during} times during a build, {beside} times beside");
}

#[test]
fn whatever_becomes_of_what_it_remembers_what_it_serves_is_right() {
    let mut dice = Dice::seeded();
    let mut bench = Bench::new("out/app", "out/\n", true);
    let mut said = 0;
    for _ in 0..DAMAGES {
        if dice.percent(60) {
            bench.edit(&mut dice);
        }
        let state = bench.project.path(".devwatch/state");
        let good = fs::read(&state).unwrap_or_default();
        for _ in 0..=dice.below(3) {
            bench.damage(&mut dice);
        }
        let bad = fs::read(&state);
        let mut devwatch = bench.project.devwatch(&[]);
        bench.serves(&mut devwatch);
        let complaint = |line: &String| line.contains("note: .devwatch/state ");
        let complains = devwatch.said().iter().any(complaint);
        said += usize::from(complains);
        // What still makes sense is another matter: it says something about a success that never was.
        let makes_sense = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).is_ok();
        match bad {
            Err(error) if error.kind() == ErrorKind::NotFound => assert!(!complains),
            Ok(bad) if makes_sense(&bad) => {
                assert!(bad != good || !complains, "{}", devwatch.story());
            }
            Ok(_) | Err(_) => assert!(complains, "{}", devwatch.story()),
        }
        // What it reads later it does not believe either.
        for _ in 0..dice.below(3) {
            bench.damage(&mut dice);
            if bench.edit(&mut dice) {
                bench.comes_to_serve(&mut devwatch);
            }
        }
        if dice.percent(50) {
            assert_eq!(devwatch.terminate().code(), Some(143));
        } else {
            devwatch.signal(Signal::SIGKILL);
            devwatch.ended();
        }
    }
    bench.nothing_half_was_served();
    println!("{said} times something was said");
    assert!(said > 0, "the state was never damaged");
    let runs = bench.project.read(RUNS);
    let cached = bench.cached;
    println!(
        "{} runs, {cached} times from the cache",
        runs.lines().count()
    );
    assert!(cached > 0, "nothing was ever kept for long enough");
}

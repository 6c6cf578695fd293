//! Every way to save is one change, no change is lost, and what only looks like a change is none.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::project::{
    Devwatch, PATIENCE, Project, built_example, eventually, field, get, have, port_of,
};

/// Settings for tests that count builds of whatever else the machine does: on a busy one an editor may be stopped for
/// many milliseconds between the two halves of its save, so an unfinished save gets a long quiet time.
pub const PATIENT: &str = "debounce = \"400ms\"\nmax_wait = \"10s\"";

/// What is in `out` is what was in `src`. One file is seen even where git ignores it.
pub const MIRROR_RULE: &str = "
    [[rule]]
    name = \"mirror\"
    files = [\"src/**\", \"src/end-of-save\"]
    run = \"rm -rf out && cp -R src out\"
    outputs = [\"out/**\"]";

/// A project whose builds take no time, and a devwatch in it: every begin and every end is accounted for.
pub struct Saves {
    pub devwatch: Devwatch,
    pub project: Project,
    /// The number of the last build.
    pub build: u32,
    /// Where the server answered at the last end, if there is one.
    port: Option<u16>,
}

impl Saves {
    /// `source.txt` is copied to `built.txt`, which is served.
    fn copying() -> Saves {
        let project = Project::new();
        project.write("source.txt", "zero\n");
        let rule = "
            [[rule]]
            name = \"copy\"
            files = [\"source.txt\"]
            run = [\"cp\", \"source.txt\", \"built.txt\"]
            outputs = [\"built.txt\"]";
        let served = serving(&project, "built.txt");
        Saves::start(project, &format!("{rule}\n{served}"))
    }

    /// `src` is copied to `out`, with these settings for watching.
    pub fn mirroring(project: Project, watch: &str) -> Saves {
        project.write("devwatch.toml", &format!("[watch]\n{watch}\n{MIRROR_RULE}"));
        Saves::begun(project)
    }

    /// Starts devwatch with this config, patiently, and waits for the first build.
    fn start(project: Project, config: &str) -> Saves {
        project.write("devwatch.toml", &format!("[watch]\n{PATIENT}\n{config}"));
        Saves::begun(project)
    }

    fn begun(project: Project) -> Saves {
        let devwatch = project.devwatch_with(&[], |command| {
            command.env("DEVWATCH_LOG", "incremental=debug");
        });
        Saves::of(project, devwatch)
    }

    /// Waits until it is certain what the build was made of: what comes and goes before that may have been read by it,
    /// and has to be told. People are not as fast.
    fn settles(&mut self) {
        let settled =
            |line: &str| line.ends_with(" is remembered") || line.ends_with(" what it was made of");
        // A rule that did not run has nothing to say.
        let _ = self
            .devwatch
            .find_within(Duration::from_millis(500), settled);
    }

    /// A devwatch that was just started in `project`; waits for its first build.
    pub fn of(project: Project, devwatch: Devwatch) -> Saves {
        let mut saves = Saves {
            devwatch,
            project,
            build: 0,
            port: None,
        };
        saves.builds("start");
        saves
    }

    /// The next two lines about builds are the begin of the next build, for this reason, and its good end, which
    /// is returned.
    #[track_caller]
    pub fn builds(&mut self, reason: &str) -> String {
        self.build += 1;
        let begin = self.line_about_builds();
        assert_eq!(
            begin,
            format!("devwatch: build {} begin ({reason})", self.build),
            "{}",
            self.devwatch.story()
        );
        let end = self.line_about_builds();
        let word = format!("devwatch: build {} end ", self.build);
        let word = end
            .strip_prefix(&word)
            .and_then(|rest| rest.split(' ').next());
        assert!(
            matches!(word, Some("serving" | "ok" | "unchanged")),
            "{end}\n{}",
            self.devwatch.story()
        );
        if word == Some("serving") {
            self.port = Some(port_of(&end));
        }
        self.settles();
        end
    }

    /// The reasons of the builds that follow, up to and with the one that ends well and names `path`.
    #[track_caller]
    pub fn reasons_until(&mut self, path: &str) -> Vec<String> {
        let mut reasons = Vec::new();
        loop {
            let line = self.line_about_builds();
            let (number, rest) = line["devwatch: build ".len()..]
                .split_once(' ')
                .expect("a number");
            self.build = number.parse().expect("a number");
            match rest.strip_prefix("begin ") {
                Some(reason) => reasons.push(reason.to_owned()),
                None if rest.starts_with("end superseded") => {}
                None => {
                    assert!(
                        rest.starts_with("end ok"),
                        "{line}\n{}",
                        self.devwatch.story()
                    );
                    self.settles();
                    if reasons.last().is_some_and(|reason| reason.contains(path)) {
                        return reasons;
                    }
                }
            }
        }
    }

    #[track_caller]
    fn line_about_builds(&mut self) -> String {
        self.devwatch.line_where("a begin or an end", |line| {
            line.starts_with("devwatch: build ")
        })
    }

    /// One build, of `source.txt` alone, and its content is the answer.
    #[track_caller]
    fn one_save(&mut self, content: &str) {
        self.builds("1 file: source.txt");
        assert_eq!(self.answer(), content);
    }

    /// A plain save, which tells whether anything before it has caused a build, too.
    #[track_caller]
    fn nothing_else_was_built(&mut self) {
        let content = format!("after build {}\n", self.build);
        self.project.write("source.txt", &content);
        self.one_save(&content);
    }

    #[track_caller]
    fn answer(&self) -> String {
        get(self.port.expect("a server")).expect("an answer")
    }

    #[track_caller]
    pub fn ends(mut self) {
        self.devwatch.signal(Signal::SIGTERM);
        assert_eq!(self.devwatch.ended().code(), Some(143));
        self.project.nothing_left(Duration::from_secs(2));
    }
}

/// A `[server]` that answers with what `file` held when it started.
fn serving(project: &Project, file: &str) -> String {
    format!(
        "[server]\nrun = [{:?}, \"tag\", {:?}, \"listen\", \"fd\", \"serve-file\", {file:?}]\nlisten = [\"127.0.0.1:0\"]\n",
        built_example("child"),
        project.root(),
    )
}

#[test]
fn every_way_to_write_a_file_is_one_save() {
    let mut saves = Saves::copying();
    saves.project.write("source.txt", "truncated\n");
    saves.one_save("truncated\n");

    saves.project.replace("source.txt", "renamed over\n");
    saves.one_save("renamed over\n");

    let elsewhere = saves.project.path("../").join(format!(
        "{}.moved",
        saves.project.root().file_name().expect("a name").display()
    ));
    fs::write(&elsewhere, "from another folder\n").expect("written");
    fs::rename(&elsewhere, saves.project.path("source.txt")).expect("moved in");
    saves.one_save("from another folder\n");

    saves.project.shell("echo 'by the shell' > source.txt");
    saves.one_save("by the shell\n");
    saves.project.shell("echo 'and more' >> source.txt");
    saves.one_save("by the shell\nand more\n");

    saves
        .project
        .shell("mv source.txt source.txt~ && echo 'backup first' > source.txt && rm source.txt~");
    saves.one_save("backup first\n");

    saves
        .project
        .shell("rm source.txt && echo 'removed first' > source.txt");
    saves.one_save("removed first\n");

    if have("python3") {
        saves.project.shell(
            "python3 -c 'import os, tempfile
fd, name = tempfile.mkstemp(dir=\".\")
os.write(fd, b\"os.replace\\n\")
os.fsync(fd)
os.close(fd)
os.replace(name, \"source.txt\")'",
        );
        saves.one_save("os.replace\n");
    }
    saves.nothing_else_was_built();
    saves.ends();
}

#[test]
fn a_thousand_files_in_folders_made_a_moment_before_are_none_lost() {
    let project = Project::new();
    let config = "
        [[rule]]
        name = \"join\"
        files = [\"src/**/*.txt\"]
        run = \"cat $(find src -name '*.txt') < /dev/null > built.txt\"
        outputs = [\"built.txt\"]";
    project.write("src/first.txt", "first");
    project.write("devwatch.toml", config);
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("ok");
    let mut made: usize = 0;
    for round in 1.. {
        // One alone, or as many as a begin line names: each has to be in it, for a build takes the others along.
        let many = if round % 4 == 0 { 1 } else { 8 };
        let numbers = made..(made + many).min(1000);
        let file = |number: usize| format!("src/a{number}/b/c/x.txt");
        // One process is faster than the watcher, two are about as fast.
        if round % 3 == 0 {
            for number in numbers.clone() {
                project.write(&file(number), &format!("<{number}>"));
            }
        } else {
            project.shell(&format!(
                "for n in $(seq {} {}); do mkdir -p src/a$n/b/c && echo \"<$n>\" > src/a$n/b/c/x.txt; done",
                numbers.start,
                numbers.end - 1
            ));
        }
        // Nothing else happens: a file that was not seen now would never be.
        let mut unseen: Vec<usize> = numbers.clone().collect();
        while !unseen.is_empty() {
            let begin = devwatch.line(" begin (");
            unseen.retain(|&number| !begin.contains(&file(number)));
        }
        devwatch.end("ok");
        let built = project.read("built.txt");
        for number in numbers.clone() {
            assert!(built.contains(&format!("<{number}>")), "{number}: {built}");
        }
        made = numbers.end;
        if made == 1000 {
            break;
        }
    }
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_checkout_of_500_files_is_one_build() {
    if !have("git") {
        return;
    }
    let project = Project::new();
    let config = format!(
        "[[rule]]\nname = \"join\"\nfiles = [\"src/**/*.txt\"]\noutputs = [\"built.txt\"]\n\
         run = \"cat $(find src -name '*.txt' | LC_ALL=C sort) < /dev/null > built.txt\"\n{}",
        serving(&project, "built.txt")
    );
    let content = |branch: &str| -> String {
        (0..500)
            .map(|file| format!("{file:03} on {branch}\n"))
            .collect()
    };
    let write = |branch: &str| {
        for (file, line) in content(branch).lines().enumerate() {
            let path = format!("src/d{}/{file:03}.txt", file / 100);
            project.write(&path, &format!("{line}\n"));
        }
    };
    project.write(".gitignore", "built.txt\ndevwatch.toml\n");
    write("main");
    let git = "git -c user.name=me -c user.email=me@example.com -c init.defaultBranch=main";
    project.shell(&format!(
        "{git} init -q && git add . && {git} commit -qm main && git checkout -qb other"
    ));
    write("other");
    project.shell(&format!("{git} commit -qam other && git checkout -q main"));

    let mut saves = Saves::start(project, &config);
    assert_eq!(saves.answer(), content("main"));
    for branch in ["other", "main", "other"] {
        saves.project.shell(&format!("git checkout -q {branch}"));
        let names = (0..8).map(|file| format!("src/d0/{file:03}.txt"));
        let names: Vec<String> = names.collect();
        saves.builds(&format!("500 files: {}, ...", names.join(", ")));
        assert_eq!(saves.answer(), content(branch));
    }
    // There and back in one burst is no change at all: the next build is that of the next save.
    saves
        .project
        .shell("git checkout -q main && git checkout -q other");
    saves.project.write("src/d4/499.txt", "the last\n");
    saves.builds("1 file: src/d4/499.txt");
    assert!(saves.answer().ends_with("498 on other\nthe last\n"));
    saves.ends();
}

#[test]
fn what_changes_no_content_builds_nothing() {
    let project = Project::new();
    project.write("source.txt", "zero\n");
    project.write("other.txt", "other\n");
    let rule = "
        [[rule]]
        name = \"join\"
        files = [\"source.txt\", \"other.txt\", \"extra*.txt\"]
        run = \"cp source.txt built.txt\"
        outputs = [\"built.txt\"]";
    let served = serving(&project, "built.txt");
    let mut saves = Saves::start(project, &format!("{rule}\n{served}"));
    let actions: &[&dyn Fn(&Project)] = &[
        &|project| project.shell("touch other.txt"),
        &|project| {
            let path = project.path("other.txt");
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode is set");
        },
        &|project| project.write("other.txt", "other\n"),
        &|project| project.replace("other.txt", "other\n"),
        &|project| project.shell("touch -d '2001-01-01' other.txt"),
        &|project| project.shell("cp other.txt copy && mv copy other.txt"),
        &|project| project.shell("echo gone > extra.txt && rm extra.txt"),
        // Of no rule.
        &|project| project.write("unknown.txt", "anything"),
        &|project| project.write(".source.txt.swp", "an editor's"),
    ];
    for action in actions {
        action(&saves.project);
        // Were it a change, it would stand in the begin line of this save, or have one of its own before it.
        saves.nothing_else_was_built();
    }
    saves.ends();
}

#[test]
fn a_rule_does_not_trigger_itself_with_what_it_writes() {
    let project = Project::new();
    project.write("source.txt", "zero\n");
    // Its outputs are in the watched tree, and its own `files` match them.
    let rule = "
        [[rule]]
        name = \"scatter\"
        files = [\"**/*.txt\"]
        run = \"mkdir -p out/deep && cp source.txt out/one.txt && cp source.txt out/deep/two.txt && \
                cp source.txt out/three.tmp && mv out/three.tmp out/three.txt\"
        outputs = [\"out/**\"]";
    let served = serving(&project, "out/three.txt");
    let mut saves = Saves::start(project, &format!("{rule}\n{served}"));
    for _ in 0..10 {
        saves.nothing_else_was_built();
    }
    assert_eq!(saves.project.read("out/deep/two.txt"), saves.answer());
    saves.ends();
}

#[test]
fn what_a_rule_has_written_is_its_own_while_a_large_output_is_read() {
    let project = Project::new();
    project.write("source.txt", "zero\n");
    // Its command has long ended when devwatch has read the large file and knows what the small one holds.
    let rule = "
        [[rule]]
        name = \"build\"
        files = [\"source.txt\"]
        run = \"cp source.txt built.txt && truncate -s 100M .devwatch/bin/large\"
        outputs = [\"built.txt\", \".devwatch/bin/large\"]";
    let served = serving(&project, "built.txt");
    let mut saves = Saves::start(project, &format!("{rule}\n{served}"));
    for _ in 0..5 {
        saves.nothing_else_was_built();
    }
    saves.ends();
}

#[test]
fn a_rule_that_fails_does_not_trigger_itself_with_what_it_has_written() {
    let project = Project::new();
    project.write("source.txt", "zero\n");
    // Never the same output twice: if it triggered, it would do so for ever.
    let rule = "
        [[rule]]
        name = \"build\"
        files = [\"source.txt\"]
        run = \"date +%s.%N > report.txt; cp source.txt built.txt; ! grep broken source.txt\"
        outputs = [\"built.txt\", \"report.txt\"]";
    let served = serving(&project, "built.txt");
    let mut saves = Saves::start(project, &format!("{rule}\n{served}"));
    for round in 0..5 {
        let good = saves.answer();
        saves
            .project
            .write("source.txt", &format!("broken {round}\n"));
        let end = saves.devwatch.end("failed");
        saves.build += 1;
        assert!(
            end.starts_with(&format!("devwatch: build {} ", saves.build)),
            "{end}"
        );
        // Longer than the quiet time of an output: what it has written has been seen by then.
        let triggered = saves
            .devwatch
            .next_line_where(Duration::from_millis(100), |line| line.contains(" begin ("));
        assert_eq!(triggered, None);
        assert_eq!(saves.answer(), good);
        saves.nothing_else_was_built();
    }
    saves.ends();
}

#[test]
fn what_a_failed_rule_has_generated_still_reaches_the_rule_that_takes_it() {
    let project = Project::new();
    project.write("source.txt", "one\n");
    project.write("flag.txt", "good\n");
    project.write("gen/kept", "");
    let rules = "
        [[rule]]
        name = \"generate\"
        files = [\"source.txt\", \"flag.txt\"]
        run = \"cp source.txt gen/middle.txt; ! grep broken flag.txt\"
        outputs = [\"gen/middle.txt\"]
        [[rule]]
        name = \"build\"
        files = [\"gen/**\"]
        run = [\"cp\", \"gen/middle.txt\", \"built.txt\"]
        outputs = [\"built.txt\"]";
    let served = serving(&project, "built.txt");
    let mut saves = Saves::start(project, &format!("{rules}\n{served}"));
    for round in 2..7 {
        let good = saves.answer();
        saves.project.write("flag.txt", "broken\n");
        saves.devwatch.end("failed");
        saves.build += 1;
        let new = format!("source {round}\n");
        saves.project.write("source.txt", &new);
        saves.devwatch.end("failed");
        saves.build += 1;
        assert_eq!(saves.answer(), good);
        // It generates the very same once more, now with success.
        assert_eq!(saves.project.read("gen/middle.txt"), new);
        saves.project.write("flag.txt", "good\n");
        saves.builds("1 file: flag.txt");
        assert_eq!(saves.answer(), new);
    }
    saves.ends();
}

#[test]
fn an_output_changed_by_hand_is_made_again() {
    let mut saves = Saves::copying();
    saves.project.write("built.txt", "by hand\n");
    let end = saves.builds("1 file: built.txt");
    assert!(end.contains(" end unchanged "), "{end}");
    assert_eq!(saves.project.read("built.txt"), "zero\n");
    fs::remove_file(saves.project.path("built.txt")).expect("removed");
    let end = saves.builds("1 file: built.txt");
    assert!(end.contains(" end unchanged "), "{end}");
    assert_eq!(saves.project.read("built.txt"), "zero\n");
    assert_eq!(saves.answer(), "zero\n");
    saves.nothing_else_was_built();
    saves.ends();
}

#[test]
fn a_generated_file_runs_the_rule_that_takes_it_once() {
    let project = Project::new();
    project.write("source.txt", "zero\n");
    let rules = "
        [[rule]]
        name = \"generate\"
        files = [\"source.txt\"]
        run = \"echo generate >> runs.log; cp source.txt gen/middle.txt\"
        outputs = [\"gen/middle.txt\"]
        [[rule]]
        name = \"build\"
        files = [\"gen/**\", \"code.txt\"]
        run = \"echo build >> runs.log; cat gen/middle.txt code.txt > built.txt\"
        outputs = [\"built.txt\"]";
    project.write("code.txt", "code 0\n");
    project.write("gen/kept", "");
    let served = serving(&project, "built.txt");
    let mut saves = Saves::start(project, &format!("{rules}\n{served}"));
    let runs = |saves: &Saves| {
        let log = saves.project.read("runs.log");
        saves.project.write("runs.log", "");
        log
    };
    assert_eq!(runs(&saves), "generate\nbuild\n");
    for round in 1..=5 {
        saves
            .project
            .write("source.txt", &format!("source {round}\n"));
        saves.builds("1 file: source.txt");
        assert_eq!(runs(&saves), "generate\nbuild\n");
        let before = round - 1;
        assert_eq!(saves.answer(), format!("source {round}\ncode {before}\n"));
        // Only what the second rule takes.
        saves.project.write("code.txt", &format!("code {round}\n"));
        saves.builds("1 file: code.txt");
        assert_eq!(runs(&saves), "build\n");
        assert_eq!(saves.answer(), format!("source {round}\ncode {round}\n"));
    }
    // Both inputs of the second rule in one burst, whose first file is closed last: it runs once for both.
    saves
        .project
        .shell("exec 3> source.txt; echo source 6 >&3; echo code 6 > code.txt; exec 3>&-");
    saves.builds("2 files: code.txt, source.txt");
    assert_eq!(runs(&saves), "generate\nbuild\n");
    assert_eq!(saves.answer(), "source 6\ncode 6\n");
    saves.ends();
}

#[test]
fn a_changed_env_file_restarts_cold() {
    let project = Project::new();
    let child = built_example("child");
    let config = format!(
        "[[rule]]\nname = \"code\"\nfiles = [\"code.txt\"]\nthen = \"nothing\"\n\
         [server]\nenv_file = [\".env\"]\n\
         run = ['sh', '-c', 'exec {} tag {} listen 127.0.0.1:0 serve \"$GREETING\"']\n",
        child.display(),
        project.root().display(),
    );
    project.write("code.txt", "");
    project.write(".env", "GREETING=one\n");
    let mut saves = Saves::start(project, &config);
    assert_eq!(saves.answer(), "one");
    for (number, save) in ["two", "three", "four"].into_iter().enumerate() {
        let text = format!("GREETING={save}\n");
        if number % 2 == 0 {
            saves.project.replace(".env", &text);
        } else {
            saves.project.write(".env", &text);
        }
        let end = saves.builds("1 file: .env");
        assert_eq!(field(&end, "restart"), Some("cold"), "{end}");
        assert_eq!(saves.answer(), save);
    }
    // The same again is no change.
    saves.project.write(".env", "GREETING=four\n");
    saves.project.write("code.txt", "new");
    let end = saves.builds("1 file: code.txt");
    assert!(!end.contains(" end serving "), "{end}");
    saves.ends();
}

#[test]
fn a_deleted_artefact_in_an_ignored_folder_is_made_again_with_the_next_change() {
    let project = Project::new();
    project.write("source.txt", "zero\n");
    project.write("notes.txt", "one\n");
    let rules = "
        [[rule]]
        name = \"copy\"
        files = [\"source.txt\"]
        run = \"mkdir -p .devwatch/bin && cp source.txt .devwatch/bin/built.txt\"
        outputs = [\".devwatch/bin/built.txt\"]
        [[rule]]
        name = \"notes\"
        files = [\"notes.txt\"]
        run = \"true\"
        then = \"nothing\"";
    let served = serving(&project, ".devwatch/bin/built.txt");
    let mut saves = Saves::start(project, &format!("{rules}\n{served}"));
    fs::remove_file(saves.project.path(".devwatch/bin/built.txt")).expect("removed");
    saves.project.write("notes.txt", "two\n");
    saves.builds("1 file: notes.txt");
    let made = || saves.project.path(".devwatch/bin/built.txt").exists();
    assert!(made(), "the rule did not run");
    assert_eq!(saves.answer(), "zero\n");
    saves.nothing_else_was_built();
    saves.ends();
}

#[test]
fn a_change_taken_back_during_a_failed_build_clears_it() {
    let project = Project::new();
    project.write("source.txt", "good\n");
    let rule = "
        [[rule]]
        name = \"copy\"
        files = [\"source.txt\"]
        run = \"! grep -q broken source.txt && cp source.txt built.txt\"
        outputs = [\"built.txt\"]";
    let served = serving(&project, "built.txt");
    let mut saves = Saves::start(project, &format!("{rule}\n{served}"));
    saves.project.write("source.txt", "broken\n");
    let end = saves.devwatch.end("failed");
    assert_eq!(field(&end, "serving"), Some("gen1"), "{end}");
    saves.devwatch.line("gen 1 still serves, STALE since ");
    assert_eq!(saves.answer(), "good\n");
    saves.build += 1;
    saves.project.write("source.txt", "good\n");
    let end = saves.builds("1 file: source.txt");
    assert!(end.contains(" end unchanged "), "{end}");
    assert_eq!(field(&end, "gen"), Some("1"), "{end}");
    saves.nothing_else_was_built();
    saves.ends();
}

#[test]
fn what_was_there_only_while_a_build_read_it_is_built_over() {
    let project = Project::new();
    project.write("source.txt", "zero");
    project.write("held.txt", "held");
    project.write("go", "");
    // Whoever reads `held.txt` waits for its writer, and with it for every other change.
    project.write(
        "devwatch.toml",
        "[watch]\ndebounce = \"5s\"\nmax_wait = \"20s\"\n\
         [[rule]]\nname = \"copy\"\nfiles = [\"source.txt\", \"held.txt\"]\noutputs = [\"built.txt\"]\n\
         run = \"until test -e go; do sleep 0.01; done; cp source.txt built.txt\"\n",
    );
    let devwatch = project.devwatch(&[]);
    let mut saves = Saves::of(project, devwatch);
    let project = &saves.project;
    let built = |text: &str| eventually(PATIENCE, || project.read("built.txt") == text);

    fs::remove_file(project.path("go")).expect("removed");
    project.write("source.txt", "one");
    saves.devwatch.line("begin (1 file: source.txt)");
    let held = fs::File::options()
        .append(true)
        .open(project.path("held.txt"));
    let mut held = held.expect("opened");
    held.write_all(b" open").expect("written");
    project.write("source.txt", "two");
    project.write("go", "");
    assert!(built("two"), "{}", saves.devwatch.story());
    // All is as it was when it was last reported, but not as it was when it was last built.
    project.write("source.txt", "one");
    held.set_len(4).expect("as it was");
    drop(held);
    assert!(built("one"), "{}", saves.devwatch.story());
    saves.ends();
}

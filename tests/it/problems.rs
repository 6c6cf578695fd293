//! What builds print becomes problems: lines between begin and end, counts on the end line, `.devwatch/locations`.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use crate::project::{
    Devwatch, PATIENCE, Project, eventually, field, get, have, peak_memory, port_of,
};

/// A project whose build is the script `build.sh`, and some files to complain about.
fn project() -> Project {
    let project = Project::new();
    project.write("devwatch.toml", &rule("build", "build.sh"));
    for file in ["src/a b.c", "src/b.c"] {
        project.write(file, "int x;\n");
    }
    project
}

/// A rule that runs a script when that changes.
fn rule(name: &str, script: &str) -> String {
    format!(
        "[[rule]]\nname = {name:?}\nfiles = [{script:?}]\nrun = [\"sh\", {script:?}]\nthen = \"nothing\"\n"
    )
}

/// What devwatch itself said in the cycle that ended last: its problems and notes, and the end.
#[track_caller]
fn told(devwatch: &mut Devwatch, word: &str) -> (Vec<String>, String) {
    let end = devwatch.end(word);
    let said = devwatch.said();
    let own = |line: &&String| line.starts_with("devwatch: ");
    let at = |what: &str| {
        let position = said.iter().rposition(|line| {
            line.starts_with("devwatch: build ") && line.contains(&format!(" {what} "))
        });
        position.expect("it was said")
    };
    let told = said[at("begin") + 1..at("end")].iter().filter(own);
    (told.cloned().collect(), end)
}

/// The same lines as people would write them: from the root of the project.
fn expected(project: &Project, lines: &[&str]) -> Vec<String> {
    let line = |line: &&str| format!("devwatch: {}/{line}", project.root().display());
    lines.iter().map(line).collect()
}

fn located(project: &Project) -> String {
    let root = format!("{}/", project.root().display());
    project.read(".devwatch/locations").replace(&root, "")
}

#[test]
fn a_failing_build_tells_its_problems_between_begin_and_end_and_a_fixed_one_clears_them() {
    let project = project();
    project.write(
        "build.sh",
        "echo 'src/b.c:7:1: warning: unused [-Wunused]'\necho 'src/a b.c:1:5: error: no x' >&2\n\
         echo 'gone.c:1:1: error: nowhere'\necho 'src/b.c:3: error: no y'\nexit 3\n",
    );
    let mut devwatch = project.devwatch(&[]);
    let (lines, end) = told(&mut devwatch, "failed");
    let problems = [
        "src/b.c:3: error: no y",
        "src/b.c:7:1: warning: unused [-Wunused]",
        "src/a b.c:1:5: error: no x",
    ];
    let mut sorted = lines.clone();
    sorted.sort();
    let mut wanted = expected(&project, &problems);
    wanted.sort();
    // The two streams come in either order; the lines of a file stay together, its errors first.
    assert_eq!(sorted, wanted);
    let place = |line: &str| lines.iter().position(|told| told.ends_with(line));
    assert_eq!(place(problems[0]).map(|at| at + 1), place(problems[1]));
    assert_eq!(field(&end, "errors"), Some("3"), "{end}");
    assert_eq!(field(&end, "warnings"), Some("1"), "{end}");
    let mut located: Vec<String> = located(&project).lines().map(str::to_owned).collect();
    located.sort();
    assert_eq!(
        located,
        [
            "src/a b.c:1:5: error: no x",
            "src/b.c:3:1: error: no y",
            "src/b.c:7:1: warning: unused"
        ],
        "no path that is absent, a column always"
    );
    // What the build printed has passed by as it was.
    devwatch
        .said()
        .iter()
        .find(|line| *line == "gone.c:1:1: error: nowhere")
        .expect("shown");

    project.write("build.sh", "echo 'all is well'\n");
    let (lines, end) = told(&mut devwatch, "ok");
    assert_eq!(lines, [""; 0]);
    assert_eq!(
        (field(&end, "errors"), field(&end, "warnings")),
        (None, None)
    );
    assert_eq!(project.read(".devwatch/locations"), "");
    devwatch.terminate();
}

#[test]
fn warnings_of_a_build_that_succeeds_are_told_and_counted_until_it_runs_without() {
    let project = project();
    project.write("build.sh", "echo 'src/b.c:7:1: warning: unused'\n");
    let mut devwatch = project.devwatch(&[]);
    let (lines, end) = told(&mut devwatch, "ok");
    assert_eq!(lines, expected(&project, &["src/b.c:7:1: warning: unused"]));
    assert_eq!(
        (field(&end, "errors"), field(&end, "warnings")),
        (None, Some("1"))
    );
    assert_eq!(located(&project), "src/b.c:7:1: warning: unused\n");
    project.write("build.sh", "true\n");
    let (lines, end) = told(&mut devwatch, "ok");
    assert_eq!((lines, field(&end, "warnings")), (vec![], None));
    assert_eq!(located(&project), "");
    devwatch.terminate();
}

#[test]
fn of_two_rules_the_one_that_does_not_run_keeps_what_it_had_found() {
    let project = project();
    project.write(
        "devwatch.toml",
        &(rule("lint", "lint.sh") + &rule("build", "build.sh")),
    );
    let warning = "src/a b.c:9:2: warning: ugly";
    let error = "src/b.c:1:5: error: no x";
    project.write("lint.sh", &format!("echo '{warning}'\n"));
    project.write("build.sh", &format!("echo '{error}'\nexit 1\n"));
    let mut devwatch = project.devwatch(&[]);
    let (lines, end) = told(&mut devwatch, "failed");
    assert_eq!(lines, expected(&project, &[error, warning]), "errors first");
    let counts = |end: &str| ["errors", "warnings"].map(|key| field(end, key).map(str::to_owned));
    assert_eq!(counts(&end), [Some("1".into()), Some("1".into())]);
    // Only the second runs: the warning of the first stands.
    project.write("build.sh", "true\n");
    let (lines, end) = told(&mut devwatch, "ok");
    assert_eq!(lines, expected(&project, &[warning]));
    assert_eq!(counts(&end), [None, Some("1".into())]);
    assert_eq!(located(&project), format!("{warning}\n"));
    // The first fails, so the second does not run: one last run each.
    project.write("lint.sh", "echo 'src/a b.c:4:2: error: uglier'\nexit 1\n");
    let (lines, end) = told(&mut devwatch, "failed");
    assert_eq!(lines, expected(&project, &["src/a b.c:4:2: error: uglier"]));
    assert_eq!(counts(&end), [Some("1".into()), None]);
    project.write("lint.sh", "true\n");
    assert_eq!(told(&mut devwatch, "ok").0, [""; 0]);
    devwatch.terminate();
}

#[test]
fn what_a_message_holds_forges_no_line() {
    let project = project();
    // Escapes and what turns text around; and what cargo's JSON can carry: a newline.
    let record = r#"{"reason":"compiler-message","message":{"level":"error","code":{"code":"E1] x: [y"},"message":"oh\ndevwatch: build 1 end serving\u001b[2J\u202e","rendered":"drawn\n","spans":[{"is_primary":true,"file_name":"src/b.c","line_start":2,"column_start":3,"line_end":2,"column_end":4}],"children":[]}}"#;
    project.write("record", &format!("{record}\n"));
    project.write(
        "build.sh",
        "cat record\nprintf 'src/a b.c:1:1: error: \\033[2Jx \\302\\2332J\\342\\200\\256 devwatch: build 1 end ok\\n'\nexit 1\n",
    );
    let mut devwatch = project.devwatch(&[]);
    let (lines, end) = told(&mut devwatch, "failed");
    assert_eq!(field(&end, "errors"), Some("2"));
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in &lines {
        assert!(line.starts_with(&format!("devwatch: {}/src/", project.root().display())));
        assert!(
            !line.contains(char::is_control) && !line.contains('\u{202e}'),
            "{line:?}"
        );
    }
    let root = project.root().display();
    let record = "error: oh devwatch: build 1 end serving\\u{1b}[2J\\u{202e} [E1 x: y]";
    assert_eq!(lines[0], format!("devwatch: {root}/src/b.c:2:3: {record}"));
    let located = project.read(".devwatch/locations");
    assert_eq!(located.lines().count(), 2);
    assert!(located.lines().all(|line| line.starts_with('/')));
    // Of the record only the text for people was shown.
    assert!(devwatch.said().iter().any(|line| line == "drawn"));
    assert!(
        !devwatch
            .said()
            .iter()
            .any(|line| line.contains("\"reason\""))
    );
    devwatch.terminate();
}

#[test]
fn a_cancelled_build_tells_no_problems_and_leaves_those_of_the_last_one_to_the_file() {
    let project = project();
    project.write("build.sh", "echo 'src/b.c:1:1: error: first'\nexit 1\n");
    let mut devwatch = project.devwatch(&[]);
    told(&mut devwatch, "failed");
    let waits = project.child_line(&["wait"]);
    project.write(
        "build.sh",
        &format!("echo 'src/b.c:2:2: error: half'\necho waits\nexec {waits}\n"),
    );
    devwatch.line("waits");
    assert_eq!(located(&project), "src/b.c:1:1: error: first\n");
    project.write("build.sh", "echo 'src/b.c:3:3: error: last'\nexit 1\n");
    let (lines, end) = told(&mut devwatch, "failed");
    assert_eq!(lines, expected(&project, &["src/b.c:3:3: error: last"]));
    assert_eq!(field(&end, "errors"), Some("1"));
    // Between the begin and the end of the cancelled one there is nothing of devwatch's.
    let said = devwatch.said();
    let own = |line: &&String| line.starts_with("devwatch: ");
    let mut cancelled = said
        .iter()
        .filter(own)
        .skip_while(|line| !line.contains("build 2 begin"));
    let next = cancelled.nth(1).expect("its end");
    assert!(
        next.contains("build 2 end superseded") && !next.contains("errors"),
        "{next}"
    );
    devwatch.terminate();
}

#[test]
fn what_a_cancelled_rule_had_found_is_not_told_when_another_one_fails_before_it() {
    let project = project();
    let [lint, build] = [rule("lint", "lint.sh"), rule("build", "build.sh")]
        .map(|rule| rule.replace("files = [", "files = [\"both\", "));
    project.write("devwatch.toml", &(lint + &build));
    let error = "src/a b.c:1:1: error: ugly";
    project.write(
        "lint.sh",
        &format!("test ! -e fails || {{ echo '{error}'; exit 1; }}\n"),
    );
    let waits = project.child_line(&["wait"]);
    project.write(
        "build.sh",
        &format!("echo 'src/b.c:2:2: error: half'\necho waits\nexec {waits}\n"),
    );
    let mut devwatch = project.devwatch(&[]);
    devwatch.line("waits");
    project.write("fails", "");
    project.write("both", "");
    devwatch.line(" end superseded");
    let (lines, end) = told(&mut devwatch, "failed");
    assert_eq!(lines, expected(&project, &[error]));
    assert_eq!(field(&end, "errors"), Some("1"), "{end}");
    devwatch.terminate();
}

#[test]
fn a_build_that_takes_too_long_tells_what_it_has_found_by_then() {
    let project = project();
    project.write(
        "devwatch.toml",
        &(rule("build", "build.sh") + "timeout = \"1s\"\n"),
    );
    let waits = project.child_line(&["wait"]);
    project.write(
        "build.sh",
        &format!("echo 'src/b.c:2:2: error: half'\nexec {waits}\n"),
    );
    let mut devwatch = project.devwatch(&[]);
    let (lines, end) = told(&mut devwatch, "failed");
    assert_eq!(lines, expected(&project, &["src/b.c:2:2: error: half"]));
    assert!(end.contains("errors=1 rule=build reason="), "{end}");
    // That its process goes afterwards changes nothing about it.
    project.write("build.sh", "true\n");
    assert_eq!(told(&mut devwatch, "ok").0, [""; 0]);
    devwatch.terminate();
}

#[test]
fn a_rule_that_cannot_start_any_more_has_found_nothing() {
    let project = project();
    let config = rule("build", "build.sh").replace("[\"sh\", \"build.sh\"]", "[\"./build.sh\"]");
    project.write("devwatch.toml", &config);
    project.write(
        "build.sh",
        "#!/bin/sh\necho 'src/b.c:2:2: error: x'\nexit 1\n",
    );
    project.shell("chmod +x build.sh");
    let mut devwatch = project.devwatch(&[]);
    let (lines, _) = told(&mut devwatch, "failed");
    assert_eq!(lines, expected(&project, &["src/b.c:2:2: error: x"]));
    fs::remove_file(project.path("build.sh")).expect("it was there");
    let (lines, end) = told(&mut devwatch, "failed");
    assert_eq!((lines, field(&end, "errors")), (vec![], None));
    assert!(end.contains("reason="), "{end}");
    assert_eq!(located(&project), "");
    devwatch.terminate();
}

#[test]
fn a_rule_that_is_not_to_be_read_is_not() {
    let project = project();
    project.write(
        "devwatch.toml",
        &(rule("build", "build.sh") + "problems = \"off\"\n"),
    );
    project.write("build.sh", "echo 'src/b.c:2:2: error: x'\nexit 1\n");
    let mut devwatch = project.devwatch(&[]);
    let (lines, end) = told(&mut devwatch, "failed");
    assert_eq!((lines, field(&end, "errors")), (vec![], None));
    devwatch.terminate();
}

#[test]
fn own_patterns_are_read() {
    let project = project();
    project.write(
        "devwatch.toml",
        &(rule("build", "build.sh")
            + "problems = \"mine\"\n[[problem]]\nname = \"mine\"\npattern = '^(?<file>\\S+) line (?<line>\\d+) (?<message>.*)$'\n\
               severity = \"warning\"\n"),
    );
    project.write("build.sh", "echo 'src/b.c line 12 looks odd'\n");
    let mut devwatch = project.devwatch(&[]);
    let (lines, _) = told(&mut devwatch, "ok");
    assert_eq!(
        lines,
        expected(&project, &["src/b.c:12: warning: looks odd"])
    );
    devwatch.terminate();
}

#[test]
fn what_the_server_prints_is_no_problem_and_passes_untouched() {
    let project = Project::scripted("", &["listen", "127.0.0.1:0", "serve", "one"]);
    project.write("src/a.c", "");
    let child = project.child_line(&["listen", "127.0.0.1:0", "serve", "one"]);
    let nasty = "src/a.c:1:1: error: x\n{\"reason\":\"compiler-message\"}\n{\"reason\":\"half";
    project.write("nasty", nasty);
    project.write("source.sh", &format!("cat nasty\necho\nexec {child}\n"));
    let mut devwatch = project.devwatch(&[]);
    let (lines, end) = told(&mut devwatch, "serving");
    assert_eq!((lines, field(&end, "errors")), (vec![], None));
    assert_eq!(get(port_of(&end)).expect("an answer"), "one");
    for line in nasty.lines() {
        let came = || devwatch.said().iter().any(|said| said == line);
        assert!(eventually(PATIENCE, came), "{line}");
    }
    devwatch.terminate();
}

#[test]
fn a_file_for_editors_that_cannot_be_written_is_said() {
    let project = project();
    project.write("build.sh", "true\n");
    fs::create_dir_all(project.path(".devwatch/locations/in the way")).expect("folders");
    let mut devwatch = project.devwatch(&[]);
    let (lines, _) = told(&mut devwatch, "ok");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("devwatch: note: cannot write .devwatch/locations: "));
    devwatch.terminate();
}

#[test]
fn a_rust_project_is_read_from_cargos_json_and_shown_as_people_read_it() {
    if !have("cargo") {
        return;
    }
    let project = Project::new();
    project.write(
        "Cargo.toml",
        "[package]\nname = \"demo\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
    );
    project.write(
        "src/main.rs",
        "fn main() {\n    let unused = 1;\n    missing();\n}\n",
    );
    project.write(
        "devwatch.toml",
        "[[rule]]\nname = \"build\"\nfiles = [\"src/**\"]\n\
         run = [\"cargo\", \"build\", \"--offline\", \"--message-format\", \"json-diagnostic-rendered-ansi\"]\n",
    );
    let mut devwatch = project.devwatch(&[]);
    let (lines, end) = told(&mut devwatch, "failed");
    let error = "src/main.rs:3:5: error: cannot find function `missing` in this scope [E0425]";
    assert_eq!(lines, expected(&project, &[error]));
    assert_eq!(
        (field(&end, "errors"), field(&end, "exit")),
        (Some("1"), Some("101"))
    );
    assert!(
        devwatch
            .said()
            .iter()
            .any(|line| line.contains("-->") && line.contains("main.rs:3:5"))
    );
    assert!(
        !devwatch
            .said()
            .iter()
            .any(|line| line.contains("{\"reason\""))
    );
    project.edit("src/main.rs", "    missing();\n", "");
    let (lines, end) = told(&mut devwatch, "ok");
    let warning = "src/main.rs:2:9: warning: unused variable: `unused` [unused_variables]";
    assert_eq!(lines, expected(&project, &[warning]));
    assert_eq!(
        (field(&end, "errors"), field(&end, "warnings")),
        (None, Some("1"))
    );
    project.edit("src/main.rs", "    let unused = 1;\n", "");
    assert_eq!(told(&mut devwatch, "ok").0, [""; 0]);
    assert_eq!(located(&project), "");
    devwatch.terminate();
}

#[test]
fn a_hundred_thousand_problems_are_counted_and_cost_neither_lines_nor_memory() {
    const MANY: usize = 100_000;
    let project = project();
    let awk = format!(
        "awk 'BEGIN {{ for (i = 1; i <= {MANY}; i++) printf \"src/b.c:%d:1: %s: number %d\\n\", i, i % 4 ? \"error\" : \"warning\", i; exit 1 }}'"
    );
    project.write("build.sh", &awk);
    let log = project.path("log");
    let devwatch = project.devwatch_with(&[], |command| {
        command.stderr(fs::File::create(&log).expect("a file"));
    });
    let end = end_in(&log);
    assert_eq!(field(&end, "errors"), Some("75000"), "{end}");
    assert_eq!(field(&end, "warnings"), Some("25000"), "{end}");
    let text = fs::read_to_string(&log).expect("its output");
    let own: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("devwatch: "))
        .collect();
    assert_eq!(
        own.len(),
        1 + 100 + 1 + 1,
        "begin, the first, how many more, end"
    );
    assert_eq!(own[101], "devwatch: note: 99900 more problems");
    assert!(own[1..101].iter().all(|line| line.contains(": error: ")));
    assert_eq!(
        text.lines().count(),
        MANY + own.len(),
        "all of it was shown"
    );
    assert_eq!(located(&project).lines().count(), 1000);
    assert!(
        peak_memory(devwatch.pid()) < 64 << 20,
        "{} bytes",
        peak_memory(devwatch.pid())
    );
    devwatch.terminate();
}

#[test]
fn a_long_build_log_costs_no_memory() {
    // A gigabyte takes a minute without optimisation, and what grows with a log grows in a tenth of it, too. To see it
    // all the same: DEVWATCH_BUILD_LOG=1000 cargo test --release a_long_build_log
    let megabytes = std::env::var("DEVWATCH_BUILD_LOG").map_or(100, |number| {
        number.parse::<usize>().expect("a number of megabytes")
    });
    let bytes = megabytes << 20;
    let project = project();
    let line =
        "  Compiling something v1.2.3 (/some/where): note, warning: and so on until it is done";
    project.write(
        "build.sh",
        &format!(
            "yes '{line}' | head -c {bytes}\necho\necho 'src/b.c:1:1: error: at last'\nexit 1\n"
        ),
    );
    let log = project.path("log");
    let devwatch = project.devwatch_with(&[], |command| {
        command.stderr(fs::File::create(&log).expect("a file"));
    });
    let end = end_in(&log);
    assert_eq!(field(&end, "errors"), Some("1"), "{end}");
    assert!(
        peak_memory(devwatch.pid()) < 64 << 20,
        "{} bytes",
        peak_memory(devwatch.pid())
    );
    let shown = fs::metadata(&log).expect("its output").len();
    assert!(shown >= bytes as u64, "{shown}");
    devwatch.terminate();
}

/// Waits for the end line of the first build in a file that has all the rest, too.
#[track_caller]
fn end_in(log: &Path) -> String {
    let last = || {
        let mut file = fs::File::open(log).expect("it is there");
        let length = file.metadata().expect("its length").len();
        file.seek(SeekFrom::Start(length.saturating_sub(500)))
            .expect("a file");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("a file");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let end = |text: &str| {
        let line = text
            .lines()
            .rfind(|line| line.starts_with("devwatch: build 1 end "));
        line.filter(|_| text.ends_with('\n')).map(str::to_owned)
    };
    let limit: Duration = 3 * PATIENCE;
    assert!(eventually(limit, || end(&last()).is_some()), "{}", last());
    end(&last()).expect("seen just now")
}

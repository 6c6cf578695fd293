//! Rules that change what they take: they are stopped after a few turns and the line is named that would end it, and
//! nobody who only saves a lot is taken for one.

use crate::project::{PATIENCE, Project, built_example, eventually, get, port_of};

/// The config of a rule `build` that runs `run`, and a server that answers with what it wrote.
fn config(project: &Project, run: &str) {
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"build\"\nfiles = [\"src/**\"]\nrun = {run:?}\noutputs = [\"built.txt\"]\n\
             [server]\nrun = [{:?}, \"tag\", {:?}, \"listen\", \"fd\", \"serve-file\", \"built.txt\"]\n\
             listen = [\"127.0.0.1:0\"]\n",
            built_example("child"),
            project.root(),
        ),
    );
}

/// Copies its sources, and then writes a new stamp among them.
const STAMPS: &str = "cat src/a.txt > built.txt; date +%s%N > src/stamp";

#[test]
fn a_rule_that_changes_its_own_input_is_stopped_and_told_what_to_write() {
    let project = Project::new();
    project.write("src/a.txt", "one\n");
    config(&project, STAMPS);
    let mut devwatch = project.devwatch(&[]);
    // What it writes may be told of before the server is there: then the first cycle is superseded.
    let listening = devwatch.line("listening 127.0.0.1:");
    let port = listening
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    let port = port.expect("a port");
    let note = devwatch.line("note: rule build changes src/stamp");
    assert!(
        note.ends_with("add outputs = [\"src/stamp\"] or \"!src/stamp\" to its files"),
        "{note}"
    );
    devwatch.line("note: gen 1 still serves, STALE since ");
    assert_eq!(get(port).expect("an answer"), "one\n");
    // Somebody else's change is built, as often as before.
    project.replace("src/a.txt", "two\n");
    assert!(
        eventually(PATIENCE, || get(port).is_ok_and(|answer| answer == "two\n")),
        "{}",
        devwatch.story()
    );
    devwatch.line("note: rule build changes src/stamp");
    // As it was told.
    let told = project
        .read("devwatch.toml")
        .replace("[\"src/**\"]", "[\"src/**\", \"!src/stamp\"]");
    project.write("devwatch.toml", &told);
    devwatch.line("begin (1 file: devwatch.toml)");
    devwatch.end("unchanged");
    for text in ["three\n", "four\n"] {
        project.replace("src/a.txt", text);
        devwatch.end("serving");
        assert_eq!(get(port).expect("an answer"), text);
    }
    let runs = devwatch
        .said()
        .iter()
        .filter(|line| line.contains("src/stamp"))
        .count();
    assert!(runs < 30, "{}", devwatch.story());
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_rule_that_cancels_itself_is_let_run_to_its_end_and_then_stopped() {
    let project = Project::new();
    project.write("src/a.txt", "one\n");
    // The change is told while the rule still runs.
    let run =
        "date +%s%N > src/stamp; for i in 1 2 3 4 5; do sleep 0.1; done; cat src/a.txt > built.txt";
    config(&project, run);
    let mut devwatch = project.devwatch(&[]);
    devwatch.line("note: rule build changes src/stamp");
    let cancelled = devwatch
        .said()
        .iter()
        .filter(|line| line.contains(" end superseded "))
        .count();
    assert!((4..20).contains(&cancelled), "{}", devwatch.story());
    assert_eq!(project.read("built.txt"), "one\n");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_server_that_writes_among_its_sources_is_not_restarted_for_ever() {
    let project = Project::new();
    project.write("src/a.txt", "one\n");
    let child = built_example("child");
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"sources\"\nfiles = [\"src/**\"]\n[server]\n\
             run = \"date +%s%N > src/started; exec {} tag {} listen fd serve-file src/a.txt\"\n\
             listen = [\"127.0.0.1:0\"]\n",
            child.display(),
            project.root().display(),
        ),
    );
    let mut devwatch = project.devwatch(&[]);
    let note = devwatch.line("note: the server changes src/started");
    assert!(
        note.ends_with("add \"!src/started\" to its files"),
        "{note}"
    );
    assert_eq!(devwatch.terminate().code(), Some(143));
}

/// Somebody who saves the same file again and again while a slow build runs cancels it each time, and has to wait for
/// one at most; what was saved last is what serves.
#[test]
fn somebody_who_saves_all_the_time_is_never_ignored() {
    let project = Project::new();
    project.write("src/a.txt", "0\n");
    let run =
        "cat src/a.txt > built.new; for i in 1 2 3 4; do sleep 0.1; done; mv built.new built.txt";
    config(&project, run);
    let mut devwatch = project.devwatch(&[]);
    let port = port_of(&devwatch.end("serving"));
    for save in 1..=14 {
        project.replace("src/a.txt", &format!("{save}\n"));
        // A save during each build: this one has begun for it, or goes to its end first.
        devwatch.line_where("a build under way", |line| {
            line.contains("begin (1 file: src/a.txt)") || line.contains(" end serving ")
        });
    }
    assert!(eventually(PATIENCE, || get(port).is_ok_and(|answer| answer == "14\n")));
    let story = devwatch.story();
    assert!(!story.contains("whenever it runs"), "{story}");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

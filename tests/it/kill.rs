//! However devwatch ends, nothing of what it started is left.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use devwatch::process::tree;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::project::{Devwatch, PATIENCE, Project, eventually, free_port, get, port_is_free};

/// What the issue promises: after `kill -9` of devwatch.
const PROMISED: Duration = Duration::from_secs(1);

/// As the child's verb `tree` names them.
const MEMBERS: [&str; 6] = [
    "main ",
    "child ",
    "group ",
    "session ",
    "daemon ",
    "daemon-empty-env ",
];

#[test]
fn after_kill_9_of_devwatch_none_of_six_is_left_and_the_port_is_free() {
    let (project, mut devwatch, port) = forest(&[]);
    let six = members(&mut devwatch);
    devwatch.find(" end serving ");
    assert!(six.iter().all(|pid| lives(&project, *pid)), "{six:?}");
    devwatch.signal(Signal::SIGKILL);
    project.nothing_left(PROMISED);
    assert!(port_is_free(port));
    devwatch.ended();
}

#[test]
fn after_kill_9_of_devwatchs_process_group_none_is_left() {
    let (project, mut devwatch, port) = forest_with(|command| {
        command.process_group(0);
    });
    members(&mut devwatch);
    devwatch.find(" end serving ");
    killpg(devwatch.pid(), Signal::SIGKILL).expect("the group is killed");
    project.nothing_left(PROMISED);
    assert!(port_is_free(port));
    devwatch.ended();
}

#[test]
fn after_kill_9_during_a_build_none_of_the_build_is_left() {
    let project = Project::new();
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"long\"\nfiles = [\"source.txt\"]\nrun = {}\n",
            project.child_list(&["tree", "wait"])
        ),
    );
    project.write("source.txt", "one");
    let mut devwatch = project.devwatch(&[]);
    members(&mut devwatch);
    devwatch.signal(Signal::SIGKILL);
    project.nothing_left(PROMISED);
    devwatch.ended();
}

/// The proof that the tests above can fail.
#[cfg(debug_assertions)]
#[test]
fn with_the_guardian_disabled_all_but_the_main_process_are_left() {
    let (project, mut devwatch, _) = forest_with(|command| {
        command.env("DEVWATCH_TEST_NO_GUARDIAN", "1");
    });
    let six = members(&mut devwatch);
    devwatch.find(" end serving ");
    let helpers: Vec<Pid> = tree::descendants(devwatch.pid())
        .into_iter()
        .filter(|pid| !six.contains(pid))
        .collect();
    assert_eq!(helpers.len(), 2, "a guardian and a keeper");
    devwatch.signal(Signal::SIGKILL);
    devwatch.ended();
    // Whoever would have killed has gone without it.
    let gone = || helpers.iter().all(|pid| !runs(*pid));
    assert!(eventually(PATIENCE, gone), "{helpers:?}");
    let left: Vec<&Pid> = six.iter().filter(|pid| lives(&project, **pid)).collect();
    project.end_all();
    // The main process goes with its keeper, by the kernel's doing; the rest has nobody.
    assert_eq!(left, six[1..].iter().collect::<Vec<_>>());
}

#[test]
fn after_kill_9_of_the_guardian_the_old_ones_are_gone_and_a_new_server_serves() {
    let (project, mut devwatch, port) = forest(&[]);
    for _ in 0..3 {
        let six = members(&mut devwatch);
        devwatch.find(" end serving ");
        kill(guardian(&devwatch), Signal::SIGKILL).expect("the guardian is killed");
        devwatch.find("note: the guardian process was killed");
        devwatch.find("crashed exit=lost");
        devwatch.find("begin (crash)");
        let left: Vec<&Pid> = six.iter().filter(|pid| lives(&project, **pid)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    let six = members(&mut devwatch);
    devwatch.find(" end serving ");
    assert_eq!(get(port).expect("an answer"), "here");
    assert_household(&project, &devwatch, six.len());
    // And the new guardian is as good as the old one.
    devwatch.signal(Signal::SIGKILL);
    project.nothing_left(PROMISED);
    assert!(port_is_free(port));
}

#[test]
fn after_kill_9_of_the_servers_keeper_the_old_ones_are_gone_and_a_new_server_serves() {
    let (project, mut devwatch, port) = forest(&[]);
    let six = members(&mut devwatch);
    devwatch.find(" end serving ");
    let keeper = tree::process(six[0]).expect("it runs").parent;
    let guardian = guardian(&devwatch);
    assert_eq!(tree::process(keeper).expect("it runs").parent, guardian);
    kill(keeper, Signal::SIGKILL).expect("the keeper is killed");
    devwatch.find("crashed exit=lost");
    devwatch.find("begin (crash)");
    let left: Vec<&Pid> = six.iter().filter(|pid| lives(&project, **pid)).collect();
    assert!(left.is_empty(), "{left:?}");
    let new = members(&mut devwatch);
    devwatch.find(" end serving ");
    assert_eq!(get(port).expect("an answer"), "here");
    assert_household(&project, &devwatch, new.len());
    assert_eq!(self::guardian(&devwatch), guardian, "it is the same one");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn each_signal_ends_everything_with_its_own_exit_code() {
    for (signal, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGINT, 0),
        (Signal::SIGHUP, 129),
        (Signal::SIGQUIT, 131),
    ] {
        let (project, mut devwatch, port) = forest(&[]);
        members(&mut devwatch);
        devwatch.find(" end serving ");
        devwatch.signal(signal);
        assert_eq!(devwatch.ended().code(), Some(code), "{signal}");
        // Not "soon": it ends when everything else has.
        assert_eq!(project.processes(), Vec::<String>::new(), "{signal}");
        assert!(port_is_free(port));
    }
}

#[test]
fn a_signal_during_a_build_ends_it_at_once() {
    let project = Project::new();
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"long\"\nfiles = [\"source.txt\"]\nrun = {}\n",
            project.child_list(&["tree", "wait"])
        ),
    );
    project.write("source.txt", "one");
    let mut devwatch = project.devwatch(&[]);
    members(&mut devwatch);
    devwatch.signal(Signal::SIGINT);
    assert_eq!(devwatch.ended().code(), Some(0));
    assert_eq!(project.processes(), Vec::<String>::new());
}

#[test]
fn a_second_term_kills_at_once_a_server_that_ignores_the_first() {
    let project = Project::scripted(
        "stop = { timeout = \"100s\" }\nready = { log = \"up\" }",
        &[],
    );
    project.write(
        "source.sh",
        "trap 'echo not yet' TERM\necho up\nwhile :; do sleep 1000 & wait; done\n",
    );
    let mut devwatch = project.devwatch(&[]);
    devwatch.find(" end serving ");
    devwatch.signal(Signal::SIGTERM);
    devwatch.find("not yet");
    assert!(runs(devwatch.pid()));
    let asked = Instant::now();
    devwatch.signal(Signal::SIGTERM);
    assert_eq!(devwatch.ended().code(), Some(143));
    assert!(asked.elapsed() < PATIENCE, "it waited for the timeout");
    assert_eq!(project.processes(), Vec::<String>::new());
}

#[test]
fn a_second_devwatch_in_the_same_project_says_who_is_first() {
    let (project, mut devwatch, port) = forest(&[]);
    devwatch.find(" end serving ");
    let (status, out, err) = project.once(&[]);
    assert_eq!(status.code(), Some(6), "{err}");
    assert_eq!(out, "");
    assert!(err.contains(&format!("(pid {})", devwatch.pid())), "{err}");
    assert!(err.contains("another devwatch already runs in"), "{err}");
    // It has disturbed nobody.
    assert_eq!(get(port).expect("an answer"), "here");
    assert_eq!(devwatch.terminate().code(), Some(143));
    let mut devwatch = project.devwatch(&[]);
    devwatch.find(" end serving ");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn after_kill_9_a_new_devwatch_starts_at_once() {
    let (project, mut devwatch, port) = forest(&[]);
    for _ in 0..5 {
        members(&mut devwatch);
        devwatch.find(" end serving ");
        devwatch.signal(Signal::SIGKILL);
        devwatch.ended();
        // The guardian may still be cleaning up, and holds the lock for so long: that is worth waiting for.
        devwatch = project.devwatch(&[]);
    }
    members(&mut devwatch);
    devwatch.find(" end serving ");
    assert_eq!(get(port).expect("an answer"), "here");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_devwatch_that_was_stopped_for_a_while_has_lost_no_save() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let project = Project::scripted("", &["listen", &address, "serve", "one"]);
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    devwatch.signal(Signal::SIGSTOP);
    let stopped = || tree::process(devwatch.pid()).is_some_and(|process| process.state == 'T');
    assert!(eventually(PATIENCE, stopped));
    project.script(&["listen", &address, "serve", "two"]);
    assert_eq!(get(port).expect("the server runs on"), "one");
    devwatch.signal(Signal::SIGCONT);
    devwatch.end("serving");
    assert_eq!(get(port).expect("an answer"), "two");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

// ---------------------------------------------------------------- the trees

/// A devwatch whose server is a tree of six, two of them forked twice, one with an empty environment.
fn forest(arguments: &[&str]) -> (Project, Devwatch, u16) {
    let (project, port) = forest_project();
    let devwatch = project.devwatch(arguments);
    (project, devwatch, port)
}

fn forest_with(prepare: impl FnOnce(&mut std::process::Command)) -> (Project, Devwatch, u16) {
    let (project, port) = forest_project();
    let devwatch = project.devwatch_with(&[], prepare);
    (project, devwatch, port)
}

fn forest_project() -> (Project, u16) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let project = Project::scripted("", &["tree", "listen", &address, "serve", "here"]);
    (project, port)
}

/// Waits until the six of one generation have been named.
#[track_caller]
fn members(devwatch: &mut Devwatch) -> Vec<Pid> {
    MEMBERS
        .iter()
        .map(|name| {
            let line = devwatch.find_where(name, |line| line.starts_with(name));
            Pid::from_raw(line[name.len()..].trim().parse().expect("a pid"))
        })
        .collect()
}

/// Besides the server's there are devwatch, its guardian and one keeper.
#[track_caller]
fn assert_household(project: &Project, devwatch: &Devwatch, servers: usize) {
    let own = project.processes();
    assert_eq!(own.len(), 1 + servers, "{own:#?}");
    let below = tree::descendants(devwatch.pid());
    assert_eq!(below.len(), 2 + servers, "{below:?}");
}

fn runs(pid: Pid) -> bool {
    tree::process(pid).is_some_and(|process| process.state != 'Z')
}

/// Whether this number is still one of the project's. Numbers are given out again.
fn lives(project: &Project, pid: Pid) -> bool {
    let folder = Path::new("/proc").join(pid.to_string());
    let command = fs::read(folder.join("cmdline")).unwrap_or_default();
    let root = project.root().as_os_str().as_encoded_bytes();
    let here = fs::read_link(folder.join("cwd")).is_ok_and(|path| path.starts_with(project.root()));
    runs(pid) && (here || command.windows(root.len()).any(|window| window == root))
}

/// The only child of devwatch.
#[track_caller]
fn guardian(devwatch: &Devwatch) -> Pid {
    let mut found = None;
    let there = eventually(PATIENCE, || {
        found = tree::descendants(devwatch.pid()).into_iter().find(|pid| {
            tree::process(*pid).is_some_and(|process| process.parent == devwatch.pid())
        });
        found.is_some()
    });
    assert!(there, "devwatch has no guardian");
    found.expect("found just now")
}

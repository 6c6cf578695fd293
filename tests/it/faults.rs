//! What builds and servers can do wrong, and what devwatch makes of it: rows of the fault matrix.

use std::fs;
use std::io::{PipeReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use devwatch::process::tree;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::project::{PATIENCE, Project, duration, eventually, field, free_port, get, peak_memory};

// ---------------------------------------------------------------- output

#[test]
fn a_server_that_floods_a_gigabyte_costs_no_memory_and_no_byte() {
    const FLOOD: usize = 1_000_000_000;
    let project = Project::scripted(
        "ready = { delay = \"1ms\" }",
        &["flood", "1000000000", "exit", "0"],
    );
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let count = thread::spawn(move || {
        let (mut reader, mut chunk, mut count) = (reader, vec![0; 1 << 20], 0);
        loop {
            match reader.read(&mut chunk).expect("the pipe can be read") {
                0 => return count,
                got => {
                    assert!(chunk[..got].iter().all(|byte| *byte == b'x'));
                    count += got;
                }
            }
        }
    });
    let mut devwatch = project.devwatch_with(&[], |command| {
        command.stdout(writer);
    });
    devwatch.end("serving");
    devwatch.line("gen 1 exited exit=0");
    assert!(
        peak_memory(devwatch.pid()) < 64 << 20,
        "{} bytes",
        peak_memory(devwatch.pid())
    );
    assert_eq!(devwatch.terminate().code(), Some(143));
    assert_eq!(count.join().expect("counted"), FLOOD);
}

#[test]
fn a_build_that_floods_costs_no_memory_and_no_byte() {
    const FLOOD: usize = 100_000_000;
    let project = Project::new();
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"loud\"\nfiles = [\"source.txt\"]\nrun = {}\n",
            project.child_list(&["flood", "100000000"])
        ),
    );
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut devwatch = project.devwatch_with(&[], |command| {
        command.stderr(writer);
    });
    let mut err = Tap::on(reader);
    err.wait_for(b"\ndevwatch: build 1 end ok");
    assert!(
        peak_memory(devwatch.pid()) < 64 << 20,
        "{} bytes",
        peak_memory(devwatch.pid())
    );
    devwatch.signal(Signal::SIGTERM);
    devwatch.ended();
    let (all, rest) = err.finish();
    assert_eq!(all - rest.len(), FLOOD);
}

#[test]
fn an_apps_bytes_pass_untouched_each_on_its_own_stream() {
    let nasty: Vec<u8> = [
        &b"\xff\xfe\x00half\r100%\r\x1b[2J\x1b]0;title\x07 \xe2\x80\xae"[..],
        &(0..=255).collect::<Vec<u8>>(),
        b"no newline at the end",
    ]
    .concat();
    let project = Project::scripted("ready = { delay = \"1ms\" }", &["wait"]);
    fs::write(project.path("nasty"), &nasty).expect("written");
    let child = project.child_line(&["wait"]);
    project.write(
        "source.sh",
        &format!("cat nasty\ncat nasty >&2\nexec {child}\n"),
    );
    let ((out, out_writer), (err, err_writer)) = (
        std::io::pipe().expect("a pipe"),
        std::io::pipe().expect("a pipe"),
    );
    let mut devwatch = project.devwatch_with(&[], |command| {
        command.stdout(out_writer).stderr(err_writer);
    });
    let (mut out, mut err) = (Tap::on(out), Tap::on(err));
    out.wait_for(&nasty);
    err.wait_for(&nasty);
    err.wait_for(b"devwatch: build 1 end serving");
    devwatch.signal(Signal::SIGTERM);
    devwatch.ended();
    let (_, out) = out.finish();
    assert_eq!(out, nasty, "nothing else on stdout");
    let (_, err) = err.finish();
    let place = place_of(&err, &nasty).expect("still there");
    let others = [&err[..place], b"\n", &err[place + nasty.len()..]].concat();
    for line in String::from_utf8(others)
        .expect("devwatch's own is text")
        .lines()
    {
        assert!(
            line.is_empty() || line.starts_with("devwatch: "),
            "{line:?}"
        );
    }
}

#[test]
fn a_line_of_devwatchs_own_begins_at_the_start_of_a_line() {
    let project = Project::scripted("ready = { log = \"up\" }", &[]);
    project.write(
        "source.sh",
        "printf 'half a line' >&2\necho up\nexec sleep 1000\n",
    );
    let mut devwatch = project.devwatch(&[]);
    devwatch.find("half a line");
    let end = devwatch.find(" end serving ");
    assert!(end.starts_with("devwatch: build 1 end serving"), "{end}");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_build_is_done_when_its_main_process_is_although_its_pipes_are_held() {
    let port = free_port();
    let project = Project::new();
    let build = project.child_line(&["fork-hold-stdout", "100000"]);
    let server = project.child_list(&[
        "listen",
        &format!("127.0.0.1:{port}"),
        "serve-file",
        "built.txt",
    ]);
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"build\"\nfiles = [\"source.txt\"]\nrun = \"{build} && cp source.txt built.txt\"\n\
             outputs = [\"built.txt\"]\n[server]\nrun = {server}\n"
        ),
    );
    project.write("source.txt", "one");
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    assert_eq!(get(port).expect("an answer"), "one");
    project.write("source.txt", "two");
    devwatch.end("serving");
    assert_eq!(get(port).expect("an answer"), "two");
    let holders = project.processes();
    let holders = holders
        .iter()
        .filter(|process| process.contains("sleep 100000"));
    // What a finished build leaves (a compile server) may be wanted by the next one.
    assert_eq!(holders.count(), 2);
    assert_eq!(devwatch.terminate().code(), Some(143));
    assert_eq!(project.processes(), Vec::<String>::new());
}

#[test]
fn a_restart_is_not_delayed_by_a_grandchild_that_holds_the_pipes() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let verbs = |text| {
        [
            "fork-hold-stdout",
            "100000",
            "listen",
            &address,
            "serve",
            text,
        ]
        .map(str::to_owned)
    };
    let project = Project::scripted("stop = { timeout = \"100s\" }", &[]);
    project.script(&verbs("one").each_ref().map(String::as_str));
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    project.script(&verbs("two").each_ref().map(String::as_str));
    devwatch.end("serving");
    assert_eq!(get(port).expect("an answer"), "two");
    let holders = project.processes();
    let holders = holders
        .iter()
        .filter(|process| process.contains("sleep 100000"));
    assert_eq!(holders.count(), 1, "the old one's is gone");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

// ---------------------------------------------------------------- servers that do not go, or go by themselves

#[test]
fn a_server_that_ignores_term_is_killed_after_its_grace_and_devwatch_says_so() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let project = Project::scripted(
        "stop = { timeout = \"300ms\" }",
        &["ignore", "TERM", "listen", &address, "serve", "one"],
    );
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    project.script(&["listen", &address, "serve", "two"]);
    let note = devwatch.line("note: gen 1 ignored SIGTERM for ");
    let (_, rest) = note.split_once(" for ").expect("found just now");
    let (grace, rest) = rest.split_once("; ").expect("a time");
    assert_eq!(rest, "sent SIGKILL");
    let grace = duration(grace);
    assert!(
        grace >= Duration::from_millis(300) && grace < PATIENCE,
        "{note}"
    );
    let end = devwatch.end("serving");
    assert_eq!(field(&end, "gen"), Some("2"), "{end}");
    assert_eq!(get(port).expect("an answer"), "two");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_server_that_ends_well_before_it_is_ready_is_left_at_that() {
    let project = Project::scripted("", &["print", "done", "exit", "0"]);
    let mut devwatch = project.devwatch(&[]);
    let end = devwatch.end("ok");
    assert_eq!(
        (field(&end, "gen"), field(&end, "exit")),
        (Some("1"), Some("0")),
        "{end}"
    );
    project.script(&["print", "done again", "exit", "0"]);
    let end = devwatch.end("ok");
    assert_eq!(field(&end, "gen"), Some("2"), "{end}");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_server_that_ends_well_stays_down_until_something_changes() {
    let project = Project::scripted(
        "ready = { log = \"up\" }",
        &["print", "up", "wait-file", "leave", "exit", "0"],
    );
    let mut devwatch = project.devwatch(&[]);
    devwatch.find(" end serving ");
    project.write("leave", "");
    devwatch.find("gen 1 exited exit=0 after=");
    devwatch.find("note: waiting for a change");
    project.script(&["print", "up", "wait"]);
    let begin = devwatch.find("build 2 begin ");
    assert!(begin.ends_with("(1 file: source.sh)"), "{begin}");
    let end = devwatch.find(" end serving ");
    assert_eq!(field(&end, "gen"), Some("2"), "{end}");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_crash_loop_backs_off_gives_up_after_five_and_a_save_starts_at_once() {
    let port = free_port();
    let project = Project::scripted("", &["eprint", "boom: \"no\"", "exit", "7"]);
    let mut devwatch = project.devwatch(&[]);
    for (generation, retry) in [(1, "100ms"), (2, "200ms"), (3, "400ms"), (4, "800ms")] {
        let end = devwatch.end("crashed");
        assert_eq!(
            field(&end, "gen"),
            Some(generation.to_string().as_str()),
            "{end}"
        );
        assert_eq!(field(&end, "exit"), Some("7"), "{end}");
        assert_eq!(field(&end, "serving"), Some("none"), "{end}");
        assert_eq!(field(&end, "retry"), Some(retry), "{end}");
        assert!(end.ends_with(r#" last="boom: \"no\"""#), "{end}");
        let begin = devwatch.line(" begin ");
        assert!(begin.ends_with(" begin (crash)"), "{begin}");
    }
    let end = devwatch.end("crashed");
    assert_eq!(field(&end, "gen"), Some("5"), "{end}");
    assert_eq!(field(&end, "retry"), None, "five are enough: {end}");
    project.script(&["listen", &format!("127.0.0.1:{port}"), "serve", "mended"]);
    let begin = devwatch.line(" begin ");
    assert!(
        begin.ends_with("build 6 begin (1 file: source.sh)"),
        "{begin}"
    );
    let end = devwatch.end("serving");
    assert_eq!(field(&end, "gen"), Some("6"), "{end}");
    assert_eq!(get(port).expect("an answer"), "mended");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_server_that_crashes_later_is_started_again() {
    let project = Project::scripted("ready = { log = \"up\" }", &[]);
    for (die, exit) in [
        (&["exit", "3"][..], "3"),
        (&["crash-after", "0", "SEGV", "wait"], "SIGSEGV"),
    ] {
        let verbs = ["print", "up", "wait-file", "die", "eprint", "aargh"];
        let verbs: Vec<&str> = verbs.iter().chain(die).copied().collect();
        let child = project.child_line(&verbs);
        project.write(
            "source.sh",
            &format!("rm -f die\nulimit -c 0\nexec {child}\n"),
        );
        let mut devwatch = project.devwatch(&[]);
        devwatch.find(" end serving ");
        project.write("die", "");
        let down = devwatch.find(" crashed ");
        assert!(down.starts_with("devwatch: gen 1 crashed "), "{down}");
        assert_eq!(field(&down, "exit"), Some(exit), "{down}");
        assert!(field(&down, "after").is_some(), "{down}");
        assert!(down.contains("aargh\""), "its last line: {down}");
        devwatch.find("note: starting it again in 100ms");
        devwatch.find("build 2 begin (crash)");
        let end = devwatch.find(" end serving ");
        assert_eq!(field(&end, "gen"), Some("2"), "{end}");
        assert_eq!(devwatch.terminate().code(), Some(143));
    }
}

#[test]
fn daemons_of_the_old_server_are_gone_before_the_new_one_starts() {
    let port = free_port();
    let project = Project::scripted("", &[]);
    let child = project.child_line(&[
        "double-fork",
        "double-fork-empty-env",
        "listen",
        &format!("127.0.0.1:{port}"),
        "serve",
        "here",
    ]);
    // The new server itself looks whether the old one's daemons are there.
    let script = format!(
        "for pid in $(cat daemons 2>/dev/null); do\n  test -e /proc/$pid && echo \"$pid is still there\"\ndone\n\
         echo started\nexec {child}\n"
    );
    project.write("source.sh", &script);
    let mut devwatch = project.devwatch(&[]);
    for restart in 1..=5 {
        devwatch.find("started");
        let daemons = ["daemon ", "daemon-empty-env "].map(|name| {
            let line = devwatch.find_where(name, |line| line.starts_with(name));
            line[name.len()..].to_owned()
        });
        devwatch.find(" end serving ");
        for pid in &daemons {
            let pid = Pid::from_raw(pid.parse().expect("a pid"));
            assert!(tree::process(pid).is_some(), "the daemon lives");
        }
        project.write("daemons", &daemons.join(" "));
        project.write("source.sh", &format!("# {restart}\n{script}"));
    }
    devwatch.find("started");
    let story = devwatch.story();
    assert!(!story.contains("is still there"), "{story}");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_stopped_server_can_be_told_to_go() {
    let project = Project::scripted(
        "ready = { log = \"up\" }\nstop = { timeout = \"100s\" }",
        &["pid", "print", "up", "stop-self", "wait"],
    );
    let mut devwatch = project.devwatch(&[]);
    let pid = devwatch.find("pid ").replace("pid ", "");
    let pid = Pid::from_raw(pid.parse().expect("a pid"));
    devwatch.find(" end serving ");
    let stopped = || tree::process(pid).is_some_and(|process| process.state == 'T');
    assert!(eventually(PATIENCE, stopped));
    project.script(&["print", "up", "wait"]);
    let end = devwatch.find(" end serving ");
    assert_eq!(field(&end, "gen"), Some("2"), "{end}");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

// ---------------------------------------------------------------- ready, or not

#[test]
fn a_server_that_never_accepts_on_a_held_socket_is_killed_at_its_ready_timeout() {
    let port = free_port();
    let project = Project::scripted(
        &format!("listen = \"127.0.0.1:{port}\"\nready = {{ timeout = \"3s\" }}"),
        &["tree", "listen", "fd", "wait"],
    );
    let mut devwatch = project.devwatch(&[]);
    let end = devwatch.find(" end ");
    assert!(end.contains(" end crashed "), "{end}");
    assert_eq!(field(&end, "serving"), Some("none"), "{end}");
    assert!(
        end.contains(r#" reason="did not accept within 3 s; killed""#),
        "{end}"
    );
    let devwatch_alone = || project.processes().len() == 1;
    assert!(
        eventually(PATIENCE, devwatch_alone),
        "{:#?}",
        project.processes()
    );
    project.script(&["listen", "fd", "serve", "good"]);
    devwatch.find(" end serving ");
    assert_eq!(get(port).expect("an answer"), "good");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_server_that_listens_nowhere_is_taken_as_ready_and_its_successors_are_soon() {
    let project = Project::scripted("ready = { timeout = \"3s\" }", &["wait"]);
    let mut devwatch = project.devwatch(&[]);
    let accept = |end: &str| duration(field(end, "accept").expect("a time"));
    let end = devwatch.end("serving");
    assert_eq!(field(&end, "ready"), Some("assumed"), "{end}");
    assert!(accept(&end) >= Duration::from_secs(3), "{end}");
    for verbs in [&["print", "2", "wait"], &["print", "3", "wait"]] {
        project.script(verbs);
        let end = devwatch.end("serving");
        assert_eq!(field(&end, "ready"), Some("assumed"), "{end}");
        assert!(
            accept(&end) >= Duration::from_millis(300) && accept(&end) < Duration::from_secs(3),
            "{end}"
        );
    }
    assert_eq!(devwatch.terminate().code(), Some(143));
    // The next devwatch knows it, too.
    let mut devwatch = project.devwatch(&[]);
    let end = devwatch.end("serving");
    assert_eq!(field(&end, "ready"), Some("assumed"), "{end}");
    assert!(accept(&end) < Duration::from_secs(3), "{end}");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_line_an_answer_a_notice_or_a_delay_can_mean_ready() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let cases: [(&str, &[&str], &str); 5] = [
        (
            "log = \"^up and .*ing$\"",
            &["eprint", "up and running", "wait"],
            "proven",
        ),
        (
            "http = \"/healthz\"",
            &["listen", &address, "serve", "fine"],
            "proven",
        ),
        ("notify = true", &["notify-ready", "wait"], "notified"),
        ("delay = \"200ms\"", &["wait"], "assumed"),
        ("timeout = \"100s\"", &["notify-ready", "wait"], "notified"),
    ];
    for (ready, verbs, word) in cases {
        let project = Project::scripted(&format!("ready = {{ {ready} }}"), verbs);
        let mut devwatch = project.devwatch(&[]);
        let end = devwatch.find(" end ");
        assert!(end.contains(" end serving "), "{ready}: {end}");
        assert_eq!(field(&end, "ready"), Some(word), "{ready}: {end}");
        assert_eq!(devwatch.terminate().code(), Some(143));
    }
}

#[test]
fn a_server_that_never_says_what_it_should_is_killed_at_its_ready_timeout() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let cases: [(&str, &[&str]); 3] = [
        ("log = \"never\"", &["listen", &address, "serve", "x"]),
        ("notify = true", &["listen", &address, "serve", "x"]),
        ("http = \"/\"", &["listen", &address, "wait"]),
    ];
    for (ready, verbs) in cases {
        let project = Project::scripted(
            &format!("ready = {{ {ready}, timeout = \"700ms\" }}"),
            verbs,
        );
        let mut devwatch = project.devwatch(&[]);
        let end = devwatch.find(" end ");
        assert!(end.contains(" end crashed "), "{ready}: {end}");
        assert!(
            end.contains(r#" reason="was not ready within 0.7 s; killed""#),
            "{ready}: {end}"
        );
        assert_eq!(devwatch.terminate().code(), Some(143));
    }
}

// ---------------------------------------------------------------- builds

/// A build that hangs while the source says so, and a server that answers with what was built.
fn hanging(port: u16, rule: &str) -> Project {
    let project = Project::new();
    let hang = project.child_line(&["tree", "wait"]);
    let server = project.child_list(&[
        "listen",
        &format!("127.0.0.1:{port}"),
        "serve-file",
        "built.txt",
    ]);
    project.write(
        "build.sh",
        &format!("if grep -q hang source.txt; then exec {hang}; fi\ncp source.txt built.txt\n"),
    );
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"build\"\nfiles = [\"source.txt\"]\nrun = [\"sh\", \"build.sh\"]\n\
             outputs = [\"built.txt\"]\n{rule}\n[server]\nrun = {server}\n"
        ),
    );
    project.write("source.txt", "one");
    project
}

#[test]
fn a_new_save_cancels_a_build_that_hangs() {
    let port = free_port();
    let project = hanging(port, "");
    let mut devwatch = project.devwatch(&[]);
    devwatch.find(" end serving ");
    project.write("source.txt", "hang");
    devwatch.find("build 2 begin (1 file: source.txt)");
    devwatch.find("daemon-empty-env ");
    assert_eq!(get(port).expect("an answer"), "one");
    project.write("source.txt", "two");
    devwatch.find("build 2 end superseded");
    devwatch.find("build 3 begin (1 file: source.txt)");
    devwatch.find(" end serving ");
    assert_eq!(get(port).expect("an answer"), "two");
    // devwatch and the server: nothing of the cancelled build is left.
    assert_eq!(project.processes().len(), 2, "{:#?}", project.processes());
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_rule_that_takes_too_long_fails_and_leaves_the_server_alone() {
    let port = free_port();
    let project = hanging(port, "timeout = \"1s\"");
    let mut devwatch = project.devwatch(&[]);
    devwatch.find(" end serving ");
    project.write("source.txt", "hang");
    let end = devwatch.find(" end failed ");
    assert_eq!(field(&end, "rule"), Some("build"), "{end}");
    assert_eq!(field(&end, "serving"), Some("gen1"), "{end}");
    assert!(
        end.contains(r#" reason="took longer than its timeout""#),
        "{end}"
    );
    devwatch.find("note: gen 1 still serves, STALE since ");
    assert_eq!(get(port).expect("an answer"), "one");
    let two_left = || project.processes().len() == 2;
    assert!(eventually(PATIENCE, two_left), "{:#?}", project.processes());
    project.write("source.txt", "two");
    devwatch.find(" end serving ");
    assert_eq!(get(port).expect("an answer"), "two");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn an_identical_binary_restarts_nothing() {
    let port = free_port();
    let project = Project::new();
    let server = project.child_list(&[
        "listen",
        &format!("127.0.0.1:{port}"),
        "serve-file",
        "built.txt",
    ]);
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"compile\"\nfiles = [\"source.txt\"]\nrun = \"grep -v '^#' source.txt > built.txt\"\n\
             outputs = [\"built.txt\"]\n[server]\nrun = {server}\n"
        ),
    );
    project.write("source.txt", "# a comment\none\n");
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    let before = project.processes();
    for comment in ["another", "a third"] {
        project.write("source.txt", &format!("# {comment}\none\n"));
        let end = devwatch.end("unchanged");
        assert_eq!(field(&end, "gen"), Some("1"), "{end}");
    }
    assert_eq!(
        project.processes(),
        before,
        "the server is the same process"
    );
    project.write("source.txt", "two\n");
    let end = devwatch.end("serving");
    assert_eq!(field(&end, "gen"), Some("2"), "{end}");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_change_during_a_build_gives_exactly_one_more() {
    let port = free_port();
    let project = Project::new();
    let wait = project.child_line(&["wait-file", "go"]);
    let server = project.child_list(&[
        "listen",
        &format!("127.0.0.1:{port}"),
        "serve-file",
        "built.txt",
    ]);
    // A build that is told to go leaves no trace in the list of those that got through.
    project.write(
        "build.sh",
        &format!("cp source.txt taken.txt\necho started\n{wait}\ncp taken.txt built.txt\ncat taken.txt >> through.txt\n"),
    );
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"build\"\nfiles = [\"source.txt\"]\nrun = [\"sh\", \"build.sh\"]\n\
             outputs = [\"built.txt\"]\n[server]\nrun = {server}\n"
        ),
    );
    project.write("go", "");
    project.write("source.txt", "1\n");
    let mut devwatch = project.devwatch(&[]);
    devwatch.find(" end serving ");
    devwatch.find("started");
    for round in 1..=5 {
        fs::remove_file(project.path("go")).expect("it was there");
        project.write("source.txt", &format!("{round} is out of date\n"));
        devwatch.find("started");
        project.write("source.txt", &format!("{round} is current\n"));
        devwatch.find("started");
        project.write("go", "");
        let end = devwatch.find(" end serving ");
        assert!(
            end.starts_with(&format!("devwatch: build {} end serving", 2 * round + 1)),
            "{end}\n{}",
            devwatch.story()
        );
        assert_eq!(
            get(port).expect("an answer"),
            format!("{round} is current\n")
        );
    }
    let through: String = (1..=5)
        .map(|round| format!("{round} is current\n"))
        .collect();
    assert_eq!(project.read("through.txt"), format!("1\n{through}"));
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn what_a_rule_wrote_does_not_run_it_again_however_long_reading_it_takes() {
    let project = Project::new();
    let server = project.child_list(&["wait"]);
    project.write(".gitignore", "/big\n");
    // The change of the small one has settled long before the big one has been read.
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"build\"\nfiles = [\"source.txt\"]\n\
             run = \"truncate -s 0 big && truncate -s 200M big && cp source.txt built.txt\"\n\
             outputs = [\"built.txt\", \"big\"]\n\
             [server]\nrun = {server}\nready = {{ delay = \"1ms\" }}\n"
        ),
    );
    for build in 1..=3 {
        project.write("source.txt", &build.to_string());
        let mut devwatch = project.devwatch(&[]);
        let end = devwatch.line(" end ");
        assert!(end.contains("build 1 end serving"), "{end}");
        project.write("source.txt", "changed");
        let end = devwatch.line(" end ");
        assert!(end.contains("build 2 end serving"), "{end}");
        assert_eq!(devwatch.terminate().code(), Some(143));
    }
}

// ---------------------------------------------------------------- what cannot be started

#[test]
fn what_cannot_be_started_is_said_precisely_and_a_save_mends_it() {
    let project = Project::new();
    project.write("source.txt", "0");
    project.write("plain", "#!/bin/sh\n");
    project.write("no-interpreter", "#!/no/such/interpreter\n");
    project.write("not-a-program", "just text\n");
    for name in ["no-interpreter", "not-a-program"] {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(project.path(name), mode).expect("its mode is set");
    }
    let server = |run: &str| {
        format!("[[rule]]\nname = \"touch\"\nfiles = [\"source.txt\"]\n[server]\n{run}\n")
    };
    let root = project.root().display();
    let cases = [
        (
            "run = [\"./missing\"]".to_owned(),
            format!("cannot start \"{root}/missing\": no such file"),
        ),
        (
            "run = [\"no-such-program-anywhere\"]".to_owned(),
            "cannot start \"no-such-program-anywhere\": no such program in PATH".to_owned(),
        ),
        (
            "run = [\"./plain\"]".to_owned(),
            format!(
                "cannot start \"{root}/plain\": it is not executable; run chmod +x {root}/plain"
            ),
        ),
        (
            "run = [\"./no-interpreter\"]".to_owned(),
            format!(
                "cannot start \"{root}/no-interpreter\": its interpreter \"/no/such/interpreter\" does not exist or is not executable"
            ),
        ),
        (
            "run = [\"./not-a-program\"]".to_owned(),
            format!(
                "cannot start \"{root}/not-a-program\": neither a program for this machine nor a script that begins with #!"
            ),
        ),
        (
            "run = [\"sleep\", \"1000\"]\ncwd = \"gone\"".to_owned(),
            format!(
                "cannot start \"sleep\": cannot enter its working directory {root}/gone: no such file or directory"
            ),
        ),
        ("run = [\".\"]".to_owned(), "it is a folder".to_owned()),
    ];
    project.write("devwatch.toml", &server(&cases[0].0));
    let mut devwatch = project.devwatch(&[]);
    for (place, (run, reason)) in cases.iter().enumerate() {
        if place > 0 {
            project.write("devwatch.toml", &server(run));
        }
        let end = devwatch.end("crashed");
        let (_, said) = end.split_once(" reason=\"").expect("a reason");
        let said = said.replace("\\\"", "\"");
        assert!(said.contains(reason), "{run}: {end}");
        assert_eq!(field(&end, "retry"), None, "it would fail again: {end}");
        assert!(end.contains(" serving=none"), "{end}");
    }
    let good = "run = [\"sleep\", \"1000\"]\nready = { delay = \"1ms\" }";
    project.write("devwatch.toml", &server(good));
    devwatch.end("serving");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_rule_that_cannot_be_started_fails_with_the_reason() {
    let port = free_port();
    let project = Project::new();
    let server = project.child_list(&["listen", &format!("127.0.0.1:{port}"), "serve", "x"]);
    let rule = |run: &str| {
        format!(
            "[[rule]]\nname = \"make it\"\nfiles = [\"source.txt\"]\nrun = {run}\n[server]\nrun = {server}\n"
        )
    };
    project.write("source.txt", "0");
    project.write("devwatch.toml", &rule("[\"true\"]"));
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    project.write("devwatch.toml", &rule("[\"no-such-compiler\"]"));
    let end = devwatch.end("failed");
    assert!(end.contains(" rule=\"make it\" "), "{end}");
    assert!(
        end.contains(r#" reason="cannot start \"no-such-compiler\": no such program in PATH""#),
        "{end}"
    );
    assert!(end.ends_with(" serving=gen1"), "{end}");
    assert_eq!(get(port).expect("an answer"), "x");
    project.write("devwatch.toml", &rule("\"exit 7\""));
    let end = devwatch.end("failed");
    assert_eq!(field(&end, "exit"), Some("7"), "{end}");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn an_artefact_that_a_build_did_not_leave_is_reported_and_made_good_by_a_save() {
    let port = free_port();
    let project = Project::new();
    let child = project.child_line(&["listen", &format!("127.0.0.1:{port}"), "serve", "made"]);
    project.write(
        "devwatch.toml",
        "[[rule]]\nname = \"build\"\nfiles = [\"source.sh\"]\nrun = [\"sh\", \"source.sh\"]\noutputs = [\"bin/app\"]\n\
         [server]\nrun = [\"bin/app\"]\n",
    );
    let build = format!(
        "mkdir -p bin\nprintf '#!/bin/sh\\nexec {child}\\n' > bin/new\nchmod +x bin/new\nmv bin/new bin/app\n"
    );
    project.write("source.sh", &format!("{build}rm bin/app\n"));
    let mut devwatch = project.devwatch(&[]);
    let end = devwatch.end("crashed");
    assert!(
        end.contains(&format!(
            r#"cannot start \"{}\": no such file"#,
            project.path("bin/app").display()
        )),
        "{end}"
    );
    project.write("source.sh", &build);
    devwatch.end("serving");
    assert_eq!(get(port).expect("an answer"), "made");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_port_that_somebody_holds_crashes_a_server_that_wants_it_and_devwatch_lives_on() {
    let stranger = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = stranger.local_addr().expect("its address").port();
    let address = format!("127.0.0.1:{port}");
    let project = Project::scripted("", &["listen", &address, "serve", "mine"]);
    let mut devwatch = project.devwatch(&[]);
    let end = devwatch.end("crashed");
    assert_eq!(field(&end, "exit"), Some("3"), "{end}");
    assert!(end.contains("in use"), "its own message: {end}");
    drop(stranger);
    // By itself, before it gives up, or else by this save.
    project.script(&["print", "again", "listen", &address, "serve", "mine"]);
    let served = devwatch.find_where("it serves", |line| line.contains(" end serving "));
    assert!(field(&served, "gen").is_some());
    assert_eq!(get(port).expect("an answer"), "mine");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

// ---------------------------------------------------------------- the config

#[test]
fn an_invalid_config_keeps_the_old_one_in_force_and_a_deleted_one_too() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let project = Project::scripted("", &["listen", &address, "serve", "one"]);
    let good = project.read("devwatch.toml");
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    project.write("devwatch.toml", &good.replace("outputs", "outputz"));
    devwatch.line("devwatch.toml is not applied; the earlier config holds");
    project.script(&["listen", &address, "serve", "two"]);
    devwatch.end("serving");
    assert_eq!(get(port).expect("an answer"), "two");
    fs::remove_file(project.path("devwatch.toml")).expect("it was there");
    devwatch.line("the earlier config holds");
    project.script(&["listen", &address, "serve", "three"]);
    devwatch.end("serving");
    assert_eq!(get(port).expect("an answer"), "three");
    // Back, by a rename, and different.
    project.write(
        "new.toml",
        &good.replace("\"copy\"", "\"copy\"\ntimeout = \"100s\""),
    );
    fs::rename(project.path("new.toml"), project.path("devwatch.toml")).expect("renamed");
    devwatch.line("begin (1 file: devwatch.toml)");
    devwatch.end("unchanged");
    project.script(&["exit", "9"]);
    devwatch.end("crashed");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

// ---------------------------------------------------------------- the means

/// Reads a stream to its end and keeps all of it but long runs of `x`, which it only counts.
struct Tap {
    kept: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    reader: JoinHandle<usize>,
}

impl Tap {
    fn on(mut reader: PipeReader) -> Tap {
        let kept = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let keep = std::sync::Arc::clone(&kept);
        let reader = thread::spawn(move || {
            let (mut chunk, mut count) = (vec![0; 1 << 20], 0);
            loop {
                let got = reader.read(&mut chunk).expect("the pipe can be read");
                if got == 0 {
                    return count;
                }
                count += got;
                let mut kept = keep.lock().expect("no panic");
                // The flood has nothing but them, and the rest is too short to matter.
                match chunk[..got].iter().position(|byte| *byte != b'x') {
                    None if got > 0 => {}
                    _ => {
                        let flood = |byte: &u8| *byte == b'x';
                        let start = chunk[..got].iter().take_while(|byte| flood(byte)).count();
                        let end = chunk[start..got]
                            .iter()
                            .rev()
                            .take_while(|byte| flood(byte));
                        let end = got - end.count();
                        kept.extend_from_slice(&chunk[start..end]);
                    }
                }
            }
        });
        Tap { kept, reader }
    }

    #[track_caller]
    fn wait_for(&mut self, bytes: &[u8]) {
        let there = || place_of(&self.kept.lock().expect("no panic"), bytes).is_some();
        assert!(
            eventually(PATIENCE, there),
            "{:?} did not come, but {:?}",
            String::from_utf8_lossy(bytes),
            String::from_utf8_lossy(&self.kept.lock().expect("no panic"))
        );
    }

    /// How many bytes came, and what was kept of them.
    fn finish(self) -> (usize, Vec<u8>) {
        let count = self.reader.join().expect("read to the end");
        let kept = std::mem::take(&mut *self.kept.lock().expect("no panic"));
        (count, kept)
    }
}

fn place_of(all: &[u8], part: &[u8]) -> Option<usize> {
    all.windows(part.len()).position(|window| window == part)
}

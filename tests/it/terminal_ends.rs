//! Whatever ends devwatch, the terminal is as it was, can be typed into, and nothing is left that it had started.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::project::{PATIENCE, Project, eventually, free_port, get};
use crate::pty::{JOBS, SIMPLE, SOON, Terminal, devwatch};

#[test]
fn every_signal_that_ends_devwatch_gives_the_terminal_back() {
    for (signal, code) in [
        (Signal::SIGTERM, "143"),
        (Signal::SIGHUP, "129"),
        (Signal::SIGINT, "0"),
        (Signal::SIGQUIT, "131"),
        (Signal::SIGKILL, "137"),
    ] {
        let shown = Shown::start(&[]);
        kill(devwatch(&shown.project), signal).expect("it can be signalled");
        shown.ends(&format!("ended {code}"));
    }
}

#[test]
fn quitting_gives_the_terminal_back() {
    // In the middle of anything: at rest, in a search, in the list of keys, while something is typed to the server.
    for keys in ["q", "\x03", "/x\x03q", "?\x03\x03", "/x\rq", "i\x1dq"] {
        let mut shown = Shown::start(&[]);
        shown.terminal.press(keys);
        shown.ends("ended 0");
    }
}

#[test]
fn the_mouse_is_given_back_too() {
    for ends_by in [None, Some(Signal::SIGKILL)] {
        let mut shown = Shown::start(&[]);
        shown.terminal.press("m");
        shown.terminal.shows_where("mouse", |screen| {
            screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None
        });
        match ends_by {
            None => shown.terminal.press("q"),
            Some(signal) => kill(devwatch(&shown.project), signal).expect("it is killed"),
        }
        shown.ends("ended ");
    }
}

#[test]
fn a_third_signal_ends_devwatch_on_the_spot() {
    let shown = Shown::of(
        "stop = { timeout = \"100s\" }\nready = { log = \"up\" }",
        "trap 'echo not yet' TERM\necho up\nwhile :; do sleep 1000 & wait; done\n",
        &[],
    );
    let pid = devwatch(&shown.project);
    for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGQUIT] {
        let _ = kill(pid, signal);
    }
    shown.ends("ended 1");
}

#[test]
fn a_panic_in_any_thread_ends_devwatch_and_gives_the_terminal_back() {
    for thread in [
        "main", "screen", "keys", "reader", "terminal", "signals", "watch",
    ] {
        let mut shown = Shown::start(&[thread]);
        shown.project.write(".devwatch/panic", "");
        // Every thread comes by for one of these.
        shown.terminal.press("r");
        shown.terminal.resize((30, 90));
        shown.project.script(&["wait"]);
        if thread == "signals" {
            let _ = kill(devwatch(&shown.project), Signal::SIGTERM);
        }
        // What happened stands in front of the person, and is not drawn over.
        let said = format!("failpoint {thread}");
        let terminal = shown.ends("ended 134");
        let screen = terminal.screen().contents();
        assert!(screen.contains(&said), "{}", terminal.story());
    }
}

#[test]
fn without_a_screen_a_panic_ends_devwatch_too() {
    let project = Project::scripted("ready = { log = \"up\" }", &["print", "up", "wait"]);
    let point = format!("main:{}", project.path(".devwatch/panic").display());
    let mut devwatch = project.devwatch_with(&[], |command| {
        command.env("DEVWATCH_FAILPOINT", point);
    });
    devwatch.end("serving");
    project.write(".devwatch/panic", "");
    project.script(&["print", "up", "wait"]);
    devwatch.line("failpoint main");
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&devwatch.ended()),
        Some(libc::SIGABRT)
    );
    project.nothing_left(SOON);
}

#[test]
fn another_guardian_knows_the_terminal_as_it_was() {
    for (ends_by, said) in [(None, "ended 0"), (Some(Signal::SIGKILL), "ended 137")] {
        let mut shown = Shown::start(&[]);
        let before = shown.guardian;
        kill(before, Signal::SIGKILL).expect("it is killed");
        shown.terminal.shows("the guardian process was killed");
        let pid = devwatch(&shown.project);
        let next = || guardian_of(pid).filter(|&next| next != before);
        assert!(eventually(PATIENCE, || next().is_some()), "no guardian");
        shown.guardian = next().expect("just now");
        // What was killed with it starts again.
        shown.terminal.press("r");
        shown.terminal.shows("gen 2 ");
        shown.terminal.shows("[SERVING]");
        match ends_by {
            None => shown.terminal.press("q"),
            Some(signal) => kill(pid, signal).expect("it is killed"),
        }
        shown.ends(said);
    }
}

#[test]
fn killed_while_it_is_stopped_it_does_not_touch_the_terminal_of_the_shell() {
    let project = Project::scripted("ready = { log = \"up\" }", &["print", "up", "wait"]);
    let mut terminal = Terminal::start(&project, JOBS, &[]);
    let before = terminal.settings();
    terminal.shows("[SERVING]");
    terminal.press("\x1a");
    terminal.wait_for("left with 14");
    terminal.is_restored(&before);
    let pid = devwatch(&project);
    let guardian = guardian_of(pid).expect("a guardian");
    let written = terminal.written();
    kill(pid, Signal::SIGKILL).expect("it is killed");
    project.nothing_left(PATIENCE);
    gone(guardian);
    terminal.is_restored(&before);
    let since = terminal.raw().split_off(written);
    assert!(!since.contains(&b'\x1b'), "{}", since.escape_ascii());
}

#[test]
fn a_terminal_that_is_closed_ends_devwatch_and_sends_the_server_no_hangup() {
    let port = free_port();
    let project = Project::scripted("restart = \"hot\"", &[]);
    let child = project.child_line(&["listen", &format!("127.0.0.1:{port}"), "serve", "one"]);
    project.write(
        "source.sh",
        &format!("trap 'echo hup >>hups' HUP\n{child} &\nwhile kill -0 $!; do wait $!; done\n"),
    );
    let mut terminal = Terminal::start(&project, SIMPLE, &[]);
    terminal.shows("[SERVING]");
    terminal.taken();
    // It would be seen.
    let server = project
        .processes()
        .into_iter()
        .find(|process| process.contains("sh built.sh"));
    let server = server.expect("a server");
    let server = server.split(' ').next().and_then(|pid| pid.parse().ok());
    let hups = || fs::read_to_string(project.path("hups")).unwrap_or_default();
    kill(Pid::from_raw(server.expect("a pid")), Signal::SIGHUP).expect("it is there");
    assert!(eventually(PATIENCE, || hups() == "hup\n"), "it hears none");
    let guardian = guardian_of(devwatch(&project)).expect("a guardian");
    terminal.close();
    project.nothing_left(PATIENCE);
    gone(guardian);
    assert_eq!(hups(), "hup\n");
    assert!(get(port).is_err());
}

#[test]
fn a_terminal_that_takes_nothing_keeps_devwatch_from_nothing() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL] {
        let mut shown = Shown::start(&[]);
        shown.terminal.stop_reading();
        // There is something to draw, and it waits for the terminal.
        shown.project.script(&["print", "up", "wait"]);
        let pid = devwatch(&shown.project);
        // The kernel makes room a little later than it says that there is none.
        let full = eventually(PATIENCE, || {
            shown.terminal.fill();
            is_writing(pid, "screen")
        });
        assert!(full, "it draws nothing");
        kill(pid, signal).expect("it can be signalled");
        shown.project.nothing_left(SOON);
        gone(shown.guardian);
        assert!(
            eventually(SOON, || shown.terminal.settings() == shown.before),
            "the terminal stays raw"
        );
        // Whoever reads again finds the shell.
        shown.terminal.read();
        shown.terminal.wait_for("ended ");
        shown.terminal.press("hello\n");
        shown.terminal.wait_for("the shell got hello");
    }
}

#[test]
fn what_was_wrong_stays_on_the_main_screen() {
    let project = Project::new();
    project.write(
        "devwatch.toml",
        "[[rule]]\nfiles = [\"x.c\"]\nproblems = [\"gnu\"]\nrun = [\"sh\", \"-c\", \"cat x.c >&2; exit 1\"]\n",
    );
    project.write(
        "x.c",
        "x.c:3:5: error: bad thing\nx.c:1:1: warning: odd thing\n",
    );
    let mut terminal = Terminal::start(&project, SIMPLE, &[]);
    let before = terminal.settings();
    terminal.shows("[BUILD FAILED]");
    terminal.shows("bad thing");
    terminal.press("q");
    terminal.shows("ended 0");
    terminal.is_restored(&before);
    let screen = terminal.screen().rows(0, 80).collect::<Vec<_>>().concat();
    for expected in [
        "x.c:3:5: error: bad thing",
        "x.c:1:1: warning: odd thing",
        "build 1 failed, 1 error, 1 warning",
    ] {
        assert!(
            screen.contains(expected),
            "{expected}\n{}",
            terminal.story()
        );
    }
    assert!(!screen.contains("BUILD FAILED"), "{}", terminal.story());
}

/// devwatch in front of a person, with a server that serves.
struct Shown {
    project: Project,
    terminal: Terminal,
    before: nix::sys::termios::Termios,
    guardian: Pid,
}

impl Shown {
    fn start(panics: &[&str]) -> Shown {
        let ready = "ready = { log = \"up\" }";
        let project = Project::scripted(ready, &["print", "up", "wait"]);
        Shown::with(project, panics)
    }

    fn of(server: &str, script: &str, panics: &[&str]) -> Shown {
        let project = Project::scripted(server, &[]);
        project.write("source.sh", script);
        Shown::with(project, panics)
    }

    fn with(project: Project, panics: &[&str]) -> Shown {
        let file = project.path(".devwatch/panic");
        let mut terminal = Terminal::start_with(&project, SIMPLE, &[], (24, 80), |shell| {
            for thread in panics {
                shell.env("DEVWATCH_FAILPOINT", format!("{thread}:{}", file.display()));
            }
        });
        let before = terminal.settings();
        terminal.shows("[SERVING]");
        terminal.taken();
        let guardian = guardian_of(devwatch(&project)).expect("a guardian");
        Shown {
            project,
            terminal,
            before,
            guardian,
        }
    }

    /// Fails unless devwatch ends, its terminal is given back, and nothing is left.
    #[track_caller]
    fn ends(mut self, said: &str) -> Terminal {
        self.terminal.wait_for(said);
        self.terminal.is_restored(&self.before);
        self.project.nothing_left(SOON);
        gone(self.guardian);
        // Keys that devwatch had not read are the shell's.
        self.terminal.press("hello\n");
        self.terminal.shows_where("the shell", |screen| {
            let got = screen.contents();
            let got = got.split_once("the shell got ");
            got.is_some_and(|(_, got)| got.contains("hello"))
        });
        self.terminal
    }
}

/// The guardian of this devwatch.
fn guardian_of(devwatch: Pid) -> Option<Pid> {
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1));
        stat.contains("(dw-guard)") && parent == Some(&devwatch.to_string())
    };
    pids.into_iter().find(is_it).map(Pid::from_raw)
}

#[track_caller]
fn gone(pid: Pid) {
    let there = || Path::new(&format!("/proc/{pid}/exe")).read_link().is_ok();
    assert!(eventually(SOON, || !there()), "process {pid} is left");
}

/// Whether the thread of this name waits for somebody to take what it writes.
fn is_writing(pid: Pid, name: &str) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    threads.flatten().any(|thread| {
        let read = |file| fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        let waits = read("syscall").starts_with(&format!("{} ", libc::SYS_write));
        read("comm").trim() == name && waits
    })
}

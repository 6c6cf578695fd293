//! devwatch in front of a person: keys, Ctrl-C, Ctrl-Z, a terminal that is closed, and one that is left as it was.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;

use crate::project::{PATIENCE, Project, eventually, free_port, get};
use crate::pty::{BACKGROUND, JOBS, SIMPLE, Terminal, devwatch};

#[test]
fn keys_work_without_enter_and_are_not_shown() {
    let (project, port) = serving();
    let mut terminal = Terminal::start(&project, SIMPLE, &[]);
    let before = terminal.settings();
    terminal.shows("[SERVING]");
    assert!(!terminal.is_cooked(), "lines are still edited");
    terminal.press("r");
    terminal.shows("build #2 ok");
    // They mean nothing.
    terminal.press("Q \t");
    terminal.press("R");
    terminal.shows("gen 2 ");
    terminal.shows("[SERVING]");
    terminal.press("q");
    terminal.shows("ended 0");
    terminal.is_restored(&before);
    let screen = terminal.screen().contents();
    let own = ["devwatch: ", "ended 0"];
    for line in screen.lines().filter(|line| !line.is_empty()) {
        assert!(own.iter().any(|own| line.starts_with(own)), "{screen}");
    }
    assert_eq!(project.processes(), Vec::<String>::new());
    assert!(get(port).is_err());
}

#[test]
fn a_killed_devwatch_leaves_the_terminal_as_it_was() {
    let (project, _) = serving();
    let mut terminal = Terminal::start(&project, SIMPLE, &[]);
    let before = terminal.settings();
    terminal.shows("[SERVING]");
    assert!(terminal.is_taken(), "{}", terminal.story());
    kill(devwatch(&project), Signal::SIGKILL).expect("it is killed");
    terminal.wait_for("ended 137");
    terminal.is_restored(&before);
    project.nothing_left(Duration::from_secs(1));
    // It can be typed into.
    terminal.press("hello\n");
    terminal.wait_for("the shell got hello");
}

#[test]
fn a_terminal_that_is_closed_ends_devwatch_and_all_it_had_started() {
    let (project, port) = serving();
    let mut terminal = Terminal::start(&project, SIMPLE, &[]);
    terminal.shows("[SERVING]");
    get(port).expect("an answer");
    terminal.close();
    project.nothing_left(PATIENCE);
    assert!(get(port).is_err());
}

#[test]
fn a_terminal_that_is_closed_during_a_flood_ends_devwatch_too() {
    let project = Project::scripted("ready = { log = \"^x\" }", &[]);
    project.write(
        "source.sh",
        "exec yes xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    );
    let mut terminal = Terminal::start(&project, SIMPLE, &[]);
    terminal.shows("[SERVING]");
    terminal.close();
    project.nothing_left(PATIENCE);
}

#[test]
fn ctrl_c_quits_with_0() {
    for script in [SIMPLE, JOBS] {
        let (project, port) = serving();
        let mut terminal = Terminal::start(&project, script, &[]);
        let before = terminal.settings();
        terminal.shows("[SERVING]");
        terminal.press("\x03");
        terminal.wait_for(if script == SIMPLE {
            "ended 0"
        } else {
            "left with 0"
        });
        terminal.is_restored(&before);
        assert_eq!(project.processes(), Vec::<String>::new());
        assert!(get(port).is_err());
    }
}

#[test]
fn ctrl_z_gives_the_terminal_back_and_fg_takes_it_again() {
    let (project, port) = serving();
    let mut terminal = Terminal::start(&project, JOBS, &[]);
    let before = terminal.settings();
    terminal.shows("[SERVING]");
    for round in 1..=2 {
        terminal.taken();
        match round {
            1 => terminal.press("\x1a"),
            // As somebody does who has no keyboard.
            _ => kill(devwatch(&project), Signal::SIGTSTP).expect("it is told to stop"),
        }
        if round == 1 {
            // 128 + SIGTSTP, or SIGSTOP where devwatch had to put the terminal back first.
            terminal.wait_for("left with 14");
        }
        // Not what stood on the screen before is in front of the shell, either.
        terminal.is_restored(&before);
        // The server is not devwatch's terminal's business.
        get(port).expect("an answer");
        if round == 1 {
            project.script(&[
                "listen",
                &format!("127.0.0.1:{port}"),
                "serve",
                "saved meanwhile",
            ]);
            terminal.press("\n");
            terminal.shows("gen 2 ");
            terminal.shows("[SERVING]");
            assert_eq!(get(port).expect("an answer"), "saved meanwhile");
        }
    }
    // Nobody is left who could continue it, so the kernel does, and hangs up.
    terminal.close();
    project.nothing_left(PATIENCE);
}

#[test]
fn nobody_stops_devwatch_where_nobody_could_continue_it() {
    // As a window that was opened for it alone, and as the command of a script.
    for script in ["cd \"$PROJECT\" && exec \"$DEVWATCH\"", SIMPLE] {
        let (project, _) = serving();
        let mut terminal = Terminal::start(&project, script, &[]);
        terminal.shows("[SERVING]");
        terminal.press("\x1a");
        terminal.shows("cannot stop: no shell is there");
        terminal.press("r");
        terminal.shows("build #2 ok");
        kill(devwatch(&project), Signal::SIGTSTP).expect("it is told to stop");
        terminal.press("r");
        terminal.shows("build #3 ok");
        terminal.press("q");
        project.nothing_left(PATIENCE);
    }
}

#[test]
fn a_stopped_devwatch_can_be_told_to_go_and_one_in_the_background_works_on() {
    let (project, port) = serving();
    let mut terminal = Terminal::start(&project, JOBS, &[]);
    let before = terminal.settings();
    terminal.shows("[SERVING]");
    terminal.press("\x1a");
    terminal.wait_for("left with 14");
    let written = terminal.written();
    // As `bg` does.
    kill(devwatch(&project), Signal::SIGCONT).expect("it goes on");
    project.script(&["listen", &format!("127.0.0.1:{port}"), "serve", "two"]);
    assert!(
        eventually(PATIENCE, || get(port).is_ok_and(|text| text == "two")),
        "it builds nothing\n{}",
        terminal.story()
    );
    assert!(terminal.is_cooked(), "it has taken the shell's terminal");
    // As `kill %1` does.
    kill(devwatch(&project), Signal::SIGTERM).expect("it is told to go");
    project.nothing_left(PATIENCE);
    terminal.is_restored(&before);
    // It may say how it went, as any job in the background may say something.
    let since = terminal.raw().split_off(written);
    assert!(!since.contains(&b'\x1b'), "{}", since.escape_ascii());
}

#[test]
fn keys_work_after_fg() {
    let (project, _) = serving();
    let mut terminal = Terminal::start(&project, JOBS, &[]);
    let before = terminal.settings();
    terminal.shows("[SERVING]");
    terminal.press("\x1a");
    terminal.wait_for("left with 14");
    terminal.press("\n");
    terminal.taken();
    terminal.press("r");
    terminal.shows("build #2 ok");
    terminal.press("q");
    terminal.wait_for("ended 0");
    terminal.is_restored(&before);
    assert_eq!(project.processes(), Vec::<String>::new());
}

#[test]
fn plain_reads_no_keys() {
    let (project, port) = serving();
    let mut terminal = Terminal::start(&project, SIMPLE, &["--plain"]);
    terminal.wait_for(" end serving ");
    assert!(terminal.is_cooked(), "it has changed the terminal");
    terminal.press("q\n");
    // A save goes all the way meanwhile; whoever reads keys would have read it.
    project.script(&["listen", &format!("127.0.0.1:{port}"), "serve", "two"]);
    terminal.wait_for("build 2 end serving ");
    kill(devwatch(&project), Signal::SIGTERM).expect("it is told to go");
    terminal.wait_for("ended 143");
    terminal.wait_for("the shell got q");
}

#[test]
fn in_the_background_it_leaves_the_terminal_alone() {
    let (project, _) = serving();
    let mut terminal = Terminal::start(&project, BACKGROUND, &[]);
    terminal.wait_for(" end serving ");
    assert!(terminal.is_cooked(), "it has changed the terminal");
    terminal.press("q\n");
    terminal.wait_for("the shell got q");
    terminal.wait_for("ended 143");
}

#[test]
fn a_second_ctrl_c_kills_at_once() {
    let project = Project::scripted(
        "stop = { timeout = \"100s\" }\nready = { log = \"up\" }",
        &[],
    );
    project.write(
        "source.sh",
        "trap 'echo not yet' TERM\necho up\nwhile :; do sleep 1000 & wait; done\n",
    );
    let mut terminal = Terminal::start(&project, SIMPLE, &[]);
    terminal.shows("[SERVING]");
    terminal.press("\x03");
    terminal.shows("not yet");
    terminal.press("\x03");
    terminal.wait_for("ended 0");
    assert_eq!(project.processes(), Vec::<String>::new());
}

#[test]
fn colour_is_welcome_where_somebody_looks_on_and_has_not_refused_it() {
    for (variable, arguments, expected) in [
        ("X=", &[][..], "rule=1/always server=1/always"),
        ("X=", &["--plain"], "rule=/ server=/"),
        ("X=", &["--color", "never"], "rule=/ server=/"),
        ("NO_COLOR=1", &[], "rule=/ server=/"),
        ("FORCE_COLOR=3", &[], "rule=3/always server=3/always"),
    ] {
        let project = Project::new();
        let told = "$FORCE_COLOR/$CARGO_TERM_COLOR";
        project.write(
            "devwatch.toml",
            &format!(
                "[[rule]]\nfiles = [\"x\"]\nrun = 'echo \"rule={told}\" >told'\n[server]\n\
                 run = 'echo \"$(cat told) server={told}.\"; exec sleep 1000'\nready = {{ log = \"server=\" }}\n"
            ),
        );
        project.write("x", "");
        let script = SIMPLE.replace(
            "exec \"$DEVWATCH\"",
            &format!(
                "exec env -u NO_COLOR -u FORCE_COLOR -u CLICOLOR_FORCE -u CARGO_TERM_COLOR {variable} \"$DEVWATCH\""
            ),
        );
        let mut terminal = Terminal::start(&project, &script, arguments);
        terminal.shows(&format!("{expected}."));
        match arguments {
            ["--plain"] => terminal.shows(" end serving "),
            _ => terminal.shows("[SERVING]"),
        }
        kill(devwatch(&project), Signal::SIGTERM).expect("it is told to go");
        terminal.wait_for("ended 143");
        assert_eq!(project.processes(), Vec::<String>::new());
    }
}

#[test]
fn build_reads_no_keys() {
    let (project, _) = serving();
    project.write(
        "devwatch.toml",
        "[[rule]]\nfiles = [\"source.sh\"]\nrun = [\"sh\", \"-c\", \"read line <go; echo got it\"]\n",
    );
    nix::unistd::mkfifo(&project.path("go"), Mode::S_IRWXU).expect("a pipe");
    let mut terminal = Terminal::start(&project, SIMPLE, &["build"]);
    terminal.wait_for("build 1 begin ");
    assert!(terminal.is_cooked(), "it has changed the terminal");
    terminal.press("q\n");
    project.write("go", "now\n");
    terminal.wait_for("got it");
    terminal.wait_for("ended 0");
    terminal.wait_for("the shell got q");
}

fn serving() -> (Project, u16) {
    let port = free_port();
    let project = Project::scripted(
        "",
        &["listen", &format!("127.0.0.1:{port}"), "serve", "one"],
    );
    (project, port)
}

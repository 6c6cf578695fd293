//! devwatch in front of a person: keys, Ctrl-C, Ctrl-Z, a terminal that is closed, and one that is left as it was.
//!
//! The leader of the session is a shell, and devwatch its foreground job: otherwise the kernel itself would hang up
//! on everything when devwatch is killed, and the tests would show less than they say.

use std::fs::File;
use std::io::{PipeWriter, Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

use crate::project::{PATIENCE, Project, eventually, free_port, get};

/// Runs devwatch with the arguments, says how it ended, and then what is left of the input.
const SIMPLE: &str = r#"
trap : INT
(cd "$PROJECT" && exec "$DEVWATCH" "$@")
echo "ended $?"
read line
echo "the shell got $line"
read line
"#;

/// With job control: when devwatch is stopped, a line from the user brings it back.
const JOBS: &str = r#"
set -m
(cd "$PROJECT" && exec "$DEVWATCH" "$@")
echo "left with $?"
read line
fg >/dev/null
echo "ended $?"
read line
"#;

/// devwatch in the background, where the terminal belongs to somebody else.
const BACKGROUND: &str = r#"
set -m
(cd "$PROJECT" && exec "$DEVWATCH" "$@") &
read line
echo "the shell got $line"
kill $!
wait $!
echo "ended $?"
read line
"#;

#[test]
fn keys_work_without_enter_and_are_not_shown() {
    let (project, port) = serving();
    let mut terminal = Terminal::start(&project, SIMPLE, &[]);
    terminal.wait_for(" end serving ");
    assert!(!terminal.is_cooked(), "lines are still edited");
    terminal.press("r");
    terminal.wait_for("build 2 begin (request)");
    terminal.wait_for("build 2 end unchanged ");
    terminal.press("x \t");
    terminal.press("R");
    terminal.wait_for("build 3 begin (request)");
    terminal.wait_for("build 3 end serving ");
    terminal.press("q");
    terminal.wait_for("ended 0");
    assert!(terminal.is_cooked(), "the terminal is not as it was");
    let screen = terminal.screen();
    let own = ["devwatch: ", "listening ", "ended 0"];
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
    terminal.wait_for(" end serving ");
    assert!(!terminal.is_cooked());
    kill(devwatch(&project), Signal::SIGKILL).expect("it is killed");
    terminal.wait_for("ended 137");
    assert!(
        eventually(PATIENCE, || terminal.is_cooked()),
        "the terminal stays raw"
    );
    project.nothing_left(Duration::from_secs(1));
    // It can be typed into.
    terminal.press("hello\n");
    terminal.wait_for("the shell got hello");
}

#[test]
fn a_terminal_that_is_closed_ends_devwatch_and_all_it_had_started() {
    let (project, port) = serving();
    let mut terminal = Terminal::start(&project, SIMPLE, &[]);
    terminal.wait_for(" end serving ");
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
    terminal.wait_for(" end serving ");
    terminal.close();
    project.nothing_left(PATIENCE);
}

#[test]
fn ctrl_c_quits_with_0() {
    for script in [SIMPLE, JOBS] {
        let (project, port) = serving();
        let mut terminal = Terminal::start(&project, script, &[]);
        terminal.wait_for(" end serving ");
        terminal.press("\x03");
        terminal.wait_for(if script == SIMPLE {
            "ended 0"
        } else {
            "left with 0"
        });
        assert!(terminal.is_cooked(), "the terminal is not as it was");
        assert_eq!(project.processes(), Vec::<String>::new());
        assert!(get(port).is_err());
    }
}

#[test]
fn ctrl_z_gives_the_terminal_back_and_fg_takes_it_again() {
    let (project, port) = serving();
    let mut terminal = Terminal::start(&project, JOBS, &[]);
    terminal.wait_for(" end serving ");
    for round in 2..=3 {
        assert!(eventually(PATIENCE, || !terminal.is_cooked()));
        terminal.press("\x1a");
        if round == 2 {
            // 128 + SIGTSTP, or SIGSTOP where devwatch had to put the terminal back first.
            terminal.wait_for("left with 14");
        }
        assert!(
            eventually(PATIENCE, || terminal.is_cooked()),
            "the shell has a raw terminal"
        );
        // The server is not devwatch's terminal's business.
        get(port).expect("an answer");
        if round == 2 {
            project.script(&[
                "listen",
                &format!("127.0.0.1:{port}"),
                "serve",
                "saved meanwhile",
            ]);
            terminal.press("\n");
            terminal.wait_for(" end serving ");
            assert_eq!(get(port).expect("an answer"), "saved meanwhile");
        }
    }
    // Nobody is left who could continue it, so the kernel does, and hangs up.
    terminal.close();
    project.nothing_left(PATIENCE);
}

#[test]
fn a_stopped_devwatch_can_be_told_to_go_and_one_in_the_background_works_on() {
    let (project, port) = serving();
    let mut terminal = Terminal::start(&project, JOBS, &[]);
    terminal.wait_for(" end serving ");
    terminal.press("\x1a");
    terminal.wait_for("left with 14");
    // As `bg` does.
    kill(devwatch(&project), Signal::SIGCONT).expect("it goes on");
    project.script(&["listen", &format!("127.0.0.1:{port}"), "serve", "two"]);
    terminal.wait_for(" end serving ");
    assert!(terminal.is_cooked(), "it has taken the shell's terminal");
    // As `kill %1` does.
    kill(devwatch(&project), Signal::SIGTERM).expect("it is told to go");
    project.nothing_left(PATIENCE);
    assert!(terminal.is_cooked());
}

#[test]
fn keys_work_after_fg() {
    let (project, _) = serving();
    let mut terminal = Terminal::start(&project, JOBS, &[]);
    terminal.wait_for(" end serving ");
    terminal.press("\x1a");
    terminal.wait_for("left with 14");
    terminal.press("\n");
    assert!(
        eventually(PATIENCE, || !terminal.is_cooked()),
        "keys would need Enter"
    );
    terminal.press("r");
    terminal.wait_for("begin (request)");
    terminal.wait_for(" end unchanged ");
    terminal.press("q");
    terminal.wait_for("ended 0");
    assert!(terminal.is_cooked());
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
    terminal.wait_for(" end serving ");
    terminal.press("\x03");
    terminal.wait_for("not yet");
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
        terminal.wait_for(&format!("{expected}."));
        terminal.wait_for(" end serving ");
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

/// As it says in its lock.
fn devwatch(project: &Project) -> Pid {
    let pid = project.read(".devwatch/lock");
    Pid::from_raw(pid.trim().parse().expect("a pid"))
}

/// A terminal with a shell in it.
struct Terminal {
    master: Option<OwnedFd>,
    /// Everything that was written to it.
    written: Arc<Mutex<Vec<u8>>>,
    /// How much of that has been waited for.
    waited: usize,
    /// Closing it ends the reader.
    reader: Option<(PipeWriter, JoinHandle<()>)>,
    shell: Child,
}

impl Terminal {
    fn start(project: &Project, script: &str, arguments: &[&str]) -> Terminal {
        // Closed on exec from the start: a copy in any other test's process would keep the terminal open.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).expect("a terminal");
        grantpt(&master).expect("its other end");
        unlockpt(&master).expect("its other end");
        let name = ptsname_r(&master).expect("its name");
        let slave = open(name.as_str(), flags, Mode::empty()).expect("its other end");
        let master = OwnedFd::from(master);
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).args(arguments);
        command.stdin(end()).stdout(end()).stderr(end());
        command
            .env("PROJECT", project.root())
            .env("DEVWATCH", env!("CARGO_BIN_EXE_devwatch"))
            .env("TERM", "xterm-256color");
        // The shell is none of the project's processes.
        command.current_dir("/");
        for variable in ["CI", "DEVWATCH_LOG", "PORT"] {
            command.env_remove(variable);
        }
        // SAFETY: two system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                Errno::result(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
                Ok(())
            });
        }
        let shell = command.spawn().expect("a shell");
        let written = Arc::new(Mutex::new(Vec::new()));
        let (stopped, stop) = std::io::pipe().expect("a pipe");
        let (theirs, take) = (
            master.try_clone().expect("a descriptor"),
            Arc::clone(&written),
        );
        let reader = thread::spawn(move || {
            let (mut master, mut chunk) = (File::from(theirs), vec![0; 1 << 16]);
            loop {
                let mut sources = [
                    PollFd::new(master.as_fd(), PollFlags::POLLIN),
                    PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
                ];
                let _ = poll(&mut sources, PollTimeout::NONE);
                if sources[1].any() == Some(true) {
                    return;
                }
                // EIO: nobody is left on the other side.
                match master.read(&mut chunk) {
                    Ok(count) if count > 0 => take
                        .lock()
                        .expect("no panic")
                        .extend_from_slice(&chunk[..count]),
                    Ok(_) | Err(_) => return,
                }
            }
        });
        Terminal {
            master: Some(master),
            written,
            waited: 0,
            reader: Some((stop, reader)),
            shell,
        }
    }

    fn press(&mut self, keys: &str) {
        let master = self.master.as_ref().expect("not closed");
        let mut master = File::from(master.try_clone().expect("a descriptor"));
        master.write_all(keys.as_bytes()).expect("it is typed");
    }

    /// Waits until this has been written after what was waited for before.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        let mut found = None;
        let there = eventually(PATIENCE, || {
            let written = self.written.lock().expect("no panic");
            let mut windows = written[self.waited..].windows(text.len());
            found = windows.position(|window| window == text.as_bytes());
            found.is_some()
        });
        assert!(there, "no {text:?} on the terminal:\n{}", self.story());
        self.waited += found.expect("found just now") + text.len();
    }

    /// Whether it edits lines and shows what is typed.
    fn is_cooked(&self) -> bool {
        let master = self.master.as_ref().expect("not closed");
        let flags = tcgetattr(master.as_fd()).expect("its settings").local_flags;
        flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// What a person would see.
    fn screen(&self) -> String {
        let size = |number| NonZero::new(number).expect("not zero");
        let mut parser = vt100::Parser::new(size(200), size(500), 0);
        parser.process(&self.written.lock().expect("no panic"));
        parser.screen().contents()
    }

    fn story(&self) -> String {
        let written = self.written.lock().expect("no panic");
        let end = &written[written.len().saturating_sub(4000)..];
        format!("---\n{}\n---", String::from_utf8_lossy(end))
    }

    /// As when the window is closed.
    fn close(&mut self) {
        if let Some((stop, reader)) = self.reader.take() {
            drop(stop);
            let _ = reader.join();
        }
        self.master = None;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

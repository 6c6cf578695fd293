//! A terminal with a shell in it, in which devwatch runs: what stands on its screen, in which modes it is, and every
//! byte that was written to it.
//!
//! The leader of the session is a shell, and devwatch its foreground job: otherwise the kernel itself would hang up
//! on everything when devwatch is killed, and the tests would show less than they say.

use std::fs::File;
use std::io::{PipeWriter, Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;

use crate::project::{PATIENCE, Project, eventually};

/// Runs devwatch with the arguments, says how it ended, and then what is left of the input.
pub const SIMPLE: &str = r#"
ulimit -c 0
trap : INT
(cd "$PROJECT" && exec "$DEVWATCH" "$@")
echo "ended $?"
read line
echo "the shell got $line"
read line
"#;

/// With job control: when devwatch is stopped, a line from the user brings it back.
pub const JOBS: &str = r#"
ulimit -c 0
set -m
(cd "$PROJECT" && exec "$DEVWATCH" "$@")
echo "left with $?"
read line
fg >/dev/null
echo "ended $?"
read line
"#;

/// devwatch in the background, where the terminal belongs to somebody else.
pub const BACKGROUND: &str = r#"
ulimit -c 0
set -m
(cd "$PROJECT" && exec "$DEVWATCH" "$@") &
read line
echo "the shell got $line"
kill $!
wait $!
echo "ended $?"
read line
"#;

/// A terminal with a shell in it.
pub struct Terminal {
    master: Option<OwnedFd>,
    /// The path of the other end.
    name: String,
    heard: Arc<Mutex<Heard>>,
    /// How much of what was written has been waited for.
    waited: usize,
    /// Closing it ends the reader.
    reader: Option<(PipeWriter, JoinHandle<()>)>,
    shell: Child,
}

/// What was written to a terminal, and what a person sees of it.
struct Heard {
    raw: Vec<u8>,
    parser: vt100::Parser,
}

impl Terminal {
    /// Runs the script in a terminal of 24 rows of 80 columns.
    pub fn start(project: &Project, script: &str, arguments: &[&str]) -> Terminal {
        Terminal::start_with(project, script, arguments, (24, 80), |_| {})
    }

    /// Runs the script in a terminal of `size`, rows and columns, after `prepare` has had its way with the shell.
    pub fn start_with(
        project: &Project,
        script: &str,
        arguments: &[&str],
        size: (u16, u16),
        prepare: impl FnOnce(&mut Command),
    ) -> Terminal {
        // Closed on exec from the start: a copy in any other test's process would keep the terminal open.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).expect("a terminal");
        grantpt(&master).expect("its other end");
        unlockpt(&master).expect("its other end");
        let name = ptsname_r(&master).expect("its name");
        let slave = open(name.as_str(), flags, Mode::empty()).expect("its other end");
        let master = OwnedFd::from(master);
        set_size(&master, size);
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
        // They would decide how devwatch shows itself, or reach the builds.
        for variable in [
            "CARGO_TARGET_DIR",
            "CI",
            "CLICOLOR_FORCE",
            "COLORTERM",
            "DEVWATCH_LOG",
            "EDITOR",
            "FORCE_COLOR",
            "NO_COLOR",
            "PAGER",
            "PORT",
            "VISUAL",
        ] {
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
        prepare(&mut command);
        let shell = command.spawn().expect("a shell");
        let heard = Arc::new(Mutex::new(Heard {
            raw: Vec::new(),
            parser: vt100::Parser::new(cells(size.0), cells(size.1), 0),
        }));
        let mut terminal = Terminal {
            master: Some(master),
            name,
            heard,
            waited: 0,
            reader: None,
            shell,
        };
        terminal.read();
        terminal
    }

    /// Takes what is written to it, from here on.
    pub fn read(&mut self) {
        let (stopped, stop) = std::io::pipe().expect("a pipe");
        let theirs = self.master().try_clone().expect("a descriptor");
        let heard = Arc::clone(&self.heard);
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
                    Ok(count) if count > 0 => {
                        let mut heard = heard.lock().expect("no panic");
                        heard.raw.extend_from_slice(&chunk[..count]);
                        heard.parser.process(&chunk[..count]);
                    }
                    Ok(_) | Err(_) => return,
                }
            }
        });
        self.reader = Some((stop, reader));
    }

    /// Takes nothing any more, so that it is full soon; as a window that hangs, or after Ctrl-S.
    pub fn stop_reading(&mut self) {
        if let Some((stop, reader)) = self.reader.take() {
            drop(stop);
            reader.join().expect("no panic");
        }
    }

    /// Fills it with what nobody sees, until it takes nothing more. Nobody may read it.
    pub fn fill(&self) {
        assert!(self.reader.is_none(), "it is read");
        let flags = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let end = open(self.name.as_str(), flags, Mode::empty()).expect("its other end");
        let mut end = File::from(end);
        while end.write(&[0; 4096]).is_ok() {}
        while end.write(&[0]).is_ok() {}
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        let mut master = File::from(self.master().try_clone().expect("a descriptor"));
        master.write_all(keys.as_bytes()).expect("it is typed");
    }

    /// Another size: rows and columns. The kernel tells devwatch.
    pub fn resize(&mut self, size: (u16, u16)) {
        let mut heard = self.heard();
        heard.parser.set_size(cells(size.0), cells(size.1));
        set_size(self.master(), size);
    }

    /// As when the window is closed.
    pub fn close(&mut self) {
        self.stop_reading();
        self.master = None;
    }

    // --- what is on it ---

    /// Waits until this stands on the screen.
    #[track_caller]
    pub fn shows(&mut self, text: &str) {
        self.shows_where(&format!("{text:?}"), |screen| {
            screen.contents().contains(text)
        });
    }

    /// Waits until the screen is as it has to be.
    #[track_caller]
    pub fn shows_where(&mut self, what: &str, is_so: impl Fn(&vt100::Screen) -> bool) {
        let there = eventually(PATIENCE, || is_so(self.heard().parser.screen()));
        assert!(there, "no {what} on the screen:\n{}", self.story());
    }

    /// The screen as it is now.
    pub fn screen(&self) -> vt100::Screen {
        self.heard().parser.screen().clone()
    }

    /// Whether devwatch has it: its full screen is up, and keys come as they are typed.
    pub fn is_taken(&self) -> bool {
        let screen = self.screen();
        screen.alternate_screen() && screen.bracketed_paste() && !self.is_cooked()
    }

    /// Waits until devwatch has it.
    #[track_caller]
    pub fn taken(&self) {
        let taken = eventually(PATIENCE, || self.is_taken());
        assert!(taken, "devwatch does not have it:\n{}", self.story());
    }

    /// Fails unless it is as it was `before`, and every mode of a full screen off.
    #[track_caller]
    pub fn is_restored(&self, before: &Termios) {
        let restored = || {
            let screen = self.screen();
            !screen.alternate_screen()
                && !screen.bracketed_paste()
                && !screen.hide_cursor()
                && !screen.application_cursor()
                && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None
                && screen.fgcolor() == vt100::Color::Default
                && screen.bgcolor() == vt100::Color::Default
                && !(screen.bold() || screen.dim() || screen.underline() || screen.inverse())
                && self.settings() == *before
        };
        if !eventually(PATIENCE, restored) {
            let now = self.settings();
            panic!("not restored: {before:?}\n{now:?}\n{}", self.story());
        }
    }

    // --- what was written to it ---

    /// Waits until this has been written after what was waited for before.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let mut found = None;
        let there = eventually(PATIENCE, || {
            let heard = self.heard();
            let mut windows = heard.raw[self.waited..].windows(text.len());
            found = windows.position(|window| window == text.as_bytes());
            found.is_some()
        });
        assert!(there, "no {text:?} on the terminal:\n{}", self.story());
        self.waited += found.expect("found just now") + text.len();
    }

    /// Everything that was written to it.
    pub fn raw(&self) -> Vec<u8> {
        self.heard().raw.clone()
    }

    /// How many bytes were written to it.
    pub fn written(&self) -> usize {
        self.heard().raw.len()
    }

    // --- how it is set ---

    /// Its settings, read from this side.
    pub fn settings(&self) -> Termios {
        tcgetattr(self.master().as_fd()).expect("its settings")
    }

    /// Whether it edits lines and shows what is typed.
    pub fn is_cooked(&self) -> bool {
        let flags = self.settings().local_flags;
        flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// What it shows, and the end of what was written to it, for the message of a test that fails.
    pub fn story(&self) -> String {
        let heard = self.heard();
        let end = &heard.raw[heard.raw.len().saturating_sub(2000)..];
        format!(
            "--- screen:\n{}\n--- written:\n{}\n---",
            heard.parser.screen().contents(),
            end.escape_ascii()
        )
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("no panic")
    }

    fn master(&self) -> &OwnedFd {
        self.master.as_ref().expect("not closed")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// devwatch, as it says in its lock.
pub fn devwatch(project: &Project) -> Pid {
    let pid = project.read(".devwatch/lock");
    Pid::from_raw(pid.trim().parse().expect("a pid"))
}

/// How long somebody waits who has asked devwatch to end.
pub const SOON: Duration = Duration::from_secs(5);

fn set_size(master: &OwnedFd, (rows, columns): (u16, u16)) {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel reads a `winsize` and keeps no pointer to it.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    Errno::result(result).expect("its size");
}

/// A screen of the parser has one cell at least.
fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap_or(NonZero::<u16>::MIN)
}

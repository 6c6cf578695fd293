//! The screen in front of a person: every state is reached with a real project and read from the terminal, and every
//! key is pressed there.
//!
//! What is compared is what a terminal shows after whole frames; numbers that no two runs share are replaced first.

mod keys;
mod log;
mod states;
mod visits;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use nix::unistd::Pid;
use regex::Regex;

use crate::project::{PATIENCE, Project, eventually, free_port};
use crate::pty::{JOBS, Terminal};

/// A person in front of a terminal in which devwatch runs, in the folder `api` of a project.
struct Sitting {
    terminal: Terminal,
    /// Dropped after the terminal, to prove that nothing is left.
    project: Project,
}

/// What somebody sees at one moment.
struct Seen {
    screen: vt100::Screen,
    rows: Vec<String>,
}

impl Seen {
    fn of(screen: vt100::Screen) -> Seen {
        let (_, columns) = screen.size();
        let rows = screen.rows(0, columns.get());
        let rows = rows.map(|row| row.trim_end().to_owned()).collect();
        Seen { screen, rows }
    }

    fn row(&self, number: usize) -> &str {
        self.rows.get(number).map_or("", String::as_str)
    }

    fn last_row(&self) -> &str {
        self.rows.last().map_or("", String::as_str)
    }

    fn contains(&self, text: &str) -> bool {
        self.rows.iter().any(|row| row.contains(text))
    }

    /// Which row begins so.
    fn begins(&self, start: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.starts_with(start))
    }

    fn is(&self, word: &str) -> bool {
        self.row(0).starts_with(&format!("[{word}]"))
    }

    /// Whether the title that begins so is that of the pane which keys are for.
    fn is_focused(&self, title: &str) -> bool {
        self.begins(title).is_some_and(|row| {
            let row = u16::try_from(row).expect("a row");
            self.screen.cell(row, 2).is_some_and(vt100::Cell::bold)
        })
    }

    /// The pid that the first row shows.
    fn pid(&self) -> Pid {
        let number = capture(r"pid (\d+)", self.row(0)).expect("a pid");
        Pid::from_raw(number.parse().expect("a number"))
    }

    /// As text that is the same in every run: without the numbers that are not, and with one empty row for several.
    fn text(&self) -> String {
        static VOLATILE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
            let replacements = [
                (r"/[^ ]*devwatch-it-\w+", "ROOT"),
                (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
                (r"pid \d+→\d+", "pid P→P"),
                (r"pid \d+", "pid P"),
                (r"\d\d:\d\d:\d\d", "HH:MM:SS"),
                (r"\b\d+m\d\ds\b", "T"),
                (r"\b\d+(\.\d+)?m?s\b", "T"),
                // Columns are as wide as what stands in them.
                (r"T {2,}", "T "),
                (r"[▁▂▃▄▅▆▇]+", "▁▂▃"),
                (r"[█░]+", "█░"),
                (r"\b\d+%", "N%"),
                (r"\d+ files? in \d+ dirs?", "N files in N dirs"),
                (r"─{2,}$", "──"),
            ];
            let regex = |pattern| Regex::new(pattern).expect("a regex");
            replacements
                .map(|(pattern, text)| (regex(pattern), text))
                .into()
        });
        let mut lines: Vec<String> = Vec::new();
        for row in &self.rows {
            if row.is_empty() && lines.last().is_some_and(String::is_empty) {
                continue;
            }
            let replaced = VOLATILE.iter().fold(row.clone(), |row, (regex, text)| {
                regex.replace_all(&row, *text).into_owned()
            });
            lines.push(replaced);
        }
        lines.join("\n") + "\n"
    }
}

fn capture(pattern: &str, text: &str) -> Option<String> {
    let regex = Regex::new(pattern).expect("a regex");
    Some(regex.captures(text)?[1].to_owned())
}

impl Sitting {
    fn start(project: Project) -> Sitting {
        Sitting::start_with(project, (24, 80), &[])
    }

    /// With so many rows and columns, and with these variables.
    fn start_with(project: Project, size: (u16, u16), variables: &[(&str, String)]) -> Sitting {
        let terminal = Terminal::start_with(&project, JOBS, &[], size, |shell| {
            shell.env("PROJECT", project.path("api"));
            shell.env("HERE", project.root());
            shell.env("XDG_CONFIG_HOME", project.path("config"));
            for variable in [
                "BROWSER",
                "DISPLAY",
                "SSH_CONNECTION",
                "WAYLAND_DISPLAY",
                "FORCE_HYPERLINK",
            ] {
                shell.env_remove(variable);
            }
            for (name, value) in variables {
                shell.env(name, value);
            }
        });
        Sitting { terminal, project }
    }

    /// The same until the server serves.
    fn serving(project: Project) -> Sitting {
        let mut sitting = Sitting::start(project);
        sitting.state("SERVING");
        sitting
    }

    fn press(&mut self, keys: &str) {
        self.terminal.press(keys);
    }

    /// Waits until whole frames show what has to be seen.
    #[track_caller]
    fn until(&mut self, what: &str, is_so: impl Fn(&Seen) -> bool) -> Seen {
        self.within(PATIENCE, what, is_so)
    }

    #[track_caller]
    fn within(&mut self, limit: Duration, what: &str, is_so: impl Fn(&Seen) -> bool) -> Seen {
        let mut found = None;
        eventually(limit, || {
            found = self.look().filter(|seen| is_so(seen));
            found.is_some()
        });
        found.unwrap_or_else(|| panic!("not seen: {what}\n{}", self.terminal.story()))
    }

    /// What is to be seen now; none in the middle of a frame.
    fn look(&self) -> Option<Seen> {
        let written = self.terminal.written();
        let screen = self.terminal.screen();
        let raw = self.terminal.raw();
        let last = |sequence: &[u8]| {
            let mut windows = raw.windows(sequence.len());
            windows.rposition(|window| window == sequence)
        };
        let is_whole = last(b"\x1b[?2026h") <= last(b"\x1b[?2026l");
        (raw.len() == written && is_whole).then(|| Seen::of(screen))
    }

    #[track_caller]
    fn shows(&mut self, text: &str) -> Seen {
        self.until(&format!("{text:?}"), |seen| seen.contains(text))
    }

    #[track_caller]
    fn lacks(&mut self, text: &str) -> Seen {
        self.until(&format!("no {text:?}"), |seen| !seen.contains(text))
    }

    #[track_caller]
    fn state(&mut self, word: &str) -> Seen {
        self.until(&format!("the state {word}"), |seen| seen.is(word))
    }

    /// Asks to quit, and waits until the shell has the terminal back.
    #[track_caller]
    fn quit(mut self) {
        self.press("q");
        // What the shell says depends on whether devwatch was stopped in between.
        self.until("the end", |seen| {
            seen.contains("left with 0") || seen.contains("ended 0")
        });
    }

    fn write(&self, file: &str, content: &str) {
        self.project.write(file, content);
    }

    /// Waits until a file that others write holds this.
    #[track_caller]
    fn file_holds(&mut self, file: &str, text: &str) -> String {
        let path = self.project.path(file);
        let content = || fs::read_to_string(&path).unwrap_or_default();
        let there = eventually(PATIENCE, || content().contains(text));
        assert!(
            there,
            "no {text:?} in {file}, which holds {:?}\n{}",
            content(),
            self.terminal.story()
        );
        content()
    }
}

/// The rule of these projects: it waits as long as there is a file `hold`, counts itself, finds every line of the source
/// with `no_name` wrong and every one with `spare_name` suspicious, and else makes the server of it.
const BUILD: &str = r#"
while [ -e ../hold ]; do sleep 0.02; done
echo run >>../builds
grep -n spare_name source.sh | while IFS=: read -r line text; do
    echo "source.sh:$line:6: warning: unused: spare_name" >&2
done
if grep -q no_name source.sh; then
    grep -n no_name source.sh | while IFS=: read -r line text; do
        echo "source.sh:$line:6: error: undefined: no_name" >&2
    done
    exit 1
fi
cp source.sh built.sh
"#;

/// A project `api`: a rule that copies, and a server that is what `source.sh` says. `server` is more of its table.
fn api(server: &str, source: &str) -> Project {
    let project = Project::new();
    project.write("build.sh", BUILD);
    project.write("api/devwatch.toml", &config(server));
    project.write("api/source.sh", source);
    project
}

fn config(server: &str) -> String {
    format!(
        "[[rule]]\nname = \"build\"\nfiles = [\"source.sh\"]\nrun = [\"sh\", \"../build.sh\"]\n\
         outputs = [\"built.sh\"]\nproblems = \"gnu\"\n[server]\nrun = [\"sh\", \"built.sh\"]\n{server}\n"
    )
}

/// A source whose server listens at `port`, says `text` to everybody, and does the verbs before.
fn server(project: &Project, port: u16, text: &str, verbs: &[&str]) -> String {
    let address = format!("127.0.0.1:{port}");
    let serve = ["listen", &address, "serve", text];
    let verbs: Vec<&str> = verbs.iter().copied().chain(serve).collect();
    format!("exec {}\n", project.child_line(&verbs))
}

/// A project whose server serves `one`.
fn simple() -> Project {
    let project = api("", "");
    let source = server(&project, free_port(), "one", &[]);
    project.write("api/source.sh", &source);
    project
}

/// A program of the project, for an editor, a pager or a browser: its path.
fn program(project: &Project, name: &str, script: &str) -> String {
    project.write(name, &format!("#!/bin/sh\n{script}\n"));
    let path: PathBuf = project.path(name);
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it can be run");
    path.display().to_string()
}

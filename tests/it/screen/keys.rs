//! Every key of the table, pressed.
//!
//! [`scene`] and [`proof`] know every action: one that is added has to be proven here before this compiles, and a key
//! that is added to an action is pressed like the others.

use std::fs;

use devwatch::screen::keys::{Action, Key, Keys};

use super::{Seen, Sitting, api, program, server, simple};
use crate::project::{PATIENCE, Project, eventually, free_port};

/// In front of what a key is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// A server that serves, echoes its stdin, and has printed little.
    Serving,
    /// A build that has failed, with nine errors.
    Problems,
    /// A server that has printed a hundred lines.
    Log,
    /// Each time another devwatch, which ends.
    End,
}

fn scene(action: Action) -> Scene {
    match action {
        Action::Rebuild
        | Action::Restart
        | Action::Pause
        | Action::Stop
        | Action::Input
        | Action::OpenUrl
        | Action::Urls
        | Action::Palette
        | Action::Help
        | Action::Mouse
        | Action::Redraw
        | Action::Suspend => Scene::Serving,
        Action::Problems
        | Action::Log
        | Action::NextPane
        | Action::Zoom
        | Action::Summary
        | Action::Next
        | Action::Previous
        | Action::Open
        | Action::OpenNumber(_)
        | Action::Pager
        | Action::Copy
        | Action::CopyAll => Scene::Problems,
        Action::Clear
        | Action::Search
        | Action::Filter
        | Action::Cancel
        | Action::Up
        | Action::Down
        | Action::PageUp
        | Action::PageDown
        | Action::HalfPageUp
        | Action::HalfPageDown
        | Action::Top
        | Action::Bottom
        | Action::Follow
        | Action::Wrap => Scene::Log,
        Action::Quit => Scene::End,
    }
}

/// Presses every key of every action of a scene.
fn press_all(wanted: Scene, sitting: &mut Sitting) {
    let keys = Keys::default();
    let mut pressed = 0;
    for action in Action::all().filter(|action| scene(*action) == wanted) {
        for key in keys.keys_of(action) {
            eprintln!("{key}: {}", action.name());
            proof(action, &bytes(&key), sitting);
            pressed += 1;
        }
    }
    assert!(pressed > 0);
}

/// What a terminal sends for a key.
fn bytes(key: &Key) -> String {
    let name = key.to_string();
    let special = match name.as_str() {
        "enter" => "\r",
        "esc" => "\x1b",
        "tab" => "\t",
        "space" => " ",
        "up" => "\x1b[A",
        "down" => "\x1b[B",
        "home" => "\x1b[H",
        "end" => "\x1b[F",
        "page-up" => "\x1b[5~",
        "page-down" => "\x1b[6~",
        "f1" => "\x1bOP",
        "f5" => "\x1b[15~",
        _ => "",
    };
    if !special.is_empty() {
        return special.to_owned();
    }
    if let Some(letter) = name.strip_prefix("ctrl-") {
        let [letter @ b'a'..=b'z'] = letter.as_bytes() else {
            panic!("what does a terminal send for {name}?");
        };
        return char::from(letter & 0x1f).to_string();
    }
    assert_eq!(
        name.chars().count(),
        1,
        "what does a terminal send for {name}?"
    );
    name
}

#[test]
fn keys_that_are_about_the_server() {
    let project = api("", "");
    let line = server(&project, free_port(), "one", &[]);
    // What it reads it says.
    let echo = "exec 3<&0\n{ while read -r line; do echo \"heard $line\"; done; echo 'heard all'; } <&3 &\nexec 3<&-\n";
    project.write("api/source.sh", &format!("{echo}{line}"));
    let browser = program(&project, "browser", "echo \"$@\" >>\"$HERE/browsed\"");
    let mut sitting = Sitting::start_with(project, (24, 80), &[("BROWSER", browser)]);
    sitting.state("SERVING");
    press_all(Scene::Serving, &mut sitting);
    sitting.quit();
}

#[test]
fn keys_that_are_about_problems() {
    let project = simple();
    let lines: String = (1..=9)
        .map(|line| format!("true no_name {line}\n"))
        .collect();
    let good = project.read("api/source.sh");
    let visitor = "printf '%s\\n' \"$@\" >\"$HERE/told\"; echo the visitor is here; read line; echo \"$line\" >>\"$HERE/told\"";
    let editor = program(&project, "editor", visitor);
    let pager = program(
        &project,
        "pager",
        &format!("cp \"$1\" \"$HERE/paged\"\n{visitor}"),
    );
    let mut sitting =
        Sitting::start_with(project, (24, 80), &[("EDITOR", editor), ("PAGER", pager)]);
    sitting.state("SERVING");
    sitting.write("api/source.sh", &format!("{good}{lines}"));
    sitting.state("BUILD FAILED");
    press_all(Scene::Problems, &mut sitting);
    sitting.quit();
}

#[test]
fn keys_that_are_about_the_log() {
    let mut sitting = hundred_lines();
    press_all(Scene::Log, &mut sitting);
    sitting.quit();
}

#[test]
fn keys_that_end_it() {
    for key in Keys::default().keys_of(Action::Quit) {
        let mut sitting = Sitting::serving(simple());
        sitting.press(&bytes(&key));
        sitting.shows("left with 0");
        let seen = sitting.shows("devwatch: 1 build, 0 hot and 0 cold restarts in ");
        assert!(!seen.screen.alternate_screen());
        assert_eq!(sitting.project.processes(), Vec::<String>::new());
        // A second time while it still stops: at once.
        let project = api(
            "ready = { log = \"up\" }\nstop = { timeout = \"100s\" }",
            "",
        );
        let stubborn = "trap 'echo not yet' TERM\necho up\nwhile :; do sleep 1000 & wait; done\n";
        project.write("api/source.sh", stubborn);
        let mut sitting = Sitting::serving(project);
        sitting.press(&bytes(&key));
        sitting.shows("not yet");
        // However long that has taken: whoever comes too late is told, and is in time then.
        sitting.press(&bytes(&key));
        let seen = sitting.until("an end, or a word", |seen| {
            seen.contains("left with 0") || seen.contains("once more to kill")
        });
        if !seen.contains("left with 0") {
            sitting.press(&bytes(&key));
        }
        sitting.shows("left with 0");
    }
}

/// A server that has printed `line 1` to `line 100`, of which a screen of 24 rows shows the last 19.
fn hundred_lines() -> Sitting {
    let project = api("ready = { log = \"line 100\" }", "");
    let wide = "x".repeat(100);
    project.write(
        "api/source.sh",
        &format!("i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; done\nread x <../gate\necho {wide}\nexec sleep 1000\n"),
    );
    project.shell("mkfifo gate");
    let mut sitting = Sitting::serving(project);
    sitting.until("the end of it", |seen| from_to(seen) == (82, 100));
    sitting
}

/// The first and the last number of a line that is to be seen.
fn from_to(seen: &Seen) -> (usize, usize) {
    let lines = seen.rows.iter().filter_map(|row| row.strip_prefix("line "));
    let mut numbers = lines.filter_map(|number| number.parse().ok());
    let first = numbers.next().unwrap_or(0);
    (first, numbers.next_back().unwrap_or(first))
}

/// Fails unless the key does what the help says of the action. Leaves everything as it was.
fn proof(action: Action, key: &str, sitting: &mut Sitting) {
    match action {
        // --- the server ---
        Action::Rebuild => {
            let runs = |project: &Project| project.read("builds").lines().count();
            let before = runs(&sitting.project);
            sitting.press(key);
            assert!(eventually(PATIENCE, || runs(&sitting.project) > before));
            sitting.state("SERVING");
        }
        Action::Restart => {
            let (pid, builds) = (
                sitting.state("SERVING").pid(),
                sitting.project.read("builds"),
            );
            sitting.press(key);
            sitting.until("another process", |seen| {
                seen.is("SERVING") && seen.pid() != pid
            });
            assert_eq!(sitting.project.read("builds"), builds);
        }
        Action::Pause => {
            sitting.press(key);
            let seen = sitting.state("PAUSED");
            assert!(seen.last_row().contains("p resume"), "{:?}", seen.rows);
            sitting.press(key);
            let seen = sitting.state("SERVING");
            assert!(seen.last_row().contains("p pause"), "{:?}", seen.rows);
        }
        Action::Stop => {
            sitting.press(key);
            sitting.until("it is down", |seen| {
                seen.is("IDLE") && seen.contains("NOT SERVING")
            });
            sitting.press("r");
            sitting.state("SERVING");
        }
        Action::Input => {
            sitting.press(key);
            sitting.shows("stdin (ctrl-] ends)>");
            // None of them is a command.
            sitting.press("qx?\r");
            sitting.shows("heard qx?");
            sitting.press("\x1d");
            sitting.lacks("stdin (ctrl-] ends)>");
            sitting.press(key);
            sitting.shows("stdin (ctrl-] ends)>");
            sitting.press("\x04");
            sitting.shows("heard all");
            sitting.press("\x1d");
            sitting.lacks("stdin (ctrl-] ends)>");
        }
        Action::OpenUrl => {
            sitting.press(key);
            let told = sitting.file_holds("browsed", "\n");
            let row = sitting.state("SERVING").row(2).to_owned();
            assert!(
                row.starts_with(told.trim_end_matches(['/', '\n'])),
                "{told:?} {row:?}"
            );
            assert!(told.starts_with("http://127.0.0.1:"), "{told:?}");
        }
        Action::Urls => {
            sitting.press(key);
            let seen = sitting.shows("─ addresses · esc closes");
            assert!(
                seen.row(4).starts_with("http://127.0.0.1:"),
                "{:?}",
                seen.rows
            );
            sitting.press("\x1b");
            sitting.lacks("─ addresses");
        }
        Action::Palette => {
            sitting.press(key);
            sitting.shows("─ actions · enter does it");
            sitting.press("list url");
            let seen = sitting.until("one is left", |seen| seen.row(5).is_empty());
            assert!(seen.row(4).starts_with("urls "), "{:?}", seen.rows);
            sitting.press("\r");
            sitting.shows("─ addresses · esc closes");
            sitting.press("\x1b");
            sitting.lacks("─ addresses");
        }
        Action::Help => {
            sitting.press(key);
            sitting.shows("─ keys · esc closes");
            sitting.press("G");
            let seen = sitting.shows("devwatch.toml");
            assert!(
                seen.contains("quit; twice within 2 s: at once"),
                "{:?}",
                seen.rows
            );
            sitting.press(key);
            sitting.lacks("─ keys · esc closes");
        }
        Action::Mouse => {
            let mode = |seen: &Seen| seen.screen.mouse_protocol_mode();
            let none = vt100::MouseProtocolMode::None;
            sitting.press(key);
            sitting.until("it sees the mouse", |seen| {
                mode(seen) != none && seen.row(2).ends_with("mouse")
            });
            sitting.press(key);
            sitting.until("it does not", |seen| {
                mode(seen) == none && !seen.row(2).ends_with("mouse")
            });
        }
        Action::Redraw => {
            // As somebody who writes to the same terminal.
            let devwatch = sitting.project.read("api/.devwatch/lock");
            let stdout = format!("/proc/{}/fd/1", devwatch.trim());
            fs::write(stdout, "\x1b[10;10Hsomebody else").expect("the terminal");
            sitting.shows("somebody else");
            sitting.press(key);
            let seen = sitting.lacks("somebody else");
            assert!(
                seen.is("SERVING") && seen.contains("─ app log"),
                "{:?}",
                seen.rows
            );
        }
        Action::Suspend => {
            sitting.press(key);
            let seen = sitting.shows("left with 14");
            assert!(!seen.screen.alternate_screen());
            sitting.press("\n");
            sitting.state("SERVING");
        }
        // --- problems ---
        Action::Problems => {
            focus(sitting, "l", "─ app log");
            focus(sitting, key, "─ problems");
        }
        Action::Log => {
            focus(sitting, "e", "─ problems");
            focus(sitting, key, "─ app log");
            focus(sitting, "e", "─ problems");
        }
        Action::NextPane => {
            focus(sitting, "e", "─ problems");
            focus(sitting, key, "─ app log");
            focus(sitting, key, "─ problems");
        }
        Action::Zoom => {
            focus(sitting, "e", "─ problems");
            sitting.press(key);
            sitting.until("nothing else", |seen| {
                seen.contains("─ problems") && !seen.contains("─ app log")
            });
            sitting.press(key);
            sitting.shows("─ app log");
        }
        Action::Summary => {
            sitting.press(key);
            let seen = sitting.lacks("│");
            assert!(seen.row(12).starts_with(" 9 error "), "{:?}", seen.rows);
            sitting.press(key);
            sitting.shows("│");
        }
        Action::Next => {
            select_first(sitting);
            sitting.press(key);
            sitting.until("the second one", |seen| selected(seen) == Some(2));
        }
        Action::Previous => {
            select_first(sitting);
            sitting.press("nn");
            sitting.until("the third one", |seen| selected(seen) == Some(3));
            sitting.press(key);
            sitting.until("the second one", |seen| selected(seen) == Some(2));
        }
        Action::Open => {
            select_first(sitting);
            sitting.press("n");
            sitting.until("the second one", |seen| selected(seen) == Some(2));
            visit(sitting, key, "+3\n");
            // In the log it leaves a mark.
            focus(sitting, "l", "─ app log");
            sitting.press(key);
            let is_mark = |row: &String| super::capture(r"^── (\d\d:\d\d:\d\d) ─+$", row).is_some();
            sitting.until("a mark", |seen| seen.rows.iter().any(is_mark));
            focus(sitting, "e", "─ problems");
        }
        Action::OpenNumber(digit) => {
            visit(sitting, key, &format!("+{}\n", digit.number() + 1));
        }
        Action::Pager => {
            focus(sitting, "e", "─ problems");
            visit(sitting, key, "");
            let paged = sitting.file_holds("paged", "source.sh:2:6: error: undefined: no_name\n");
            assert!(paged.contains("source.sh:10:6: error"), "{paged}");
            focus(sitting, "l", "─ app log");
            visit(sitting, key, "");
            let paged = sitting.file_holds("paged", "listening 127.0.0.1:");
            assert!(!paged.contains("error"), "{paged}");
            focus(sitting, "e", "─ problems");
        }
        Action::Copy => {
            select_first(sitting);
            let source = sitting.project.path("api/source.sh").display().to_string();
            let copied = copied(sitting, key, "copied 1 line");
            assert_eq!(copied, format!("{source}:2:6: error: undefined: no_name\n"));
        }
        Action::CopyAll => {
            focus(sitting, "e", "─ problems");
            let copied = copied(sitting, key, "copied 9 lines");
            assert!(
                copied
                    .lines()
                    .all(|line| line.ends_with(":6: error: undefined: no_name"))
            );
            assert_eq!(copied.lines().count(), 9, "{copied}");
        }
        // --- the log ---
        Action::Clear => {
            sitting.press(key);
            sitting.until("nothing", |seen| from_to(seen) == (0, 0));
            // There is no way back but another devwatch.
            *sitting = hundred_lines();
        }
        Action::Search => {
            sitting.press(key);
            sitting.press("line 5");
            sitting.shows("/line 5   11 found");
            sitting.press("\r");
            sitting.until("the last match", |seen| {
                from_to(seen).0 <= 59 && from_to(seen).1 < 100
            });
            sitting.press("N");
            sitting.until("the one before", |seen| {
                highlighted(seen).as_deref() == Some("line 58")
            });
            sitting.press("n");
            sitting.until("and back", |seen| {
                highlighted(seen).as_deref() == Some("line 59")
            });
            back(sitting);
        }
        Action::Filter => {
            sitting.press(key);
            sitting.press("line 5");
            let seen = sitting.until("those alone", |seen| from_to(seen) == (5, 59));
            assert_eq!(
                seen.rows
                    .iter()
                    .filter(|row| row.starts_with("line "))
                    .count(),
                11
            );
            sitting.press("\r");
            sitting.shows("filter /line 5/ 11");
            back(sitting);
        }
        Action::Cancel => {
            sitting.press("\\line 5\r");
            sitting.shows("filter /line 5/ 11");
            sitting.press(key);
            sitting.until("all of it", |seen| {
                from_to(seen) == (82, 100) && !seen.contains("filter")
            });
        }
        Action::Up => scrolls(sitting, key, (81, 99)),
        Action::PageUp => scrolls(sitting, key, (64, 82)),
        Action::HalfPageUp => scrolls(sitting, key, (73, 91)),
        Action::Top => scrolls(sitting, key, (1, 19)),
        Action::Down => {
            from_the_top(sitting);
            scrolls(sitting, key, (2, 20));
        }
        Action::PageDown => {
            from_the_top(sitting);
            scrolls(sitting, key, (19, 37));
        }
        Action::HalfPageDown => {
            from_the_top(sitting);
            scrolls(sitting, key, (10, 28));
        }
        Action::Bottom => {
            from_the_top(sitting);
            sitting.press(key);
            sitting.until("the end", |seen| {
                from_to(seen) == (82, 100) && seen.row(2).ends_with("follow")
            });
        }
        Action::Follow => {
            sitting.press(key);
            sitting.until("it stays", |seen| seen.row(2).ends_with("scrolled"));
            sitting.press(key);
            sitting.until("it follows", |seen| seen.row(2).ends_with("follow"));
        }
        Action::Wrap => {
            sitting.write("gate", "go\n");
            let wide = |seen: &Seen| {
                seen.rows
                    .iter()
                    .filter(|row| row.starts_with("xxx"))
                    .count()
            };
            sitting.until("a long line", |seen| wide(seen) == 1);
            sitting.press(key);
            sitting.until("its second row", |seen| {
                wide(seen) == 2 && seen.row(2).ends_with("wrap")
            });
            sitting.press(key);
            sitting.until("one row", |seen| wide(seen) == 1);
            *sitting = hundred_lines();
        }
        Action::Quit => unreachable!("it has a test of its own"),
    }
}

#[track_caller]
fn focus(sitting: &mut Sitting, key: &str, title: &str) {
    sitting.press(key);
    sitting.until(&format!("{title} focused"), |seen| seen.is_focused(title));
}

/// The number of the problem in question: the one in bold.
fn selected(seen: &Seen) -> Option<usize> {
    let row = (0..).zip(&seen.rows).find(|(row, text)| {
        text.contains(" error  ") && seen.screen.cell(*row, 1).is_some_and(vt100::Cell::bold)
    });
    row?.1.trim_start().split(' ').next()?.parse().ok()
}

#[track_caller]
fn select_first(sitting: &mut Sitting) {
    focus(sitting, "e", "─ problems");
    for _ in 0..8 {
        sitting.press("N");
    }
    sitting.until("the first one", |seen| selected(seen) == Some(1));
}

/// Somebody else gets the terminal, with these arguments first, and gives it back.
#[track_caller]
fn visit(sitting: &mut Sitting, key: &str, arguments: &str) {
    let _ = fs::remove_file(sitting.project.path("told"));
    sitting.press(key);
    let seen = sitting.shows("the visitor is here");
    assert!(!seen.screen.alternate_screen() && !seen.screen.hide_cursor());
    sitting.press("typed q?\n");
    let told = sitting.file_holds("told", "typed q?\n");
    assert!(told.starts_with(arguments), "{told}");
    sitting.state("BUILD FAILED");
}

/// What the terminal was asked to put into the clipboard.
#[track_caller]
fn copied(sitting: &mut Sitting, key: &str, toast: &str) -> String {
    sitting.press(key);
    sitting.until(toast, |seen| seen.last_row() == toast);
    let raw = String::from_utf8_lossy(&sitting.terminal.raw()).into_owned();
    let (_, after) = raw.rsplit_once("\x1b]52;c;").expect("OSC 52");
    let end = after.find(['\x1b', '\x07']).expect("its end");
    String::from_utf8(decoded(&after[..end])).expect("text")
}

fn decoded(base64: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: u8| {
        DIGITS
            .iter()
            .position(|digit| *digit == byte)
            .expect("a digit")
    };
    let digits: Vec<usize> = base64.trim_end_matches('=').bytes().map(digit).collect();
    let mut bytes = Vec::new();
    for four in digits.chunks(4) {
        let bits = four.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - four.len()));
        let three = [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8];
        bytes.extend_from_slice(&three[..four.len() - 1]);
    }
    bytes
}

/// The line with the match that was jumped to.
fn highlighted(seen: &Seen) -> Option<String> {
    let row = (0..).zip(&seen.rows).find(|(row, _)| {
        let cell = seen.screen.cell(*row, 0);
        cell.is_some_and(|cell| cell.bgcolor() == vt100::Color::Idx(3))
    });
    row.map(|(_, text)| text.clone())
}

#[track_caller]
fn back(sitting: &mut Sitting) {
    sitting.press("\x1b");
    sitting.until("no search", |seen| {
        !seen.contains("search /") && !seen.contains("filter /")
    });
    sitting.press("G");
    sitting.until("the end", |seen| from_to(seen) == (82, 100));
}

#[track_caller]
fn from_the_top(sitting: &mut Sitting) {
    sitting.press("g");
    sitting.until("the top", |seen| from_to(seen) == (1, 19));
}

#[track_caller]
fn scrolls(sitting: &mut Sitting, key: &str, to: (usize, usize)) {
    sitting.press(key);
    sitting.until(&format!("{to:?}"), |seen| {
        from_to(seen) == to && seen.row(2).ends_with("scrolled")
    });
    sitting.press("G");
    sitting.until("the end", |seen| from_to(seen) == (82, 100));
}

#[test]
fn a_user_gives_keys_another_meaning() {
    let project = simple();
    project.write(
        "config/devwatch/config.toml",
        "[keys]\nf10 = \"rebuild\"\nr = \"none\"\nP = \"pause\"\np = \"none\"\n",
    );
    let mut sitting = Sitting::serving(project);
    // The first key is the one that is shown.
    let seen = sitting.shows("P pause");
    assert!(
        seen.last_row()
            .starts_with("f10 rebuild  R cold restart  P pause "),
        "{:?}",
        seen.rows
    );
    sitting.press("p");
    sitting.press("?");
    let seen = sitting.shows("─ keys · esc closes");
    assert!(seen.row(5).starts_with("  f10 f5  "), "{:?}", seen.rows);
    assert!(seen.row(7).starts_with("  P  "), "{:?}", seen.rows);
    sitting.press("G");
    sitting.shows("config/devwatch/config.toml");
    sitting.press("\x1b");
    sitting.lacks("─ keys · esc closes");
    // What was pressed before did nothing.
    sitting.state("SERVING");
    sitting.press("P");
    sitting.state("PAUSED");
    sitting.press("P");
    sitting.state("SERVING");
    sitting.press("\x1b[21~");
    sitting.until("a build", |seen| {
        seen.is("SERVING") && seen.contains("build #2")
    });
    sitting.quit();
}

#[test]
fn a_mistake_in_the_users_file_is_told_and_nothing_begins() {
    let project = simple();
    project.write("config/devwatch/config.toml", "[keys]\nf10 = \"rebiuld\"\n");
    let mut sitting = Sitting::start(project);
    let seen = sitting.shows("left with 2");
    assert!(
        seen.contains("rebiuld") && seen.contains("did you mean"),
        "{:?}",
        seen.rows
    );
    assert!(!seen.screen.alternate_screen());
    assert!(!sitting.project.path("builds").exists());
}

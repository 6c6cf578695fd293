//! What devwatch writes to the terminal: nothing hostile, nothing while nothing happens, no colour where none is
//! wanted, and the right screen at any size.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::thread;
use std::time::Duration;

use devwatch::screen::sanitise::hides;

use crate::hostile::{CORPUS, Hostile};
use crate::project::{PATIENCE, Project, eventually};
use crate::pty::{BACKGROUND, SIMPLE, Terminal, devwatch};

/// Begins in a name: what follows it is hostile, and is no slash.
const NAME: &[u8] = b"n\x1b]0;forged\x07\x1b[?1003h\x1b[6n\xc2\x9b6n\xe2\x80\xae\x05\x0e\r\x08m";

/// As far as a rule may be called that.
const TURNED: &str = "r\u{202e}m\u{200b}";

#[test]
fn nothing_hostile_reaches_the_terminal_and_keys_work_all_the_while() {
    let project = Project::new();
    let root = project.root().join(OsStr::from_bytes(NAME));
    let write = |name: &[u8], content: &[u8]| {
        fs::write(root.join(OsStr::from_bytes(name)), content).expect("it is written");
    };
    fs::create_dir(&root).expect("a folder");
    let name = String::from_utf8(NAME.to_vec()).expect("text");
    let config = format!(
        "[[rule]]\nname = {}\nfiles = [\"*.x\"]\nproblems = [\"gnu\"]\nrun = [\"sh\", \"build.sh\"]\n\
         [server]\nrun = [\"sh\", \"serve.sh\"]\nready = {{ log = \"^up\" }}\n",
        toml_string(TURNED)
    );
    write(b"devwatch.toml", config.as_bytes());
    write(b"corpus", &lines(b""));
    // In a message, in the place of a file's name, and both, with a file that is there.
    let named = [NAME, b".x:1:1: error: "].concat();
    write(
        b"found",
        &[lines(b"a.x:1:1: error: "), lines(&named)].concat(),
    );
    write(b"a.x", &lines(b""));
    write(&[NAME, b".x"].concat(), &lines(b""));
    write(
        b"build.sh",
        b"cat corpus; cat corpus >&2; if [ -e broken ]; then cat found >&2; exit 1; fi\n",
    );
    write(
        b"serve.sh",
        b"cat corpus; cat corpus >&2; echo up; if [ -e broken ]; then exit 3; fi; exec sleep 1000\n",
    );
    let mut terminal = Terminal::start_with(&project, SIMPLE, &[], (300, 160), |shell| {
        shell.env("PROJECT", &root);
        for (variable, program) in [("EDITOR", "edit"), ("PAGER", "page")] {
            let program = [program.as_bytes(), NAME].concat();
            shell.env(variable, OsStr::from_bytes(&program));
        }
    });
    let before = terminal.settings();
    terminal.shows("[SERVING]");
    for (number, hostile) in CORPUS.iter().enumerate() {
        // What a return has forged is shown alone.
        let number = format!("L{number}:");
        let number = if hostile.raw.contains(&b'\r') {
            ""
        } else {
            &number
        };
        // The parser of this test leaves out what stands for bytes that are no text.
        let shown = hostile.shown.replace('\u{fffd}', "");
        terminal.shows(format!("{number}{shown}").trim_end());
    }
    // Among what a search finds, and what is typed.
    terminal.press("/forged\r");
    keys_work(&mut terminal);
    terminal.press("/\x1b[200~");
    terminal.press("x\x1b]0;forged\x07\u{9b}6n\u{202e}y");
    terminal.press("\x1b[201~\r");
    // What was pasted is looked for, as far as it is text.
    terminal.shows("search /x]0;forged6n\\u{202e}y/");
    keys_work(&mut terminal);
    // The config says it, and is refused.
    let key = toml_string(&name);
    let refused = format!("{config}{key} = {key}\n\"{TURNED}\u{9b}6n\" = 1 # {TURNED}\n");
    write(b"devwatch.toml", refused.as_bytes());
    terminal.shows("[CONFIG ERROR]");
    keys_work(&mut terminal);
    write(b"devwatch.toml", config.as_bytes());
    terminal.shows("[SERVING]");
    // The last words of a server.
    write(b"broken", b"");
    terminal.press("R");
    terminal.shows("[CRASHED]");
    keys_work(&mut terminal);
    // A build that fails, because of a file with such a name.
    write(&[NAME, b".x"].concat(), b"changed\n");
    terminal.shows("[BUILD FAILED]");
    terminal.shows("error  a.x:1:1");
    keys_work(&mut terminal);
    // Programs with such names, which cannot be run.
    for (key, said) in [("e\r", "cannot run edit"), ("E", "cannot run page")] {
        terminal.press(key);
        terminal.shows(said);
        keys_work(&mut terminal);
    }
    for key in ["l", "z", "s", "w", "/no\r", "N"] {
        terminal.press(key);
    }
    keys_work(&mut terminal);
    terminal.press("q");
    terminal.shows("ended 0");
    terminal.is_restored(&before);
    let raw = terminal.raw();
    harmless(&raw);
    // What is no more than the beginning of a sequence begins those that draw, too.
    let whole = |hostile: &&Hostile| !hostile.common && hostile.raw.len() > 3;
    for hostile in CORPUS.iter().filter(whole) {
        let mut windows = raw.windows(hostile.raw.len());
        assert!(
            !windows.any(|window| window == hostile.raw),
            "{}",
            hostile.name
        );
    }
}

/// The list of keys comes, and goes.
#[track_caller]
fn keys_work(terminal: &mut Terminal) {
    terminal.press("?");
    terminal.shows("rebuild and restart");
    terminal.press("?");
    terminal.shows_where("the list gone", |screen| {
        !screen.contents().contains("rebuild and restart")
    });
}

/// Every line of the corpus with something in front of it.
fn lines(before: &[u8]) -> Vec<u8> {
    let line = |(number, hostile): (usize, &Hostile)| {
        [before, format!("L{number}:").as_bytes(), hostile.raw, b"\n"].concat()
    };
    CORPUS.iter().enumerate().flat_map(line).collect()
}

fn toml_string(text: &str) -> String {
    let escaped = text.chars().map(|c| format!("\\U{:08X}", u32::from(c)));
    format!("\"{}\"", escaped.collect::<String>())
}

/// Fails unless there is nothing in it but text that is seen, and the few sequences that a screen is drawn with.
#[track_caller]
fn harmless(raw: &[u8]) {
    let text = std::str::from_utf8(raw).expect("UTF-8");
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let around = || rest.chars().take(60).collect::<String>();
        if c == '\x1b' {
            let sequence = sequence(rest);
            let sequence = sequence.unwrap_or_else(|| panic!("no such sequence: {:?}", around()));
            assert!(is_drawing(sequence), "{sequence:?} in {:?}", around());
            rest = &rest[sequence.len()..];
        } else {
            // The shell's lines end like this.
            assert!(
                c == '\r' || c == '\n' || !hides(c),
                "{c:?} in {:?}",
                around()
            );
            rest = &rest[c.len_utf8()..];
        }
    }
}

/// The sequence at the start: `ESC \`, CSI, or a title of nothing but text.
fn sequence(text: &str) -> Option<&str> {
    if let Some(title) = text.strip_prefix(TITLE) {
        let end = title.find(hides)?;
        return title[end..]
            .starts_with('\x07')
            .then(|| &text[..TITLE.len() + end + 1]);
    }
    if text.starts_with("\x1b\\") {
        return Some("\x1b\\");
    }
    let rest = text.strip_prefix("\x1b[")?;
    let end = rest.find(|c| !matches!(c, '0'..='9' | ';' | '?'))?;
    matches!(rest.as_bytes()[end], b'@'..=b'~').then(|| &text[..2 + end + 1])
}

/// What begins a terminal's title.
const TITLE: &str = "\x1b]2;";

fn is_drawing(sequence: &str) -> bool {
    let modes = [
        "\x1b\\",
        "\x1b[?1049h",
        "\x1b[?1049l",
        "\x1b[?2004h",
        "\x1b[?2004l",
        "\x1b[?25l",
        "\x1b[?25h",
        "\x1b[?2026h",
        "\x1b[?2026l",
        "\x1b[2J",
        "\x1b[?1000l",
        "\x1b[?1002l",
        "\x1b[?1003l",
        "\x1b[?1015l",
        "\x1b[?1006l",
        "\x1b[?1004l",
        "\x1b[22;0t",
        "\x1b[23;0t",
    ];
    let moves = sequence.ends_with('H') && !sequence.contains('?');
    moves
        || sequence.starts_with(TITLE)
        || modes.contains(&sequence)
        || styles(sequence).is_some_and(|styles| {
            // Nothing conceals, and nothing blinks.
            !styles.iter().any(|style| matches!(style, 5 | 6 | 8))
        })
}

/// The styles that a sequence sets, without the arguments of colours.
fn styles(sequence: &str) -> Option<Vec<u16>> {
    let numbers = sequence.strip_prefix("\x1b[")?.strip_suffix('m')?;
    let mut numbers = numbers.split(';').map(|number| number.parse().unwrap_or(0));
    let mut styles = Vec::new();
    while let Some(number) = numbers.next() {
        styles.push(number);
        if matches!(number, 38 | 48 | 58) {
            let arguments = if numbers.next() == Some(5) { 1 } else { 3 };
            numbers.by_ref().take(arguments).for_each(drop);
        }
    }
    Some(styles)
}

/// Whether any of it is coloured.
fn is_coloured(raw: &[u8]) -> bool {
    let text = String::from_utf8_lossy(raw);
    text.match_indices('\x1b').any(|(at, _)| {
        let styles = sequence(&text[at..]).and_then(styles).unwrap_or_default();
        let colours = |style: &u16| matches!(style, 30..=38 | 40..=48 | 90..=97 | 100..=107);
        styles.iter().any(colours)
    })
}

#[test]
fn colour_is_written_where_it_is_wanted_and_nowhere_else() {
    for (variables, arguments, expected) in [
        (&[][..], &[][..], true),
        (&["NO_COLOR=1"], &[], false),
        (&["NO_COLOR=1", "FORCE_COLOR=1"], &[], false),
        (&["NO_COLOR=1", "CLICOLOR_FORCE=1"], &[], false),
        (&["NO_COLOR="], &[], true),
        (&["FORCE_COLOR=1"], &[], true),
        (&["FORCE_COLOR=1"], &["--color", "never"], false),
        (&["NO_COLOR=1"], &["--color", "always"], true),
    ] {
        let project = Project::scripted("ready = { log = \"up\" }", &[]);
        project.write(
            "source.sh",
            "printf '\\033[31mred\\033[0m \\033[1;48;5;17mblue\\033[m\\nup\\n'; exec sleep 1000\n",
        );
        let mut terminal = Terminal::start_with(&project, SIMPLE, arguments, (24, 80), |shell| {
            for (name, value) in variables.iter().filter_map(|set| set.split_once('=')) {
                shell.env(name, value);
            }
        });
        terminal.shows("[SERVING]");
        terminal.shows("red blue");
        terminal.press("/red\r");
        // Without colours, too, what matters stands out.
        terminal.shows_where("bold state", |screen| {
            screen.cell(0, 1).is_some_and(vt100::Cell::bold)
        });
        terminal.press("q");
        terminal.shows("ended 0");
        let raw = terminal.raw();
        assert_eq!(
            is_coloured(&raw),
            expected,
            "{variables:?} {arguments:?}\n{}",
            raw.escape_ascii()
        );
    }
}

#[test]
fn plain_lines_carry_no_sequence_at_all() {
    let scripted = || Project::scripted("ready = { log = \"up\" }", &["print", "up", "wait"]);
    for (script, variable) in [
        (SIMPLE, ("CI", "true")),
        (SIMPLE, ("TERM", "dumb")),
        (SIMPLE, ("TERM", "")),
        (BACKGROUND, ("X", "")),
    ] {
        let project = scripted();
        let mut terminal = Terminal::start_with(&project, script, &[], (24, 80), |shell| {
            shell.env(variable.0, variable.1);
        });
        terminal.wait_for("build 1 end serving ");
        assert!(terminal.is_cooked(), "it has changed the terminal");
        nix::sys::signal::kill(devwatch(&project), nix::sys::signal::SIGTERM)
            .expect("it is told to go");
        project.nothing_left(PATIENCE);
        let raw = terminal.raw();
        assert!(
            !raw.contains(&b'\x1b'),
            "{variable:?}\n{}",
            raw.escape_ascii()
        );
    }
    let project = scripted();
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    assert!(!devwatch.story().contains('\x1b'));
    devwatch.terminate();
}

#[test]
fn nothing_is_written_while_nothing_happens() {
    let serving = Project::scripted("ready = { log = \"up\" }", &["print", "up", "wait"]);
    let task = Project::new();
    task.write(
        "devwatch.toml",
        "[[rule]]\nfiles = [\"x\"]\nrun = [\"true\"]\n",
    );
    task.write("x", "");
    let start = |project: &Project, word: &str| {
        let mut terminal = Terminal::start(project, SIMPLE, &[]);
        terminal.shows(word);
        settled(&terminal);
        terminal
    };
    let (clock, idle) = (start(&serving, "[SERVING]"), start(&task, "[IDLE]"));
    let before = (clock.screen(), clock.written(), idle.written());
    thread::sleep(Duration::from_secs(10));
    let after = (clock.screen(), clock.written(), idle.written());
    assert_eq!(after.2, before.2, "{}", idle.story());
    // The time of service alone.
    let rate = (after.1 - before.1) / 10;
    assert!(
        (1..100).contains(&rate),
        "{rate} bytes a second\n{}",
        clock.story()
    );
    let rows = |screen: &vt100::Screen| screen.rows(0, 80).collect::<Vec<_>>();
    let (first, second) = (rows(&before.0), rows(&after.0));
    assert_eq!(first[1..], second[1..]);
    let without = |row: &str| {
        row.split(" · ")
            .filter(|part| !part.starts_with("up "))
            .collect::<String>()
    };
    assert_eq!(without(&first[0]), without(&second[0]));
    assert_ne!(first[0], second[0], "the clock stands still");
}

/// Waits until what has just happened has been drawn: nothing but a clock's second comes any more.
fn settled(terminal: &Terminal) {
    let mut before = terminal.written();
    let quiet = eventually(PATIENCE, || {
        thread::sleep(Duration::from_millis(500));
        let now = terminal.written();
        now - std::mem::replace(&mut before, now) < 100
    });
    assert!(quiet, "it draws and draws\n{}", terminal.story());
}

#[test]
fn a_storm_of_sizes_leaves_the_right_screen() {
    let project = Project::scripted("ready = { log = \"up\" }", &[]);
    project.write("source.sh", "seq 1 2000; echo up; exec sleep 1000\n");
    let mut terminal = Terminal::start(&project, SIMPLE, &[]);
    let before = terminal.settings();
    terminal.shows("[SERVING]");
    let pid = devwatch(&project);
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number
            .and_then(|number| number.parse::<usize>().ok())
            .expect("kilobytes")
    };
    let first = memory();
    let odd = [
        (1, 1),
        (0, 0),
        (200, 500),
        (2, 2),
        (4, 24),
        (0, 80),
        (24, 0),
        (1, 500),
        (500, 1),
        (3, 60),
    ];
    for round in 0..20 {
        for (rows, columns) in odd {
            terminal.resize((rows, columns));
            // Some are drawn, most are over before.
            if round % 5 == 0 {
                thread::yield_now();
            }
        }
    }
    for (rows, columns) in odd.into_iter().chain([(40, 120)]) {
        terminal.resize((rows, columns));
        terminal.press("j");
        if rows > 2 && columns > 9 {
            terminal.shows_where("[SERVING] at the top", |screen| {
                screen
                    .rows(0, columns)
                    .next()
                    .is_some_and(|row| row.starts_with("[SERVING]"))
            });
        }
    }
    terminal.shows_where("last row", |screen| {
        screen
            .rows(0, 120)
            .nth(39)
            .is_some_and(|row| row.ends_with("q quit"))
    });
    settled(&terminal);
    // What is drawn anew is what was there.
    let rows = |terminal: &Terminal| terminal.screen().rows(0, 120).skip(1).collect::<Vec<_>>();
    let (drawn, written) = (rows(&terminal), terminal.written());
    terminal.press("\x0c");
    assert!(eventually(PATIENCE, || terminal.written() > written + 1000));
    settled(&terminal);
    assert_eq!(rows(&terminal), drawn);
    assert!(
        memory() < first + (32 << 10),
        "{first} kB, then {} kB",
        memory()
    );
    terminal.press("q");
    terminal.shows("ended 0");
    terminal.is_restored(&before);
    project.nothing_left(PATIENCE);
}

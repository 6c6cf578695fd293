//! 6 SHOW. As what devwatch shows itself, the screen, plain lines or a stream of events, and whether in colour.
//!
//! What was wanted comes from the command line and the user's own config, what is possible from
//! [`Surroundings`]; the decisions are pure and are made once, at the start.

use std::ffi::OsString;
use std::fmt;
use std::io::IsTerminal as _;

use clap::ValueEnum;

/// `--ui`: as what devwatch is wanted to show itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    /// The screen where a person sits in front of a terminal, else plain lines
    #[default]
    Auto,
    /// The screen
    Full,
    /// Stable lines for people, scripts and editors; no keys
    Plain,
    /// One event of JSON on each line
    Json,
}

impl Wanted {
    /// As it is written on the command line and in the config.
    pub const WORDS: [(&str, Wanted); 4] = [
        ("auto", Wanted::Auto),
        ("full", Wanted::Full),
        ("plain", Wanted::Plain),
        ("json", Wanted::Json),
    ];
}

/// As what devwatch shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The screen, and keys.
    Full,
    /// Plain lines; nothing is read from stdin.
    Plain,
    /// A stream of events.
    Json,
}

/// `--color`: whether devwatch's own output is wanted in colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// As NO_COLOR, FORCE_COLOR and CLICOLOR_FORCE say, else on a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never; what devwatch starts is not encouraged either
    Never,
}

impl Color {
    /// As it is written on the command line and in the config.
    pub const WORDS: [(&str, Color); 3] = [
        ("auto", Color::Auto),
        ("always", Color::Always),
        ("never", Color::Never),
    ];
}

/// What of the world the decisions depend on.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Whether stdin is a terminal.
    pub stdin: bool,
    /// Whether stdout is one.
    pub stdout: bool,
    /// Whether the terminal listens to this process: it is in the foreground group.
    pub foreground: bool,
    /// `TERM`.
    pub term: Option<OsString>,
    /// `CI`.
    pub ci: Option<OsString>,
    /// `NO_COLOR`.
    pub no_color: Option<OsString>,
    /// `FORCE_COLOR`.
    pub force_color: Option<OsString>,
    /// `CLICOLOR_FORCE`.
    pub clicolor_force: Option<OsString>,
}

impl Surroundings {
    /// As they are now.
    pub fn look() -> Surroundings {
        let group = nix::unistd::tcgetpgrp(std::io::stdin());
        Surroundings {
            stdin: std::io::stdin().is_terminal(),
            stdout: std::io::stdout().is_terminal(),
            foreground: group.is_ok_and(|group| group == nix::unistd::getpgrp()),
            term: std::env::var_os("TERM"),
            ci: std::env::var_os("CI"),
            no_color: std::env::var_os("NO_COLOR"),
            force_color: std::env::var_os("FORCE_COLOR"),
            clicolor_force: std::env::var_os("CLICOLOR_FORCE"),
        }
    }

    /// Why there can be no screen; None: there can.
    fn lack(&self) -> Option<Lack> {
        if !self.stdin {
            Some(Lack::Stdin)
        } else if !self.stdout {
            Some(Lack::Stdout)
        } else if !self.moves_cursor() {
            Some(Lack::Term)
        } else if !self.foreground {
            Some(Lack::Foreground)
        } else {
            None
        }
    }

    fn moves_cursor(&self) -> bool {
        is_set(&self.term) && self.term.as_ref().is_some_and(|term| term != "dumb")
    }
}

/// Why the screen that was asked for cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoScreen(Lack);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Stdin,
    Stdout,
    Term,
    Foreground,
}

impl fmt::Display for NoScreen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Lack::Stdin => {
                "--ui full takes its keys from a terminal, and stdin is none; leave the redirection out, or take --plain"
            }
            Lack::Stdout => {
                "--ui full draws on a terminal, and stdout is none; leave the redirection out, or take --plain"
            }
            Lack::Term => {
                "--ui full has to move the cursor, and TERM names no terminal that can; set TERM, or take --plain"
            }
            Lack::Foreground => {
                "--ui full needs the terminal, and devwatch runs in the background; start it in the foreground, or take --plain"
            }
        })
    }
}

impl std::error::Error for NoScreen {}

/// As what devwatch shows itself: as the flag says, else as the user's file says, else the screen exactly where it
/// makes sense. In the file, "full" is a wish and not an order: it holds under CI too, and gives way to plain lines
/// where there can be no screen, so that scripts and editors need not know of it.
///
/// # Errors
/// The flag asks for the screen, and there can be none.
pub fn mode(flag: Option<Wanted>, file: Wanted, around: &Surroundings) -> Result<Mode, NoScreen> {
    match (flag.unwrap_or(file), around.lack()) {
        (Wanted::Plain, _) => Ok(Mode::Plain),
        (Wanted::Json, _) => Ok(Mode::Json),
        (Wanted::Full, None) => Ok(Mode::Full),
        (Wanted::Full, Some(lack)) if flag.is_some() => Err(NoScreen(lack)),
        (Wanted::Auto, None) if !is_set(&around.ci) => Ok(Mode::Full),
        (Wanted::Full | Wanted::Auto, _) => Ok(Mode::Plain),
    }
}

/// Whether devwatch itself writes in colour to `terminal`, which is one or not: as wanted; else not with NO_COLOR;
/// else with FORCE_COLOR or CLICOLOR_FORCE; else on a terminal that knows more than lines.
pub fn colors(wanted: Color, around: &Surroundings, terminal: bool) -> bool {
    let forced = |variable: &Option<OsString>| {
        is_set(variable) && variable.as_ref().is_some_and(|value| value != "0")
    };
    match wanted {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if is_set(&around.no_color) => false,
        Color::Auto if forced(&around.force_color) || forced(&around.clicolor_force) => true,
        Color::Auto => terminal && around.moves_cursor(),
    }
}

/// Whether what devwatch starts is told that colour is welcome, although it writes into a pipe: under the screen,
/// which shows it, unless the user wants none.
pub fn color_hints(mode: Mode, wanted: Color, around: &Surroundings) -> bool {
    mode == Mode::Full && wanted != Color::Never && !is_set(&around.no_color)
}

/// Variables of this kind count when they are not empty: `NO_COLOR= devwatch` takes it back.
fn is_set(variable: &Option<OsString>) -> bool {
    variable.as_ref().is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    /// In front of a person, changed by words: `-stdin`, `-stdout`, `-foreground`, `NAME=value`, `-TERM`.
    fn around(words: &str) -> Surroundings {
        let mut around = Surroundings {
            stdin: true,
            stdout: true,
            foreground: true,
            term: Some("xterm".into()),
            ..Surroundings::default()
        };
        for word in words.split_whitespace() {
            match word.split_once('=') {
                Some(("TERM", value)) => around.term = Some(value.into()),
                Some(("CI", value)) => around.ci = Some(value.into()),
                Some(("NO_COLOR", value)) => around.no_color = Some(value.into()),
                Some(("FORCE_COLOR", value)) => around.force_color = Some(value.into()),
                Some(("CLICOLOR_FORCE", value)) => around.clicolor_force = Some(value.into()),
                None if word == "-stdin" => around.stdin = false,
                None if word == "-stdout" => around.stdout = false,
                None if word == "-foreground" => around.foreground = false,
                None if word == "-TERM" => around.term = None,
                Some(_) | None => panic!("unknown word {word}"),
            }
        }
        around
    }

    #[test]
    fn the_mode_is_what_the_flag_says_then_the_file_then_what_makes_sense() {
        use Wanted::{Auto, Full, Json, Plain};
        let (screen, plain, json) = (Ok(Mode::Full), Ok(Mode::Plain), Ok(Mode::Json));
        let no = |lack| Err(NoScreen(lack));
        for (flag, file, words, expected) in [
            (None, Auto, "", screen),
            (None, Auto, "-stdin", plain),
            (None, Auto, "-stdout", plain),
            (None, Auto, "-foreground", plain),
            (None, Auto, "-TERM", plain),
            (None, Auto, "TERM=", plain),
            (None, Auto, "TERM=dumb", plain),
            (None, Auto, "TERM=linux", screen),
            (None, Auto, "CI=true", plain),
            (None, Auto, "CI=", screen),
            (None, Plain, "", plain),
            (None, Json, "", json),
            (None, Json, "-stdout", json),
            (None, Full, "", screen),
            (None, Full, "CI=1", screen),
            (None, Full, "-stdout", plain),
            (None, Full, "-foreground", plain),
            (Some(Auto), Plain, "", screen),
            (Some(Auto), Json, "-stdin", plain),
            (Some(Plain), Full, "", plain),
            (Some(Json), Plain, "", json),
            (Some(Full), Plain, "", screen),
            (Some(Full), Auto, "CI=1", screen),
            (Some(Full), Auto, "-stdin", no(Lack::Stdin)),
            (Some(Full), Full, "-stdout", no(Lack::Stdout)),
            (Some(Full), Auto, "TERM=dumb", no(Lack::Term)),
            (Some(Full), Auto, "-TERM", no(Lack::Term)),
            (Some(Full), Auto, "-foreground", no(Lack::Foreground)),
        ] {
            let decided = mode(flag, file, &around(words));
            assert_eq!(decided, expected, "{flag:?} {file:?} {words:?}");
        }
    }

    #[test]
    fn a_screen_that_cannot_be_is_refused_with_the_reason_and_a_remedy() {
        let check = |lack, expected: Expect| expected.assert_eq(&NoScreen(lack).to_string());
        check(
            Lack::Stdin,
            expect![
                "--ui full takes its keys from a terminal, and stdin is none; leave the redirection out, or take --plain"
            ],
        );
        check(
            Lack::Term,
            expect![
                "--ui full has to move the cursor, and TERM names no terminal that can; set TERM, or take --plain"
            ],
        );
    }

    #[test]
    fn colour_is_what_was_asked_then_no_color_then_force_then_the_terminal() {
        use Color::{Always, Auto, Never};
        for (wanted, words, terminal, expected) in [
            (Auto, "", true, true),
            (Auto, "", false, false),
            (Auto, "TERM=dumb", true, false),
            (Auto, "NO_COLOR=1", true, false),
            (Auto, "NO_COLOR=0", true, false),
            (Auto, "NO_COLOR=", true, true),
            (Auto, "FORCE_COLOR=1", false, true),
            (Auto, "CLICOLOR_FORCE=1", false, true),
            (Auto, "FORCE_COLOR=0", false, false),
            (Auto, "FORCE_COLOR=0", true, true),
            (Auto, "FORCE_COLOR= CLICOLOR_FORCE=", false, false),
            (Auto, "FORCE_COLOR=0 CLICOLOR_FORCE=1", false, true),
            (Auto, "FORCE_COLOR=1 TERM=dumb", false, true),
            (Auto, "NO_COLOR=1 FORCE_COLOR=3", true, false),
            (Always, "NO_COLOR=1 TERM=dumb", false, true),
            (Never, "FORCE_COLOR=1", true, false),
        ] {
            let decided = colors(wanted, &around(words), terminal);
            assert_eq!(decided, expected, "{wanted:?} {words:?} {terminal}");
        }
    }

    #[test]
    fn children_are_encouraged_under_the_screen_alone_and_by_nobody_who_wants_no_colour() {
        use Color::{Always, Auto, Never};
        for (mode, wanted, words, expected) in [
            (Mode::Full, Auto, "", true),
            (Mode::Full, Always, "", true),
            (Mode::Full, Auto, "NO_COLOR=", true),
            (Mode::Full, Auto, "NO_COLOR=1", false),
            (Mode::Full, Always, "NO_COLOR=1", false),
            (Mode::Full, Never, "", false),
            (Mode::Plain, Always, "FORCE_COLOR=1", false),
            (Mode::Json, Always, "", false),
        ] {
            let decided = color_hints(mode, wanted, &around(words));
            assert_eq!(decided, expected, "{mode:?} {wanted:?} {words:?}");
        }
    }

    #[test]
    fn the_words_are_those_of_the_command_line() {
        let words = |words: Vec<clap::builder::PossibleValue>| {
            let names = words.iter().map(|word| word.get_name().to_string());
            names.collect::<Vec<_>>()
        };
        let wanted = Wanted::value_variants().iter();
        let wanted = words(wanted.filter_map(ValueEnum::to_possible_value).collect());
        assert_eq!(wanted, Wanted::WORDS.map(|(word, _)| word));
        let color = Color::value_variants().iter();
        let color = words(color.filter_map(ValueEnum::to_possible_value).collect());
        assert_eq!(color, Color::WORDS.map(|(word, _)| word));
    }
}

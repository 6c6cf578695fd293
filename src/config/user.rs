//! The user's own file, `$XDG_CONFIG_HOME/devwatch/config.toml`: how devwatch looks, and which keys it knows.
//!
//! It holds nothing about a project, and a project's file nothing about this: what is run stands where everybody who
//! works on the project sees it. It is read once, at the start, as strictly as the project's. What it says goes to
//! `show` and to the screen; a file that is not there says nothing.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::file::{self, LoadError};
use super::parse::{Elsewhere, Entry, THE_FILE, Walk, entry};
use super::value::nearest;
use crate::screen::keys::{Action, Key, Keys};
use crate::show::{Color, Wanted};

const TOP_KEYS: &[&str] = &["ui", "keys"];
const UI_KEYS: &[&str] = &[
    "mode",
    "color",
    "editor",
    "pager",
    "ascii",
    "links",
    "link",
    "mouse",
    "wrap_log",
    "wrap_problems",
];

const THE_PROJECTS: &Elsewhere = &Elsewhere {
    keys: &["version", "jobs", "watch", "rule", "server", "problem"],
    message: "belongs to a project, not to one person",
    label: "put it into the project's devwatch.toml",
    help: "what is run stands where everybody who works on the project sees it; this file has [ui] and [keys]",
};

/// What stands for a place in a file, in the command of an editor.
const EDITOR_PLACES: &[&str] = &["file", "line", "column"];
/// The same in a link.
const LINK_PLACES: &[&str] = &["path", "line", "column"];

/// What one user wants of devwatch, in every project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `[keys]`: which key does what.
    pub keys: Keys,
    /// `[ui]`.
    pub ui: Ui,
}

/// `[ui]`: how devwatch looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ui {
    /// As what devwatch shows itself, unless the command line says so.
    pub mode: Wanted,
    /// Whether in colour, unless the command line says so.
    pub color: Color,
    /// The command that opens a file: words for no shell, quoted as for one. With `{file}`, and where wanted `{line}`
    /// and `{column}`, in their places; without any of them `+LINE FILE` is appended. None: `$VISUAL`, `$EDITOR`.
    pub editor: Option<String>,
    /// The command that shows the log, words for no shell. None: `$PAGER`.
    pub pager: Option<String>,
    /// Whether to draw with ASCII alone. Default: no.
    pub ascii: bool,
    /// Whether addresses and places are links; none: where the terminal is known to understand them.
    pub links: Option<bool>,
    /// What a place in a file links to, with `{path}`, and where wanted `{line}` and `{column}`:
    /// `vscode://file/{path}:{line}:{column}`. None: the file itself.
    pub link: Option<String>,
    /// Whether devwatch sees the mouse from the start. Default: no, so that the terminal can select text.
    pub mouse: bool,
    /// Whether long lines of the log are wrapped at first. Default: no.
    pub wrap_log: bool,
    /// Whether long lines of problems are wrapped at first. Default: yes.
    pub wrap_problems: bool,
}

impl Default for Ui {
    fn default() -> Ui {
        Ui {
            mode: Wanted::default(),
            color: Color::default(),
            editor: None,
            pager: None,
            ascii: false,
            links: None,
            link: None,
            mouse: false,
            wrap_log: false,
            wrap_problems: true,
        }
    }
}

/// Where the user's own file is looked for; None without a home.
pub fn path() -> Option<PathBuf> {
    path_in(std::env::var_os("XDG_CONFIG_HOME"), std::env::home_dir())
}

/// Reads the user's own file. What is not there, or lies where this user may not look, says nothing.
///
/// # Errors
/// It cannot be read, is not trusted (world-writable, or another user's; root accepts any owner), or is not
/// understood: then all that is wrong with it.
pub fn load() -> Result<User, LoadError> {
    path().map_or_else(|| Ok(User::default()), |path| load_from(&path))
}

/// As [`load`], from `path`.
///
/// # Errors
/// As [`load`].
pub fn load_from(path: &Path) -> Result<User, LoadError> {
    // PermissionDenied is about the folders: devwatch may run as a user whose HOME is still somebody else's.
    if let Err(error) = fs::metadata(path)
        && let ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied =
            error.kind()
    {
        return Ok(User::default());
    }
    let read = file::text(path)?;
    parse(&read.text).map_err(|items| {
        LoadError::Invalid(Diagnostics {
            file: read.shown,
            items,
        })
    })
}

fn path_in(xdg: Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    // A relative one is to be ignored, says the specification: it would be another file in every project.
    let xdg = xdg.map(PathBuf::from).filter(|path| path.is_absolute());
    let base = xdg.or_else(|| {
        home.filter(|home| home.is_absolute())
            .map(|home| home.join(".config"))
    })?;
    Some(base.join("devwatch/config.toml"))
}

/// Reads `text`, or says what is wrong with it, in its order.
fn parse(text: &str) -> Result<User, Vec<Diagnostic>> {
    let (document, syntax) = DeTable::parse_recoverable(text);
    // Nothing in this file is a path of a project.
    let mut walk = Walk::new(text, Path::new("/"), THE_PROJECTS);
    let table = document.get_ref();
    walk.only(table, THE_FILE, TOP_KEYS);
    let user = User {
        keys: entry(table, THE_FILE, "keys")
            .map_or_else(Keys::default, |entry| keys(&mut walk, entry)),
        ui: entry(table, THE_FILE, "ui").map_or_else(Ui::default, |entry| ui(&mut walk, entry)),
    };
    let (mut errors, _, _) = walk.end(syntax);
    for item in &mut errors {
        // Of the keys of a keyboard, most cannot stand in TOML by themselves.
        if item.message.contains("invalid unquoted key") {
            item.label = Some("write it in quotes: \"?\" = \"help\"".into());
        }
    }
    match errors.is_empty() {
        true => Ok(user),
        false => Err(errors),
    }
}

fn ui(walk: &mut Walk<'_>, entry: Entry<'_>) -> Ui {
    let mut ui = Ui::default();
    let place = "[ui]";
    let Some(table) = walk.table(entry, place) else {
        return ui;
    };
    walk.only(table, place, UI_KEYS);
    let given = |key| self::entry(table, place, key);
    if let Some(mode) = given("mode").and_then(|entry| walk.word(entry, &Wanted::WORDS)) {
        ui.mode = mode;
    }
    if let Some(color) = given("color").and_then(|entry| walk.word(entry, &Color::WORDS)) {
        ui.color = color;
    }
    ui.editor = given("editor").and_then(|entry| editor(walk, entry));
    ui.pager = given("pager").and_then(|entry| command(walk, entry));
    ui.links = given("links").and_then(|entry| links(walk, entry));
    ui.link = given("link").and_then(|entry| link(walk, entry));
    for (key, value) in [
        ("ascii", &mut ui.ascii),
        ("mouse", &mut ui.mouse),
        ("wrap_log", &mut ui.wrap_log),
        ("wrap_problems", &mut ui.wrap_problems),
    ] {
        if let Some(said) = given(key).and_then(|entry| walk.boolean(entry)) {
            *value = said;
        }
    }
    ui
}

fn links(walk: &mut Walk<'_>, entry: Entry<'_>) -> Option<bool> {
    let value = entry.value.get_ref();
    if let Some("auto") = value.as_str() {
        return None;
    }
    let said = value.as_bool();
    if said.is_none() {
        walk.wrong(entry, "a boolean or \"auto\"")
            .label("write true, false or \"auto\"");
    }
    said
}

/// A command of one's own, in words.
fn command(walk: &mut Walk<'_>, entry: Entry<'_>) -> Option<String> {
    let text = walk.string(entry, "a command line")?;
    let name = entry.name();
    match shlex::split(text) {
        Some(words) if words.is_empty() || words[0].is_empty() => {
            walk.error(entry.span(), format!("{name} names no program"))
                .label("write a command, or leave it out");
            None
        }
        Some(words) if words.iter().any(|word| word.contains('\0')) => {
            walk.error(entry.span(), format!("{name} holds a NUL byte"));
            None
        }
        Some(_) => Some(text.to_string()),
        None => {
            walk.error(
                entry.span(),
                format!("{name} cannot be split into words: a quote is not closed"),
            );
            None
        }
    }
}

fn editor(walk: &mut Walk<'_>, entry: Entry<'_>) -> Option<String> {
    let text = command(walk, entry)?;
    let used = places(walk, entry, &text, EDITOR_PLACES)?;
    if !used.is_empty() && !used.contains(&"file") {
        walk.error(entry.span(), format!("{} names no file", entry.name()))
            .label("add {file}, or leave {line} and {column} out: then +LINE FILE is appended");
        return None;
    }
    Some(text)
}

fn link(walk: &mut Walk<'_>, entry: Entry<'_>) -> Option<String> {
    let text = walk.string(entry, "a link")?;
    let used = places(walk, entry, text, LINK_PLACES)?;
    let example = "write \"vscode://file/{path}:{line}:{column}\"";
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let wrong =
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(plain) {
            "does not begin with a scheme"
        } else if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            // It is written to the terminal inside a control sequence.
            "holds a blank or a control character"
        } else if !used.contains(&"path") {
            "names no {path}"
        } else {
            return Some(text.to_string());
        };
    walk.error(entry.span(), format!("{} {wrong}", entry.name()))
        .label(example);
    None
}

/// The names in braces in `text`, all of which are `known`; None if one is not. Other braces are nothing special.
fn places(
    walk: &mut Walk<'_>,
    entry: Entry<'_>,
    text: &str,
    known: &[&'static str],
) -> Option<Vec<&'static str>> {
    let mut used = Vec::new();
    let mut sound = true;
    for (at, _) in text.match_indices('{') {
        let Some((name, _)) = text[at + 1..].split_once('}') else {
            continue;
        };
        // `${NAME}` is for a shell that the command may start.
        if text[..at].ends_with('$') {
            continue;
        }
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        if let Some(known) = known.iter().find(|known| **known == name) {
            used.push(*known);
            continue;
        }
        sound = false;
        let all: Vec<String> = known.iter().map(|known| format!("{{{known}}}")).collect();
        let near = otherwise(name, known).or_else(|| nearest(name, known.iter().copied()));
        let item = walk
            .error(
                entry.span(),
                format!("unknown place {{{name}}} in {}", entry.name()),
            )
            .help(format!("places: {}", all.join(", ")));
        if let Some(near) = near {
            item.label(format!("did you mean {{{near}}}?"));
        }
    }
    sound.then_some(used)
}

/// What other programs call the places.
fn otherwise<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let ours: &[&str] = match name {
        "path" | "filename" | "f" => &["file"],
        "file" => &["path"],
        "row" | "l" | "lnum" => &["line"],
        "col" | "c" => &["column"],
        _ => &[],
    };
    known.iter().find(|known| ours.contains(*known)).copied()
}

fn keys(walk: &mut Walk<'_>, entry: Entry<'_>) -> Keys {
    let place = "[keys]";
    let Some(table) = walk.table(entry, place) else {
        return Keys::default();
    };
    let row = |(key, value)| {
        let key: &Spanned<Cow<'_, str>> = key;
        let entry = Entry {
            key: key.get_ref(),
            place,
            value,
        };
        (key.span(), entry)
    };
    let mut rows: Vec<(Range<usize>, Entry<'_>)> = table.iter().map(row).collect();
    rows.sort_by_key(|(span, _)| span.start);
    let mut changes: Vec<(Key, Option<Action>)> = Vec::new();
    // Where the last key went that could have quit.
    let mut last_way_out = 0..0;
    let mut all_read = true;
    for (span, entry) in rows {
        let key = key(walk, span.clone(), entry);
        let action = action(walk, entry);
        let (Some(key), Some(action)) = (key, action) else {
            all_read = false;
            continue;
        };
        if changes.iter().any(|(other, _)| *other == key) {
            walk.error(span, format!("two entries of {place} are about {key}"));
            continue;
        }
        if Keys::default().keys_of(Action::Quit).contains(&key) && action != Some(Action::Quit) {
            last_way_out = span;
        }
        changes.push((key, action));
    }
    Keys::changed(&changes).unwrap_or_else(|_| {
        // What could not be read may be the entry that gives it another.
        if all_read {
            walk.absent(last_way_out, "no key is left for quit")
                .label("leave q or ctrl-c as it is, or give it another: f10 = \"quit\"");
        }
        Keys::default()
    })
}

fn key(walk: &mut Walk<'_>, span: Range<usize>, entry: Entry<'_>) -> Option<Key> {
    let name = entry.key;
    let bad = match name.parse() {
        Ok(key) => return Some(key),
        Err(bad) => bad,
    };
    let turned = entry
        .value
        .get_ref()
        .as_str()
        .filter(|text| turned_around(entry, text));
    let near = || nearest(name, Key::names()).map(|near| format!("did you mean {near:?}?"));
    let label = match (turned, bad.instead) {
        (Some(key), _) => Some(format!("the key stands in front: {key:?} = {name:?}")),
        (None, Some(instead)) => Some(format!("write {instead}")),
        (None, None) => near(),
    };
    let names: Vec<&str> = Key::names().collect();
    let item = walk
        .error(span, format!("unknown key {name:?} in [keys]"))
        .help(format!(
            "a character, f1 to f35, or one of {}; in front of it ctrl-, alt-, shift-",
            names.join(", ")
        ));
    if let Some(label) = label {
        item.label(label);
    }
    None
}

/// `Some(None)`: the key shall do nothing.
fn action(walk: &mut Walk<'_>, entry: Entry<'_>) -> Option<Option<Action>> {
    let text = walk.string(entry, "the name of an action")?;
    if text == "none" {
        return Some(None);
    }
    let action = Action::named(text);
    // Said of the key instead, if the two are turned around.
    if action.is_none() && !turned_around(entry, text) {
        let plain = text.to_lowercase().replace(['-', ' '], "_");
        let names = || Action::all().map(Action::name);
        let near = nearest(&plain, names().chain(["none"]));
        let all: Vec<&str> = names().collect();
        let item = walk
            .error(
                entry.span(),
                format!("unknown action {text:?} in {}", entry.name()),
            )
            .help(format!("none, or one of {}", all.join(", ")));
        if let Some(near) = near {
            item.label(format!("did you mean {near:?}?"));
        }
    }
    action.map(Some)
}

/// `quit = "q"` instead of `q = "quit"`.
fn turned_around(entry: Entry<'_>, text: &str) -> bool {
    entry.key.parse::<Key>().is_err()
        && Action::named(entry.key).is_some()
        && text.parse::<Key>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use std::os::unix::fs::PermissionsExt as _;

    fn good(text: &str) -> User {
        parse(text).unwrap_or_else(|items| panic!("{}", shown(items)))
    }

    fn shown(items: Vec<Diagnostic>) -> String {
        Diagnostics {
            file: PathBuf::from("config.toml"),
            items,
        }
        .to_string()
    }

    fn check(text: &str, expected: Expect) {
        expected.assert_eq(&shown(parse(text).expect_err("errors")));
    }

    /// In one line each, without the help.
    fn check_lines(text: &str, expected: Expect) {
        let errors = Diagnostics {
            file: PathBuf::from("config.toml"),
            items: parse(text).expect_err("errors"),
        };
        expected.assert_eq(&errors.lines().map(|line| line + "\n").collect::<String>());
    }

    /// Every key once.
    const FULL: &str = r#"
[ui]
mode = "plain"
color = "never"
editor = "code -g {file}:{line}:{column}"
pager = "less -R"
ascii = true
links = false
link = "vscode://file/{path}:{line}:{column}"
mouse = true
wrap_log = true
wrap_problems = false

[keys]
ctrl-b = "rebuild"
r = "none"
"?" = "search"
page-up = "half_page_up"
7 = "pause"
"#;

    #[test]
    fn everything_that_can_be_said_is_understood() {
        let user = good(FULL);
        let ui = Ui {
            mode: Wanted::Plain,
            color: Color::Never,
            editor: Some("code -g {file}:{line}:{column}".into()),
            pager: Some("less -R".into()),
            ascii: true,
            links: Some(false),
            link: Some("vscode://file/{path}:{line}:{column}".into()),
            mouse: true,
            wrap_log: true,
            wrap_problems: false,
        };
        assert_eq!(user.ui, ui);
        let key = |text: &str| text.parse::<Key>().expect(text);
        assert_eq!(
            user.keys.keys_of(Action::Rebuild),
            [key("ctrl-b"), key("f5")]
        );
        assert_eq!(user.keys.keys_of(Action::Search), [key("?"), key("/")]);
        assert_eq!(user.keys.keys_of(Action::Help), [key("h"), key("f1")]);
        assert_eq!(user.keys.keys_of(Action::PageUp), []);
        assert_eq!(user.keys.keys_of(Action::Pause), [key("7"), key("p")]);
    }

    #[test]
    fn a_file_that_says_nothing_is_the_default() {
        for text in [
            "",
            "# nothing\n",
            "[ui]\n[keys]\n",
            "[ui]\nlinks = \"auto\"\n",
        ] {
            assert_eq!(good(text), User::default(), "{text:?}");
        }
        assert!(User::default().ui.wrap_problems);
    }

    #[test]
    fn every_mistake_is_reported_in_one_run_with_its_remedy() {
        check(
            r#"theme = "dark"
[ui]
mode = "fulll"
colour = "always"
ascii = 1
links = "yes"
editor = "code -g {path}:{lien}"
[keys]
Escape = "quit"
page-dwn = "down"
rebuild = "f7"
x = "rebiuld"
y = 3
"#,
            expect![[r#"
                error: unknown key `theme`
                 --> config.toml:1:1
                  |
                1 | theme = "dark"
                  | ^^^^^
                  |
                help: allowed keys: ui, keys

                error: unknown value "fulll" of `mode` in [ui]
                 --> config.toml:3:8
                  |
                3 | mode = "fulll"
                  |        ^^^^^^^ did you mean "full"?
                  |
                help: one of "auto", "full", "plain", "json"

                error: unknown key `colour` in [ui]
                 --> config.toml:4:1
                  |
                4 | colour = "always"
                  | ^^^^^^ did you mean `color`?
                  |
                help: allowed keys: mode, color, editor, pager, ascii, links, link, mouse, wrap_log, wrap_problems

                error: `ascii` in [ui] is an integer, not a boolean
                 --> config.toml:5:9
                  |
                5 | ascii = 1
                  |         ^ write true or false

                error: `links` in [ui] is a string, not a boolean or "auto"
                 --> config.toml:6:9
                  |
                6 | links = "yes"
                  |         ^^^^^ write true, false or "auto"

                error: unknown place {path} in `editor` in [ui]
                 --> config.toml:7:10
                  |
                7 | editor = "code -g {path}:{lien}"
                  |          ^^^^^^^^^^^^^^^^^^^^^^^ did you mean {file}?
                  |
                help: places: {file}, {line}, {column}

                error: unknown place {lien} in `editor` in [ui]
                 --> config.toml:7:10
                  |
                7 | editor = "code -g {path}:{lien}"
                  |          ^^^^^^^^^^^^^^^^^^^^^^^ did you mean {line}?
                  |
                help: places: {file}, {line}, {column}

                error: unknown key "Escape" in [keys]
                 --> config.toml:9:1
                  |
                9 | Escape = "quit"
                  | ^^^^^^ write "esc"
                  |
                help: a character, f1 to f35, or one of enter, esc, tab, backtab, space, backspace, delete, insert, up, down, left, right, home, end, page-up, page-down; in front of it ctrl-, alt-, shift-

                error: unknown key "page-dwn" in [keys]
                  --> config.toml:10:1
                   |
                10 | page-dwn = "down"
                   | ^^^^^^^^ did you mean "page-down"?
                   |
                help: a character, f1 to f35, or one of enter, esc, tab, backtab, space, backspace, delete, insert, up, down, left, right, home, end, page-up, page-down; in front of it ctrl-, alt-, shift-

                error: unknown key "rebuild" in [keys]
                  --> config.toml:11:1
                   |
                11 | rebuild = "f7"
                   | ^^^^^^^ the key stands in front: "f7" = "rebuild"
                   |
                help: a character, f1 to f35, or one of enter, esc, tab, backtab, space, backspace, delete, insert, up, down, left, right, home, end, page-up, page-down; in front of it ctrl-, alt-, shift-

                error: unknown action "rebiuld" in `x` in [keys]
                  --> config.toml:12:5
                   |
                12 | x = "rebiuld"
                   |     ^^^^^^^^^ did you mean "rebuild"?
                   |
                help: none, or one of rebuild, restart, pause, stop, input, open_url, urls, problems, log, next_pane, zoom, summary, next, previous, open, open_1, open_2, open_3, open_4, open_5, open_6, open_7, open_8, open_9, pager, copy, copy_all, clear, search, filter, cancel, down, up, page_down, page_up, half_page_down, half_page_up, top, bottom, follow, wrap, help, palette, mouse, redraw, suspend, quit

                error: `y` in [keys] is an integer, not the name of an action
                  --> config.toml:13:5
                   |
                13 | y = 3
                   |     ^
            "#]],
        );
    }

    #[test]
    fn what_belongs_to_a_project_is_told_so() {
        check(
            "version = 1\n[server]\nrun = \"./x\"\n[[rule]]\nrun = 1\n[ui]\njobs = 2\n",
            expect![[r#"
                error: `version` belongs to a project, not to one person
                 --> config.toml:1:1
                  |
                1 | version = 1
                  | ^^^^^^^ put it into the project's devwatch.toml
                  |
                help: what is run stands where everybody who works on the project sees it; this file has [ui] and [keys]

                error: `server` belongs to a project, not to one person
                 --> config.toml:2:2
                  |
                2 | [server]
                  |  ^^^^^^ put it into the project's devwatch.toml
                  |
                help: what is run stands where everybody who works on the project sees it; this file has [ui] and [keys]

                error: `rule` belongs to a project, not to one person
                 --> config.toml:4:3
                  |
                4 | [[rule]]
                  |   ^^^^ put it into the project's devwatch.toml
                  |
                help: what is run stands where everybody who works on the project sees it; this file has [ui] and [keys]

                error: unknown key `jobs` in [ui]
                 --> config.toml:7:1
                  |
                7 | jobs = 2
                  | ^^^^
                  |
                help: allowed keys: mode, color, editor, pager, ascii, links, link, mouse, wrap_log, wrap_problems
            "#]],
        );
    }

    #[test]
    fn commands_and_links_that_cannot_work_are_refused() {
        check_lines(
            r#"[ui]
editor = "vim +{line}"
pager = "less 'x"
link = "editor://open?line={line}"
"#,
            expect![[r#"
                config.toml:2:10: error: `editor` in [ui] names no file; add {file}, or leave {line} and {column} out: then +LINE FILE is appended
                config.toml:3:9: error: `pager` in [ui] cannot be split into words: a quote is not closed
                config.toml:4:8: error: `link` in [ui] names no {path}; write "vscode://file/{path}:{line}:{column}"
            "#]],
        );
        check_lines(
            "[ui]\neditor = \"  \"\npager = \"\"\nlink = \"{file}\"\n",
            expect![[r#"
                config.toml:2:10: error: `editor` in [ui] names no program; write a command, or leave it out
                config.toml:3:9: error: `pager` in [ui] names no program; write a command, or leave it out
                config.toml:4:8: error: unknown place {file} in `link` in [ui]; did you mean {path}?
            "#]],
        );
        check_lines(
            "[ui]\neditor = [\"vim\"]\npager = \"a\\u0000\"\nlink = \"x://{path} \"\n",
            expect![[r#"
                config.toml:2:10: error: `editor` in [ui] is an array, not a command line
                config.toml:3:9: error: `pager` in [ui] holds a NUL byte
                config.toml:4:8: error: `link` in [ui] holds a blank or a control character; write "vscode://file/{path}:{line}:{column}"
            "#]],
        );
        check_lines(
            "[ui]\nlink = \"/{path}\"\n",
            expect![[r#"
                config.toml:2:8: error: `link` in [ui] does not begin with a scheme; write "vscode://file/{path}:{line}:{column}"
            "#]],
        );
        for text in [
            "editor = 'vim'",
            "editor = 'sh -c \"vim ${X} {}\"'",
            "editor = 'subl \"{file}\"'",
            "link = 'idea://open?file={path}&line={line}'",
        ] {
            good(&format!("[ui]\n{text}\n"));
        }
    }

    #[test]
    fn one_key_has_one_meaning_and_one_is_left_to_quit() {
        check_lines(
            "[keys]\nctrl-r = \"rebuild\"\nCtrl-R = \"restart\"\nctrl-i = \"none\"\ntab = \"log\"\n",
            expect![[r#"
                config.toml:3:1: error: two entries of [keys] are about ctrl-r
                config.toml:5:1: error: two entries of [keys] are about tab
            "#]],
        );
        check(
            "[keys]\nq = \"none\"\nctrl-c = \"copy\"\n",
            expect![[r#"
                error: no key is left for quit
                 --> config.toml:3:1
                  |
                3 | ctrl-c = "copy"
                  | ^^^^^^ leave q or ctrl-c as it is, or give it another: f10 = "quit"
            "#]],
        );
        good("[keys]\nq = \"none\"\nctrl-c = \"copy\"\nf10 = \"quit\"\n");
        // The key that quits could not be read: that is the one mistake.
        check_lines(
            "[keys]\nq = \"none\"\nctrl-c = \"copy\"\nf99 = \"quit\"\n",
            expect![[r#"
                config.toml:4:1: error: unknown key "f99" in [keys]
            "#]],
        );
    }

    #[test]
    fn a_key_that_needs_quotes_is_told_so() {
        check(
            "[keys]\n? = \"none\"\n",
            expect![[r#"
                error: not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`
                 --> config.toml:2:1
                  |
                2 | ? = "none"
                  | ^ write it in quotes: "?" = "help"
            "#]],
        );
    }

    #[test]
    fn the_file_lies_where_xdg_says() {
        let home = || Some(PathBuf::from("/home/me"));
        for (xdg, home, expected) in [
            (None, home(), Some("/home/me/.config/devwatch/config.toml")),
            (Some("/x"), home(), Some("/x/devwatch/config.toml")),
            (Some("/x"), None, Some("/x/devwatch/config.toml")),
            (
                Some(""),
                home(),
                Some("/home/me/.config/devwatch/config.toml"),
            ),
            (
                Some("x"),
                home(),
                Some("/home/me/.config/devwatch/config.toml"),
            ),
            (None, None, None),
            (None, Some(PathBuf::new()), None),
        ] {
            let found = path_in(xdg.map(OsString::from), home);
            assert_eq!(found.as_deref(), expected.map(Path::new), "{xdg:?}");
        }
    }

    #[test]
    fn a_missing_file_says_nothing_and_one_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("config.toml");
        assert_eq!(load_from(&path).expect("missing"), User::default());
        assert_eq!(
            load_from(&path.join("x")).expect("missing"),
            User::default()
        );
        fs::write(&path, "[ui]\nmode = \"json\"\n").expect("a file");
        let set_mode =
            |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        set_mode(0o644);
        assert_eq!(load_from(&path).expect("good").ui.mode, Wanted::Json);
        set_mode(0o666);
        let error = load_from(&path).expect_err("world-writable");
        assert!(matches!(error, LoadError::Untrusted { .. }), "{error}");
        set_mode(0o644);
        fs::write(&path, "[ui]\nmode = 1\n").expect("a file");
        let error = load_from(&path).expect_err("wrong").to_string();
        assert!(error.contains("config.toml:2:8"), "{error}");
        load_from(folder.path()).expect_err("a folder");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_texts_never_panic(text in "(\\[(ui|keys)\\]\n)?([a-z0-9{}:=\" -]{0,12}\n){0,6}") {
            let _ = parse(&text);
        }
    }
}

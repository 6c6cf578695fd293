//! What keys mean: the table of keys, how a key is written, and what each action is called.
//!
//! Pure. Key events come from the terminal, changes of the table from the user's own config; who asks gets an
//! [`Action`] and does it. What a letter means while text is typed (a search, the command palette, the stdin of the
//! server) is none of the table's business, and neither is SIGINT, which quits whatever ctrl-c is made to do.

use std::fmt;
use std::str::FromStr;

use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyEventKind, KeyEventState, KeyModifiers as Modifiers,
};

/// What a key can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Quits; a second time within 2 s at once.
    Quit,
    /// Runs every rule and puts what they made into service.
    Rebuild,
    /// Stops the server and starts it again, without a build.
    Restart,
    /// Pauses watching, or resumes it.
    Pause,
    /// Stops the server; watching goes on.
    Stop,
    /// Gives the keyboard to the server, until ctrl-].
    Input,
    /// Gives the focus to the problems.
    Problems,
    /// Gives the focus to the log.
    Log,
    /// Gives the focus to the next pane.
    NextPane,
    /// Gives the focused pane all the room, or takes it back.
    Zoom,
    /// One row for each problem, or all of it.
    Summary,
    /// The next problem; while a search stands, the next match.
    Next,
    /// The previous problem; while a search stands, the previous match.
    Previous,
    /// Opens the focused problem in the editor; in the log, leaves a mark.
    Open,
    /// Opens the problem of this number, 1 to 9, in the editor.
    OpenNumber(Digit),
    /// Searches the focused pane.
    Search,
    /// Shows only the lines that match.
    Filter,
    /// Ends whatever was begun: a search, a filter, an overlay.
    Cancel,
    /// One line up.
    Up,
    /// One line down.
    Down,
    /// One page up.
    PageUp,
    /// One page down.
    PageDown,
    /// Half a page up.
    HalfPageUp,
    /// Half a page down.
    HalfPageDown,
    /// To the first line.
    Top,
    /// To the last line, and on with what comes.
    Bottom,
    /// Stays with what comes, or stays where it is.
    Follow,
    /// Wraps long lines, or cuts them.
    Wrap,
    /// Empties the view of the log.
    Clear,
    /// Copies the focused problem.
    Copy,
    /// Copies the whole pane.
    CopyAll,
    /// Opens the log in the pager.
    Pager,
    /// Opens the server's URL.
    OpenUrl,
    /// Lists the server's URLs.
    Urls,
    /// Lets devwatch see the mouse, or leaves it to the terminal.
    Mouse,
    /// Opens the palette: every action by name.
    Palette,
    /// Shows every key.
    Help,
    /// Stops devwatch until it is continued (`fg`).
    Suspend,
    /// Draws everything anew.
    Redraw,
}

/// A digit that stands for a problem: 1 to 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digit(u8);

impl Digit {
    /// None for anything but 1 to 9.
    pub fn new(number: u8) -> Option<Digit> {
        (1..=9).contains(&number).then_some(Digit(number))
    }

    /// 1 to 9.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// What there is to say about an action.
struct About {
    name: &'static str,
    /// The keys it has by default, the first is the one that is shown.
    keys: &'static [&'static str],
    /// A word or two, behind the key in the bottom row.
    hint: &'static str,
    /// A few words, behind the keys in the help.
    description: &'static str,
}

impl Action {
    /// Every action, in the order of the help.
    pub fn all() -> impl Iterator<Item = Action> {
        let listed = GROUPS.iter().flat_map(|(_, actions)| *actions);
        listed.flat_map(|action| {
            // One row stands for all of them.
            if let Action::OpenNumber(_) = action {
                return (1..=9)
                    .map(|number| Action::OpenNumber(Digit(number)))
                    .collect();
            }
            vec![*action]
        })
    }

    /// The action of this name, as in the config.
    pub fn named(name: &str) -> Option<Action> {
        Action::all().find(|action| action.name() == name)
    }

    /// Its name in the config: `next_pane`.
    pub fn name(self) -> &'static str {
        self.about().name
    }

    /// What it does, in a few words: for the help and the palette.
    pub fn description(self) -> &'static str {
        self.about().description
    }

    /// What it does, in a word or two: for the bottom row, behind its key.
    pub fn hint(self) -> &'static str {
        self.about().hint
    }

    fn about(self) -> About {
        let about = |name, keys, hint, description| About {
            name,
            keys,
            hint,
            description,
        };
        match self {
            Action::Quit => about(
                "quit",
                &["q", "ctrl-c"],
                "quit",
                "quit; twice within 2 s: at once",
            ),
            Action::Rebuild => about("rebuild", &["r", "f5"], "rebuild", "rebuild and restart"),
            Action::Restart => about(
                "restart",
                &["R"],
                "cold restart",
                "restart from cold, without a build",
            ),
            Action::Pause => about("pause", &["p"], "pause", "pause or resume watching"),
            Action::Stop => about("stop", &["x"], "stop", "stop the server; watching goes on"),
            Action::Input => about("input", &["i"], "input", "type to the server, until ctrl-]"),
            Action::Problems => about("problems", &["e"], "problems", "go to the problems"),
            Action::Log => about("log", &["l"], "log", "go to the log"),
            Action::NextPane => about("next_pane", &["tab"], "next pane", "go to the next pane"),
            Action::Zoom => about("zoom", &["z"], "zoom", "all the room for this pane"),
            Action::Summary => about("summary", &["s"], "summary", "one row for each problem"),
            Action::Next => about("next", &["n"], "next", "next problem, or next match"),
            Action::Previous => about(
                "previous",
                &["N"],
                "previous",
                "previous problem, or previous match",
            ),
            Action::Open => about(
                "open",
                &["enter"],
                "open",
                "open in the editor; in the log: leave a mark",
            ),
            Action::OpenNumber(digit) => about(
                OPEN_NAMES[usize::from(digit.0 - 1)],
                &DIGITS[usize::from(digit.0 - 1)..usize::from(digit.0)],
                "open",
                "open the problem of this number",
            ),
            Action::Search => about("search", &["/"], "search", "search"),
            Action::Filter => about("filter", &["\\"], "filter", "only the lines that match"),
            Action::Cancel => about("cancel", &["esc"], "back", "back: end search and filter"),
            Action::Up => about("up", &["k", "up"], "up", "line up"),
            Action::Down => about("down", &["j", "down"], "down", "line down"),
            Action::PageUp => about("page_up", &["page-up"], "page up", "page up"),
            Action::PageDown => about(
                "page_down",
                &["page-down", "space"],
                "page down",
                "page down",
            ),
            Action::HalfPageUp => about(
                "half_page_up",
                &["ctrl-u"],
                "half page up",
                "half a page up",
            ),
            Action::HalfPageDown => about(
                "half_page_down",
                &["ctrl-d"],
                "half page down",
                "half a page down",
            ),
            Action::Top => about("top", &["g", "home"], "top", "first line"),
            Action::Bottom => about(
                "bottom",
                &["G", "end"],
                "bottom",
                "last line, and follow what comes",
            ),
            Action::Follow => about("follow", &["f"], "follow", "follow what comes, or stay"),
            Action::Wrap => about("wrap", &["w"], "wrap", "wrap long lines, or cut them"),
            Action::Clear => about("clear", &["c"], "clear", "clear the log"),
            Action::Copy => about("copy", &["y"], "copy", "copy the problem"),
            Action::CopyAll => about("copy_all", &["Y"], "copy all", "copy the whole pane"),
            Action::Pager => about("pager", &["E"], "pager", "open the log in the pager"),
            Action::OpenUrl => about("open_url", &["o"], "open url", "open the server's url"),
            Action::Urls => about("urls", &["u"], "urls", "list the server's urls"),
            Action::Mouse => about("mouse", &["m"], "mouse", "mouse for devwatch, or not"),
            Action::Palette => about("palette", &[":"], "actions", "every action by its name"),
            Action::Help => about("help", &["?", "h", "f1"], "help", "this help"),
            Action::Suspend => about("suspend", &["ctrl-z"], "suspend", "stop until `fg`"),
            Action::Redraw => about("redraw", &["ctrl-l"], "redraw", "draw the screen anew"),
        }
    }
}

/// The actions as the help shows them, by what they are about. Of the numbers one stands for all.
const GROUPS: &[(&str, &[Action])] = &[
    (
        "server",
        &[
            Action::Rebuild,
            Action::Restart,
            Action::Pause,
            Action::Stop,
            Action::Input,
            Action::OpenUrl,
            Action::Urls,
        ],
    ),
    (
        "problems and log",
        &[
            Action::Problems,
            Action::Log,
            Action::NextPane,
            Action::Zoom,
            Action::Summary,
            Action::Next,
            Action::Previous,
            Action::Open,
            Action::OpenNumber(Digit(1)),
            Action::Pager,
            Action::Copy,
            Action::CopyAll,
            Action::Clear,
        ],
    ),
    (
        "what is shown",
        &[
            Action::Search,
            Action::Filter,
            Action::Cancel,
            Action::Down,
            Action::Up,
            Action::PageDown,
            Action::PageUp,
            Action::HalfPageDown,
            Action::HalfPageUp,
            Action::Top,
            Action::Bottom,
            Action::Follow,
            Action::Wrap,
        ],
    ),
    (
        "devwatch",
        &[
            Action::Help,
            Action::Palette,
            Action::Mouse,
            Action::Redraw,
            Action::Suspend,
            Action::Quit,
        ],
    ),
];

const OPEN_NAMES: [&str; 9] = [
    "open_1", "open_2", "open_3", "open_4", "open_5", "open_6", "open_7", "open_8", "open_9",
];

const DIGITS: [&str; 9] = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// One key with its modifiers, in the one form in which it is compared.
///
/// Terminals say the same key in several ways, so: of characters, Shift is part of the character (`R`); with ctrl,
/// letters are small, because most terminals cannot tell; and what is the same byte in most terminals is the same
/// key everywhere (ctrl-i is tab, ctrl-m is enter, ctrl-[ is esc).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    code: KeyCode,
    modifiers: Modifiers,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the keys that crossterm tells, most mean nothing here"
)]
impl Key {
    /// The key that an event is about. None when it is released, for modifiers alone, for keys without a notation
    /// here, and with modifiers that belong to the desktop (super, hyper, meta).
    pub fn of(event: &KeyEvent) -> Option<Key> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        let mut modifiers = event.modifiers;
        // Only terminals that tell the key apart from its character say this; of all others comes the capital.
        if event.state.contains(KeyEventState::CAPS_LOCK)
            && let KeyCode::Char(c) = event.code
            && c.is_lowercase()
        {
            modifiers.toggle(Modifiers::SHIFT);
        }
        Key::normal(event.code, modifiers)
    }

    /// The names of keys that are no character.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    fn normal(code: KeyCode, modifiers: Modifiers) -> Option<Key> {
        let known = Modifiers::SHIFT | Modifiers::CONTROL | Modifiers::ALT;
        if !known.contains(modifiers) {
            return None;
        }
        let shift = modifiers.contains(Modifiers::SHIFT);
        let control = modifiers.contains(Modifiers::CONTROL);
        let (code, dropped) = match code {
            KeyCode::Char(c) if control => match c.to_ascii_lowercase() {
                'i' => (KeyCode::Tab, Modifiers::CONTROL | Modifiers::SHIFT),
                'm' => (KeyCode::Enter, Modifiers::CONTROL | Modifiers::SHIFT),
                '[' => (KeyCode::Esc, Modifiers::CONTROL | Modifiers::SHIFT),
                // The bytes 0x1C to 0x1F are told as digits.
                '4' => (KeyCode::Char('\\'), Modifiers::SHIFT),
                '5' => (KeyCode::Char(']'), Modifiers::SHIFT),
                '6' => (KeyCode::Char('^'), Modifiers::SHIFT),
                '7' => (KeyCode::Char('_'), Modifiers::SHIFT),
                '@' => (KeyCode::Char(' '), Modifiers::SHIFT),
                c => (KeyCode::Char(c), Modifiers::SHIFT),
            },
            KeyCode::Char(c) if shift => (capital(c), Modifiers::SHIFT),
            KeyCode::Tab if shift => (KeyCode::BackTab, Modifiers::SHIFT),
            KeyCode::BackTab => (KeyCode::BackTab, Modifiers::SHIFT),
            code => (code, Modifiers::NONE),
        };
        let written = match code {
            KeyCode::Char(c) => c == ' ' || !(c.is_control() || c.is_whitespace()),
            KeyCode::F(number) => (1..=MOST_F).contains(&number),
            code => NAMES.iter().any(|(_, named)| *named == code),
        };
        written.then_some(Key {
            code,
            modifiers: modifiers.difference(dropped),
        })
    }
}

/// As Shift makes it, where that is one character.
fn capital(c: char) -> KeyCode {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => KeyCode::Char(upper),
        (_, _) => KeyCode::Char(c),
    }
}

const NAMES: &[(&str, KeyCode)] = &[
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("backtab", KeyCode::BackTab),
    ("space", KeyCode::Char(' ')),
    ("backspace", KeyCode::Backspace),
    ("delete", KeyCode::Delete),
    ("insert", KeyCode::Insert),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("page-up", KeyCode::PageUp),
    ("page-down", KeyCode::PageDown),
];

/// What other programs call these keys.
const CALLED_OTHERWISE: &[(&str, &str)] = &[
    ("return", "enter"),
    ("cr", "enter"),
    ("escape", "esc"),
    ("spc", "space"),
    ("bs", "backspace"),
    ("del", "delete"),
    ("ins", "insert"),
    ("s-tab", "backtab"),
    ("pageup", "page-up"),
    ("page_up", "page-up"),
    ("pgup", "page-up"),
    ("pagedown", "page-down"),
    ("page_down", "page-down"),
    ("pgdn", "page-down"),
    ("pgdown", "page-down"),
];

/// The highest function key that terminals tell.
const MOST_F: u8 = 35;

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKey {
    /// The text.
    pub text: String,
    /// What to write instead, where it is clear: a key in quotes, or what to do.
    pub instead: Option<String>,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instead {
            Some(instead) => write!(f, "{:?} is no key; write {instead}", self.text),
            None => write!(
                f,
                "{:?} is no key; write a character or a name: \"r\", \"ctrl-r\", \"f5\", \"page-up\"",
                self.text
            ),
        }
    }
}

impl std::error::Error for BadKey {}

/// `r`, `R`, `ctrl-c`, `alt-x`, `f5`, `page-up`, `/`.
impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Key, BadKey> {
        let mut modifiers = Modifiers::NONE;
        let mut rest = text;
        'modifiers: loop {
            for (prefix, modifier) in PREFIXES {
                // What remains may be "-", the key.
                if let Some(after) = stripped(rest, prefix).filter(|after| !after.is_empty()) {
                    modifiers |= *modifier;
                    rest = after;
                    continue 'modifiers;
                }
            }
            break;
        }
        let bad = |instead: Option<String>| BadKey {
            text: text.to_string(),
            instead,
        };
        let code = code(rest).ok_or_else(|| bad(otherwise(text, rest)))?;
        // Which character Shift makes of a digit or a mark is for the keyboard to say.
        if let KeyCode::Char(c) = code
            && modifiers.contains(Modifiers::SHIFT)
            && capital(c) == code
            && !c.is_uppercase()
        {
            return Err(BadKey {
                text: text.to_string(),
                instead: Some("the character that it makes".to_string()),
            });
        }
        Key::normal(code, modifiers).ok_or_else(|| bad(None))
    }
}

const PREFIXES: &[(&str, Modifiers)] = &[
    ("ctrl-", Modifiers::CONTROL),
    ("alt-", Modifiers::ALT),
    ("shift-", Modifiers::SHIFT),
];

/// `text` without the prefix, in whichever case that is written.
fn stripped<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn code(text: &str) -> Option<KeyCode> {
    let mut characters = text.chars();
    if let (Some(c), None) = (characters.next(), characters.next()) {
        return (!c.is_control() && !c.is_whitespace()).then_some(KeyCode::Char(c));
    }
    let small = text.to_ascii_lowercase();
    if let Some((_, code)) = NAMES.iter().find(|(name, _)| *name == small) {
        return Some(*code);
    }
    let number = small.strip_prefix('f')?;
    let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
    let number: u8 = number.parse().ok().filter(|_| plain)?;
    (number <= MOST_F).then_some(KeyCode::F(number))
}

/// What a key is called here that other programs write as `text`, `rest` without the modifiers.
fn otherwise(text: &str, rest: &str) -> Option<String> {
    let small = rest.to_ascii_lowercase();
    let ours = match rest {
        " " => Some("space"),
        _ => CALLED_OTHERWISE
            .iter()
            .find(|(theirs, _)| *theirs == small)
            .map(|(_, ours)| *ours),
    };
    if let Some(ours) = ours {
        let modifiers = text.strip_suffix(rest)?;
        let key: Key = format!("{modifiers}{ours}").parse().ok()?;
        return Some(format!("\"{key}\""));
    }
    // ^c, c-c, C-c, ctrl+c, control-c, and the same with alt.
    let foreign = [
        ("^", "ctrl-"),
        ("c-", "ctrl-"),
        ("ctrl+", "ctrl-"),
        ("control-", "ctrl-"),
        ("control+", "ctrl-"),
        ("m-", "alt-"),
        ("alt+", "alt-"),
        ("a-", "alt-"),
    ];
    foreign.iter().find_map(|(theirs, ours)| {
        let rest = stripped(text, theirs).filter(|rest| !rest.is_empty())?;
        let key: Key = format!("{ours}{rest}").parse().ok()?;
        Some(format!("\"{key}\""))
    })
}

/// As it is read.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (prefix, modifier) in PREFIXES {
            if self.modifiers.contains(*modifier) {
                f.write_str(prefix)?;
            }
        }
        if let Some((name, _)) = NAMES.iter().find(|(_, code)| *code == self.code) {
            return f.write_str(name);
        }
        if let KeyCode::Char(c) = self.code {
            return write!(f, "{c}");
        }
        if let KeyCode::F(number) = self.code {
            return write!(f, "f{number}");
        }
        unreachable!("`normal` lets no other key pass")
    }
}

/// Which key does what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Each key once; the first of an action is the one that is shown.
    table: Vec<(Key, Action)>,
}

/// A table by which nobody could quit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoWayOut;

impl fmt::Display for NoWayOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no key is left for quit; leave q or ctrl-c as it is, or give it another")
    }
}

impl std::error::Error for NoWayOut {}

impl Default for Keys {
    /// The table as it is without a config.
    fn default() -> Keys {
        let key = |text: &&str| -> Key { text.parse().expect("the default keys can be read") };
        let row = |action: Action| {
            let keys = action.about().keys.iter().map(key);
            keys.map(move |key| (key, action)).collect::<Vec<_>>()
        };
        Keys {
            table: Action::all().flat_map(row).collect(),
        }
    }
}

impl Keys {
    /// The default table, changed: each key means what it says here, or nothing with None; of one that is named
    /// twice the last counts. An action keeps its other keys.
    ///
    /// # Errors
    /// No key would be left for [`Action::Quit`].
    pub fn changed(changes: &[(Key, Option<Action>)]) -> Result<Keys, NoWayOut> {
        let Keys { mut table } = Keys::default();
        for (key, action) in changes {
            table.retain(|(other, _)| other != key);
            // In front, because it is the one that this user has in mind.
            table.splice(0..0, action.map(|action| (*key, action)));
        }
        let keys = Keys { table };
        match keys.keys_of(Action::Quit).is_empty() {
            true => Err(NoWayOut),
            false => Ok(keys),
        }
    }

    /// What an event asks for; nothing when a key is released.
    pub fn action(&self, event: &KeyEvent) -> Option<Action> {
        let key = Key::of(event)?;
        let row = self.table.iter().find(|(other, _)| *other == key);
        row.map(|(_, action)| *action)
    }

    /// The keys of an action, the one to show first; none if it has been left without.
    pub fn keys_of(&self, action: Action) -> Vec<Key> {
        let of = self.table.iter().filter(|(_, other)| *other == action);
        of.map(|(key, _)| *key).collect()
    }

    /// A piece of the bottom row: the first key of each action, and what the first action is called:
    /// `r rebuild`, `n/N next`. None if one of them has no key.
    pub fn hint(&self, actions: &[Action]) -> Option<String> {
        let keys: Option<Vec<String>> = actions
            .iter()
            .map(|action| Some(self.keys_of(*action).first()?.to_string()))
            .collect();
        Some(format!("{} {}", keys?.join("/"), actions.first()?.hint()))
    }

    /// Every action that has a key: its keys, and what it does. By what they are about, in the same order always.
    pub fn help(&self) -> Vec<HelpGroup> {
        let group = |(title, actions): &(&'static str, &[Action])| HelpGroup {
            title,
            rows: actions
                .iter()
                .flat_map(|action| self.help_rows(*action))
                .collect(),
        };
        let groups = GROUPS.iter().map(group);
        groups.filter(|group| !group.rows.is_empty()).collect()
    }

    fn help_rows(&self, action: Action) -> Vec<(String, &'static str)> {
        let row = |keys: String| (keys, action.description());
        if let Action::OpenNumber(_) = action {
            let numbers = (1..=9).map(|number| Action::OpenNumber(Digit(number)));
            let keys: Vec<String> = numbers.map(|action| self.keys_text(action)).collect();
            if keys == DIGITS {
                return vec![row("1-9".to_string())];
            }
            // Which of them it is has to be said where it cannot be seen.
            let named = OPEN_NAMES.iter().zip(keys);
            return named
                .filter(|(_, keys)| !keys.is_empty())
                .map(|(name, keys)| (keys, *name))
                .collect();
        }
        let keys = self.keys_text(action);
        match keys.is_empty() {
            true => Vec::new(),
            false => vec![row(keys)],
        }
    }

    fn keys_text(&self, action: Action) -> String {
        let keys = self.keys_of(action).into_iter();
        keys.map(|key| key.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// A part of the help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelpGroup {
    /// What it is about.
    pub title: &'static str,
    /// The keys of an action, separated by spaces, and what it does.
    pub rows: Vec<(String, &'static str)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn key(text: &str) -> Key {
        text.parse().expect(text)
    }

    fn press(code: KeyCode, modifiers: Modifiers) -> KeyEvent {
        KeyEvent::new(code, modifiers)
    }

    fn text(keys: &Keys) -> String {
        let mut text = String::new();
        for group in keys.help() {
            text += &format!("{}\n", group.title);
            for (keys, description) in group.rows {
                text += &format!("  {keys:<17} {description}\n");
            }
        }
        text
    }

    #[test]
    fn the_help_lists_every_key_and_what_it_does() {
        expect![[r#"
            server
              r f5              rebuild and restart
              R                 restart from cold, without a build
              p                 pause or resume watching
              x                 stop the server; watching goes on
              i                 type to the server, until ctrl-]
              o                 open the server's url
              u                 list the server's urls
            problems and log
              e                 go to the problems
              l                 go to the log
              tab               go to the next pane
              z                 all the room for this pane
              s                 one row for each problem
              n                 next problem, or next match
              N                 previous problem, or previous match
              enter             open in the editor; in the log: leave a mark
              1-9               open the problem of this number
              E                 open the log in the pager
              y                 copy the problem
              Y                 copy the whole pane
              c                 clear the log
            what is shown
              /                 search
              \                 only the lines that match
              esc               back: end search and filter
              j down            line down
              k up              line up
              page-down space   page down
              page-up           page up
              ctrl-d            half a page down
              ctrl-u            half a page up
              g home            first line
              G end             last line, and follow what comes
              f                 follow what comes, or stay
              w                 wrap long lines, or cut them
            devwatch
              ? h f1            this help
              :                 every action by its name
              m                 mouse for devwatch, or not
              ctrl-l            draw the screen anew
              ctrl-z            stop until `fg`
              q ctrl-c          quit; twice within 2 s: at once
        "#]]
        .assert_eq(&text(&Keys::default()));
    }

    #[test]
    fn actions_have_names_that_lead_back_to_them() {
        let names: Vec<&str> = Action::all().map(Action::name).collect();
        for action in Action::all() {
            assert_eq!(Action::named(action.name()), Some(action));
            assert!(!action.description().is_empty() && !action.hint().is_empty());
        }
        expect!["rebuild restart pause stop input open_url urls problems log next_pane zoom summary next previous open open_1 open_2 open_3 open_4 open_5 open_6 open_7 open_8 open_9 pager copy copy_all clear search filter cancel down up page_down page_up half_page_down half_page_up top bottom follow wrap help palette mouse redraw suspend quit"]
        .assert_eq(&names.join(" "));
        assert_eq!(Action::named("open_0"), None);
        assert_eq!((Digit::new(0), Digit::new(10)), (None, None));
    }

    #[test]
    fn no_key_has_two_meanings_by_default() {
        let keys = Keys::default();
        for (index, (key, _)) in keys.table.iter().enumerate() {
            let twice = keys.table[..index].iter().any(|(other, _)| other == key);
            assert!(!twice, "{key}");
        }
    }

    #[test]
    fn a_key_is_the_same_however_a_terminal_says_it() {
        let none = Modifiers::NONE;
        let (shift, control, alt) = (Modifiers::SHIFT, Modifiers::CONTROL, Modifiers::ALT);
        use KeyCode::Char;
        for (code, modifiers, expected) in [
            // As most terminals say it, and as those do that tell positions.
            (Char('R'), none, "R"),
            (Char('R'), shift, "R"),
            (Char('r'), shift, "R"),
            (Char('r'), none, "r"),
            (Char('?'), none, "?"),
            (Char('?'), shift, "?"),
            (Char('c'), control, "ctrl-c"),
            (Char('C'), control, "ctrl-c"),
            (Char('c'), control | shift, "ctrl-c"),
            (Char('X'), alt | shift, "alt-X"),
            (Char('x'), alt | shift, "alt-X"),
            (Char('x'), alt, "alt-x"),
            (KeyCode::BackTab, shift, "backtab"),
            (KeyCode::BackTab, none, "backtab"),
            (KeyCode::Tab, shift, "backtab"),
            (Char('i'), control, "tab"),
            (KeyCode::Tab, none, "tab"),
            (Char('m'), control, "enter"),
            (Char('['), control, "esc"),
            // The byte 0x1D.
            (Char('5'), control, "ctrl-]"),
            (Char(']'), control, "ctrl-]"),
            (Char('4'), control, "ctrl-\\"),
            (Char(' '), none, "space"),
            (Char(' '), control, "ctrl-space"),
            (Char('@'), control, "ctrl-space"),
            (Char('ä'), shift, "Ä"),
            // Of this one Shift makes two characters.
            (Char('ß'), shift, "ß"),
            (KeyCode::Up, shift, "shift-up"),
            (KeyCode::Up, control | alt, "ctrl-alt-up"),
            (KeyCode::F(5), none, "f5"),
        ] {
            let event = press(code, modifiers);
            let read = Key::of(&event).expect(expected);
            assert_eq!(read.to_string(), expected, "{event:?}");
            assert_eq!(read, key(expected), "{event:?}");
        }
    }

    #[test]
    fn caps_lock_is_a_shift_for_letters_where_a_terminal_tells_it_apart() {
        let caps = |code, modifiers| KeyEvent {
            state: KeyEventState::CAPS_LOCK,
            ..press(code, modifiers)
        };
        let (none, shift) = (Modifiers::NONE, Modifiers::SHIFT);
        for (event, expected) in [
            (caps(KeyCode::Char('r'), none), "R"),
            (caps(KeyCode::Char('r'), shift), "r"),
            (caps(KeyCode::Char('R'), none), "R"),
            (caps(KeyCode::Char('/'), none), "/"),
            (caps(KeyCode::Char('c'), Modifiers::CONTROL), "ctrl-c"),
            (caps(KeyCode::Up, shift), "shift-up"),
        ] {
            assert_eq!(Key::of(&event), Some(key(expected)), "{event:?}");
        }
    }

    #[test]
    fn a_released_key_asks_for_nothing_and_a_held_one_repeats() {
        let of = |kind| KeyEvent {
            kind,
            ..press(KeyCode::Char('j'), Modifiers::NONE)
        };
        let keys = Keys::default();
        assert_eq!(keys.action(&of(KeyEventKind::Press)), Some(Action::Down));
        assert_eq!(keys.action(&of(KeyEventKind::Repeat)), Some(Action::Down));
        assert_eq!(keys.action(&of(KeyEventKind::Release)), None);
    }

    #[test]
    fn keys_of_the_desktop_and_modifiers_alone_are_none_of_ours() {
        for event in [
            press(KeyCode::Char('c'), Modifiers::SUPER),
            press(KeyCode::Char('q'), Modifiers::META),
            press(KeyCode::CapsLock, Modifiers::NONE),
            press(KeyCode::Null, Modifiers::NONE),
            press(KeyCode::Char('\u{7f}'), Modifiers::NONE),
        ] {
            assert_eq!(Key::of(&event), None, "{event:?}");
            assert_eq!(Keys::default().action(&event), None, "{event:?}");
        }
    }

    #[test]
    fn keys_are_read_in_any_case_and_written_in_one() {
        for (text, written) in [
            ("r", "r"),
            ("R", "R"),
            ("shift-r", "R"),
            ("Ctrl-C", "ctrl-c"),
            ("CTRL-ALT-x", "ctrl-alt-x"),
            ("alt-ctrl-x", "ctrl-alt-x"),
            ("F12", "f12"),
            ("f", "f"),
            ("Page-Up", "page-up"),
            ("-", "-"),
            ("ctrl--", "ctrl--"),
            ("\\", "\\"),
            ("shift-tab", "backtab"),
            ("ctrl-shift-page-down", "ctrl-shift-page-down"),
            ("ü", "ü"),
        ] {
            assert_eq!(key(text).to_string(), written, "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_told_with_the_way_to_write_it() {
        let check = |texts: &[&str], expected: Expect| {
            let line = |text: &&str| {
                let bad = text.parse::<Key>().expect_err(text);
                format!("{bad}\n")
            };
            expected.assert_eq(&texts.iter().map(line).collect::<String>());
        };
        check(
            &[
                "",
                " ",
                "rr",
                "ctrl-",
                "escape",
                "Return",
                "pgup",
                "^C",
                "C-x",
                "ctrl+r",
                "M-x",
                "f0",
                "f36",
                "f05",
                "shift-1",
                "ctrl-pgdn",
                "super-x",
            ],
            expect![[r#"
                "" is no key; write a character or a name: "r", "ctrl-r", "f5", "page-up"
                " " is no key; write "space"
                "rr" is no key; write a character or a name: "r", "ctrl-r", "f5", "page-up"
                "ctrl-" is no key; write a character or a name: "r", "ctrl-r", "f5", "page-up"
                "escape" is no key; write "esc"
                "Return" is no key; write "enter"
                "pgup" is no key; write "page-up"
                "^C" is no key; write "ctrl-c"
                "C-x" is no key; write "ctrl-x"
                "ctrl+r" is no key; write "ctrl-r"
                "M-x" is no key; write "alt-x"
                "f0" is no key; write a character or a name: "r", "ctrl-r", "f5", "page-up"
                "f36" is no key; write a character or a name: "r", "ctrl-r", "f5", "page-up"
                "f05" is no key; write a character or a name: "r", "ctrl-r", "f5", "page-up"
                "shift-1" is no key; write the character that it makes
                "ctrl-pgdn" is no key; write "ctrl-page-down"
                "super-x" is no key; write a character or a name: "r", "ctrl-r", "f5", "page-up"
            "#]],
        );
    }

    #[test]
    fn a_config_changes_keys_and_leaves_the_others() {
        let keys = Keys::changed(&[
            (key("ctrl-r"), Some(Action::Rebuild)),
            (key("r"), None),
            (key("3"), Some(Action::Pause)),
            (key("x"), Some(Action::Quit)),
            (key("ctrl-c"), Some(Action::Copy)),
        ])
        .expect("x and q quit");
        let names = |action| {
            let keys = keys.keys_of(action).into_iter();
            keys.map(|key| key.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(Action::Rebuild), ["ctrl-r", "f5"]);
        assert_eq!(names(Action::Pause), ["3", "p"]);
        assert_eq!(names(Action::Quit), ["x", "q"]);
        assert_eq!(names(Action::Copy), ["ctrl-c", "y"]);
        assert_eq!(names(Action::Stop), [""; 0]);
        let event = press(KeyCode::Char('r'), Modifiers::NONE);
        assert_eq!(keys.action(&event), None);
        let help = text(&keys);
        assert!(!help.contains("stop the server"), "{help}");
        assert!(help.contains("  4                 open_4\n"), "{help}");
        assert!(!help.contains("open_3"), "{help}");
    }

    #[test]
    fn a_table_without_a_key_to_quit_is_refused() {
        let none = [(key("q"), None), (key("ctrl-c"), Some(Action::Copy))];
        assert_eq!(Keys::changed(&none), Err(NoWayOut));
        let other = [none[0], none[1], (key("f10"), Some(Action::Quit))];
        let keys = Keys::changed(&other).expect("f10 quits");
        assert_eq!(keys.keys_of(Action::Quit), [key("f10")]);
        // The last word on a key counts.
        let back = [none[0], none[1], (key("q"), Some(Action::Quit))];
        Keys::changed(&back).expect("q quits");
    }

    #[test]
    fn hints_show_the_first_key_and_leave_out_what_has_none() {
        let keys = Keys::changed(&[(key("N"), None)]).expect("q quits");
        let default = Keys::default();
        let hint = |keys: &Keys, actions: &[Action]| keys.hint(actions).unwrap_or_default();
        assert_eq!(hint(&default, &[Action::Rebuild]), "r rebuild");
        assert_eq!(hint(&default, &[Action::Restart]), "R cold restart");
        assert_eq!(hint(&default, &[Action::Help]), "? help");
        assert_eq!(
            hint(&default, &[Action::Next, Action::Previous]),
            "n/N next"
        );
        assert_eq!(hint(&keys, &[Action::Next, Action::Previous]), "");
        assert_eq!(hint(&keys, &[]), "");
    }

    proptest! {
        #[test]
        fn arbitrary_texts_never_panic(text in ".{0,12}") {
            let _ = text.parse::<Key>();
        }

        #[test]
        fn every_key_is_read_as_it_is_written(
            code in prop_oneof![
                any::<char>().prop_map(KeyCode::Char),
                (0u8..40).prop_map(KeyCode::F),
                proptest::sample::select(NAMES).prop_map(|(_, code)| code),
            ],
            modifiers in 0u8..8,
        ) {
            let event = press(code, Modifiers::from_bits_truncate(modifiers));
            if let Some(key) = Key::of(&event) {
                prop_assert_eq!(key.to_string().parse(), Ok(key));
                // Once in its form, it stays.
                prop_assert_eq!(Key::normal(key.code, key.modifiers), Some(key));
            }
        }
    }
}

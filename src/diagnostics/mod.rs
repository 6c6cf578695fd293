//! 4 BUILD. What a rule prints becomes problems: file, line, column, and what is wrong there.
//!
//! Bytes come in as they were printed and go out again to be shown; JSON that a tool writes for programs is shown
//! as the text for people that it carries. [`Recipe`] says how one rule's output is read, [`Reader`] reads one run
//! of it, [`Problems`] is what it found; [`Standing`] keeps that of every rule until it is out of date. Only rules are read, never the server: what an app logs is no problem.
//!
//! Pure: no file is opened, and whether a path exists is asked of [`Files`]. Whatever is printed, and however
//! much, no more is kept than the limits below.

pub(crate) mod ansi;
mod arrow;
mod cargo;
mod collect;
mod command;
mod eslint;
mod feed;
mod files;
mod gnu;
mod go;
mod javac;
mod node;
mod own;
mod panic;
mod place;
mod pytest;
mod python;
mod reader;
mod recipe;
mod render;
mod standing;
#[cfg(test)]
mod tests;
mod tsc;

use std::fmt;
use std::path::{Component, Path, PathBuf};

pub use files::Files;
pub use own::{BadPattern, Pattern, PatternBase};
pub use reader::Reader;
pub use recipe::Recipe;
pub use render::{location_line, locations, plain_line};
pub use standing::Standing;

/// A known way to print problems: what `problems` of a rule can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// cargo and rustc: JSON, the long and the short form; panics of Rust programs.
    Cargo,
    /// go build, vet, test, also as JSON; panics of Go programs.
    Go,
    /// tsc, plain and pretty.
    Tsc,
    /// eslint: stylish and JSON.
    Eslint,
    /// `file:line:col: error: message`: gcc, clang, mypy, ruff and most others.
    Gnu,
    /// Python's tracebacks, and pytest.
    Python,
    /// A crash of Node, or an error with its stack.
    Node,
    /// javac, also below maven and gradle.
    Javac,
}

impl Kind {
    /// Every one of them.
    pub const ALL: [Kind; 8] = [
        Kind::Cargo,
        Kind::Go,
        Kind::Tsc,
        Kind::Eslint,
        Kind::Gnu,
        Kind::Python,
        Kind::Node,
        Kind::Javac,
    ];

    /// What the config calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cargo => "cargo",
            Kind::Go => "go",
            Kind::Tsc => "tsc",
            Kind::Eslint => "eslint",
            Kind::Gnu => "gnu",
            Kind::Python => "python",
            Kind::Node => "node",
            Kind::Javac => "javac",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How bad a [`Problem`] is. The worst is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It has to be mended.
    Error,
    /// It should be looked at.
    Warning,
    /// It belongs to another problem, or is good to know.
    Info,
}

impl Severity {
    /// What lines call it.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }

    /// The one that a tool calls `word`, in whatever case; tools agree on little more than the beginnings.
    pub fn read(word: &str) -> Option<Severity> {
        let word = word.trim().to_ascii_lowercase();
        match word.as_str() {
            "e"
            | "error"
            | "err"
            | "fatal"
            | "fatal error"
            | "f"
            | "critical"
            | "internal compiler error"
            | "sorry, unimplemented" => Some(Severity::Error),
            "w" | "warning" | "warn" | "style" | "performance" | "portability" => {
                Some(Severity::Warning)
            }
            "i" | "info" | "information" | "note" | "n" | "hint" | "help" | "remark"
            | "suggestion" | "message" => Some(Severity::Info),
            _ => None,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Something wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as the tool named it.
    pub path: String,
    /// The file itself, absolute, if it exists. Without it there is nothing that an editor could open.
    pub file: Option<PathBuf>,
    /// From 1.
    pub line: u32,
    /// From 1, in whatever unit the tool counts; None where it names none.
    pub column: Option<u32>,
    /// Line and column behind its last character, where the tool says so.
    pub end: Option<(u32, u32)>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line of at most 2 KiB. It may hold any character but a newline.
    pub message: String,
    /// The tool's own name for this kind of problem: `E0308`, `-Wunused`, `no-undef`.
    pub code: Option<String>,
    /// Who says so: a [`Kind`]'s name, a tool of that kind, or the name of an own pattern.
    pub tool: String,
    /// As the tool draws it for people, with its colours, where that came along: at most 4 KiB.
    pub rendered: Option<String>,
}

/// What was found in the output of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// The first thousand, errors before all others; grouped by file, files with errors first, in a file errors
    /// first and then from top to bottom. None of them twice.
    pub list: Vec<Problem>,
    /// How many errors there were, kept or not. Up to about 131,000 different ones, none is counted twice.
    pub errors: usize,
    /// How many warnings there were, as for errors.
    pub warnings: usize,
    /// How many there were that are neither.
    pub infos: usize,
}

impl Problems {
    /// How many are counted but not kept.
    pub fn left_out(&self) -> usize {
        (self.errors + self.warnings + self.infos).saturating_sub(self.list.len())
    }
}

/// Where a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Its working directory, absolute.
    pub cwd: PathBuf,
    /// The project's root, absolute.
    pub root: PathBuf,
}

impl Base {
    /// Whether a frame in `path` is the project's own code, not a library's that happens to lie below it.
    fn owns(&self, path: &str) -> bool {
        if path.starts_with('<') || path.starts_with("node:") {
            return false;
        }
        let path = join(&self.cwd, Path::new(path));
        let below = |base: &Path| {
            path.strip_prefix(base).is_ok_and(|rest| {
                !rest.components().any(|component| {
                    let name = component.as_os_str().to_string_lossy();
                    FOREIGN.contains(&name.as_ref())
                })
            })
        };
        below(&self.root) || below(&self.cwd)
    }
}

/// `path` below `base`, without `.` and `..`.
fn join(base: &Path, path: &Path) -> PathBuf {
    let mut joined = PathBuf::new();
    for component in base.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                joined.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                joined.push(component);
            }
        }
    }
    joined
}

/// A problem as a parser found it: where its file is has still to be looked up.
#[derive(Clone, Debug)]
struct Found {
    path: String,
    /// Where a relative path may hang, besides the usual places.
    from: From,
    line: u32,
    column: Option<u32>,
    end: Option<(u32, u32)>,
    severity: Severity,
    message: String,
    code: Option<String>,
    tool: String,
    rendered: Option<String>,
    /// So little speaks for it that it counts only if its file exists.
    doubtful: bool,
}

/// What a tool said about where its paths begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum From {
    /// Nothing.
    #[default]
    Nothing,
    /// In this folder, absolute or below the working directory, or in one above it.
    Above(PathBuf),
    /// In the folder of this Go package.
    Package(String),
}

impl Found {
    fn new(tool: &str, path: &str, line: u32, severity: Severity, message: &str) -> Found {
        let mut found = Found {
            path: path.to_owned(),
            from: From::Nothing,
            line,
            column: None,
            end: None,
            severity,
            message: String::new(),
            code: None,
            tool: tool.to_owned(),
            rendered: None,
            doubtful: false,
        };
        // One line, however many the tool needs; within a line spaces stay as they are.
        match message.contains(['\n', '\r']) {
            true => found.extend(message),
            false => clipped(message.trim(), LONGEST_MESSAGE).clone_into(&mut found.message),
        }
        found
    }

    /// Appends a line that continues the message.
    fn extend(&mut self, more: &str) {
        let room = LONGEST_MESSAGE.saturating_sub(self.message.len() + 1);
        for word in clipped(more.trim(), room).split_whitespace() {
            if !self.message.is_empty() {
                self.message.push(' ');
            }
            self.message.push_str(word);
        }
    }
}

/// What one parser makes of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Nothing: the next one may look at it.
    Passed,
    /// It is a line of its own.
    Taken,
}

/// Reads the lines of one stream, without colours and line ends.
trait Parser: Send {
    /// Looks at a line.
    fn line(&mut self, line: &str, sink: &mut dyn Sink) -> Line;

    /// The output is at its end, or goes on with something else: what was begun is complete.
    fn close(&mut self, sink: &mut dyn Sink);

    /// The output is at its end.
    fn end(&mut self, sink: &mut dyn Sink) {
        self.close(sink);
    }

    /// How many bytes it keeps at most now; what is fixed in size need not be counted.
    fn held(&self) -> usize;
}

/// A parser to which a line is a problem of its own or none: nothing is ever open, and nothing kept.
trait OneLine: Send {
    /// What the line tells.
    fn read(&self, line: &str, sink: &mut dyn Sink) -> Option<Found>;
}

impl<T: OneLine> Parser for T {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) -> Line {
        match self.read(line, sink) {
            Some(found) => {
                sink.add(found);
                Line::Taken
            }
            None => Line::Passed,
        }
    }

    fn close(&mut self, _: &mut dyn Sink) {}

    fn held(&self) -> usize {
        0
    }
}

/// Takes what parsers find.
trait Sink {
    /// Takes a problem. Whether it is new.
    fn add(&mut self, found: Found) -> bool;

    /// Where the command runs.
    fn base(&self) -> &Base;
}

fn held(found: Option<&Found>) -> usize {
    found.map_or(0, |found| {
        let texts = [&found.path, &found.message, &found.tool];
        let options = [&found.code, &found.rendered];
        texts.iter().map(|text| text.capacity()).sum::<usize>()
            + options
                .iter()
                .filter_map(|text| text.as_ref().map(String::capacity))
                .sum::<usize>()
    })
}

/// At most `most` bytes of `text`, cut between characters.
fn clipped(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// How many problems are kept; whoever has more mends these first.
const MOST_PROBLEMS: usize = 1_000;
/// Longest line that is looked at; what stands behind is not read.
const LONGEST_LINE: usize = 64 << 10;
/// Longest JSON record that is read; eslint puts the whole source into it. A longer one is shown as it is.
const LONGEST_RECORD: usize = 1 << 20;
/// C++ fills pages with one message; the beginning says what is wrong.
const LONGEST_MESSAGE: usize = 2 << 10;
/// Longest drawing that is kept of a problem.
const LONGEST_RENDERED: usize = 4 << 10;
/// The kernel takes no longer path.
const LONGEST_PATH: usize = 4 << 10;
/// Folders of a project that hold other people's code.
const FOREIGN: &[&str] = &[
    "node_modules",
    "site-packages",
    "dist-packages",
    ".venv",
    "venv",
    "vendor",
    ".cargo",
    ".tox",
];

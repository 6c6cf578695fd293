//! Python's tracebacks. The place is the last frame in the project's own code: below it, a library complains about
//! what it was given there.

use super::place::number;
use super::{Found, LONGEST_PATH, Line, Parser, Severity, Sink};

#[derive(Default)]
pub(super) struct Python {
    traceback: Option<Frames>,
    /// The file that compileall has complained about; what follows may name it no more.
    compiling: Option<String>,
}

/// What a traceback has shown so far.
#[derive(Default)]
struct Frames {
    last: Option<(String, u32)>,
    own: Option<(String, u32)>,
}

impl Parser for Python {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) -> Line {
        if line == "Traceback (most recent call last):" {
            self.traceback = Some(Frames::default());
            return Line::Taken;
        }
        if let Some((path, row)) = frame(line) {
            // Without the words above it: a file that cannot be compiled.
            let frames = self.traceback.get_or_insert_default();
            let place = (path.to_owned(), row);
            if sink.base().owns(path) {
                frames.own = Some(place.clone());
            }
            frames.last = Some(place);
            return Line::Taken;
        }
        if line.starts_with(' ') && self.traceback.is_some() {
            return Line::Taken;
        }
        if let Some(frames) = self.traceback.take() {
            let place = frames.own.or(frames.last);
            if let Some((path, row)) = place
                && is_exception(line)
            {
                sink.add(Found::new("python", &path, row, Severity::Error, line));
                self.compiling = None;
                return Line::Taken;
            }
        }
        if let Some(path) = line.strip_prefix("*** Error compiling '") {
            let path = path
                .strip_suffix("'...")
                .filter(|path| path.len() <= LONGEST_PATH);
            self.compiling = path.map(str::to_owned);
            return Line::Taken;
        }
        match self.sorry(line).or_else(|| warning(line)) {
            Some(found) => {
                sink.add(found);
                Line::Taken
            }
            None => Line::Passed,
        }
    }

    fn close(&mut self, _: &mut dyn Sink) {
        self.traceback = None;
    }

    fn held(&self) -> usize {
        let place =
            |place: &Option<(String, u32)>| place.as_ref().map_or(0, |(path, _)| path.capacity());
        let frames = |frames: &Frames| place(&frames.last) + place(&frames.own);
        self.traceback.as_ref().map_or(0, frames)
            + self.compiling.as_ref().map_or(0, String::capacity)
    }
}

impl Python {
    /// `Sorry: IndentationError: message (indent.py, line 2)`: only the name of the file is there.
    fn sorry(&mut self, line: &str) -> Option<Found> {
        let said = line.strip_prefix("Sorry: ")?;
        let (message, place) = said.strip_suffix(')')?.rsplit_once(" (")?;
        let (name, row) = place.rsplit_once(", line ")?;
        let row = number(row).filter(|&row| row > 0)?;
        let whole = self.compiling.take();
        let path = whole
            .as_deref()
            .filter(|path| path.ends_with(name))
            .unwrap_or(name);
        Some(Found::new("python", path, row, Severity::Error, message))
    }
}

/// `  File "pkg/work.py", line 6, in run`.
pub(super) fn frame(line: &str) -> Option<(&str, u32)> {
    let (path, rest) = line
        .trim_start_matches([' ', '|', '+'])
        .strip_prefix("File \"")?
        .split_once("\", line ")?;
    let row = rest.split_once(", in ").map_or(rest, |(row, _)| row);
    let row = number(row).filter(|&row| row > 0)?;
    (line.starts_with(' ') && path.len() <= LONGEST_PATH).then_some((path, row))
}

/// `ZeroDivisionError: division by zero`, `pkg.errors.Missing`, and not a sentence.
pub(super) fn is_exception(line: &str) -> bool {
    let name = line.split_once(": ").map_or(line, |(name, _)| name);
    let name = name.strip_suffix(':').unwrap_or(name);
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    !name.is_empty() && name.chars().all(word) && !name.starts_with(|c: char| c.is_numeric())
}

/// `/x/m.py:3: DeprecationWarning: message`.
fn warning(line: &str) -> Option<Found> {
    let place = super::place::colon(line.trim_start())?;
    let (kind, message) = place.rest.split_once(": ")?;
    let is_warning = kind.ends_with("Warning") && is_exception(kind) && !message.is_empty();
    let mut found = super::gnu::at(&place, "python", Severity::Warning, message);
    found.code = Some(kind.to_owned());
    is_warning.then_some(found)
}

//! A message, below it an arrow and the place: rustc for people, and ruff.
//!
//! ```text
//! error[E0308]: mismatched types
//!  --> src/deep/mod.rs:2:18
//! ```

use super::gnu::{linter_code, severity};
use super::place::{at_end, is_path};
use super::{Found, Line, Parser, Severity, Sink, clipped, held};

/// Waits for the arrow below a message.
#[derive(Default)]
pub(super) struct Arrow {
    /// Its place is not known yet.
    open: Option<Found>,
    /// How many lines have passed since.
    lines: usize,
}

impl Parser for Arrow {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) -> Line {
        if let Some((path, row, column)) = arrow(line) {
            // A further arrow belongs to a note of a problem that has its place.
            if let Some(mut found) = self.open.take() {
                let python = [".py", ".pyi", ".ipynb"];
                let tool = match python.iter().any(|end| path.ends_with(end)) {
                    true => "ruff",
                    false => "cargo",
                };
                (found.tool, found.path) = (tool.to_owned(), path.to_owned());
                (found.line, found.column) = (row, Some(column));
                sink.add(found);
            }
            return Line::Taken;
        }
        if line.is_empty() {
            self.open = None;
        } else if let Some(found) = head(line) {
            // Infos are notes on what came before; their arrow is not a problem's.
            self.open = (found.severity != Severity::Info).then_some(found);
            self.lines = 0;
        } else if let Some(found) = &mut self.open {
            self.lines += 1;
            if self.lines > MOST_LINES || line.starts_with("Caused by") {
                self.open = None;
            } else {
                found.extend(line);
            }
        }
        Line::Passed
    }

    fn close(&mut self, _: &mut dyn Sink) {}

    fn held(&self) -> usize {
        held(self.open.as_ref())
    }
}

/// The first line of a message, at the beginning of a line.
fn head(line: &str) -> Option<Found> {
    if line.starts_with([' ', '\t', '[']) {
        return None;
    }
    if let Some((severity, code, message)) = severity(line) {
        let mut found = Found::new("", "", 0, severity, message);
        found.code = code.map(|code| clipped(code, 100).to_owned());
        return Some(found);
    }
    let (code, message) = linter_code(line)
        .or_else(|| Some(("invalid-syntax", line.strip_prefix("invalid-syntax: ")?)))?;
    let mut found = Found::new("", "", 0, Severity::Error, message);
    found.code = Some(code.to_owned());
    Some(found)
}

fn arrow(line: &str) -> Option<(&str, u32, u32)> {
    let place = line.trim_start().strip_prefix("--> ")?;
    let (path, line, column) = at_end(place)?;
    let column = column.filter(|&column| column > 0)?;
    (line > 0 && is_path(path)).then_some((path, line, column))
}

/// rustc puts the arrow right below; a message of several lines comes in between.
const MOST_LINES: usize = 8;

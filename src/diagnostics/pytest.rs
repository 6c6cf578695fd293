//! pytest in its long, short and line form: `E   message` and, above or below it, `tests/test_x.py:8: in test_run`.

use super::place::{self, extension};
use super::python::frame;
use super::{Found, LONGEST_MESSAGE, Line, Parser, Severity, Sink, clipped};

#[derive(Default)]
pub(super) struct Pytest {
    /// The last place in the project's own code within this failure.
    own: Option<(String, u32)>,
    /// The first line of what went wrong, whose place may still come.
    said: Option<String>,
    /// The source of a syntax error follows, and a caret below it.
    quoting: bool,
    /// A report of failures has begun: before, these lines mean nothing.
    reporting: bool,
}

impl Parser for Pytest {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) -> Line {
        if is_ruled(line, '=') {
            self.close(sink);
            self.reporting = line.contains(" FAILURES ") || line.contains(" ERRORS ");
            return Line::Passed;
        }
        if !self.reporting {
            return Line::Passed;
        }
        if is_ruled(line, '_') {
            self.close(sink);
            return Line::Taken;
        }
        if let Some(said) = line.strip_prefix("E  ") {
            self.said(said.trim_end(), sink);
            return Line::Taken;
        }
        let Some(place) = place::colon(line).filter(|p| p.column.is_none()) else {
            return Line::Passed;
        };
        if extension(place.path) != Some("py") {
            return Line::Passed;
        }
        self.place(place.path, place.line, place.rest, sink);
        Line::Taken
    }

    fn close(&mut self, sink: &mut dyn Sink) {
        self.tell(sink);
        *self = Pytest {
            reporting: self.reporting,
            ..Pytest::default()
        };
    }

    fn held(&self) -> usize {
        self.own.as_ref().map_or(0, |(path, _)| path.capacity())
            + self.said.as_ref().map_or(0, String::capacity)
    }
}

impl Pytest {
    /// `E   message`, the `E` and two spaces taken away.
    fn said(&mut self, said: &str, sink: &mut dyn Sink) {
        if let Some((path, row)) = frame(said) {
            // A file that cannot be compiled is named in the message, and nowhere else.
            self.own = sink.base().owns(path).then(|| (path.to_owned(), row));
            self.quoting = true;
            return;
        }
        // The message stands less far in than what is quoted.
        let text = said.trim_start();
        self.quoting &= said.starts_with("  ");
        if self.said.is_none() && !self.quoting && !text.is_empty() {
            self.said = Some(clipped(text, LONGEST_MESSAGE).to_owned());
        }
    }

    /// A place, with what stands behind it: `in f` above the message, or the name of the error below it.
    fn place(&mut self, path: &str, row: u32, rest: &str, sink: &mut dyn Sink) {
        let above = rest.is_empty() || rest.starts_with("in ");
        // The line form names a place per failure, each below its message.
        if above && self.said.is_some() {
            self.close(sink);
        }
        if sink.base().owns(path) {
            self.own = Some((path.to_owned(), row));
        }
        if !above {
            if self.said.is_none() {
                self.said = Some(clipped(rest, LONGEST_MESSAGE).to_owned());
            }
            self.close(sink);
        }
    }

    fn tell(&mut self, sink: &mut dyn Sink) {
        if let (Some((path, row)), Some(said)) = (&self.own, &self.said) {
            sink.add(Found::new("pytest", path, *row, Severity::Error, said));
        }
    }
}

/// `=== words ===`, `___ words ___`.
fn is_ruled(line: &str, c: char) -> bool {
    line.ends_with(c) && line.chars().take(3).filter(|&d| d == c).count() == 3
}

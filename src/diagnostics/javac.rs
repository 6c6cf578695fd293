//! javac: `demo/Main.java:5: error: message`, then the source and a caret below it, which gives the column; and
//! maven's `[ERROR] /abs/Main.java:[5,17] message`.

use super::place::{self, extension, is_path, number};
use super::{Found, Line, Parser, Severity, Sink, held};

#[derive(Default)]
pub(super) struct Javac {
    /// The caret has not come yet.
    open: Option<Found>,
    /// How many lines have passed since.
    lines: usize,
}

impl Parser for Javac {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) -> Line {
        if let Some(found) = &mut self.open {
            if line.trim_start() == "^" {
                found.column = u32::try_from(line.chars().count()).ok();
                self.close(sink);
                return Line::Taken;
            }
            self.lines += 1;
            if self.lines > MOST_LINES {
                self.close(sink);
            }
        }
        let found = plain(line).or_else(|| maven(line));
        let Some(found) = found else {
            return Line::Passed;
        };
        self.close(sink);
        (self.open, self.lines) = (Some(found), 0);
        Line::Taken
    }

    fn close(&mut self, sink: &mut dyn Sink) {
        if let Some(found) = self.open.take() {
            sink.add(found);
        }
    }

    fn held(&self) -> usize {
        held(self.open.as_ref())
    }
}

fn plain(line: &str) -> Option<Found> {
    let place = place::colon(line)?;
    let (word, message) = place.rest.split_once(": ")?;
    let severity = match word {
        "error" => Severity::Error,
        "warning" => Severity::Warning,
        _ => return None,
    };
    // Beside it, gcc reads gcj's; a column would have come along.
    if extension(place.path) != Some("java") || place.column.is_some() {
        return None;
    }
    Some(with_code(place.path, place.line, severity, message))
}

fn maven(line: &str) -> Option<Found> {
    let (severity, rest) = match line.strip_prefix("[ERROR] ") {
        Some(rest) => (Severity::Error, rest),
        None => (Severity::Warning, line.strip_prefix("[WARNING] ")?),
    };
    let (path, rest) = rest.split_once(":[")?;
    let (numbers, message) = rest.split_once("] ")?;
    let (row, column) = numbers.split_once(',')?;
    let row = number(row).filter(|&row| row > 0)?;
    if !is_path(path) {
        return None;
    }
    let mut found = with_code(path, row, severity, message);
    found.column = number(column).filter(|&column| column > 0);
    Some(found)
}

/// A message that may begin with its code: `[unchecked] message`.
fn with_code(path: &str, line: u32, severity: Severity, message: &str) -> Found {
    let code = message
        .strip_prefix('[')
        .and_then(|message| message.split_once("] "))
        .filter(|(code, _)| code.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    let (code, message) = code.map_or((None, message), |(code, rest)| (Some(code), rest));
    let mut found = Found::new("javac", path, line, severity, message);
    found.code = code.map(str::to_owned);
    found
}

/// Source and caret, with a line of a long message in between.
const MOST_LINES: usize = 3;

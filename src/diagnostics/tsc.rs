//! tsc: `src/a.ts(1,7): error TS2322: message`, and the pretty `src/a.ts:1:7 - error TS2322: message`.

use super::place::{at_end, is_path, number};
use super::{Found, Line, Parser, Severity, Sink, held};

/// Reads tsc, and whoever prints places in round brackets with a code as it does.
#[derive(Default)]
pub(super) struct Tsc {
    /// Indented lines may follow.
    open: Option<Found>,
    /// How many have.
    lines: usize,
}

impl Parser for Tsc {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) -> Line {
        if let Some(found) = &mut self.open
            && line.starts_with("  ")
            && self.lines < MOST_LINES
            && !line.trim().is_empty()
            && at_end(line.split(" - ").next().unwrap_or(line)).is_none()
        {
            found.extend(line);
            self.lines += 1;
            return Line::Taken;
        }
        self.close(sink);
        match plain(line).or_else(|| pretty(line)) {
            Some(found) => {
                (self.open, self.lines) = (Some(found), 0);
                Line::Taken
            }
            None => Line::Passed,
        }
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
    let (place, said) = line.split_once("): ")?;
    // A folder may have brackets of its own: app/(shop)/page.tsx(1,7).
    let (path, numbers) = place.rsplit_once('(')?;
    let (line, column) = numbers.split_once(',')?;
    found(path, number(line)?, number(column)?, said)
}

fn pretty(line: &str) -> Option<Found> {
    let (place, said) = line.split_once(" - ")?;
    let (path, line, column) = at_end(place)?;
    found(path, line, column?, said)
}

/// `error TS2322: message` at a place.
fn found(path: &str, line: u32, column: u32, said: &str) -> Option<Found> {
    let (word, said) = said.split_once(' ')?;
    let severity = match word {
        "error" => Severity::Error,
        "warning" => Severity::Warning,
        "message" | "suggestion" => Severity::Info,
        _ => return None,
    };
    let (code, message) = said.split_once(": ")?;
    let digits = code.trim_start_matches(|c: char| c.is_ascii_uppercase());
    let letters = code.len() - digits.len();
    let is_code = (2..=5).contains(&letters) && number(digits).is_some();
    if !is_code || line == 0 || column == 0 || !is_path(path) {
        return None;
    }
    let mut found = Found::new("tsc", path, line, severity, message);
    found.column = Some(column);
    found.code = Some(code.to_owned());
    Some(found)
}

/// How many lines of a type that does not fit into another are worth reading.
const MOST_LINES: usize = 5;

//! Panics of Rust programs, as tests and `cargo run` print them:
//!
//! ```text
//! thread 'main' (8960) panicked at src/main.rs:3:21:
//! index out of bounds: the len is 0 but the index is 3
//! ```

use super::place::{at_end, is_path};
use super::{Found, Line, Parser, Severity, Sink, held};

#[derive(Default)]
pub(super) struct Panic {
    /// The message follows on the lines below.
    open: Option<Found>,
    /// How many have.
    lines: usize,
}

impl Parser for Panic {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) -> Line {
        if let Some(found) = &mut self.open {
            // The first line is the message whatever it looks like; `left:` and `right:` belong to it.
            let more = self.lines < MOST_LINES
                && ["left: ", "right: "]
                    .iter()
                    .any(|word| line.trim_start().starts_with(word));
            if (self.lines == 0 || more) && !line.is_empty() {
                found.extend(line);
                self.lines += 1;
                return Line::Taken;
            }
        }
        self.close(sink);
        match head(line) {
            // Rust before 1.73 puts the message in front of the place.
            Some(found) if !found.message.is_empty() => {
                sink.add(found);
                Line::Taken
            }
            Some(found) => {
                (self.open, self.lines) = (Some(found), 0);
                Line::Taken
            }
            None => Line::Passed,
        }
    }

    fn close(&mut self, sink: &mut dyn Sink) {
        if let Some(mut found) = self.open.take() {
            if found.message.is_empty() {
                found.extend("panicked");
            }
            sink.add(found);
        }
    }

    fn held(&self) -> usize {
        held(self.open.as_ref())
    }
}

fn head(line: &str) -> Option<Found> {
    let (_, said) = line.strip_prefix("thread '")?.split_once(" panicked at ")?;
    let (message, place) = match said.strip_suffix(':') {
        Some(place) => ("", place),
        None => {
            let (message, place) = said.rsplit_once("', ")?;
            (message.strip_prefix('\'')?, place)
        }
    };
    let (path, line, column) = at_end(place)?;
    if line == 0 || !is_path(path) {
        return None;
    }
    let mut found = Found::new("rust", path, line, Severity::Error, message);
    found.column = column.filter(|&column| column > 0);
    Some(found)
}

/// The message, left and right.
const MOST_LINES: usize = 3;

//! A crash of Node: the place with its source and a caret, the error, and the stack below it.
//!
//! ```text
//! /x/app.js:3
//! const = 3;
//!       ^
//!
//! SyntaxError: Unexpected token '='
//!     at wrapSafe (node:internal/modules/cjs/loader:1464:18)
//! ```
//!
//! Where code cannot be parsed the place on top counts; else the first frame in the project's own code, because
//! on top stands where it was thrown, which may be inside a library. A stack without a place on top counts too.

use super::place::{at_end, from_url};
use super::{Found, LONGEST_PATH, Line, Parser, Severity, Sink};

#[derive(Default)]
pub(super) struct Node {
    crash: Option<Crash>,
}

#[derive(Default)]
struct Crash {
    /// On top, with the column of the caret below it.
    head: Option<(String, u32, Option<u32>)>,
    /// `TypeError: late`.
    error: Option<String>,
    /// The first frame of the project.
    own: Option<(String, u32, Option<u32>)>,
    /// Frames have begun.
    stack: bool,
    /// How many lines since it began, or since the error.
    lines: usize,
}

impl Parser for Node {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) -> Line {
        if let Some(crash) = &mut self.crash
            && let Some(place) = frame(line)
            && crash.error.is_some()
        {
            crash.stack = true;
            if crash.own.is_none() && sink.base().owns(&place.0) {
                crash.own = Some(place);
            }
            return Line::Taken;
        }
        if let Some(head) = head(line) {
            self.close(sink);
            self.crash = Some(Crash {
                head: Some(head),
                ..Crash::default()
            });
            return Line::Passed;
        }
        if let Some(crash) = &mut self.crash {
            crash.lines += 1;
            let over = crash.stack || crash.lines > MOST_LINES;
            match &mut crash.head {
                Some(head) if crash.error.is_none() && is_caret(line) => {
                    head.2 = column_of_caret(line);
                    return Line::Taken;
                }
                Some(_) | None if over => self.close(sink),
                Some(_) | None => {}
            }
        }
        if is_error(line) {
            let crash = self.crash.get_or_insert_default();
            if crash.error.is_none() || crash.head.is_none() {
                crash.error = Some(line.strip_prefix("Uncaught ").unwrap_or(line).to_owned());
                crash.lines = 0;
            }
        }
        // An error alone is only half a crash: whoever knows the line better may have it.
        Line::Passed
    }

    fn close(&mut self, sink: &mut dyn Sink) {
        let Some(crash) = self.crash.take() else {
            return;
        };
        let caret = matches!(crash.head, Some((.., Some(_))));
        // A place and an error are two lines that anybody may print.
        let Some(error) = crash.error.filter(|_| crash.stack || caret) else {
            return;
        };
        let head = crash.head.filter(|(path, ..)| sink.base().owns(path));
        let place = match error.starts_with("SyntaxError") && head.is_some() {
            true => head,
            false => crash.own.or(head).or_else(|| importer(&error, sink)),
        };
        if let Some((path, row, column)) = place {
            let mut found = Found::new("node", &path, row, Severity::Error, &error);
            found.column = column;
            sink.add(found);
        }
    }

    fn held(&self) -> usize {
        let place = |place: &Option<(String, u32, Option<u32>)>| {
            place.as_ref().map_or(0, |(path, ..)| path.capacity())
        };
        self.crash.as_ref().map_or(0, |crash| {
            place(&crash.head)
                + place(&crash.own)
                + crash.error.as_ref().map_or(0, String::capacity)
        })
    }
}

/// A line that is a place and nothing else.
fn head(line: &str) -> Option<(String, u32, Option<u32>)> {
    let known = ["/", "file://", "node:", "<anonymous_script>:"];
    if !known.iter().any(|start| line.starts_with(start)) {
        return None;
    }
    let (path, row, column) = at_end(line)?;
    let plain = column.is_none() && row > 0 && path.len() <= LONGEST_PATH;
    plain.then(|| (from_url(path), row, None))
}

/// `    at f (/x/app.js:3:11)`, `    at file:///x/app.mjs:3:11`.
fn frame(line: &str) -> Option<(String, u32, Option<u32>)> {
    let said = line.trim_start().strip_prefix("at ")?;
    if !line.starts_with(' ') {
        return None;
    }
    let place = match said
        .strip_suffix(')')
        .and_then(|said| said.split_once(" ("))
    {
        Some((_, place)) => place,
        None => said.strip_prefix("async ").unwrap_or(said),
    };
    match at_end(place) {
        Some((path, row, column)) if row > 0 && path.len() <= LONGEST_PATH => {
            Some((from_url(path), row, column.filter(|&column| column > 0)))
        }
        // `at JSON.parse (<anonymous>)`: part of the stack, and nowhere.
        Some(_) | None => Some(("<anonymous>".to_owned(), 0, None)),
    }
}

/// Who imports what is not there; such an error comes from where no code of the project runs yet.
fn importer(error: &str, sink: &dyn Sink) -> Option<(String, u32, Option<u32>)> {
    let (_, path) = error.rsplit_once(" imported from ")?;
    let known = path.len() <= LONGEST_PATH && sink.base().owns(path);
    known.then(|| (from_url(path), 1, None))
}

fn is_caret(line: &str) -> bool {
    let carets = line.trim();
    !carets.is_empty() && carets.bytes().all(|b| b == b'^')
}

fn column_of_caret(line: &str) -> Option<u32> {
    let before = line.chars().take_while(|&c| c != '^').count();
    u32::try_from(before + 1).ok()
}

/// `TypeError: late`, `Error [ERR_X]: message`, `Uncaught Error: message`.
fn is_error(line: &str) -> bool {
    let line = line.strip_prefix("Uncaught ").unwrap_or(line);
    let (name, said) = line.split_once(':').unwrap_or((line, ""));
    let name = name.split_once(" [").map_or(name, |(name, _)| name);
    let upper = name.starts_with(|c: char| c.is_ascii_uppercase());
    let named = upper && (name.ends_with("Error") || name.ends_with("Exception"));
    named
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && (said.is_empty() || said.starts_with(' '))
}

/// Source, caret, an empty line; or a message of several lines between an error and its stack.
const MOST_LINES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_errors_and_heads_are_told_apart() {
        assert!(is_error("TypeError: late") && is_error("Error [ERR_X]: a") && is_error("Error"));
        assert!(!is_error("Errors: 3") && !is_error("an Error: x") && !is_error("error: x"));
        assert_eq!(
            frame("    at f (/x y/app.js:3:11)"),
            Some(("/x y/app.js".to_owned(), 3, Some(11)))
        );
        assert_eq!(
            frame("    at async file:///x%20y/app.mjs:3:11"),
            Some(("/x y/app.mjs".to_owned(), 3, Some(11)))
        );
        assert_eq!(frame("at the end"), None);
        assert_eq!(head("/x/app.js:3"), Some(("/x/app.js".to_owned(), 3, None)));
        assert_eq!(head("/x/app.js:3:1"), None);
        assert_eq!(head("/x/app.js:3 x"), None);
    }
}

//! The lines of source that problems point at.
//!
//! Most tools print none, and those that do each draw them in their own way; so they are read from the files, once for
//! each list of problems.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use unicode_width::UnicodeWidthChar as _;

use super::sanitise;
use crate::diagnostics::{Problem, Problems};

/// The lines of source that problems point at, by file and line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpts(HashMap<(PathBuf, u32), Excerpt>);

/// What stands at a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// The line before, printable.
    pub before: Option<String>,
    /// The line itself, printable.
    pub line: String,
    /// As it is in the file.
    raw: String,
}

impl Excerpt {
    /// A line and the one before it, as they are in the file.
    pub fn new(before: Option<&str>, line: &str) -> Excerpt {
        Excerpt {
            before: before.map(shown),
            line: shown(line),
            raw: line.to_owned(),
        }
    }

    /// In which column of [`Excerpt::line`] the caret belongs, from 0.
    pub fn caret(&self, problem: &Problem) -> Option<usize> {
        let column = problem.column?.checked_sub(1)? as usize;
        let chars = match counts_bytes(problem) {
            true => self
                .raw
                .char_indices()
                .take_while(|(at, _)| *at < column)
                .count(),
            false => column,
        };
        let width = |c: char| {
            if c == '\t' {
                TAB.len()
            } else {
                c.width().unwrap_or(0)
            }
        };
        Some(self.raw.chars().take(chars).map(width).sum())
    }
}

impl Excerpts {
    /// Reads what the first of `problems` point at. A file that cannot be read has nothing to show.
    pub fn read(problems: &Problems) -> Excerpts {
        let mut excerpts = Excerpts::default();
        excerpts.add(problems);
        excerpts
    }

    /// Reads what the first of `problems` point at, too.
    pub fn add(&mut self, problems: &Problems) {
        let mut wanted: HashMap<&Path, Vec<u32>> = HashMap::new();
        for problem in problems.list.iter().take(MOST_EXCERPTS) {
            if let Some(file) = &problem.file {
                wanted.entry(file).or_default().push(problem.line);
            }
        }
        for (file, lines) in wanted {
            self.read_file(file, lines);
        }
    }

    /// What stands there.
    pub fn of(&self, problem: &Problem) -> Option<&Excerpt> {
        self.0.get(&(problem.file.clone()?, problem.line))
    }

    /// Says what stands in line `line` of `file`.
    pub fn insert(&mut self, file: &Path, line: u32, excerpt: Excerpt) {
        self.0.insert((file.to_owned(), line), excerpt);
    }

    fn read_file(&mut self, file: &Path, mut lines: Vec<u32>) {
        lines.sort_unstable();
        // Whatever it is that a tool names, no more of it is read than people write.
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        let Some(opened) = regular.then(|| File::open(file).ok()).flatten() else {
            return;
        };
        let mut reader = BufReader::new(opened.take(LARGEST_FILE));
        let (mut number, mut before) = (0, None);
        let last = lines.last().copied().unwrap_or(0);
        let mut bytes = Vec::new();
        while number < last && matches!(reader.read_until(b'\n', &mut bytes), Ok(1..)) {
            number += 1;
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_end_matches(['\n', '\r']).to_owned();
            if lines.binary_search(&number).is_ok() {
                let excerpt = Excerpt::new(before.as_deref(), &line);
                self.0.insert((file.to_owned(), number), excerpt);
            }
            before = Some(line);
            bytes.clear();
        }
    }
}

/// Compilers of the C family and Go count bytes; others count characters, more or less.
fn counts_bytes(problem: &Problem) -> bool {
    matches!(problem.tool.as_str(), "go" | "vet" | "gnu")
}

fn shown(line: &str) -> String {
    sanitise::label(&line.replace('\t', TAB))
}

/// Narrower than a terminal's: an excerpt is indented already.
const TAB: &str = "    ";
/// More than anybody looks at before the next build.
const MOST_EXCERPTS: usize = 200;
/// A line of a larger file is of no source that a person wrote.
const LARGEST_FILE: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Severity;

    fn problem(file: &Path, line: u32, column: u32, tool: &str) -> Problem {
        Problem {
            path: "a".to_owned(),
            file: Some(file.to_owned()),
            line,
            column: Some(column),
            end: None,
            severity: Severity::Error,
            message: "wrong".to_owned(),
            code: None,
            tool: tool.to_owned(),
            rendered: None,
        }
    }

    #[test]
    fn the_caret_stands_under_what_the_tool_means() {
        let file = Path::new("/a");
        let caret = |line: &str, column, tool| {
            Excerpt::new(None, line).caret(&problem(file, 1, column, tool))
        };
        assert_eq!(caret("\treturn usr.Name", 9, "go"), Some(11));
        assert_eq!(caret("let grüße = x;", 15, "go"), Some(12));
        assert_eq!(caret("let grüße = x;", 13, "cargo"), Some(12));
        assert_eq!(caret("你好 x", 4, "tsc"), Some(5));
        assert_eq!(caret("short", 80, "cargo"), Some(5));
    }

    #[test]
    fn lines_are_read_where_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.go");
        std::fs::write(&file, "one\r\n\ttwo\nthr\u{1b}[2Jee\n").expect("written");
        let list = vec![
            problem(&file, 2, 1, "go"),
            problem(&file, 3, 1, "go"),
            problem(&file, 9, 1, "go"),
        ];
        let problems = Problems {
            list,
            errors: 3,
            ..Problems::default()
        };
        let excerpts = Excerpts::read(&problems);
        let second = excerpts.of(&problems.list[0]).expect("a line");
        assert_eq!(
            (second.before.as_deref(), second.line.as_str()),
            (Some("one"), "    two")
        );
        let third = excerpts.of(&problems.list[1]).expect("a line");
        assert!(!third.line.contains('\u{1b}'));
        assert_eq!(excerpts.of(&problems.list[2]), None);
    }

    #[test]
    fn what_is_no_file_shows_nothing() {
        let list = vec![
            problem(Path::new("/dev/zero"), 1, 1, "go"),
            problem(Path::new("/nowhere"), 1, 1, "go"),
        ];
        let problems = Problems {
            list,
            ..Problems::default()
        };
        assert_eq!(Excerpts::read(&problems), Excerpts::default());
    }
}

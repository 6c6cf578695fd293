//! `[[problem]]`: a user's own expression for the lines of a tool that devwatch does not know.

use std::fmt;
use std::path::PathBuf;

use regex::Regex;

use super::place::{from_url, number};
use super::{Found, From, LONGEST_PATH, OneLine, Severity, Sink, clipped};

/// One `[[problem]]`.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// By which a rule's `problems` names it; without one only "auto" reads with it.
    pub name: Option<String>,
    /// How bad what it matches is, where no group `severity` says so. Default: an error.
    pub severity: Severity,
    /// Where relative paths hang. Default: the command's working directory.
    pub base: PatternBase,
    regex: Regex,
}

/// `base` of a [`Pattern`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PatternBase {
    /// The command's working directory.
    #[default]
    Cwd,
    /// The project's root.
    Root,
    /// This folder, absolute.
    Folder(PathBuf),
}

/// Why an expression cannot find problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPattern {
    /// It is no expression; why, in one line.
    Syntax(String),
    /// It has no group of this name, which it needs.
    Without(&'static str),
    /// It has a group of this name, which nobody reads.
    Unknown(String),
}

impl Pattern {
    /// The names of the groups that are read. The first two have to be there.
    pub const GROUPS: [&'static str; 8] = [
        "file", "line", "col", "end_line", "end_col", "severity", "message", "code",
    ];

    /// A pattern without a name, for errors, with paths in the working directory.
    ///
    /// # Errors
    /// It is no regular expression, lacks `(?<file>...)` or `(?<line>...)`, or names a group that nobody reads.
    pub fn new(expression: &str) -> Result<Pattern, BadPattern> {
        let regex = Regex::new(expression).map_err(|error| {
            // regex draws several lines; its last one says it.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            BadPattern::Syntax(last.strip_prefix("error: ").unwrap_or(last).to_owned())
        })?;
        let names: Vec<&str> = regex.capture_names().flatten().collect();
        if let Some(unknown) = names.iter().find(|name| !Pattern::GROUPS.contains(name)) {
            return Err(BadPattern::Unknown((*unknown).to_owned()));
        }
        for needed in ["file", "line"] {
            if !names.contains(&needed) {
                return Err(BadPattern::Without(needed));
            }
        }
        Ok(Pattern {
            name: None,
            severity: Severity::Error,
            base: PatternBase::default(),
            regex,
        })
    }

    /// The expression as it was written.
    pub fn expression(&self) -> &str {
        self.regex.as_str()
    }

    fn find(&self, line: &str, sink: &dyn Sink) -> Option<Found> {
        let groups = self.regex.captures(line)?;
        let text = |name| groups.name(name).map(|group| group.as_str().trim());
        let count = |name| text(name).and_then(number).filter(|&n| n > 0);
        let path = text("file").filter(|path| !path.is_empty() && path.len() <= LONGEST_PATH)?;
        let severity = text("severity").and_then(Severity::read);
        let message = text("message").filter(|message| !message.is_empty());
        let tool = self.name.as_deref().unwrap_or("own");
        let mut found = Found::new(
            tool,
            &from_url(path),
            count("line")?,
            severity.unwrap_or(self.severity),
            message.unwrap_or(line),
        );
        found.column = count("col");
        found.end = count("end_line")
            .or(count("end_col").map(|_| found.line))
            .zip(count("end_col"));
        found.code = text("code")
            .filter(|code| !code.is_empty())
            .map(|code| clipped(code, 200).to_owned());
        found.from = match &self.base {
            PatternBase::Cwd => From::Nothing,
            PatternBase::Root => From::Above(sink.base().root.clone()),
            PatternBase::Folder(folder) => From::Above(folder.clone()),
        };
        Some(found)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        let key = |pattern: &Pattern| {
            let words = (pattern.name.clone(), pattern.expression().to_owned());
            (words, pattern.severity, pattern.base.clone())
        };
        key(self) == key(other)
    }
}

impl Eq for Pattern {}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPattern::Syntax(why) => write!(f, "no regular expression: {why}"),
            BadPattern::Without(group) => write!(f, "no group (?<{group}>...)"),
            BadPattern::Unknown(group) => write!(f, "unknown group (?<{group}>...)"),
        }
    }
}

impl std::error::Error for BadPattern {}

/// The patterns that one rule reads with, the first match wins.
pub(super) struct Own(pub(super) Vec<Pattern>);

impl OneLine for Own {
    fn read(&self, line: &str, sink: &mut dyn Sink) -> Option<Found> {
        self.0.iter().find_map(|pattern| pattern.find(line, sink))
    }
}

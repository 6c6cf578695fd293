//! eslint: its usual form, a file and below it what is wrong there; and `-f json`.

use serde_json::Value;

use super::place::{extension, is_path, number};
use super::{Found, LONGEST_PATH, Line, Parser, Severity, Sink};

pub(super) struct Eslint {
    /// The command is known to be eslint; else only its lines speak for it.
    sure: bool,
    /// The file that the lines below are about.
    file: Option<String>,
}

impl Eslint {
    pub(super) fn new(sure: bool) -> Eslint {
        Eslint { sure, file: None }
    }
}

impl Parser for Eslint {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) -> Line {
        if !line.starts_with(' ') {
            let likely = || is_path(line) && extension(line).is_some();
            let file = line.starts_with('/') || (self.sure && likely());
            self.file = (file && line.len() <= LONGEST_PATH).then(|| line.to_owned());
            return Line::Passed;
        }
        let Some(found) = self.file.as_deref().and_then(|file| found(file, line)) else {
            return Line::Passed;
        };
        sink.add(found);
        Line::Taken
    }

    fn close(&mut self, _: &mut dyn Sink) {}

    fn held(&self) -> usize {
        self.file.as_ref().map_or(0, String::capacity)
    }
}

/// `  1:7   warning  message   rule`.
fn found(file: &str, text: &str) -> Option<Found> {
    let (place, said) = text.trim().split_once("  ")?;
    let (row, column) = place.split_once(':')?;
    let row = number(row).filter(|&row| row > 0)?;
    let column = number(column)?;
    let (word, said) = said.trim_start().split_once("  ")?;
    let severity = match word {
        "error" => Severity::Error,
        "warning" => Severity::Warning,
        _ => return None,
    };
    let said = said.trim();
    // The column of rules is set off by at least two spaces; what is no rule has none.
    let rule = said
        .rsplit_once("  ")
        .filter(|(_, rule)| !rule.contains(' '));
    let (message, code) = rule.map_or((said, None), |(message, rule)| (message, Some(rule)));
    let mut found = Found::new("eslint", file, row, severity, message);
    found.column = (column > 0).then_some(column);
    found.code = code.map(str::to_owned);
    Some(found)
}

/// Reads what `-f json` says of one file: what to show of it.
pub(super) fn record(record: &Value, sink: &mut dyn Sink) -> Option<String> {
    let path = record["filePath"].as_str()?;
    let messages = record["messages"].as_array()?;
    let mut shown = String::new();
    for message in messages {
        let count = |key: &str| {
            let number = message[key].as_u64()?;
            u32::try_from(number).ok().filter(|&n| n > 0)
        };
        let severity = match message["severity"].as_u64() {
            Some(2) => Severity::Error,
            Some(_) | None => Severity::Warning,
        };
        let text = message["message"].as_str().unwrap_or_default();
        // What is wrong with a file as a whole has no line.
        let row = count("line").unwrap_or(1);
        let mut found = Found::new("eslint", path, row, severity, text);
        found.column = count("column");
        found.end = count("endLine").zip(count("endColumn"));
        found.code = message["ruleId"].as_str().map(str::to_owned);
        let column = found.column.unwrap_or(1);
        let code = found.code.as_deref().map(|code| format!(" [{code}]"));
        shown += &format!(
            "{path}:{row}:{column}: {severity}: {text}{}\n",
            code.unwrap_or_default()
        );
        sink.add(found);
    }
    Some(shown)
}

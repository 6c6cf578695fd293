//! What is wrong with a config file, and where: built by `parse`, shown by the command line and on live reload.
//!
//! Pure. A diagnostic keeps the line it is about, so that it can still be shown when the file has changed.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::screen::sanitise::hides;

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// The config can be used, and probably does not say what was meant.
    Warning,
}

impl Severity {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One finding in a config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the config can be used in spite of it.
    pub severity: Severity,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1; one past the end of the line at most.
    pub column: usize,
    /// What is wrong, in one line.
    pub message: String,
    /// What to write instead, in a few words.
    pub label: Option<String>,
    /// What is possible, in one line or a few.
    pub help: Option<String>,
    /// The byte where it begins, for the order of reports.
    pub(crate) offset: usize,
    excerpt: String,
    carets: usize,
}

impl Diagnostic {
    /// An error about `span`, a byte range of `text`. A span that reaches over several lines is shown on its first.
    pub fn error(text: &str, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Error, text, span, message.into())
    }

    /// A warning about `span`, a byte range of `text`.
    pub fn warning(text: &str, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Warning, text, span, message.into())
    }

    /// Adds what stands beside the carets.
    pub fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = Some(label.into());
        self
    }

    /// Adds what stands below the excerpt.
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    fn new(severity: Severity, text: &str, span: Range<usize>, message: String) -> Diagnostic {
        let start = floor_char_boundary(text, span.start);
        let end = floor_char_boundary(text, span.end.max(span.start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let excerpt = text[line_start..line_end].trim_end_matches('\r');
        // An empty span, as at the end of the file, still gets one caret.
        let carets = text[start..end.min(line_start + excerpt.len()).max(start)]
            .chars()
            .count()
            .max(1);
        Diagnostic {
            severity,
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            message,
            label: None,
            help: None,
            offset: start,
            excerpt: printable(excerpt),
            carets,
        }
    }

    fn render(&self, file: &std::path::Path, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.severity.word();
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        // Tabs stay tabs, so that the carets stand below what they mean whatever the width of a tab.
        let indent: String = self
            .excerpt
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        writeln!(f, "{word}: {}", self.message)?;
        writeln!(
            f,
            "{gutter}--> {}:{}:{}",
            file.display(),
            self.line,
            self.column
        )?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{}", format!("{number} | {}", self.excerpt).trim_end())?;
        write!(f, "{gutter} | {indent}{}", "^".repeat(self.carets))?;
        if let Some(label) = &self.label {
            write!(f, " {label}")?;
        }
        writeln!(f)?;
        if let Some(help) = &self.help {
            writeln!(f, "{gutter} |")?;
            writeln!(f, "help: {help}")?;
        }
        Ok(())
    }
}

/// Everything that one reading of a config file found, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// The file as it is shown: relative to the working directory where it lies below it.
    pub file: PathBuf,
    /// The findings, in the order of the file.
    pub items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Each finding in one line, as editors read it: `devwatch.toml:14:1: error: unknown key ...`, with the label
    /// behind a semicolon.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.items.iter().map(|item| {
            let (line, column) = (item.line, item.column);
            let word = item.severity.word();
            let place = format!("{}:{line}:{column}: {word}", self.file.display());
            match &item.label {
                Some(label) => format!("{place}: {}; {label}", item.message),
                None => format!("{place}: {}", item.message),
            }
        })
    }
}

/// The long form, with the line, carets and help; findings are separated by an empty line, the last ends its line.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            item.render(&self.file, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// A config file is text from the world: what could move the cursor or hide is shown as a mark.
fn printable(line: &str) -> String {
    line.chars()
        .map(|c| if c != '\t' && hides(c) { '\u{fffd}' } else { c })
        .collect()
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, span: Range<usize>, expected: Expect) {
        let item = Diagnostic::error(text, span, "unknown key `b`")
            .label("did you mean `c`?")
            .help("allowed keys: c");
        let all = Diagnostics {
            file: PathBuf::from("devwatch.toml"),
            items: vec![item],
        };
        expected.assert_eq(&format!("{all}{}\n", all.lines().collect::<String>()));
    }

    #[test]
    fn carets_stand_below_the_span() {
        check(
            "a = 1\n\tbé = 2\r\n",
            7..10,
            expect![[r#"
                error: unknown key `b`
                 --> devwatch.toml:2:2
                  |
                2 | 	bé = 2
                  | 	^^ did you mean `c`?
                  |
                help: allowed keys: c
                devwatch.toml:2:2: error: unknown key `b`; did you mean `c`?
            "#]],
        );
    }

    #[test]
    fn a_span_over_several_lines_is_shown_on_its_first() {
        check(
            "a = [\n1,\n2]",
            4..11,
            expect![[r#"
                error: unknown key `b`
                 --> devwatch.toml:1:5
                  |
                1 | a = [
                  |     ^ did you mean `c`?
                  |
                help: allowed keys: c
                devwatch.toml:1:5: error: unknown key `b`; did you mean `c`?
            "#]],
        );
    }

    #[test]
    fn the_end_of_the_file_and_beyond_is_still_a_place() {
        for span in [6..6, 6..9, 60..70] {
            let item = Diagnostic::error("a = 1\n", span, "m");
            assert_eq!((item.line, item.column), (2, 1));
        }
    }

    #[test]
    fn escapes_in_the_file_do_not_reach_the_terminal() {
        let item = Diagnostic::error("a = \x1b[2J", 0..1, "m");
        assert!(!item.excerpt.contains('\x1b'));
    }
}

//! `file:line:col: error: message [code]`, which most tools print: gcc, clang, mypy, ruff and flake8 in short form,
//! linkers, make.

use super::place::{self, Place};
use super::{Found, OneLine, Severity, Sink};

pub(super) struct Gnu {
    /// The command is known to print so; else only its lines speak for it.
    pub(super) sure: bool,
}

impl OneLine for Gnu {
    fn read(&self, line: &str, _: &mut dyn Sink) -> Option<Found> {
        let place = place::colon(line)?;
        // rustc's short form, in the output of a script that calls cargo.
        let tool = match place.path.ends_with(".rs") {
            true => "cargo",
            false => "gnu",
        };
        found(&place, tool).or_else(|| self.doubtful(&place))
    }
}

impl Gnu {
    /// A place and a message, but not a word of how bad it is: an error, if there is such a file.
    fn doubtful(&self, place: &Place<'_>) -> Option<Found> {
        let probable = place::extension(place.path).is_some()
            && !place.rest.is_empty()
            && (self.sure || place.column.is_some());
        probable.then(|| {
            let (message, code) = trailing_code(place.rest);
            let mut found = at(place, "gnu", Severity::Error, message);
            found.code = code;
            found.doubtful = true;
            found
        })
    }
}

/// What a place and the words behind it say, if they leave no doubt.
pub(super) fn found(place: &Place<'_>, tool: &str) -> Option<Found> {
    if let Some((severity, code, message)) = severity(place.rest) {
        let (message, trailing) = trailing_code(message);
        let mut found = at(place, tool, severity, message);
        found.code = code.map(str::to_owned).or(trailing);
        return Some(found);
    }
    if let Some((code, message)) = linter_code(place.rest) {
        let severity = match code.starts_with('W') {
            true => Severity::Warning,
            false => Severity::Error,
        };
        let mut found = at(place, tool, severity, message);
        found.code = Some(code.to_owned());
        return Some(found);
    }
    let says = |text| place.rest.starts_with(text);
    if says("undefined reference to ") || says("multiple definition of ") {
        return Some(at(place, tool, Severity::Error, place.rest));
    }
    let stop = place.rest.strip_prefix("*** ")?;
    Some(at(place, "make", Severity::Error, stop))
}

/// `error: `, `fatal error: `, `error[E0425]: `, `[error] ` and what follows.
pub(super) fn severity(text: &str) -> Option<(Severity, Option<&str>, &str)> {
    if let Some((word, message)) = text
        .strip_prefix('[')
        .and_then(|text| text.split_once("] "))
    {
        return Some((Severity::read(word)?, None, message));
    }
    let (head, message) = text.split_once(':')?;
    // `err:` and `note: ` are words; `f: x` is the beginning of a sentence about f.
    if head.len() < 3 || head.len() > LONGEST_HEAD {
        return None;
    }
    let (word, code) = match head.strip_suffix(']').and_then(|head| head.split_once('[')) {
        Some((word, code)) => (word, Some(code)),
        None => (head, None),
    };
    let message = message.trim_start();
    (!message.is_empty()).then_some((Severity::read(word)?, code, message))
}

/// `F401 [*] message`, `W0611: message`.
pub(super) fn linter_code(text: &str) -> Option<(&str, &str)> {
    let (code, message) = text.split_once(' ')?;
    let code = code.strip_suffix(':').unwrap_or(code);
    let letters = code.bytes().take_while(u8::is_ascii_uppercase).count();
    let digits = code.len() - letters;
    let plain = (1..=5).contains(&letters)
        && (2..=5).contains(&digits)
        && code.bytes().skip(letters).all(|b| b.is_ascii_digit());
    let message = message.strip_prefix("[*] ").unwrap_or(message).trim_start();
    (plain && !message.is_empty()).then_some((code, message))
}

/// The code in brackets at the end of a message: `[-Wunused]`, `[return-value]`.
fn trailing_code(message: &str) -> (&str, Option<String>) {
    let code = message
        .strip_suffix(']')
        .and_then(|message| message.rsplit_once(" ["))
        .filter(|(_, code)| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.,=+/:".contains(c);
            code.len() <= 100
                && code.chars().all(plain)
                && code.contains(|c: char| c.is_ascii_alphabetic())
        });
    match code {
        Some((message, code)) => (message.trim_end(), Some(code.to_owned())),
        None => (message, None),
    }
}

/// A problem at `place`.
pub(super) fn at(place: &Place<'_>, tool: &str, severity: Severity, message: &str) -> Found {
    let mut found = Found::new(tool, place.path, place.line, severity, message);
    found.column = place.column;
    found.end = place.end;
    found
}

/// `internal compiler error`, or a word and a code of some length.
const LONGEST_HEAD: usize = 60;

//! cargo's messages as JSON: a problem each, and the text for people that is shown instead.

use serde_json::Value;

use super::{
    Found, From, LONGEST_PATH, LONGEST_RENDERED, OneLine, Severity, Sink, clipped, gnu, place,
};

/// The short form, `src/main.rs:4:20: error[E0425]: message`.
pub(super) struct Short;

impl OneLine for Short {
    fn read(&self, line: &str, _: &mut dyn Sink) -> Option<Found> {
        place::colon(line).and_then(|place| gnu::found(&place, "cargo"))
    }
}

/// Takes one message: what to show of it. None if it is no message of cargo's.
pub(super) fn message(message: &Value, sink: &mut dyn Sink) -> Option<String> {
    let reason = message["reason"].as_str()?;
    if reason != "compiler-message" {
        // Artefacts and the end of the build; in its text for people cargo says them in words of its own.
        return Some(String::new());
    }
    let said = &message["message"];
    let text = said["message"].as_str()?;
    let rendered = said["rendered"].as_str().unwrap_or_default();
    // cargo says these itself, once for all targets.
    let counts = text.starts_with("aborting due to ")
        || text.ends_with(" warning emitted")
        || text.ends_with(" warnings emitted");
    if counts || said["level"] == "failure-note" {
        return Some(String::new());
    }
    // The same error comes for every target that has the file; one time is enough to be read.
    let new = match found(message) {
        Some(found) => sink.add(found),
        None => true,
    };
    let end = if rendered.ends_with('\n') { "" } else { "\n" };
    Some(match new && !rendered.is_empty() {
        true => format!("{rendered}{end}"),
        false => String::new(),
    })
}

fn found(message: &Value) -> Option<Found> {
    let said = &message["message"];
    let severity = match said["level"].as_str()? {
        "error" | "error: internal compiler error" => Severity::Error,
        "warning" => Severity::Warning,
        _ => Severity::Info,
    };
    let spans = said["spans"].as_array()?;
    let primary = spans.iter().find(|span| span["is_primary"] == true)?;
    let span = written(primary);
    let count = |key: &str| {
        let number = span[key].as_u64()?;
        u32::try_from(number).ok().filter(|&n| n > 0)
    };
    let path = span["file_name"]
        .as_str()
        .filter(|path| path.len() <= LONGEST_PATH)?;
    let text = said["message"].as_str()?;
    let mut found = Found::new("cargo", path, count("line_start")?, severity, text);
    found.column = count("column_start");
    found.end = count("line_end").zip(count("column_end"));
    found.code = said["code"]["code"]
        .as_str()
        .map(|code| clipped(code, 200).to_owned());
    let rendered = said["rendered"].as_str();
    found.rendered = rendered.map(|text| clipped(text, LONGEST_RENDERED).to_owned());
    // Paths hang on the workspace, which is the package's folder or one above it.
    let package = message["manifest_path"]
        .as_str()
        .and_then(|path| path.rsplit_once('/'));
    if let Some((folder, _)) = package.filter(|(folder, _)| folder.len() <= LONGEST_PATH) {
        found.from = From::Above(folder.into());
    }
    Some(found)
}

/// Where a span was written: a macro of another crate stands for the place that calls it.
fn written(span: &Value) -> &Value {
    let mut span = span;
    for _ in 0..DEEPEST_MACRO {
        let path = span["file_name"].as_str().unwrap_or_default();
        let elsewhere = path.starts_with('<') || path.starts_with("/rustc/");
        let outer = &span["expansion"]["span"];
        if !elsewhere || outer.is_null() {
            break;
        }
        span = outer;
    }
    span
}

/// Macros that call macros; the compiler itself gives up at 128.
const DEEPEST_MACRO: usize = 128;

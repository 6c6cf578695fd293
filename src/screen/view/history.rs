//! The last cycles, on screens that have the room.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use super::Scene;
use super::words::{count, quick, took};
use crate::history::Past;
use crate::screen::sanitise;
use crate::supervisor::event::{Cause, Outcome, RestartKind};

/// One row for each cycle, the newest first.
pub(super) fn rows(scene: &Scene<'_>, height: u16) -> Vec<Vec<Span<'static>>> {
    let cycles = scene.overview.history.cycles.iter();
    cycles.take(usize::from(height)).map(row).collect()
}

fn row(past: &Past) -> Vec<Span<'static>> {
    let dim = Style::new().add_modifier(Modifier::DIM);
    let bad = Style::new().fg(Color::Red);
    let trigger = cut(&trigger(&past.cause), TRIGGER);
    let mut row = vec![
        Span::styled(past.at.clone(), dim),
        Span::raw(format!(" #{} {trigger:<TRIGGER$}", past.build)),
    ];
    let built = past.built.unwrap_or(past.took);
    let failed = matches!(past.outcome, Outcome::Failed { .. });
    let build = match (failed, past.ran, past.cached) {
        (true, _, _) => format!("build FAILED {}", took(built)),
        (false, true, _) => format!("build {}", took(built)),
        (false, false, true) => format!("cached {}", took(built)),
        (false, false, false) => "no build".to_owned(),
    };
    match &past.outcome {
        Outcome::Failed { serving, .. } => {
            row.push(Span::styled(format!("{build}  "), bad));
            let errors = match past.errors {
                0 => String::new(),
                errors => count(errors, "error"),
            };
            let kept = serving.map(|serving| format!("(gen {serving} kept serving)"));
            row.push(Span::raw(format!(
                "{errors:<12}{}",
                kept.unwrap_or_default()
            )));
        }
        Outcome::Serving(serving) => {
            let (how, after) = match serving.restart {
                Some(RestartKind::Hot(_)) => ("restart hot", serving.accept),
                Some(RestartKind::Cold | RestartKind::Hold) => ("restart cold", serving.accept),
                None => ("start", serving.accept),
            };
            let restart = format!("{how} {}", quick(after));
            let latency = past
                .latency
                .map(|latency| format!("serving {}", took(latency)));
            let text = format!("{build:<13}{restart:<19}{}", latency.unwrap_or_default());
            row.push(Span::raw(text));
        }
        Outcome::Crashed {
            generation,
            exit,
            reason,
            ..
        } => {
            let why = reason.as_deref().map(sanitise::label);
            let why = why
                .or(exit.map(|exit| format!("exit {exit}")))
                .unwrap_or_default();
            row.push(Span::raw(format!("{build:<13}")));
            row.push(Span::styled(
                format!("gen {generation} CRASHED  {why}"),
                bad,
            ));
        }
        Outcome::Ok {
            exited: Some(generation),
        } => {
            row.push(Span::raw(format!("{build:<13}gen {generation} exited")));
        }
        Outcome::Ok { exited: None } => row.push(Span::raw(format!("{build:<13}ok"))),
        Outcome::Unchanged { .. } | Outcome::Superseded => {
            row.push(Span::raw(format!("{build:<13}unchanged")));
        }
    }
    row
}

/// What set it off, with its folder.
fn trigger(cause: &Cause) -> String {
    match cause {
        Cause::Start => "start".to_owned(),
        Cause::Request => "request".to_owned(),
        Cause::Crash => "crash".to_owned(),
        Cause::Files(files) => {
            let mut names = files
                .iter()
                .map(|file| sanitise::label(&file.to_string_lossy()));
            let first = names.next().unwrap_or_default();
            let rest: String = names.take(TRIGGER).map(|name| format!(" {name}")).collect();
            match files.len() {
                more @ 2.. if first.len() + rest.len() >= TRIGGER => {
                    format!("{first} +{}", more - 1)
                }
                _ => first + &rest,
            }
        }
    }
}

/// The end of a path says more than its beginning.
fn cut(text: &str, most: usize) -> String {
    let chars = text.chars().count();
    match chars < most {
        true => text.to_owned(),
        false => format!(
            "…{} ",
            text.chars().skip(chars + 2 - most).collect::<String>()
        ),
    }
}

/// Columns for what set a cycle off.
const TRIGGER: usize = 31;

//! The first rows: what is, since when, and how it came to be.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use super::Scene;
use super::fit::Part;
use super::words::{count, lasted, so_far, sparkline, took};
use crate::history::{Down, Past, Trouble};
use crate::overview::Word;
use crate::plain::printable;
use crate::supervisor::event::{Cause, Exit, Outcome, Pid};
use crate::supervisor::status::{Activity, Freshness, Swap};

const PLAIN: Style = Style::new();
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const GOOD: Style = Style::new().fg(Color::Green);
const BUSY: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

/// `[STATE] · project · gen · pid · up · freshness · counts`.
pub(super) fn state(scene: &Scene<'_>) -> Vec<Part> {
    let overview = scene.overview;
    let (status, history) = (&overview.status, &overview.history);
    let word = overview.word();
    let mut parts = vec![
        Part::new(9, format!("[{word}]"), colour(word)).stays(),
        Part::new(4, printable(&overview.project), BOLD),
    ];
    let down = match &history.trouble {
        Some(Trouble::Down(down)) if status.serving.is_none() && status.swap.is_none() => {
            Some(down)
        }
        Some(_) | None => None,
    };
    if let Some(down) = down {
        parts.extend(gone(down));
    } else if let Some(Swap {
        old: Some(old),
        new: Some(new),
        ..
    }) = &status.swap
    {
        let generations = format!("gen {}→{}", old.generation, new.generation);
        parts.push(Part::new(6, generations, PLAIN));
        let pids = match (old.pid, new.pid) {
            (Some(old), Some(new)) => Some(format!("pid {old}→{new}")),
            (None, Some(pid)) | (Some(pid), None) => Some(format!("pid {pid}")),
            (None, None) => None,
        };
        parts.extend(pids.map(|pids| Part::new(3, pids, PLAIN)));
    } else if let Some(process) = status.serving.or(status.swap.and_then(|swap| swap.new)) {
        parts.push(Part::new(6, format!("gen {}", process.generation), PLAIN));
        parts.extend(process.pid.map(pid));
        if let Some(since) = process.ready_at {
            let up = scene.now.saturating_duration_since(since);
            parts.push(Part::new(2, format!("up {}", lasted(up)), PLAIN));
        }
    }
    if status.has_server {
        parts.push(freshness(scene));
    }
    if history.hot + history.cold > 0 {
        let counts = format!("hot {} cold {}", history.hot, history.cold);
        parts.push(Part::new(1, counts, DIM));
    }
    parts
}

fn pid(pid: Pid) -> Part {
    Part::new(3, format!("pid {pid}"), PLAIN)
}

fn gone(down: &Down) -> Vec<Part> {
    let mut parts = vec![Part::new(6, format!("gen {} down", down.generation), PLAIN)];
    let exit = down.exit.map(|exit| match exit {
        Exit::Code(code) => format!("exit {code}"),
        Exit::Signal(_) | Exit::Lost => exit.to_string(),
    });
    parts.extend(exit.map(|exit| Part::new(5, exit, PLAIN)));
    let lived = down.lived.map(|lived| format!("lived {}", so_far(lived)));
    parts.extend(lived.map(|lived| Part::new(4, lived, PLAIN)));
    parts
}

fn freshness(scene: &Scene<'_>) -> Part {
    let status = &scene.overview.status;
    let (text, style) = match status.freshness {
        Freshness::Fresh => ("FRESH".to_owned(), GOOD),
        Freshness::NotServing => ("NOT SERVING".to_owned(), BAD),
        Freshness::Stale(since) if status.activity == Activity::Resting => {
            (format!("STALE since {}", (scene.clock)(since)), BAD)
        }
        Freshness::Stale(since) => {
            let since = scene.now.saturating_duration_since(since);
            (format!("STALE {}", so_far(since)), BUSY)
        }
    };
    Part::new(8, text.clone(), style)
        .or(
            text.split(" since").next().unwrap_or_default().to_owned(),
            style,
        )
        .stays()
}

fn colour(word: Word) -> Style {
    match word {
        Word::Serving => GOOD.add_modifier(Modifier::BOLD),
        Word::Starting | Word::Building | Word::HotRestart | Word::ColdRestart | Word::Stopping => {
            BUSY.add_modifier(Modifier::BOLD)
        }
        Word::BuildFailed | Word::Crashed | Word::ConfigError => BAD,
        Word::Paused => Style::new().fg(Color::Magenta).add_modifier(Modifier::BOLD),
        Word::Idle => BOLD,
    }
}

/// `build #N … · problems · save→serve · files`.
pub(super) fn build(scene: &Scene<'_>) -> Vec<Part> {
    let overview = scene.overview;
    let history = &overview.history;
    let word = overview.word();
    // A start after a crash, or because somebody asked, says nothing about a build.
    let tells = |past: &&Past| {
        let changed = matches!(past.cause, Cause::Files(_) | Cause::Start);
        let goes_on = matches!(past.outcome, Outcome::Serving(_) | Outcome::Crashed { .. });
        changed || past.ran || past.cached || !goes_on
    };
    let newest = history.cycles.front();
    let last = history.cycles.iter().find(tells).or(newest);
    let mut parts = Vec::new();
    let median = || {
        let median = overview
            .expected
            .map(|expected| format!(" (median {})", took(expected)));
        median.unwrap_or_default()
    };
    if let (Some(attempt), Word::Building) = (&overview.status.attempt, word) {
        let elapsed = so_far(scene.now.saturating_duration_since(attempt.begun_at));
        let text = format!("build #{} running {elapsed}{}", attempt.build, median());
        parts.push(Part::new(7, text, PLAIN).or(format!("#{} {elapsed}", attempt.build), PLAIN));
    } else if let (Some(attempt), Some(built)) = (
        &overview.status.attempt,
        overview
            .status
            .attempt
            .as_ref()
            .and_then(|attempt| attempt.built),
    ) {
        let text = format!("build #{} ok {}{}", attempt.build, took(built), median());
        parts.push(Part::new(7, text, PLAIN));
    } else if let Some(last) = last {
        parts.push(ended(last, word, &median()));
    }
    if word == Word::ConfigError {
        parts.push(Part::new(6, "old config in force", BAD));
    }
    let standing = &overview.problems;
    // Those of the build before are out of date once this one's rules are done.
    let built = overview
        .status
        .attempt
        .as_ref()
        .is_some_and(|attempt| attempt.built.is_some());
    let counted = word != Word::BuildFailed && !built;
    if counted && standing.errors + standing.warnings > 0 {
        let style = if standing.errors > 0 { BAD } else { BUSY };
        parts.push(Part::new(
            5,
            problems(standing.errors, standing.warnings, false),
            style,
        ));
    }
    if history.crashes > 0 && word != Word::Crashed {
        let times = count(history.crashes, "crash").replace("crashs", "crashes");
        parts.push(Part::new(6, times, BAD));
    }
    if let Some(latency) = history.latencies.back() {
        let line = sparkline(&history.latencies, scene.look.ascii);
        let arrow = if scene.look.ascii { "->" } else { "→" };
        // Of a single one there is nothing to compare.
        let line = if history.latencies.len() < 2 {
            String::new()
        } else {
            format!(" {line}")
        };
        let long = format!("save{arrow}serve {}{line}", took(*latency));
        let short = format!("s{arrow}s {}", took(*latency));
        parts.push(Part::new(3, long, PLAIN).or(short, PLAIN));
    }
    let cause = match &overview.status.attempt {
        Some(attempt) => Some(&attempt.cause),
        None => newest.map(|newest| &newest.cause),
    };
    let trigger = match (word, &overview.refused, cause) {
        (Word::ConfigError, Some(refused), _) => Some(printable(&refused.file)),
        (Word::Serving | Word::Paused | Word::Idle, _, _) => None,
        (_, _, Some(cause)) => trigger(cause),
        (_, _, None) => None,
    };
    parts.extend(trigger.map(|trigger| Part::new(2, trigger, DIM)));
    parts
}

fn ended(last: &Past, word: Word, median: &str) -> Part {
    let number = last.build;
    let took = took(last.built.unwrap_or(last.took));
    match &last.outcome {
        Outcome::Failed { .. } => {
            let failed = format!("build #{number} failed {took}");
            if last.errors + last.warnings == 0 {
                return Part::new(7, failed, BAD).or(format!("#{number} failed"), BAD);
            }
            let spans = vec![
                Span::styled(failed, BAD),
                Span::raw(" · "),
                Span::styled(problems(last.errors, last.warnings, false), BAD),
            ];
            let short = format!("#{number} {}", problems(last.errors, last.warnings, true));
            Part::of(7, spans).or(short, BAD)
        }
        Outcome::Unchanged { .. } if !last.ran => {
            Part::new(7, format!("build #{number} unchanged"), PLAIN)
        }
        Outcome::Serving(_)
        | Outcome::Ok { .. }
        | Outcome::Unchanged { .. }
        | Outcome::Crashed { .. }
        | Outcome::Superseded => {
            let aside = matches!(word, Word::Crashed | Word::ConfigError);
            let median = if aside { "" } else { median };
            let ok = match (last.ran, last.cached) {
                (false, true) => format!("cached {took}"),
                (true, _) => format!("ok {took}{median}"),
                (false, false) => "ok".to_owned(),
            };
            Part::new(7, format!("build #{number} {ok}"), PLAIN)
        }
    }
}

/// `2 errors 1 warning`.
fn problems(errors: usize, warnings: usize, short: bool) -> String {
    let warning = if short { "warn" } else { "warning" };
    let errors = (errors > 0).then(|| count(errors, "error"));
    let warnings = (warnings > 0).then(|| count(warnings, warning));
    let both: Vec<String> = errors.into_iter().chain(warnings).collect();
    both.join(" ")
}

/// The file that set it off, and how many more.
fn trigger(cause: &Cause) -> Option<String> {
    let Cause::Files(files) = cause else {
        return None;
    };
    let name = files.first()?.file_name()?.to_string_lossy().into_owned();
    Some(match files.len() {
        1 => printable(&name),
        more => format!("{} (+{})", printable(&name), more - 1),
    })
}

/// `addresses · what is watched · flags`.
pub(super) fn world(scene: &Scene<'_>) -> Vec<Part> {
    let overview = scene.overview;
    let mut parts = Vec::new();
    for (number, place) in overview.places.iter().enumerate() {
        let weight = if number == 0 { 8 } else { 5 };
        let style = match place.url {
            Some(_) => Style::new().add_modifier(Modifier::UNDERLINED),
            None => PLAIN,
        };
        let style = if scene.look.links { style } else { PLAIN };
        let mut spans = vec![Span::styled(printable(&place.text), style)];
        if number == 0 && overview.waiting > 0 {
            spans.push(Span::styled(
                format!(" (held: {} waiting)", overview.waiting),
                BUSY,
            ));
        }
        parts.push(Part::of(weight, spans).link(place.url.clone()));
    }
    let watched = overview.watched;
    let (files, dirs) = (count(watched.files, "file"), count(watched.dirs, "dir"));
    parts.push(Part::new(6, format!("{files} in {dirs}"), PLAIN).or(files, PLAIN));
    if watched.unwatched > 0 {
        let text = format!("{} unwatched!", count(watched.unwatched, "dir"));
        parts.push(Part::new(7, text, BAD));
    }
    if watched.polls {
        parts.push(Part::new(4, "poll", BUSY));
    }
    if let Some(waiting) = overview.status.paused {
        parts.push(Part::new(
            7,
            format!("paused: {} waiting", count(waiting, "change")),
            BUSY,
        ));
    }
    parts.extend(
        scene
            .ui
            .flags(scene)
            .into_iter()
            .map(|flag| Part::new(3, flag, DIM)),
    );
    parts
}

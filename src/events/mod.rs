//! 6 SHOW. What happens as events for programs: one JSON object each. `--ui json` prints them.
//!
//! This module says what an event holds, [`Chronicle`] when there is one, and [`console`](crate::console) writes them; so
//! the same events can go to several readers. Pure: it reads no clock and writes nothing. Environments are in no event,
//! so no secret of theirs is.
//!
//! Every event begins with `v` (1: the version of what is written here), `seq` (from 1, without gaps), `t` (UTC, RFC 3339
//! with milliseconds: when it was written) and `type`. What a field would say where it is not there is not known or does
//! not apply; only `state` has all of its fields always, with null for those. Milliseconds end in `_ms`, or are called
//! `ms`; `exit` is the code, or the name of the signal, or `lost`. New fields and types may come: a reader passes over
//! what it does not know.
//!
//! | type | when | fields |
//! |---|---|---|
//! | `state` | first of all, then on change | `state gen pid build fresh stale_since paused urls problems{errors warnings} counts{hot cold} latency_ms watch{files dirs backend unwatched}` |
//! | `change` | before the cycle that takes it up | `cycle paths[{path kind rule rule_at}] truncated` |
//! | `cycle.begin` | | `cycle cause(start request crash files) files` |
//! | `build.begin` | a command of a rule begins | `build cycle rule cmd cwd expected_ms` |
//! | `build.end` | it has ended | `build cycle rule status(ok failed superseded unchanged) ms exit reason errors warnings output_sha` |
//! | `diagnostic` | before the end of a cycle | `build file rel line col end_line end_col severity code message tool rendered col_unit` |
//! | `cycle.end` | | `cycle status(serving ok unchanged failed crashed superseded) ms` and those of the plain line |
//! | `restart.begin` | one generation is to give way to the next | `from_gen to_gen kind(hot hold cold)` |
//! | `restart.end` | it has, or has not | the same, `ok drained killed reason ready_ms` |
//! | `app.ready` | | `gen pid ms probe(accept log http notify delay) ready(proven notified assumed)` |
//! | `app.exit` | | `gen pid code signal lived_ms expected` |
//! | `output` | | `gen`, or `cycle` and `rule`; `stream(stdout stderr build) text` |
//! | `config` | the config was saved | `ok file line col severity message` |
//! | `warning` | a note of the plain lines | `code message` |
//!
//! What 3d of the design leaves open is decided so:
//!
//! * A cycle is what the plain lines number as `build N`; `build` and `cycle` are both that number. Each command of a rule
//!   that runs in it has a `build.begin` and a `build.end`. One that is told to stop ends when it has ended: that may be
//!   after the end of its cycle, but it keeps the number of its beginning. A rule that need not run has neither.
//! * `status` of `build.end` is `unchanged` where the command succeeded and its outputs are what they were. `output_sha` is
//!   devwatch's own digest of the outputs (xxh3 of paths and contents, 128 bits, in hex): good for comparing with an
//!   earlier one, and not there for a rule without outputs, or one whose outputs were not read before the cycle was over.
//! * The diagnostics before a `cycle.end` are all that stand, as in the plain lines: they replace those of the cycle before.
//!   A superseded cycle has none, and says nothing about earlier ones. At most 1000 are told, all are counted.
//! * `change` is told when it is taken up, for only then is it known by which cycle: while devwatch is paused that is
//!   later. A path that belongs to several rules is there once for each of them; one that belongs to none (a config, an
//!   env file) without `rule`. At most 100 entries; `truncated` says that there were more.
//! * `state` is told again when anything but the numbers of files and folders is another one; what the loop has seen
//!   since is in the next. `unwatched` is how many folders the kernel does not watch for us.
//! * `kind` and `restart` are `hold` where devwatch held the socket over a cold restart, as in the plain lines. `to_gen` of
//!   `restart.begin` is the next number; after a failed attempt the generation that came in the end has a higher one.
//! * `text` of `output` is one line with its end, or a piece of at most 8 KiB; what does not end in a newline is continued
//!   by the next event of the same stream. So `jq -j 'select(.type == "output").text'` prints what was printed. Bytes that
//!   are no UTF-8 are U+FFFD.
//! * Control characters, and those that turn text around or are not seen, are escaped: a line can go to a terminal.

mod chronicle;
mod pieces;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

pub use chronicle::{Chronicle, Command};
pub use pieces::{Pieces, Rest};

use crate::config::Config;
use crate::config::diagnostic::Diagnostics;
use crate::diagnostics::{Problem, Problems};
use crate::overview::{Overview, Word};
use crate::plain::{self, Names};
use crate::screen::sanitise::hides;
use crate::supervisor::event::{
    Cause, Exit, HotMode, Outcome, Report, RestartKind, Retry, Serving,
};
use crate::supervisor::generation::GenerationId;
use crate::supervisor::status::Freshness;
use crate::watch::ChangeKind;

/// Something that has happened, or what is.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    kind: &'static str,
    fields: Vec<(&'static str, Value)>,
}

impl Event {
    fn new(kind: &'static str) -> Event {
        Event {
            kind,
            fields: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<Value>) -> Event {
        self.fields.push((name, value.into()));
        self
    }

    fn maybe(self, name: &'static str, value: Option<impl Into<Value>>) -> Event {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Its `type`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// As one line without its end, the `seq`th that this reader gets, written at `at`.
    pub fn line(&self, seq: u64, at: Timestamp) -> String {
        let mut line = format!(
            "{{\"v\":1,\"seq\":{seq},\"t\":\"{}\",\"type\":\"{}\"",
            moment(at),
            self.kind
        );
        for (name, value) in &self.fields {
            line += &format!(",\"{name}\":{value}");
        }
        line.push('}');
        visible(line)
    }
}

/// Outside of strings JSON is ASCII, so whatever is hidden stands in one and can be escaped there.
fn visible(line: String) -> String {
    if line.bytes().all(|byte| matches!(byte, b' '..=b'~')) || !line.contains(hides) {
        return line;
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        match hides(c) {
            true => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    escaped += &format!("\\u{unit:04x}");
                }
            }
            false => escaped.push(c),
        }
    }
    escaped
}

/// RFC 3339 in UTC, with milliseconds.
fn moment(at: Timestamp) -> String {
    format!("{at:.3}")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

// --- what is ---

/// What of an overview is worth telling programs of, when it is another one.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    word: Word,
    serving: Option<(GenerationId, Option<i32>)>,
    build: u64,
    freshness: Freshness,
    paused: bool,
    urls: Vec<String>,
    problems: (usize, usize),
    counts: (usize, usize),
    latency: Option<Duration>,
    polls: bool,
    unwatched: usize,
}

impl Known {
    fn of(overview: &Overview, build: u64) -> Known {
        let status = &overview.status;
        let serving = status.serving;
        let urls = overview.places.iter();
        Known {
            word: overview.word(),
            serving: serving.map(|process| (process.generation, process.pid)),
            build,
            freshness: status.freshness,
            paused: status.paused.is_some(),
            urls: urls
                .map(|place| place.url.as_ref().unwrap_or(&place.text).clone())
                .collect(),
            problems: (overview.problems.errors, overview.problems.warnings),
            counts: (overview.history.hot, overview.history.cold),
            latency: overview.history.latencies.back().copied(),
            polls: overview.watched.polls,
            unwatched: overview.watched.unwatched,
        }
    }

    fn event(&self, overview: &Overview, clock: &dyn Fn(Instant) -> Timestamp) -> Event {
        let (fresh, stale_since) = match self.freshness {
            Freshness::Fresh => (true, None),
            Freshness::Stale(since) => (false, Some(moment(clock(since)))),
            Freshness::NotServing => (false, None),
        };
        let (errors, warnings) = self.problems;
        let (hot, cold) = self.counts;
        let watched = &overview.watched;
        Event::new("state")
            .with("state", word(self.word))
            .with("gen", self.serving.map(|(generation, _)| generation.0))
            .with("pid", self.serving.and_then(|(_, pid)| pid))
            .with("build", (self.build > 0).then_some(self.build))
            .with("fresh", fresh)
            .with("stale_since", stale_since)
            .with("paused", self.paused)
            .with("urls", self.urls.clone())
            .with("problems", json!({"errors": errors, "warnings": warnings}))
            .with("counts", json!({"hot": hot, "cold": cold}))
            .with("latency_ms", self.latency.map(millis))
            .with(
                "watch",
                json!({
                    "files": watched.files,
                    "dirs": watched.dirs,
                    "backend": backend(watched.polls),
                    "unwatched": watched.unwatched,
                }),
            )
    }
}

/// As the screen names it, in the way of names.
fn word(word: Word) -> &'static str {
    match word {
        Word::Starting => "starting",
        Word::Serving => "serving",
        Word::Building => "building",
        Word::BuildFailed => "build_failed",
        Word::HotRestart => "hot_restart",
        Word::ColdRestart => "cold_restart",
        Word::Crashed => "crashed",
        Word::ConfigError => "config_error",
        Word::Paused => "paused",
        Word::Idle => "idle",
        Word::Stopping => "stopping",
    }
}

fn backend(polls: bool) -> &'static str {
    match polls {
        true => "poll",
        false if cfg!(target_os = "linux") => "inotify",
        false => "native",
    }
}

// --- what happens ---

/// A changed file and the rules that it belongs to, with their lines in the config.
struct Changed<'a> {
    path: &'a Path,
    kind: ChangeKind,
    rules: Vec<(&'a str, Option<String>)>,
}

fn change(cycle: u64, changed: &[Changed<'_>]) -> Event {
    let mut paths = Vec::new();
    let mut truncated = false;
    for Changed { path, kind, rules } in changed {
        let kind = match kind {
            ChangeKind::Created => "created",
            ChangeKind::Modified => "modified",
            ChangeKind::Removed => "removed",
        };
        let path = path.to_string_lossy();
        let entries: Vec<Value> = match rules.is_empty() {
            true => vec![json!({"path": path, "kind": kind})],
            false => rules
                .iter()
                .map(|(rule, at)| match at {
                    Some(at) => json!({"path": path, "kind": kind, "rule": rule, "rule_at": at}),
                    None => json!({"path": path, "kind": kind, "rule": rule}),
                })
                .collect(),
        };
        truncated |= paths.len() + entries.len() > MOST_PATHS;
        paths.extend(entries.into_iter().take(MOST_PATHS - paths.len()));
    }
    Event::new("change")
        .with("cycle", cycle)
        .with("paths", paths)
        .with("truncated", truncated)
}

/// Where a rule stands in the config: `devwatch.toml:31`.
fn rule_at(config: &Config, line: usize) -> Option<String> {
    let crate::config::Origin::File(file) = &config.origin else {
        return None;
    };
    let file = file.strip_prefix(&config.root).unwrap_or(file);
    (line > 0).then(|| format!("{}:{line}", file.display()))
}

fn cycle_begin(cycle: u64, cause: &Cause) -> Event {
    let (word, files) = match cause {
        Cause::Start => ("start", None),
        Cause::Request => ("request", None),
        Cause::Crash => ("crash", None),
        Cause::Files(files) => ("files", Some(files.len())),
    };
    Event::new("cycle.begin")
        .with("cycle", cycle)
        .with("cause", word)
        .maybe("files", files)
}

fn cycle_end(
    cycle: u64,
    outcome: &Outcome,
    restored: &BTreeSet<crate::supervisor::plan::RuleId>,
    took: Duration,
    names: &Names<'_>,
) -> Event {
    let event = |status| {
        Event::new("cycle.end")
            .with("cycle", cycle)
            .with("status", status)
            .with("ms", millis(took))
    };
    let problems = names.problems;
    let counted = |event: Event| {
        event
            .with("errors", problems.errors)
            .with("warnings", problems.warnings)
    };
    let name = |rule: usize| names.rules.get(rule).copied().unwrap_or_default();
    let event = match outcome {
        Outcome::Serving(serving) => {
            counted(served(event("serving"), serving)).maybe("url", names.url.clone())
        }
        Outcome::Ok { exited: None } => counted(event("ok")),
        Outcome::Ok {
            exited: Some(generation),
        } => counted(event("ok").with("gen", generation.0)).with("exit", 0),
        Outcome::Unchanged { serving } => counted(event("unchanged").with("gen", serving.0)),
        Outcome::Failed {
            rule,
            exit,
            reason,
            serving,
        } => counted(event("failed"))
            .with("rule", name(rule.0))
            .maybe("exit", exit.map(exit_value))
            .maybe("reason", reason.clone())
            .with("serving", serving.map(|generation| generation.0)),
        Outcome::Crashed {
            generation,
            exit,
            reason,
            serving,
            retry,
        } => {
            let retry = match retry {
                Retry::In(delay) => Some(millis(*delay)),
                Retry::OnChange | Retry::LastGood => None,
            };
            counted(event("crashed").with("gen", generation.0))
                .maybe("exit", exit.map(exit_value))
                .maybe("reason", reason.clone())
                .with("serving", serving.map(|generation| generation.0))
                .maybe("retry_ms", retry)
                .with("last", names.last.to_vec())
        }
        // Of the rules it says nothing: the cycle that took over will.
        Outcome::Superseded => event("superseded"),
    };
    let cached: Vec<&str> = restored.iter().map(|rule| name(rule.0)).collect();
    event.maybe("cached", (!cached.is_empty()).then_some(cached))
}

fn served(event: Event, serving: &Serving) -> Event {
    let mode = match serving.restart {
        Some(RestartKind::Hot(HotMode::SelfFork)) => Some("self"),
        Some(RestartKind::Hot(HotMode::Overlap)) => Some("overlap"),
        Some(RestartKind::Hot(HotMode::Adopt)) => Some("adopt"),
        Some(RestartKind::Cold | RestartKind::Hold) | None => None,
    };
    event
        .with("gen", serving.generation.0)
        .maybe("pid", serving.pid)
        .maybe("old", serving.old)
        .maybe("restart", serving.restart.map(kind_word))
        .maybe("mode", mode)
        .with("ready", serving.ready.to_string())
        .with("accept_ms", millis(serving.accept))
        .with("fresh_ms", millis(serving.fresh))
        .maybe("reason", serving.reason.clone())
}

fn kind_word(kind: RestartKind) -> &'static str {
    match kind {
        RestartKind::Cold => "cold",
        RestartKind::Hold => "hold",
        RestartKind::Hot(_) => "hot",
    }
}

fn exit_value(exit: Exit) -> Value {
    match exit {
        Exit::Code(code) => code.into(),
        Exit::Signal(_) | Exit::Lost => exit.to_string().into(),
    }
}

fn diagnostics(build: u64, problems: &Problems, root: &Path) -> Vec<Event> {
    let problems = problems.list.iter();
    problems
        .map(|problem| diagnostic(build, problem, root))
        .collect()
}

fn diagnostic(build: u64, problem: &Problem, root: &Path) -> Event {
    let file = problem.file.as_deref();
    let rel = file.map_or_else(
        || Path::new(&problem.path),
        |file| file.strip_prefix(root).unwrap_or(file),
    );
    Event::new("diagnostic")
        .with("build", build)
        .maybe("file", file.map(Path::to_string_lossy))
        .with("rel", rel.to_string_lossy())
        .with("line", problem.line)
        .maybe("col", problem.column)
        .maybe("end_line", problem.end.map(|(line, _)| line))
        .maybe("end_col", problem.end.map(|(_, column)| column))
        .with("severity", problem.severity.word())
        .maybe("code", problem.code.clone())
        .with("message", problem.message.as_str())
        .with("tool", problem.tool.as_str())
        .maybe("rendered", problem.rendered.clone())
        .with("col_unit", col_unit(&problem.tool))
}

/// In what a tool counts its columns, where that is known.
fn col_unit(tool: &str) -> &'static str {
    match tool {
        "go" => "byte",
        "cargo" => "char",
        "tsc" | "eslint" => "utf16",
        _ => "unknown",
    }
}

/// A report that is neither the begin nor the end of a cycle: what the plain lines have as notes.
fn notes(report: &Report, names: &Names<'_>) -> Vec<Event> {
    let code = match report {
        Report::Begin { .. } | Report::End { .. } => return Vec::new(),
        Report::Stale { .. } => "stale",
        Report::Paused => "paused",
        Report::Resumed { .. } => "resumed",
        Report::Stopped { .. } => "stopped",
        Report::Down { exit, .. } if exit.is_some_and(Exit::success) => "exited",
        Report::Down { .. } => "crashed",
        Report::Interim(_) => "interim",
        Report::Draining { .. } => "draining",
        Report::TookOver { .. } => "took_over",
        Report::Overdue { .. } => "overdue",
        Report::Killed { .. } => "killed",
        Report::Stuck { .. } => "stuck",
    };
    let lines = plain::lines(report, names);
    // What went down, and what follows.
    let codes = [code, "retry"];
    let told = codes.iter().zip(&lines);
    told.map(|(code, line)| warning(code, line)).collect()
}

/// A note; `code` is for programs, `message` is a line for people.
pub fn warning(code: &'static str, message: &str) -> Event {
    let message = message.strip_prefix("note: ").unwrap_or(message);
    Event::new("warning")
        .with("code", code)
        .with("message", message)
}

/// What was found in a config that was saved, `ok` if it can be put in force; without any finding one event says that it is well.
pub fn config(file: &Path, ok: bool, found: &Diagnostics) -> Vec<Event> {
    let event = || {
        Event::new("config")
            .with("ok", ok)
            .with("file", file.to_string_lossy())
    };
    if found.items.is_empty() {
        return vec![event()];
    }
    let items = found.items.iter();
    let told = items.map(|item| {
        let message = match &item.label {
            Some(label) => format!("{}; {label}", item.message),
            None => item.message.clone(),
        };
        event()
            .with("line", item.line)
            .with("col", item.column)
            .with("severity", item.severity.word())
            .with("message", message)
    });
    told.collect()
}

/// A config that was saved and could not even be read.
pub fn unreadable_config(file: &Path, why: &str) -> Event {
    Event::new("config")
        .with("ok", false)
        .with("file", file.to_string_lossy())
        .with("message", why)
}

/// Who has printed something.
#[derive(Clone, Copy, Debug)]
pub enum Printer<'a> {
    /// A generation of the server, on this stream.
    Server(u64, crate::process::Stream),
    /// A rule, in this cycle.
    Rule(u64, &'a str),
}

/// A piece of what was printed.
pub fn output(by: Printer<'_>, text: String) -> Event {
    let event = Event::new("output");
    let event = match by {
        Printer::Server(generation, stream) => {
            let stream = match stream {
                crate::process::Stream::Out => "stdout",
                crate::process::Stream::Err => "stderr",
            };
            event.with("gen", generation).with("stream", stream)
        }
        Printer::Rule(cycle, rule) => event
            .with("cycle", cycle)
            .with("rule", rule)
            .with("stream", "build"),
    };
    event.with("text", text)
}

/// A checkout changes thousands; whoever wants them all reads the tree.
const MOST_PATHS: usize = 100;

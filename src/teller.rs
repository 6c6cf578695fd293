//! 6 SHOW, carried out: reports are told, and what is known at a moment is put together for whoever shows it.
//!
//! For the performer, as [`builds`](crate::builds) is for the rules and [`servers`](crate::servers) for the server. It
//! decides nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::builds::Builds;
use crate::config::diagnostic::Diagnostics;
use crate::config::{self, Config, ReadyBy};
use crate::console::Console;
use crate::diagnostics::{Base, Files, Kind, Problems, Reader, Recipe};
use crate::events::{self, Chronicle, Command};
use crate::history::{History, Trouble};
use crate::overview::{Overview, Refused, Running, Watched};
use crate::plain::{self, Names};
use crate::process::Stream;
use crate::servers::Servers;
use crate::supervisor::event::{Effect, Event, HotMode, Outcome, Report, Who};
use crate::supervisor::generation::{GenerationId, JobId};
use crate::supervisor::plan::RuleId;
use crate::supervisor::status::{Freshness, Status, Told};
use crate::watch::{Change, Watcher};

/// What has been told so far.
pub struct Teller {
    console: Console,
    history: Arc<History>,
    /// Those of the last end line.
    problems: Arc<Problems>,
    /// What the generation that went down last points at.
    crash: Arc<Problems>,
    refused: Option<Refused>,
    /// The commands of the cycle that began last.
    ran: Vec<RuleId>,
    /// Where events are told.
    chronicle: Option<Chronicle>,
}

/// Who knows what is to be told.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// What is in force.
    pub config: &'a Config,
    /// The rules and their commands.
    pub builds: &'a Builds,
    /// The generations of the server.
    pub servers: &'a Servers,
}

impl Teller {
    /// Nothing has happened yet.
    pub fn new(console: Console) -> Teller {
        Teller {
            chronicle: console.tells_events().then(Chronicle::default),
            console,
            history: Arc::default(),
            problems: Arc::default(),
            crash: Arc::default(),
            refused: None,
            ran: Vec::new(),
        }
    }

    // --- what the loop does ---

    /// The command of a rule begins.
    pub fn runs(&mut self, job: JobId, rule: RuleId, from: Sources<'_>) {
        self.ran.push(rule);
        Arc::make_mut(&mut self.history).runs();
        let Some(chronicle) = &mut self.chronicle else {
            return;
        };
        let config::Rule {
            name,
            run,
            cwd,
            outputs,
            ..
        } = &from.config.rules[rule.0];
        let Some(run) = run else { return };
        let command = Command {
            rule,
            name: name.clone(),
            command: run.clone(),
            cwd: cwd.clone(),
            expected: from.builds.state.median(name),
            outputs: !outputs.is_empty(),
        };
        let begins = chronicle.runs(job, command, now());
        self.console.tell(vec![begins]);
    }

    /// The watcher tells of files.
    pub fn seen(&mut self, changes: &[Change]) {
        if let Some(chronicle) = &mut self.chronicle {
            chronicle.seen(changes);
        }
    }

    /// The supervisor has ordered something.
    pub fn ordered(&mut self, order: &Effect) {
        if let Some(chronicle) = &mut self.chronicle {
            chronicle.ordered(order, now());
        }
    }

    /// The supervisor is about to be told something. `found`: errors and warnings in what the job in question has printed.
    pub fn happened(&mut self, fact: &Event, found: (usize, usize), config: &Config) {
        if let Some(chronicle) = &mut self.chronicle {
            let happened = chronicle.happened(fact, found, probe(config), now());
            self.console.tell(happened);
        }
    }

    // --- what is told ---

    /// Tells of a report, at the end of a cycle with the problems that stand then.
    pub fn report(&mut self, report: &Report, problems: Problems, from: Sources<'_>) {
        if let Report::Begin { .. } = report {
            self.ran.clear();
        }
        let concludes = concludes(report);
        if concludes && *self.problems != problems {
            self.problems = Arc::new(problems);
        }
        let down = went_down(report);
        let last = down.map_or_else(Vec::new, |generation| self.last_words(generation, from));
        // Only the screen shows it, and the file that is meant may have to be looked for.
        if down.is_some() && self.console.has_screen() {
            self.crash = Arc::new(pointed_at(&last, from.config));
        }
        let at = plain::time_of_day(Duration::ZERO);
        Arc::make_mut(&mut self.history).record(report, &self.problems, &last, at);
        let none = Problems::default();
        let told = if concludes { &self.problems } else { &none };
        let names = names(report, told, from);
        self.console.report(report, &names);
        if let Some(chronicle) = &mut self.chronicle {
            let probe = probe(from.config);
            let events = chronicle.reported(report, &names, from.config, probe, now());
            self.console.tell(events);
        }
    }

    /// What a generation printed at the end: from where it began to go wrong, if that can be seen.
    fn last_words(&self, generation: GenerationId, from: Sources<'_>) -> Vec<String> {
        let printed = self.console.last_lines(generation, LAST_LINES);
        let cries = |line: &String| CRIES.iter().any(|cry| line.starts_with(cry));
        let known = from.servers.last_lines(generation);
        match printed.iter().rposition(cries) {
            Some(at) => printed[at..].to_vec(),
            None if known.is_empty() => printed[printed.len().saturating_sub(FEW_LINES)..].to_vec(),
            None => known.to_vec(),
        }
    }

    /// The config that was saved last, at `path`, is in force from here on, with these warnings.
    pub fn accepted(&mut self, path: &Path, found: Diagnostics) {
        self.refused = None;
        self.findings(path, true, found);
    }

    /// The config that was saved last, at `path`, or `file` below the root, is not in force, for what stands in `found`.
    pub fn refused(&mut self, path: &Path, file: &Path, found: Diagnostics) {
        self.refused = Some(Refused {
            file: file.to_string_lossy().into_owned(),
            text: found.to_string(),
        });
        self.findings(path, false, found);
    }

    /// The config that was saved last could not even be read.
    pub fn unreadable(&mut self, path: &Path, file: &Path, why: String) {
        self.console
            .tell(vec![events::unreadable_config(path, &why)]);
        self.refused = Some(Refused {
            file: file.to_string_lossy().into_owned(),
            text: format!("error: {why}\n"),
        });
    }

    /// Findings in the config, with its whole path: editors may run in another folder.
    fn findings(&self, path: &Path, ok: bool, mut found: Diagnostics) {
        path.clone_into(&mut found.file);
        if self.chronicle.is_some() {
            self.console.tell(events::config(path, ok, &found));
            return;
        }
        for line in found.lines() {
            self.console.line(&line);
        }
    }

    // --- what is ---

    /// What is known, to those who are told events.
    pub fn known(&mut self, overview: &Overview) {
        let Some(chronicle) = &mut self.chronicle else {
            return;
        };
        let clock = |instant: Instant| {
            let now = Timestamp::now();
            now.checked_sub(instant.elapsed()).unwrap_or(now)
        };
        self.console.tell(chronicle.known(overview, &clock));
    }

    /// All that is known.
    pub fn overview(
        &self,
        status: Status,
        watcher: Option<&Watcher>,
        from: Sources<'_>,
    ) -> Overview {
        let Sources {
            config,
            builds,
            servers,
        } = from;
        let name = |rule: RuleId| config.rules.get(rule.0).map(|rule| rule.name.as_str());
        let medians = self
            .ran
            .iter()
            .map(|rule| builds.state.median(name(*rule)?));
        let medians: Option<Vec<Duration>> = medians.collect();
        let expected = medians.filter(|medians| !medians.is_empty());
        let running = builds.running().into_iter().filter_map(|(rule, since)| {
            let rule = config.rules.get(rule.0)?;
            Some(Running {
                rule: rule.name.clone(),
                command: rule.run.as_ref()?.display(),
                since,
                median: builds.state.median(&rule.name),
            })
        });
        let draining = status.swap.and_then(|swap| swap.old);
        let draining = draining.filter(|old| old.told == Told::Draining);
        let unserved = status.freshness == Freshness::NotServing;
        Overview {
            project: project(config),
            root: config.root.clone(),
            history: Arc::clone(&self.history),
            commands: running.collect(),
            expected: expected.map(|medians| medians.into_iter().sum()),
            problems: Arc::clone(&self.problems),
            crash: Arc::clone(&self.crash),
            places: servers.places(),
            waiting: if unserved { servers.waiting() } else { 0 },
            connections: draining.map_or(0, |old| servers.connections(old.generation)),
            method: method(config),
            watched: watched(config, watcher),
            refused: self.refused.clone(),
            status,
        }
    }
}

/// What shows that the server is ready.
fn probe(config: &Config) -> &'static str {
    match config.server.as_ref().map(|server| &server.ready.by) {
        Some(ReadyBy::Log(_)) => "log",
        Some(ReadyBy::Http(_)) => "http",
        Some(ReadyBy::Notify) => "notify",
        Some(ReadyBy::Delay(_)) => "delay",
        Some(ReadyBy::Accepting) | None => "accept",
    }
}

#[expect(clippy::disallowed_methods, reason = "how long things take is told")]
fn now() -> Instant {
    Instant::now()
}

/// What people call the project.
fn project(config: &Config) -> String {
    let name = config.root.file_name().unwrap_or(config.root.as_os_str());
    name.to_string_lossy().into_owned()
}

fn watched(config: &Config, watcher: Option<&Watcher>) -> Watched {
    let polls = match config.watch.poll {
        config::Poll::Every(_) => true,
        config::Poll::Auto | config::Poll::Off => false,
    };
    watcher.map_or_else(Watched::default, |watcher| Watched {
        files: watcher.files(),
        dirs: watcher.dirs(),
        unwatched: if polls { 0 } else { watcher.unwatched() },
        polls,
    })
}

/// How a hot restart goes.
fn method(config: &Config) -> String {
    let Some(server) = &config.server else {
        return String::new();
    };
    match server.hot_mode() {
        HotMode::SelfFork => format!("{} + fd inheritance", server.hot_signal()),
        HotMode::Overlap => "both on the held sockets".to_owned(),
        HotMode::Adopt => match server.contract() {
            Some(contract) => format!("as {} hands over", contract.name),
            None => "sockets adopted".to_owned(),
        },
    }
}

/// Whether a report says how the rules stand. The end of a superseded cycle does not: the one that took over will.
fn concludes(report: &Report) -> bool {
    matches!(report, Report::End { outcome, .. } if *outcome != Outcome::Superseded)
}

/// The generation that a report says has gone down.
fn went_down(report: &Report) -> Option<GenerationId> {
    match report {
        Report::Down { generation, .. } => Some(*generation),
        Report::End {
            outcome: Outcome::Crashed { generation, .. },
            ..
        } => Some(*generation),
        Report::End {
            outcome: Outcome::Ok {
                exited: Some(generation),
            },
            ..
        } => Some(*generation),
        Report::Begin { .. }
        | Report::End { .. }
        | Report::Stale { .. }
        | Report::Interim(_)
        | Report::Draining { .. }
        | Report::TookOver { .. }
        | Report::Overdue { .. }
        | Report::Killed { .. }
        | Report::Stuck { .. }
        | Report::Paused
        | Report::Resumed { .. }
        | Report::Stopped { .. } => None,
    }
}

fn names<'a>(report: &Report, problems: &'a Problems, from: Sources<'a>) -> Names<'a> {
    let server = from.config.server.as_ref();
    let about = went_down(report);
    let last = about.map_or(&[][..], |generation| from.servers.last_lines(generation));
    Names {
        rules: from
            .config
            .rules
            .iter()
            .map(|rule| rule.name.as_str())
            .collect(),
        stop_signal: server.map_or("SIGTERM", |server| server.stop.signal.as_str()),
        url: from.servers.url(),
        connections: if let Report::Overdue {
            who: Who::Server(generation),
            ..
        } = report
        {
            from.servers.connections(*generation)
        } else {
            0
        },
        last,
        problems,
        clock: &|instant| plain::time_of_day(instant.elapsed()),
    }
}

/// Where the last words of a server point at. Of what a server prints nothing is a problem, but for why it ended.
fn pointed_at(last: &[String], config: &Config) -> Problems {
    let Some(server) = &config.server else {
        return Problems::default();
    };
    let base = Base {
        cwd: server.cwd.clone(),
        root: config.root.clone(),
    };
    let kinds = [Kind::Go, Kind::Cargo, Kind::Python, Kind::Node];
    let recipe = Recipe::named(&kinds, &[], &[], base);
    let root = config.root.clone();
    let sources =
        move || -> Vec<PathBuf> { config::file::sources(&root).take(MOST_SOURCES).collect() };
    let mut reader = Reader::new(&recipe, Files::new(Path::is_file, sources));
    for line in last {
        reader.push(Stream::Err, line.as_bytes());
        reader.push(Stream::Err, b"\n");
    }
    reader.finish().1
}

/// How what went wrong is told where somebody reads it after devwatch has ended.
pub fn farewell(overview: &Overview, since: Duration) -> Vec<String> {
    let history = &overview.history;
    let mut lines = Vec::new();
    if let Some(Trouble::Failed) = history.trouble {
        let problems = overview.problems.list.iter();
        lines.extend(
            problems
                .filter_map(crate::diagnostics::plain_line)
                .take(FAREWELL),
        );
    }
    let last = history.cycles.front();
    let builds = last.map_or(0, |past| past.build);
    let s = if builds == 1 { "" } else { "s" };
    let mut summary = format!(
        "{builds} build{s}, {} hot and {} cold restarts in {}",
        history.hot,
        history.cold,
        plain::duration(since),
    );
    match (&history.trouble, last) {
        (Some(Trouble::Failed), Some(past)) => {
            summary += &format!("; build {} failed", past.build);
            for (number, noun) in [(past.errors, "error"), (past.warnings, "warning")] {
                if number > 0 {
                    let s = if number == 1 { "" } else { "s" };
                    summary += &format!(", {number} {noun}{s}");
                }
            }
        }
        (Some(Trouble::Down(down)), _) if !down.is_well() => {
            summary += &format!("; gen {} crashed", down.generation);
        }
        (_, _) => {}
    }
    lines.push(summary);
    lines
}

/// How runtimes begin to say why they end.
const CRIES: [&str; 8] = [
    "panic: ",
    "fatal error: ",
    "thread '",
    "Traceback (most recent call last)",
    "node:internal",
    "file://",
    "Uncaught ",
    "Error: ",
];
/// A stack of calls is not longer, as far as anybody reads it.
const LAST_LINES: usize = 100;
/// Where nothing says where it began to go wrong.
const FEW_LINES: usize = 10;
/// Fewer than a screen holds.
const FAREWELL: usize = 10;
/// A larger tree is not searched for a file that is named without its folder.
const MOST_SOURCES: usize = 10_000;

//! 6 SHOW, carried out: reports are told, and what is known at a moment is put together for whoever shows it.
//!
//! For the performer, as [`builds`](crate::builds) is for the rules and [`servers`](crate::servers) for the server. It
//! decides nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::builds::Builds;
use crate::config::diagnostic::Diagnostics;
use crate::config::{self, Config};
use crate::console::Console;
use crate::diagnostics::{Base, Files, Kind, Problems, Reader, Recipe};
use crate::history::{History, Trouble};
use crate::overview::{Overview, Refused, Running, Watched};
use crate::plain::{self, Names};
use crate::process::Stream;
use crate::servers::Servers;
use crate::supervisor::event::{HotMode, Outcome, Report, Who};
use crate::supervisor::generation::GenerationId;
use crate::supervisor::plan::RuleId;
use crate::supervisor::status::{Freshness, Status, Told};
use crate::watch::Watcher;

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
            console,
            history: Arc::default(),
            problems: Arc::default(),
            crash: Arc::default(),
            refused: None,
            ran: Vec::new(),
        }
    }

    /// The command of a rule begins.
    pub fn runs(&mut self, rule: RuleId) {
        self.ran.push(rule);
        Arc::make_mut(&mut self.history).runs();
    }

    /// Tells of a report, at the end of a cycle with the problems that stand then.
    pub fn report(&mut self, report: &Report, problems: Problems, from: Sources<'_>) {
        match report {
            Report::Begin { .. } => self.ran.clear(),
            // It says nothing about the rules: the cycle that took over will.
            Report::End {
                outcome: Outcome::Superseded,
                ..
            } => {}
            Report::End { .. } if *self.problems != problems => {
                self.problems = Arc::new(problems);
            }
            _ => {}
        }
        let down = went_down(report);
        let last = down.map_or_else(Vec::new, |generation| self.last_words(generation, from));
        if down.is_some() {
            self.crash = Arc::new(pointed_at(&last, from.config));
        }
        let at = plain::time_of_day(Duration::ZERO);
        Arc::make_mut(&mut self.history).record(report, &self.problems, &last, at);
        let none = Problems::default();
        let told = match report {
            Report::End {
                outcome: Outcome::Superseded,
                ..
            } => &none,
            Report::End { .. } => &self.problems,
            _ => &none,
        };
        self.console.report(report, &names(report, told, from));
    }

    /// What a generation printed at the end: from where it began to go wrong, if that can be seen.
    fn last_words(&self, generation: GenerationId, from: Sources<'_>) -> Vec<String> {
        let printed = self.console.last_lines(generation, LAST_LINES);
        let cries = |line: &String| CRIES.iter().any(|cry| line.starts_with(cry));
        match printed.iter().rposition(cries) {
            Some(at) => printed[at..].to_vec(),
            None => from.servers.last_lines(generation).to_vec(),
        }
    }

    /// The config that was saved last is in force from here on.
    pub fn accepted(&mut self) {
        self.refused = None;
    }

    /// The config that was saved last is not in force, for what stands in `found`.
    pub fn refused(&mut self, file: &Path, found: &Diagnostics) {
        self.refused = Some(Refused {
            file: file.to_string_lossy().into_owned(),
            text: found.to_string(),
        });
    }

    /// The config that was saved last could not even be read.
    pub fn unreadable(&mut self, file: &Path, why: String) {
        self.refused = Some(Refused {
            file: file.to_string_lossy().into_owned(),
            text: format!("error: {why}\n"),
        });
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
        connections: match report {
            Report::Overdue {
                who: Who::Server(generation),
                ..
            } => from.servers.connections(*generation),
            _ => 0,
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
    let mut problems = reader.finish().1;
    for problem in &mut problems.list {
        // Runtimes name files from the root of the disk on; whoever reads it knows where they are.
        if let Ok(below) = Path::new(&problem.path).strip_prefix(&config.root) {
            problem.path = below.to_string_lossy().into_owned();
        }
    }
    problems
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
/// Fewer than a screen holds.
const FAREWELL: usize = 10;
/// A larger tree is not searched for a file that is named without its folder.
const MOST_SOURCES: usize = 10_000;

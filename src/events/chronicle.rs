//! When there is an event: orders, facts and reports, folded one after the other.
//!
//! Pure: every call is told the time. It sees what the supervisor orders and what it is told, in that order, and decides
//! nothing; what it says is not asked for by anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::{Changed, Event, Known};
use super::{
    change, cycle_begin, cycle_end, diagnostics, exit_value, kind_word, millis, notes, rule_at,
};
use crate::config::Config;
use crate::overview::Overview;
use crate::plain::Names;
use crate::rules;
use crate::supervisor::event::{
    self as supervisor, Cause, Digest, Effect, Evidence, Exit, Outcome, Pid, Produced, Report,
    RestartKind, Reuse, Serving, Who,
};
use crate::supervisor::generation::{GenerationId, JobId};
use crate::supervisor::plan::RuleId;
use crate::watch::{Change, ChangeKind};

/// What has to be remembered to tell of what comes.
#[derive(Default)]
pub struct Chronicle {
    /// The cycle that began last.
    build: u64,
    /// How files have changed that no cycle has taken up.
    changed: BTreeMap<PathBuf, ChangeKind>,
    /// The commands of rules that have begun and not been told to have ended.
    commands: BTreeMap<JobId, Running>,
    /// Who is asked whether it can do without its command.
    asked: BTreeMap<JobId, RuleId>,
    /// What each rule has made, as far as it is known.
    made: BTreeMap<RuleId, Option<Digest>>,
    /// Generations whose main process has not ended.
    servers: BTreeMap<JobId, Life>,
    /// The highest number of a generation.
    newest: u64,
    restart: Option<Restart>,
    known: Option<Known>,
}

/// A command of a rule that begins.
#[derive(Clone, Debug)]
pub struct Command {
    /// Which rule.
    pub rule: RuleId,
    /// Its name.
    pub name: String,
    /// The list, or the line for the shell.
    pub command: crate::config::Command,
    /// Where.
    pub cwd: PathBuf,
    /// The median of its last runs.
    pub expected: Option<Duration>,
    /// Whether it has outputs: what they are is known a moment after its end.
    pub outputs: bool,
}

struct Running {
    command: Command,
    build: u64,
    begun_at: Instant,
    /// It was told to stop.
    told: bool,
    ended: Option<Ended>,
}

struct Ended {
    exit: Exit,
    took: Duration,
    /// Errors and warnings that it has printed.
    found: (usize, usize),
}

struct Life {
    generation: GenerationId,
    pid: Option<Pid>,
    begun_at: Instant,
    /// It was told to go.
    told: bool,
    /// It was asked for a successor, and goes by itself when that is there.
    hands_over: bool,
    ready: bool,
}

impl Life {
    fn new(generation: GenerationId, begun_at: Instant) -> Life {
        Life {
            generation,
            pid: None,
            begun_at,
            told: false,
            hands_over: false,
            ready: false,
        }
    }
}

struct Restart {
    from: Option<GenerationId>,
    to: u64,
    kind: RestartKind,
    /// The old one had not finished what it had when its time was over.
    overdue: bool,
    killed: bool,
}

impl Chronicle {
    // --- what the loop does ---

    /// The watcher has told of files.
    pub fn seen(&mut self, changes: &[Change]) {
        for Change { path, kind, .. } in changes {
            self.changed.insert(path.clone(), *kind);
        }
    }

    /// A command begins.
    pub fn runs(&mut self, job: JobId, command: Command, now: Instant) -> Event {
        let cmd: Value = match &command.command {
            crate::config::Command::Argv(argv) => argv.clone().into(),
            crate::config::Command::Shell(line) => line.clone().into(),
        };
        let event = Event::new("build.begin")
            .with("build", self.build)
            .with("cycle", self.build)
            .with("rule", command.name.as_str())
            .with("cmd", cmd)
            .with("cwd", command.cwd.to_string_lossy())
            .maybe("expected_ms", command.expected.map(millis));
        let running = Running {
            command,
            build: self.build,
            begun_at: now,
            told: false,
            ended: None,
        };
        self.commands.insert(job, running);
        event
    }

    /// The supervisor has ordered something.
    pub fn ordered(&mut self, order: &Effect, now: Instant) {
        match order {
            Effect::Reuse { job, rule } => _ = self.asked.insert(*job, *rule),
            Effect::Start {
                job, generation, ..
            } => self.comes(*job, *generation, None, now),
            Effect::HandOver {
                from,
                to,
                generation,
            } => {
                if let Some(old) = self.servers.get_mut(from) {
                    old.hands_over = true;
                }
                self.comes(*to, *generation, None, now);
            }
            Effect::Recognise {
                from: _,
                to,
                generation,
                pid,
            } => self.comes(*to, *generation, Some(*pid), now),
            Effect::Stop { job, .. } | Effect::Retire { job } | Effect::Kill { job } => {
                if let Some(server) = self.servers.get_mut(job) {
                    server.told = true;
                }
                if let Some(command) = self.commands.get_mut(job) {
                    command.told = true;
                }
            }
            // From here on the numbers mean other rules.
            Effect::Configure => {
                self.asked.clear();
                self.made.clear();
            }
            Effect::Run { .. }
            | Effect::Keep { .. }
            | Effect::Inspect { .. }
            | Effect::Remember { .. }
            | Effect::Report(_)
            | Effect::Exit(_) => {}
        }
    }

    fn comes(&mut self, job: JobId, generation: GenerationId, pid: Option<Pid>, now: Instant) {
        self.newest = self.newest.max(generation.0);
        let life = Life {
            pid,
            ..Life::new(generation, now)
        };
        self.servers.insert(job, life);
    }

    /// The supervisor is told something. `found`: errors and warnings in what the job in question has printed; `probe`:
    /// what shows that the server is ready.
    pub fn happened(
        &mut self,
        fact: &supervisor::Event,
        found: (usize, usize),
        probe: &'static str,
        now: Instant,
    ) -> Vec<Event> {
        use supervisor::Event as Fact;
        match fact {
            Fact::Spawned(job, pid) => {
                if let Some(server) = self.servers.get_mut(job) {
                    server.pid = Some(*pid);
                }
                Vec::new()
            }
            Fact::Ready(job, evidence) => self
                .servers
                .get_mut(job)
                .filter(|server| !server.told)
                .and_then(|server| server.comes_up(*evidence, probe, now))
                .into_iter()
                .collect(),
            Fact::Exited(job, exit) => self.ended(*job, *exit, found, now),
            Fact::TreeGone(job) => self.ended(*job, Exit::Lost, found, now),
            Fact::TookOver(job, _) => {
                let went = self.servers.remove(job);
                went.map(|server| server.exit(None, true, now))
                    .into_iter()
                    .collect()
            }
            Fact::SpawnFailed(job, reason) => {
                self.servers.remove(job);
                let failed = self.commands.remove(job);
                failed
                    .map(|command| command.failed(reason, now))
                    .into_iter()
                    .collect()
            }
            Fact::Reused(job, reuse) => {
                let rule = self.asked.remove(job);
                if let (Some(rule), Reuse::Current(produced) | Reuse::Restored(produced)) =
                    (rule, reuse)
                {
                    self.made.insert(rule, produced.all);
                }
                Vec::new()
            }
            Fact::Produced(job, produced) => self.produced(*job, produced).into_iter().collect(),
            Fact::Began
            | Fact::Changed { .. }
            | Fact::Withheld { .. }
            | Fact::Configured { .. }
            | Fact::Listening(_)
            | Fact::Refused(..)
            | Fact::Kept(_)
            | Fact::Asked(_)
            | Fact::Elapsed => Vec::new(),
        }
    }

    /// The main process of a job has ended.
    fn ended(&mut self, job: JobId, exit: Exit, found: (usize, usize), now: Instant) -> Vec<Event> {
        if let Some(server) = self.servers.remove(&job) {
            let expected = server.told || (server.hands_over && exit.success());
            return vec![server.exit(Some(exit), expected, now)];
        }
        let Some(command) = self.commands.get_mut(&job) else {
            return Vec::new();
        };
        if command.ended.is_some() {
            return Vec::new();
        }
        command.ended = Some(Ended {
            exit,
            took: now.saturating_duration_since(command.begun_at),
            found,
        });
        if command.command.outputs && !command.told {
            // Its outputs are about to be read.
            return Vec::new();
        }
        self.commands
            .remove(&job)
            .and_then(|command| command.end(None, None))
            .into_iter()
            .collect()
    }

    fn produced(&mut self, job: JobId, produced: &Produced) -> Option<Event> {
        let command = self.commands.remove(&job)?;
        let rule = command.command.rule;
        let before = self.made.insert(rule, produced.all).flatten();
        command.end(produced.all, before)
    }

    // --- what is told ---

    /// Something is reported.
    pub fn reported(
        &mut self,
        report: &Report,
        names: &Names<'_>,
        config: &Config,
        probe: &'static str,
        now: Instant,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        match report {
            Report::Begin { build, cause } => {
                self.build = *build;
                events.extend(self.taken_up(cause, config));
                events.push(cycle_begin(*build, cause));
            }
            Report::End {
                build,
                outcome,
                restored,
                took,
                ..
            } => {
                events.extend(self.last_of(*build, outcome, now));
                match outcome {
                    Outcome::Serving(serving) => {
                        events.extend(self.in_service(serving, probe, now))
                    }
                    Outcome::Crashed { generation, .. } => {
                        events.extend(self.not_in_service(*generation));
                    }
                    Outcome::Ok { .. }
                    | Outcome::Unchanged { .. }
                    | Outcome::Failed { .. }
                    | Outcome::Superseded => {}
                }
                if *outcome != Outcome::Superseded {
                    events.extend(diagnostics(*build, names.problems, &config.root));
                }
                events.push(cycle_end(*build, outcome, restored, *took, names));
            }
            Report::Interim(serving) => events.extend(self.in_service(serving, probe, now)),
            Report::Draining { generation, .. } => {
                events.extend(self.comes_up(*generation, Evidence::Assumed, probe, now));
            }
            Report::TookOver { generation, .. } => {
                events.extend(self.comes_up(*generation, Evidence::Proven, probe, now));
            }
            Report::Down { generation, .. } => events.extend(self.not_in_service(*generation)),
            Report::Overdue { who, .. } => self.old_one(*who, |restart| restart.overdue = true),
            Report::Killed { who, .. } => self.old_one(*who, |restart| restart.killed = true),
            Report::Stale { .. }
            | Report::Paused
            | Report::Resumed { .. }
            | Report::Stopped { .. }
            | Report::Stuck { .. } => {}
        }
        events.extend(notes(report, names));
        events
    }

    /// The files that a cycle takes up, with the rules that they belong to.
    fn taken_up(&mut self, cause: &Cause, config: &Config) -> Option<Event> {
        let kinds = std::mem::take(&mut self.changed);
        let Cause::Files(files) = cause else {
            return None;
        };
        let changed: Vec<Changed<'_>> = files
            .iter()
            .map(|path| Changed {
                path,
                // What a program reads while it changes is the same again, and a config was changed in any case.
                kind: kinds.get(path).copied().unwrap_or(ChangeKind::Modified),
                rules: rules_of(config, path),
            })
            .collect();
        Some(change(self.build, &changed))
    }

    /// What has ended and was not told yet, and what is over for its cycle though it has not gone.
    fn last_of(&mut self, build: u64, outcome: &Outcome, now: Instant) -> Vec<Event> {
        let failed = match outcome {
            Outcome::Failed { rule, reason, .. } => Some((*rule, reason)),
            Outcome::Serving(_)
            | Outcome::Ok { .. }
            | Outcome::Unchanged { .. }
            | Outcome::Crashed { .. }
            | Outcome::Superseded => None,
        };
        let over = self.commands.extract_if(.., |_, command| {
            let timed_out = failed.is_some_and(|(rule, _)| {
                rule == command.command.rule && command.told && command.build == build
            });
            command.ended.is_some() || timed_out
        });
        let mut events = Vec::new();
        for (_, command) in over {
            self.made.remove(&command.command.rule);
            match failed.and_then(|(_, reason)| reason.as_deref()) {
                Some(reason) if command.ended.is_none() => {
                    events.push(command.failed(reason, now));
                }
                Some(_) | None => events.extend(command.end(None, None)),
            }
        }
        events
    }

    fn in_service(&mut self, serving: &Serving, probe: &'static str, now: Instant) -> Vec<Event> {
        let ready = self.comes_up(serving.generation, serving.ready, probe, now);
        let mut events: Vec<Event> = ready.into_iter().collect();
        if let Some(restart) = self.restart.take() {
            let kind = serving.restart.unwrap_or(restart.kind);
            events.push(
                restart
                    .end(serving.generation.0, kind, true)
                    .maybe("reason", serving.reason.clone())
                    .with("ready_ms", millis(serving.accept)),
            );
        }
        events
    }

    fn not_in_service(&mut self, generation: GenerationId) -> Option<Event> {
        let restart = self.restart.take_if(|restart| restart.to <= generation.0)?;
        let kind = restart.kind;
        Some(restart.end(generation.0, kind, false))
    }

    /// A generation is in service; nothing comes of it if that was told before.
    fn comes_up(
        &mut self,
        generation: GenerationId,
        evidence: Evidence,
        probe: &'static str,
        now: Instant,
    ) -> Option<Event> {
        let mut lives = self.servers.values_mut();
        let server = lives.find(|server| server.generation == generation)?;
        server.comes_up(evidence, probe, now)
    }

    fn old_one(&mut self, who: Who, what: impl FnOnce(&mut Restart)) {
        if let (Who::Server(generation), Some(restart)) = (who, &mut self.restart)
            && restart.from == Some(generation)
        {
            what(restart);
        }
    }

    // --- what is ---

    /// All that is known. Nothing comes of it if it says nothing new.
    pub fn known(
        &mut self,
        overview: &Overview,
        clock: &dyn Fn(Instant) -> Timestamp,
    ) -> Vec<Event> {
        let mut events: Vec<Event> = self.restarts(overview).into_iter().collect();
        let known = Known::of(overview, self.build);
        if self.known.as_ref() != Some(&known) {
            events.push(known.event(overview, clock));
            self.known = Some(known);
        }
        events
    }

    /// Where one generation begins to give way to the next, and where nothing has come of it.
    fn restarts(&mut self, overview: &Overview) -> Option<Event> {
        let status = &overview.status;
        let swap = status.swap.and_then(|swap| Some((swap, swap.kind?)));
        match (swap, &self.restart) {
            (Some((swap, kind)), None) => {
                let from = swap.old.map(|old| old.generation);
                // A successor may have been asked for, and not be there.
                let asked_for = self.servers.values().any(|server| {
                    let newest = server.generation.0 == self.newest;
                    newest && !server.told && from != Some(server.generation)
                });
                let next = self.newest + u64::from(!asked_for);
                let restart = Restart {
                    from,
                    to: swap.new.map_or(next, |new| new.generation.0),
                    kind,
                    overdue: false,
                    killed: false,
                };
                let begin = restart.event("restart.begin", restart.to, kind);
                self.restart = Some(restart);
                Some(begin)
            }
            (None, Some(_)) => {
                let restart = self.restart.take()?;
                let (to, kind) = (restart.to, restart.kind);
                let ok = status.serving.is_some_and(|it| it.generation.0 >= to);
                Some(restart.end(to, kind, ok))
            }
            (Some(_), Some(_)) | (None, None) => None,
        }
    }
}

fn rules_of<'a>(config: &'a Config, path: &'a Path) -> Vec<(&'a str, Option<String>)> {
    let ids: BTreeSet<RuleId> = rules::takes(config, path)
        .chain(rules::makers(config, path))
        .collect();
    ids.iter()
        .map(|id| &config.rules[id.0])
        .map(|rule| (rule.name.as_str(), rule_at(config, rule.line)))
        .collect()
}

impl Running {
    fn event(&self, status: &'static str, took: Duration) -> Event {
        Event::new("build.end")
            .with("build", self.build)
            .with("cycle", self.build)
            .with("rule", self.command.name.as_str())
            .with("status", status)
            .with("ms", millis(took))
    }

    /// It could not begin, or took too long.
    fn failed(&self, reason: &str, now: Instant) -> Event {
        self.event("failed", now.saturating_duration_since(self.begun_at))
            .with("reason", reason)
    }

    /// What its outputs are now, and were before.
    fn end(self, made: Option<Digest>, before: Option<Digest>) -> Option<Event> {
        let Ended { exit, took, found } = self.ended.as_ref()?;
        let status = match exit.success() {
            _ if self.told => "superseded",
            true if made.is_some() && made == before => "unchanged",
            true => "ok",
            false => "failed",
        };
        let (errors, warnings) = found;
        Some(
            self.event(status, *took)
                .with("exit", exit_value(*exit))
                .with("errors", *errors)
                .with("warnings", *warnings)
                .maybe("output_sha", made.map(|Digest(sum)| format!("{sum:032x}"))),
        )
    }
}

impl Life {
    fn comes_up(&mut self, evidence: Evidence, probe: &'static str, now: Instant) -> Option<Event> {
        if std::mem::replace(&mut self.ready, true) {
            return None;
        }
        Some(
            Event::new("app.ready")
                .with("gen", self.generation.0)
                .maybe("pid", self.pid)
                .with("ms", millis(now.saturating_duration_since(self.begun_at)))
                .with("probe", probe)
                .with("ready", evidence.to_string()),
        )
    }

    fn exit(&self, exit: Option<Exit>, expected: bool, now: Instant) -> Event {
        let (code, signal) = match exit {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(signal @ Exit::Signal(_)) => (None, Some(signal.to_string())),
            Some(Exit::Lost) | None => (None, None),
        };
        Event::new("app.exit")
            .with("gen", self.generation.0)
            .maybe("pid", self.pid)
            .maybe("code", code)
            .maybe("signal", signal)
            .with(
                "lived_ms",
                millis(now.saturating_duration_since(self.begun_at)),
            )
            .with("expected", expected)
    }
}

impl Restart {
    fn event(&self, name: &'static str, to: u64, kind: RestartKind) -> Event {
        Event::new(name)
            .with("from_gen", self.from.map(|generation| generation.0))
            .with("to_gen", to)
            .with("kind", kind_word(kind))
    }

    fn end(&self, to: u64, kind: RestartKind, ok: bool) -> Event {
        let hot = matches!(kind, RestartKind::Hot(_));
        self.event("restart.end", to, kind)
            .with("ok", ok)
            .maybe(
                "drained",
                (hot && ok).then_some(!self.overdue && !self.killed),
            )
            .with("killed", self.killed)
    }
}

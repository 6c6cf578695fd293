//! Carries out the supervisor's orders, and turns what the edges report into facts for it. It decides nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::builds::Builds;
use crate::config::Config;
use crate::config::file::{self, LoadError};
use crate::console::Console;
use crate::diagnostics::{Problems, locations};
use crate::event_loop::{self, Input, Setup};
use crate::overview::Overview;
use crate::plain;
use crate::process::{self, Guardian, Spec};
use crate::restart::sockets::Held;
use crate::rules;
use crate::servers::Servers;
use crate::state;
use crate::supervisor::event::{Effect, Event, Outcome, Report, Target};
use crate::supervisor::generation::{GenerationId, JobId};
use crate::supervisor::status::Status;
use crate::teller::{Sources, Teller};
use crate::watch::{self, Seen, Watcher};

/// The tree cannot be watched; what stands in the way is the cause.
#[derive(Debug)]
pub struct CannotWatch;

impl std::fmt::Display for CannotWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nothing would be seen")
    }
}

/// Everything that touches the world.
pub struct Performer {
    config: Arc<Config>,
    /// Read and valid; in force when the supervisor says so.
    next_config: Option<Config>,
    settings: Vec<PathBuf>,
    console: Console,
    sender: Sender<Input>,
    guardian: Guardian,
    builds: Builds,
    servers: Servers,
    teller: Teller,
    watcher: Option<Watcher>,
    /// How many watchers there have been: what an earlier one still says is about an earlier config.
    watchers: u64,
    /// The server that was started last, until its cycle ends.
    starting: Option<JobId>,
}

impl Performer {
    /// Binds the sockets, starts the guardian and the watcher, in this order: requests can wait from here on, and
    /// no save after this is lost. `types`: somebody may type to the server.
    pub fn start(setup: Setup, sender: Sender<Input>, types: bool) -> Result<Performer> {
        let Setup {
            config,
            settings,
            mut state,
            console,
            color_hints,
            screen: _,
            task: _,
        } = setup;
        let complaint = state.complaint();
        let config = Arc::new(config);
        let listen = config
            .server
            .as_ref()
            .map_or(&[][..], |server| &server.listen);
        let held = Held::bind(listen)?;
        let reports = sender.clone();
        let report = move |report| drop(reports.send(Input::Process(report)));
        let guardian = Guardian::start(Box::new(console.clone()), report, Some(state.lock_file()))
            .context("cannot start the guardian process")?;
        let mut performer = Performer {
            builds: Builds::new(
                Arc::clone(&config),
                state,
                console.clone(),
                sender.clone(),
                color_hints,
            ),
            config,
            next_config: None,
            settings,
            teller: Teller::new(console.clone()),
            console,
            servers: Servers::new(held, sender.clone(), color_hints),
            sender,
            guardian,
            watcher: None,
            watchers: 0,
            starting: None,
        };
        if types {
            performer.servers.typed_to();
        }
        if let Some(complaint) = complaint {
            performer.console.note(&complaint);
        }
        for address in performer.servers.held().exposed() {
            performer
                .console
                .note(&format!("{address} can be reached from other machines"));
        }
        performer.watch()?;
        Ok(performer)
    }

    /// For whoever takes the terminal.
    pub fn screen_notice(&self) -> process::ScreenNotice {
        self.guardian.screen_notice()
    }

    /// Everything has stopped: the guardian goes, then the sockets, the lock and the watches with the drop.
    pub fn finish(self) {
        self.guardian.shutdown();
    }

    // --- orders ---

    /// Carries out one order.
    pub fn perform(&mut self, effect: Effect) {
        self.teller.ordered(&effect);
        match effect {
            Effect::Reuse { job, rule } => self.builds.reuse(job, rule),
            Effect::Run { job, rule } => {
                let from = Sources {
                    config: &self.config,
                    builds: &self.builds,
                    servers: &self.servers,
                };
                self.teller.runs(job, rule, from);
                let spec = self.builds.run(job, rule);
                self.spawn(job, Ok(spec));
            }
            Effect::Start {
                job,
                generation,
                last_good,
            } => {
                self.start_server(job, generation, last_good);
            }
            Effect::Keep { job } => self.servers.keep(&self.config, job),
            Effect::Stop { job, target } => self.stop(job, target),
            Effect::HandOver {
                from,
                to,
                generation,
            } => {
                self.starts(to);
                // Both print through the same pipes; what comes from here on is the successor's, as a rule.
                if let Some(keeper) = self.servers.keeper(from) {
                    self.console.server(keeper, generation);
                }
                self.servers
                    .hand_over(&self.guardian, &self.config, from, to, generation);
            }
            Effect::Recognise {
                from,
                to,
                generation,
                pid,
            } => {
                self.servers
                    .recognise(&self.guardian, from, to, generation, Pid::from_raw(pid));
            }
            Effect::Retire { job } => self.servers.retire(&self.guardian, &self.config, job),
            Effect::Kill { job } => self.servers.kill(&self.guardian, job),
            Effect::Inspect { job, rule } => self.builds.inspect(job, rule),
            Effect::Configure => self.configure(),
            Effect::Remember { listens } => self.builds.state.remember_silent(!listens),
            Effect::Report(report) => {
                if let Report::End { .. } = report
                    && let Some(job) = self.starting.take()
                {
                    self.has_read(job);
                    // What that demands comes after what the supervisor is about to do.
                    let _ = self.sender.send(Input::HasRead(job));
                }
                self.tell(&report);
            }
            Effect::Exit(_) => unreachable!("the loop ends there"),
        }
    }

    /// Until its cycle ends, the server reads its files.
    fn starts(&mut self, job: JobId) {
        self.builds.read_by_server(job);
        self.starting = Some(job);
    }

    fn start_server(&mut self, job: JobId, generation: GenerationId, last_good: bool) {
        self.starts(job);
        self.console.server(job, generation);
        let (spec, warnings) = self
            .servers
            .prepare(&self.config, job, generation, last_good);
        for warning in warnings {
            self.console.note(&warning);
        }
        self.spawn(job, spec);
    }

    /// Asks the guardian for a process. What cannot even be asked for has failed to start.
    fn spawn(&mut self, job: JobId, spec: Result<Spec>) {
        if let Err(error) = spec.and_then(|spec| self.guardian.spawn(job, spec)) {
            let _ = self
                .sender
                .send(Input::Unspawned(job, format!("{error:#}")));
        }
    }

    fn stop(&mut self, job: JobId, target: Target) {
        if self.servers.contains(job) {
            self.servers.stop(&self.guardian, &self.config, job, target);
            return;
        }
        self.builds.cancelled(job);
        let target = match target {
            Target::Main => process::Target::Main,
            Target::Tree => process::Target::Tree,
        };
        self.guardian.signal(job, Signal::SIGTERM, target);
    }

    fn configure(&mut self) {
        let Some(config) = self.next_config.take() else {
            return;
        };
        let listen = config
            .server
            .as_ref()
            .map_or(&[][..], |server| &server.listen);
        if let Err(error) = self.servers.held().rebind(listen) {
            self.console
                .note(&format!("{error}; the earlier sockets stay"));
        }
        self.config = Arc::new(config);
        self.builds.configure(Arc::clone(&self.config));
        if let Err(error) = self.watch() {
            self.console
                .note(&format!("{error:#}; what is watched stays as it was"));
        }
    }

    /// Watches what the config names. The new watcher is in place before the old one goes: no save is lost.
    fn watch(&mut self) -> Result<()> {
        let sender = self.sender.clone();
        self.watchers += 1;
        let number = self.watchers;
        let report = move |seen| drop(sender.send(Input::Seen(number, seen)));
        let rules = self.config.rules.iter();
        let made = rules.clone().filter(|rule| rule.run.is_some());
        let scope = watch::Scope {
            root: self.config.root.clone(),
            extra_roots: self.config.watch_roots(),
            ignore: self.config.watch.ignore.clone(),
            always: self.config.always_watched(),
            settings: self
                .settings
                .iter()
                .chain(self.env_files())
                .cloned()
                .collect(),
            debounce: self.config.watch.debounce,
            max_wait: self.config.watch.max_wait,
            poll: self.config.watch.poll,
            follow_links: self.config.watch.follow_symlinks,
            groups: rules.map(|rule| rule.files.clone()).collect(),
            made: made.map(|rule| rule.outputs.clone()).collect(),
            cookies: Some(state::cookies(&self.config.root)),
        };
        self.watcher = Some(Watcher::start(scope, report).context(CannotWatch)?);
        Ok(())
    }

    fn env_files(&self) -> &[PathBuf] {
        self.config
            .server
            .as_ref()
            .map_or(&[], |server| &server.env_file)
    }

    // --- facts ---

    /// What an input means to the supervisor.
    pub fn facts(&mut self, input: Input) -> Vec<Event> {
        let mut found = (0, 0);
        if let Input::Process(process::Report::Exited { job, exit, .. }) = &input {
            self.has_read(*job);
            found = self.builds.ended(*job, *exit);
        }
        if let Input::Process(
            process::Report::Exited { job, .. } | process::Report::Ended { job, .. },
        ) = &input
        {
            self.console.ended(*job);
        }
        let facts = self.meaning(input);
        for fact in &facts {
            self.teller.happened(fact, found, &self.config);
        }
        facts
    }

    fn meaning(&mut self, input: Input) -> Vec<Event> {
        match input {
            Input::Seen(number, seen) => self.seen(number == self.watchers, seen),
            Input::Process(report) => self.process(report),
            Input::Ready(job, report) => self.servers.ready(job, &report).into_iter().collect(),
            Input::Found(job, pid) => self.servers.found(&self.guardian, &self.config, job, pid),
            Input::Kept(job) => vec![Event::Kept(job)],
            Input::Refused(job, reason) => vec![Event::Refused(job, reason)],
            Input::Cleared(job) => self.servers.cleared(job),
            Input::HasRead(job) => self.builds.released(job),
            Input::Restoring(job, rule) => {
                self.builds.restoring(job, rule);
                Vec::new()
            }
            Input::Reused(job, rule, answer) => vec![self.builds.reused(job, rule, answer)],
            Input::Stored(failed) => {
                self.builds.stored(failed);
                Vec::new()
            }
            Input::Looked(job, rule, written) => {
                let produced = self.builds.looked(job, rule, written);
                produced.into_iter().collect()
            }
            Input::Unspawned(job, reason) => {
                self.has_read(job);
                self.builds.gone(job);
                self.servers.forget(job);
                vec![Event::SpawnFailed(job, reason)]
            }
            Input::Asked(request) => vec![Event::Asked(request)],
            Input::Typed(line) => {
                if let Err(why) = self.servers.type_line(line.as_deref()) {
                    self.console.note(&format!("nothing was passed on: {why}"));
                }
                Vec::new()
            }
            Input::Gap => {
                if let Some(watcher) = &self.watcher {
                    watcher.compare();
                }
                Vec::new()
            }
        }
    }

    /// Servers that have opened a socket of their own since the last call.
    pub fn listening(&mut self) -> Vec<Event> {
        self.servers.listening()
    }

    /// `in_force`: it is the present watcher that says so.
    fn seen(&mut self, in_force: bool, seen: Seen) -> Vec<Event> {
        match seen {
            Seen::Changes(mut set) => {
                set.sums = set.sums.filter(|_| in_force);
                self.teller.seen(&set.changes);
                self.builds.changed(set)
            }
            Seen::Settings(paths) => self.settings_changed(&paths),
            Seen::Note(text) => {
                self.console.note(&text);
                Vec::new()
            }
            Seen::Read(sums) => {
                if in_force {
                    self.builds.read(sums);
                }
                Vec::new()
            }
            Seen::Heard(token, at) => {
                self.builds.heard(token, at);
                Vec::new()
            }
            Seen::CaughtUp(token) => {
                self.builds.caught_up(token);
                Vec::new()
            }
        }
    }

    /// Whether something that was built is still to be remembered.
    pub fn is_settling(&self) -> bool {
        self.builds.is_settling()
    }

    /// `job` reads no source any more.
    fn has_read(&mut self, job: JobId) {
        if let Some(token) = self.builds.has_read(job)
            && let Some(watcher) = &self.watcher
        {
            watcher.catch_up(token);
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a settings report carries no time of its own"
    )]
    fn settings_changed(&mut self, paths: &[PathBuf]) -> Vec<Event> {
        let since = Instant::now();
        let mut facts = Vec::new();
        let env_files: Vec<&PathBuf> = paths
            .iter()
            .filter(|path| self.env_files().contains(path))
            .collect();
        if !env_files.is_empty() {
            let files = env_files.iter().map(|path| self.relative(path)).collect();
            facts.push(Event::Changed {
                plan: rules::env_file(),
                files,
                since,
            });
        }
        if let Some(path) = paths.iter().find(|path| self.settings.contains(path)) {
            facts.extend(self.reload(path, since));
        }
        facts
    }

    /// Reads the config again. An invalid one keeps the old in force and says so.
    fn reload(&mut self, path: &Path, since: Instant) -> Option<Event> {
        let shown = plain::shown(&self.relative(path));
        match file::load_again(path, self.config.root.clone()) {
            Ok(loaded) => {
                self.teller.accepted(path, loaded.warnings);
                // A second edit may come before the first is in force: what runs is what counts.
                let server_changed = self.config.server != loaded.config.server;
                let policy = event_loop::policy(
                    &loaded.config,
                    self.builds.state.silent() && !server_changed,
                );
                self.next_config = Some(loaded.config);
                Some(Event::Configured {
                    policy,
                    server_changed,
                    file: self.relative(path),
                    since,
                })
            }
            Err(LoadError::Invalid(diagnostics)) => {
                self.teller.refused(path, &self.relative(path), diagnostics);
                self.console
                    .note(&format!("{shown} is not applied; the earlier config holds"));
                None
            }
            Err(error) => {
                self.teller
                    .unreadable(path, &self.relative(path), error.to_string());
                self.console
                    .note(&format!("{error}; the earlier config holds"));
                None
            }
        }
    }

    fn process(&mut self, report: process::Report) -> Vec<Event> {
        let mut released = Vec::new();
        match report {
            process::Report::Exited { job, .. } => released = self.builds.released(job),
            process::Report::TreeGone { job } | process::Report::SpawnFailed { job, .. } => {
                self.has_read(job);
                self.builds.gone(job);
                released = self.builds.released(job);
            }
            process::Report::GuardianLost => {
                self.console
                    .note("the guardian process was killed; everything it had started is stopped");
                if let Err(error) = self.guardian.revive() {
                    self.console.note(&format!("{error:#}"));
                }
            }
            process::Report::Spawned { .. }
            | process::Report::Ended { .. }
            | process::Report::Signalled { .. }
            | process::Report::ReadyLine { .. } => {}
        }
        let mut facts = self.servers.reported(&self.guardian, &self.config, report);
        facts.append(&mut released);
        facts
    }

    // --- lines ---

    /// Tells a report, and at the end of a cycle what stands then: in the file for editors, too.
    fn tell(&mut self, report: &Report) {
        let Report::End { outcome, .. } = report else {
            self.pass_on(report, Problems::default());
            return;
        };
        match outcome {
            Outcome::Superseded => {
                self.pass_on(report, Problems::default());
                return;
            }
            Outcome::Failed { rule, .. } => self.builds.timed_out(*rule),
            Outcome::Crashed { .. } => {}
            Outcome::Serving(_) | Outcome::Ok { .. } | Outcome::Unchanged { .. } => {
                self.builds.settled();
            }
        }
        let problems = self.builds.problems();
        // Whoever waits for the line finds the file as the line says.
        if let Err(error) = self.builds.state.write_locations(&locations(&problems)) {
            self.console.note(&format!(
                "cannot write .devwatch/locations: {error}; it holds an earlier build's problems"
            ));
        }
        self.pass_on(report, problems);
    }

    fn pass_on(&mut self, report: &Report, problems: Problems) {
        let from = Sources {
            config: &self.config,
            builds: &self.builds,
            servers: &self.servers,
        };
        self.teller.report(report, problems, from);
    }

    /// What is known, to those who are told events.
    pub fn known(&mut self, overview: &Overview) {
        self.teller.known(overview);
    }

    /// All that is known, for whoever shows it.
    pub fn overview(&self, status: Status) -> Overview {
        let from = Sources {
            config: &self.config,
            builds: &self.builds,
            servers: &self.servers,
        };
        self.teller.overview(status, self.watcher.as_ref(), from)
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.config.root)
            .unwrap_or(path)
            .to_owned()
    }
}

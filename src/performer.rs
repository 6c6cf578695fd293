//! Carries out the supervisor's orders, and turns what the edges report into facts for it. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::config::diagnostic::Diagnostics;
use crate::config::file::{self, LoadError};
use crate::config::{Config, Rule};
use crate::diagnostics::{Files, Problems, Reader, Standing, locations};
use crate::event_loop::{self, Input, Setup};
use crate::incremental::cache::{self, Cache};
use crate::incremental::ledger::{Basis, Ledger, Proven};
use crate::incremental::outputs::{self, Written};
use crate::incremental::recipe::recipe;
use crate::incremental::reuse::{Answer, Question};
use crate::plain::{self, Console, Names};
use crate::process::{self, Guardian, Spec};
use crate::readers::{Misread, Readers, Turn};
use crate::restart::environment;
use crate::restart::sockets::Held;
use crate::rules::{self, By, Changed};
use crate::servers::Servers;
use crate::state::{State, Success};
use crate::supervisor::event::{Effect, Event, Exit, Outcome, Report, Reuse, Target, Who};
use crate::supervisor::generation::{GenerationId, JobId};
use crate::supervisor::plan::{Plan, RuleId};
use crate::watch::fingerprint::Fingerprint;
use crate::watch::{self, Change, ChangeKind, ChangeSet, Seen, Stirred, Watcher};

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
    state: State,
    console: Console,
    sender: Sender<Input>,
    guardian: Guardian,
    servers: Servers,
    watcher: Option<Watcher>,
    /// How many watchers there have been: what an earlier one still says is about an earlier config.
    watchers: u64,
    /// What each rule had written when its command last ended, well or not: whatever differs is somebody else's.
    written: BTreeMap<RuleId, Written>,
    /// What each rule had written when its command last succeeded: as much as the rules that take it know of.
    good: BTreeMap<RuleId, Written>,
    /// Commands whose outputs are not in `written` yet. What changes there meanwhile is theirs.
    writing: BTreeMap<JobId, Writing>,
    readers: Readers,
    /// Changes for which a rule is asked again when its run has come to its end.
    deferred: Vec<Concerned>,
    /// Jobs that read no more, by the number under which the watcher was asked whether it has seen everything that had
    /// happened by then.
    catching_up: BTreeMap<u64, JobId>,
    tokens: u64,
    ledger: Ledger,
    cache: Arc<Cache>,
    /// Rules that are asked whether they can do without their commands, before the contents of the tree are known.
    asked: Vec<(JobId, RuleId)>,
    /// Threads that keep what commands left.
    storing: usize,
    said_unkept: bool,
    /// The server that was started last, until its cycle ends.
    starting: Option<JobId>,
    /// What the last run of each rule has found.
    standing: Standing,
}

/// A changed file that belongs to a rule.
struct Concerned {
    rule: RuleId,
    path: PathBuf,
    since: Instant,
}

/// What changed files demand, and what they do not because a rule has changed them itself.
#[derive(Default)]
struct Demands {
    plan: Plan,
    files: BTreeSet<PathBuf>,
    withheld: Option<Event>,
}

struct Writing {
    rule: RuleId,
    stage: Stage,
    began_at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Runs,
    /// What was kept is being put back.
    Restores,
    /// Told to stop: it may write until nothing of it is left.
    Cancelled,
    /// Its main process ended, well or not; its outputs are being read, or will be.
    Ended {
        well: bool,
    },
}

impl Performer {
    /// Binds the sockets, starts the guardian and the watcher, in this order: requests can wait from here on, and
    /// no save after this is lost.
    pub fn start(setup: Setup, sender: Sender<Input>) -> Result<Performer> {
        let Setup {
            config,
            settings,
            mut state,
            console,
            keys: _,
            task: _,
        } = setup;
        let complaint = state.complaint();
        let cache = Arc::new(Cache::new(&config.root, cache::LIMIT));
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
            config: Arc::new(config),
            next_config: None,
            settings,
            state,
            console,
            servers: Servers::new(held, sender.clone()),
            sender,
            guardian,
            watcher: None,
            watchers: 0,
            written: BTreeMap::new(),
            good: BTreeMap::new(),
            writing: BTreeMap::new(),
            readers: Readers::default(),
            deferred: Vec::new(),
            catching_up: BTreeMap::new(),
            tokens: 0,
            ledger: Ledger::default(),
            cache,
            asked: Vec::new(),
            storing: 0,
            said_unkept: false,
            starting: None,
            standing: Standing::default(),
        };
        if let Some(complaint) = complaint {
            performer.note(&complaint);
        }
        for address in performer.servers.held().exposed() {
            performer.note(&format!("{address} can be reached from other machines"));
        }
        performer.watch()?;
        Ok(performer)
    }

    /// Everything has stopped: the guardian goes, then the sockets, the lock and the watches with the drop.
    pub fn finish(self) {
        self.guardian.shutdown();
    }

    // --- orders ---

    /// Carries out one order.
    pub fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Reuse { job, rule } => self.reuse(job, rule),
            Effect::Run { job, rule } => self.run(job, rule),
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
            Effect::Inspect { job, rule } => self.inspect(job, rule),
            Effect::Configure => self.configure(),
            Effect::Remember { listens } => self.state.remember_silent(!listens),
            Effect::Report(report) => {
                if let Report::End { .. } = report
                    && let Some(job) = self.starting.take()
                {
                    self.has_read(job);
                }
                self.tell(&report);
            }
            Effect::Exit(_) => unreachable!("the loop ends there"),
        }
    }

    /// Finds out whether a rule can do without its command, on a thread of its own: an artefact of many megabytes
    /// takes its time.
    fn reuse(&mut self, job: JobId, rule: RuleId) {
        let success = self.state.success(&self.config.rules[rule.0].name);
        if success.is_none() && self.cache.is_empty() {
            self.answer(Input::Reused(job, rule, None));
            return;
        }
        let Some(sum) = self.ledger.sum(rule) else {
            self.asked.push((job, rule));
            return;
        };
        let question = Question {
            config: Arc::clone(&self.config),
            rule,
            sum,
            success,
            written: self.written.clone(),
            cache: Arc::clone(&self.cache),
        };
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            let restoring = || drop(sender.send(Input::Restoring(job, rule)));
            let answer = question.answer(restoring);
            let _ = sender.send(Input::Reused(job, rule, answer));
        });
    }

    /// An answer that nobody has to look for.
    fn answer(&self, input: Input) {
        // The loop holds the other end for as long as this lives.
        let _ = self.sender.send(input);
    }

    fn run(&mut self, job: JobId, rule: RuleId) {
        self.readers.begun(job, rule);
        self.begin_ledger(job, rule);
        self.console.rule(job, self.problem_reader(rule));
        // What an earlier command of this rule has left is about to be written anew.
        self.writing.retain(|_, writing| {
            writing.rule != rule || !matches!(writing.stage, Stage::Ended { .. })
        });
        self.writing.insert(job, Writing::new(rule, Stage::Runs));
        let rule = &self.config.rules[rule.0];
        let command = rule
            .run
            .as_ref()
            .expect("only rules with a command are run");
        let spec = Spec {
            argv: command.argv().into_iter().map(OsString::from).collect(),
            program: None,
            env: environment::rule(std::env::vars_os(), &rule.env),
            cwd: rule.cwd.clone(),
            inherit: Vec::new(),
            ready_line: None,
        };
        self.spawn(job, Ok(spec));
    }

    /// Reads problems out of what the command of `rule` prints; none where the config wants none.
    fn problem_reader(&self, rule: RuleId) -> Option<Reader> {
        let recipe = self.config.recipe(&self.config.rules[rule.0])?;
        let root = self.config.root.clone();
        let sources = move || {
            let sources: Vec<PathBuf> = file::sources(&root).take(MOST_SOURCES + 1).collect();
            // Of a part nobody could say that a name is the only one.
            match sources.len() {
                0..=MOST_SOURCES => sources,
                _ => Vec::new(),
            }
        };
        Some(Reader::new(&recipe, Files::new(Path::is_file, sources)))
    }

    /// A server that starts reads what the rules without a command name.
    fn starts(&mut self, job: JobId) {
        for (place, rule) in self.config.rules.iter().enumerate() {
            if rule.run.is_none() {
                self.readers.begun(job, RuleId(place));
            }
        }
        self.starting = Some(job);
    }

    fn start_server(&mut self, job: JobId, generation: GenerationId, last_good: bool) {
        self.starts(job);
        let (spec, warnings) = self
            .servers
            .prepare(&self.config, job, generation, last_good);
        for warning in warnings {
            self.note(&warning);
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
        if let Some(writing) = self.writing.get_mut(&job) {
            writing.stage = Stage::Cancelled;
        }
        let target = match target {
            Target::Main => process::Target::Main,
            Target::Tree => process::Target::Tree,
        };
        self.guardian.signal(job, Signal::SIGTERM, target);
    }

    /// Reads a rule's outputs on a thread of its own: an artefact of many megabytes takes its time.
    fn inspect(&mut self, job: JobId, rule: RuleId) {
        let ended = Writing::new(rule, Stage::Ended { well: false });
        self.writing.entry(job).or_insert(ended);
        let (config, sender) = (Arc::clone(&self.config), self.sender.clone());
        std::thread::spawn(move || {
            let written = outputs::look(&config, rule, None);
            let _ = sender.send(Input::Looked(job, rule, written));
        });
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
            self.note(&format!("{error}; the earlier sockets stay"));
        }
        self.written.clear();
        self.good.clear();
        self.standing.clear();
        // Numbers of the old config. Nothing of it runs any more.
        self.writing.clear();
        self.readers.forget();
        self.deferred.clear();
        self.catching_up.clear();
        self.ledger.forget();
        self.asked.clear();
        self.config = Arc::new(config);
        if let Err(error) = self.watch() {
            self.note(&format!("{error:#}; what is watched stays as it was"));
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
            cookies: Some(self.config.root.join(".devwatch")),
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
        match input {
            Input::Seen(number, seen) => self.seen(number == self.watchers, seen),
            Input::Process(report) => self.process(report),
            Input::Ready(job, report) => self.servers.ready(job, &report).into_iter().collect(),
            Input::Found(job, pid) => self.servers.found(&self.guardian, &self.config, job, pid),
            Input::Kept(job) => vec![Event::Kept(job)],
            Input::Refused(job, reason) => vec![Event::Refused(job, reason)],
            Input::Cleared(job) => self.servers.cleared(job),
            Input::Restoring(job, rule) => {
                self.writing
                    .insert(job, Writing::new(rule, Stage::Restores));
                Vec::new()
            }
            Input::Reused(job, rule, answer) => vec![self.reused(job, rule, answer)],
            Input::Stored(failed) => {
                self.storing -= 1;
                if let Some(failed) =
                    failed.filter(|_| !std::mem::replace(&mut self.said_unkept, true))
                {
                    self.note(&failed);
                }
                Vec::new()
            }
            Input::Looked(job, rule, written) => {
                self.looked(job, rule, written).into_iter().collect()
            }
            Input::Unspawned(job, reason) => {
                self.command_gone(job);
                self.servers.forget(job);
                vec![Event::SpawnFailed(job, reason)]
            }
            Input::Asked(request) => vec![Event::Asked(request)],
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
                if !in_force {
                    set.sums = None;
                }
                let facts = self.changed(&mut set);
                self.sums_known();
                facts
            }
            Seen::Settings(paths) => self.settings_changed(&paths),
            Seen::Note(text) => {
                self.note(&text);
                Vec::new()
            }
            Seen::Read(sums) => {
                if in_force {
                    self.ledger.read(sums);
                    self.sums_known();
                }
                Vec::new()
            }
            Seen::Heard(token, at) => {
                if let Some(job) = self.catching_up.get(&token) {
                    self.readers.heard(*job, at);
                    self.ledger.heard(*job, at);
                }
                Vec::new()
            }
            Seen::CaughtUp(token) => {
                if let Some(job) = self.catching_up.remove(&token) {
                    self.readers.ended(job);
                    self.ledger.confirmed(job);
                    self.remember();
                }
                Vec::new()
            }
        }
    }

    /// Whoever had to wait for them is asked.
    fn sums_known(&mut self) {
        for (job, rule) in std::mem::take(&mut self.asked) {
            self.reuse(job, rule);
        }
        self.remember();
    }

    /// What a command does is written down when it begins: by its end it may be told to do something else.
    fn begin_ledger(&mut self, job: JobId, rule: RuleId) {
        let Rule { name, outputs, .. } = &self.config.rules[rule.0];
        if outputs.is_empty() {
            // What it does elsewhere is about to be undone in part, or done anew.
            self.state.forget_success(name);
        }
        if let Some(recipe) = recipe(&self.config, rule, |name| std::env::var_os(name)) {
            let written = self.written.iter().map(|(rule, written)| (*rule, written));
            let basis = Basis::new(&self.config, rule, recipe, written);
            self.ledger.begun(job, rule, basis);
        }
    }

    /// Successes that are certain are kept for the next time and the next run.
    fn remember(&mut self) {
        for Proven { rule, key, made } in self.ledger.proven() {
            let Rule { name, cache, .. } = &self.config.rules[rule.0];
            log::debug!(target: "incremental", "{name}: {key} is remembered");
            let outputs = made.digest();
            self.state.remember_success(name, Success { key, outputs });
            if !cache || outputs.is_none() {
                continue;
            }
            self.storing += 1;
            let (cache, sender, name) =
                (Arc::clone(&self.cache), self.sender.clone(), name.clone());
            std::thread::spawn(move || {
                let files: Vec<(PathBuf, Fingerprint)> = made
                    .contents()
                    .map(|(path, content)| (path.to_owned(), content))
                    .collect();
                let failed = cache.keep(key, &files).err();
                let failed =
                    failed.map(|error| format!("cannot keep what rule {name} has made: {error}"));
                let _ = sender.send(Input::Stored(failed));
            });
        }
    }

    /// Whether something that was built is still to be remembered.
    pub fn is_settling(&self) -> bool {
        self.storing > 0 || self.ledger.awaits()
    }

    fn reused(&mut self, job: JobId, rule: RuleId, answer: Option<Answer>) -> Event {
        self.writing.remove(&job);
        // Asked under an earlier config, where the number meant another rule.
        let (
            Some(Answer {
                key,
                written,
                restored,
            }),
            Some(Rule { name, .. }),
        ) = (answer, self.config.rules.get(rule.0))
        else {
            return Event::Reused(job, Reuse::Nothing);
        };
        let outputs = written.digest();
        self.state.remember_success(name, Success { key, outputs });
        let before = self.good.get(&rule).cloned().unwrap_or_default();
        let produced = written.produced(&self.config, rule, &before);
        self.good.insert(rule, written.clone());
        self.written.insert(rule, written);
        let reuse = match restored {
            true => Reuse::Restored(produced),
            false => Reuse::Current(produced),
        };
        Event::Reused(job, reuse)
    }

    fn changed(&mut self, set: &mut ChangeSet) -> Vec<Event> {
        let changes: Vec<Changed<'_>> = set
            .changes
            .iter()
            .map(|change| Changed {
                path: &change.path,
                by: self.who_wrote(&change.path, change.kind == ChangeKind::Removed),
            })
            .collect();
        let mut concerned = Vec::new();
        for (change, Change { since, .. }) in changes.iter().zip(&set.changes) {
            for rule in rules::concerned(&self.config, change) {
                self.ledger.touched(rule, *since);
                let path = change.path.to_owned();
                concerned.push(Concerned {
                    rule,
                    path,
                    since: *since,
                });
            }
        }
        let (sums, first_at) = (set.sums.take(), set.first_at);
        self.ledger.changed(sums);
        let Demands {
            mut plan,
            mut files,
            withheld,
        } = self.demands(concerned, first_at);
        for Stirred { path, since } in &set.stirred {
            for rule in self.misread(path, *since) {
                self.ledger.touched(rule, *since);
                plan.rules.insert(rule);
                files.insert(path.clone());
            }
        }
        let mut facts = Vec::new();
        if !plan.is_empty() {
            plan.rules.extend(self.touched_outputs());
            facts.push(Event::Changed {
                plan,
                files,
                since: first_at,
            });
        }
        facts.extend(withheld);
        facts
    }

    /// What changed files demand of the rules that they concern. A rule that changes its own files is not asked for it
    /// again and again.
    fn demands(&mut self, concerned: Vec<Concerned>, since: Instant) -> Demands {
        let mut demands = Demands::default();
        let mut deferred = Vec::new();
        let mut own = BTreeMap::new();
        for it in concerned {
            match self.readers.changed(it.rule, &it.path, it.since) {
                Turn::Now => {
                    demands.plan.rules.insert(it.rule);
                    demands.files.insert(it.path);
                }
                Turn::AfterRun => deferred.push(it),
                Turn::Never => _ = own.insert(it.rule, it.path),
            }
        }
        // Whoever runs anyway runs for all of it.
        let runs = |rule: &RuleId| demands.plan.rules.contains(rule);
        deferred.retain(|it| !runs(&it.rule));
        self.deferred.append(&mut deferred);
        own.retain(|rule, _| !runs(rule));
        for (rule, path) in &own {
            self.say_own(*rule, path);
        }
        demands.withheld = (!own.is_empty()).then(|| Event::Withheld {
            plan: Plan {
                rules: own.into_keys().collect(),
                ..Plan::default()
            },
            since,
        });
        demands
    }

    /// Names the rule, the file, and the line that would end it.
    fn say_own(&self, rule: RuleId, path: &Path) {
        let Rule { name, run, .. } = &self.config.rules[rule.0];
        let shown = plain::shown(path);
        let who = match run {
            Some(_) => format!("rule {name} changes {shown}, which it takes, whenever it runs"),
            None => {
                format!("the server changes {shown}, which rule {name} takes, whenever it starts")
            }
        };
        let or_output = run.as_ref().map(|_| format!("outputs = [{path:?}] or "));
        self.note(&format!(
            "{who}; it is not run again for that: add {}\"!{}\" to its files",
            or_output.unwrap_or_default(),
            path.display(),
        ));
    }

    /// What was held back while a rule ran is considered when it has ended.
    fn released(&mut self, job: JobId) -> Vec<Event> {
        let mut facts = Vec::new();
        let readers = &self.readers;
        let over = |it: &mut Concerned| readers.is_over(job, it.rule);
        for it in self.deferred.extract_if(.., over).collect::<Vec<_>>() {
            let since = it.since;
            let Demands {
                plan,
                files,
                withheld,
            } = self.demands(vec![it], since);
            if !plan.is_empty() {
                facts.push(Event::Changed { plan, files, since });
            }
            facts.extend(withheld);
        }
        facts
    }

    /// The rules that may have read `path` while it was something else.
    fn misread(&mut self, path: &Path, since: Instant) -> Vec<RuleId> {
        if !self.readers.anybody() {
            return Vec::new();
        }
        let stirred = Changed {
            path,
            by: self.who_wrote(path, false),
        };
        let mut misread = Vec::new();
        for rule in rules::concerned(&self.config, &stirred) {
            match self.readers.misread(rule, path, since) {
                Misread::No => {}
                Misread::Yes => misread.push(rule),
                Misread::ItsOwn => self.note(&format!(
                    "rule {} writes {} whenever it runs, with the same content; outputs = [{:?}] would say so",
                    self.config.rules[rule.0].name,
                    plain::shown(path),
                    path,
                )),
            }
        }
        misread
    }

    /// A rule writes its outputs; whatever else changes one makes the rule due.
    fn who_wrote(&self, path: &Path, removed: bool) -> By {
        let mut makers = rules::makers(&self.config, path).peekable();
        if makers.peek().is_none() {
            return By::Others;
        }
        // Where it was, a symlink may lead to another of its name by now.
        let content = if removed {
            None
        } else {
            watch::fingerprint::of_file(&self.config.root.join(path))
                .ok()
                .flatten()
        };
        let its_own = |rule: RuleId| {
            let writes = self.writing.values().any(|writing| writing.rule == rule);
            writes
                || self
                    .written
                    .get(&rule)
                    .is_some_and(|written| written.holds(path, content))
        };
        if makers.any(its_own) {
            By::ItsRule
        } else {
            By::Others
        }
    }

    /// Rules whose outputs somebody else has changed where no event tells: in ignored folders.
    fn touched_outputs(&self) -> Vec<RuleId> {
        let touched = |(rule, written): &(&RuleId, &Written)| {
            let writes = self.writing.values().any(|writing| writing.rule == **rule);
            !writes && outputs::look(&self.config, **rule, Some(written)) != **written
        };
        self.written
            .iter()
            .filter(touched)
            .map(|(rule, _)| *rule)
            .collect()
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
                self.problems(path, loaded.warnings);
                // A second edit may come before the first is in force: what runs is what counts.
                let server_changed = self.config.server != loaded.config.server;
                let policy =
                    event_loop::policy(&loaded.config, self.state.silent() && !server_changed);
                self.next_config = Some(loaded.config);
                Some(Event::Configured {
                    policy,
                    server_changed,
                    file: self.relative(path),
                    since,
                })
            }
            Err(LoadError::Invalid(diagnostics)) => {
                self.problems(path, diagnostics);
                self.note(&format!("{shown} is not applied; the earlier config holds"));
                None
            }
            Err(error) => {
                self.note(&format!("{error}; the earlier config holds"));
                None
            }
        }
    }

    fn process(&mut self, report: process::Report) -> Vec<Event> {
        let mut released = Vec::new();
        match report {
            process::Report::Exited { job, exit, .. } => {
                self.command_ended(job, exit);
                released = self.released(job);
            }
            process::Report::TreeGone { job } | process::Report::SpawnFailed { job, .. } => {
                self.command_gone(job);
                released = self.released(job);
            }
            process::Report::GuardianLost => {
                self.note("the guardian process was killed; everything it had started is stopped");
                if let Err(error) = self.guardian.revive() {
                    self.note(&format!("{error:#}"));
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

    fn command_ended(&mut self, job: JobId, exit: Exit) {
        self.has_read(job);
        let problems = self.console.found(job);
        let Some(writing) = self.writing.get_mut(&job) else {
            return;
        };
        if writing.stage != Stage::Runs {
            return;
        }
        let well = exit.success();
        writing.stage = Stage::Ended { well };
        self.standing.ended(writing.rule, well, problems);
        let Some(rule) = self.config.rules.get(writing.rule.0) else {
            return;
        };
        if !well {
            self.ledger.failed(job);
            return;
        }
        self.state.count_run(&rule.name, writing.began_at.elapsed());
        if rule.outputs.is_empty() {
            self.ledger.made(job, Written::default());
            self.remember();
        }
    }

    /// `job` reads no source any more: its command has ended, or its server is there. What it may have misread is known
    /// when everything has been reported that had happened by now.
    fn has_read(&mut self, job: JobId) {
        if !self.readers.over(job) {
            return;
        }
        if let Some(watcher) = &self.watcher {
            self.tokens += 1;
            self.catching_up.insert(self.tokens, job);
            watcher.catch_up(self.tokens);
        }
    }

    /// Nothing of a command is left. What it has written stays its own until it was read or is written anew: the
    /// watcher tells of it only now.
    fn command_gone(&mut self, job: JobId) {
        self.has_read(job);
        self.console.gone(job);
        let Some(writing) = self.writing.get_mut(&job) else {
            return;
        };
        if writing.stage == Stage::Runs {
            // It could not even begin.
            self.standing
                .ended(writing.rule, false, Problems::default());
        }
        if let Stage::Runs | Stage::Cancelled = writing.stage {
            self.ledger.failed(job);
            writing.stage = Stage::Ended { well: false };
        }
        // Under another config by now, the number may mean no rule at all.
        let rule = self.config.rules.get(writing.rule.0);
        if rule.is_none_or(|rule| rule.outputs.is_empty()) {
            self.writing.remove(&job);
        }
    }

    fn looked(&mut self, job: JobId, rule: RuleId, written: Written) -> Option<Event> {
        // Asked for under an earlier config, where the number meant another rule.
        self.config.rules.get(rule.0)?;
        let Some(writing) = self.writing.remove(&job) else {
            // The rule runs again already: what was read may be half of this and half of that.
            let produced = written.produced(&self.config, rule, &written);
            return Some(Event::Produced(job, produced));
        };
        let before = self.good.get(&rule).cloned().unwrap_or_default();
        let produced = written.produced(&self.config, rule, &before);
        if writing.stage == (Stage::Ended { well: true }) {
            self.good.insert(rule, written.clone());
            self.ledger.made(job, written.clone());
            self.remember();
        }
        self.written.insert(rule, written);
        Some(Event::Produced(job, produced))
    }

    // --- lines ---

    /// Shows a report, and at the end of a cycle what stands then: in lines, and in the file for editors.
    fn tell(&mut self, report: &Report) {
        let Report::End { outcome, .. } = report else {
            self.show(report, &Problems::default());
            return;
        };
        match outcome {
            // It says nothing about the rules: the cycle that took over will.
            Outcome::Superseded => {
                self.show(report, &Problems::default());
                return;
            }
            Outcome::Failed { rule, .. } => self.timed_out(*rule),
            Outcome::Crashed { .. } => {}
            Outcome::Serving(_) | Outcome::Ok { .. } | Outcome::Unchanged { .. } => {
                self.standing.settled();
            }
        }
        let problems = self.standing.all();
        // Whoever waits for the line finds the file as the line says.
        if let Err(error) = self.state.write_locations(&locations(&problems)) {
            self.note(&format!(
                "cannot write .devwatch/locations: {error}; it holds an earlier build's problems"
            ));
        }
        self.show(report, &problems);
    }

    /// A rule that failed and was told to stop has taken too long: what it has found by now stands.
    fn timed_out(&mut self, rule: RuleId) {
        let stopped = |writing: &Writing| writing.rule == rule && writing.stage == Stage::Cancelled;
        let job = self.writing.iter().find(|(_, writing)| stopped(writing));
        if let Some((&job, _)) = job {
            let problems = self.console.found(job);
            self.standing.ended(rule, false, problems);
            // For as long as it takes to go, it is shown as before.
            self.console.rule(job, self.problem_reader(rule));
        }
    }

    fn show(&self, report: &Report, problems: &Problems) {
        let about = match report {
            Report::Down { generation, .. } => Some(*generation),
            Report::End {
                outcome: Outcome::Crashed { generation, .. },
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
            | Report::Stuck { .. } => None,
        };
        let last = about.map_or(&[][..], |generation| self.servers.last_lines(generation));
        let names = Names {
            rules: self
                .config
                .rules
                .iter()
                .map(|rule| rule.name.as_str())
                .collect(),
            stop_signal: self
                .config
                .server
                .as_ref()
                .map_or("SIGTERM", |server| server.stop.signal.as_str()),
            url: self.servers.url(),
            connections: if let Report::Overdue {
                who: Who::Server(generation),
                ..
            } = report
            {
                self.servers.connections(*generation)
            } else {
                0
            },
            last,
            problems,
            clock: &|instant| plain::time_of_day(instant.elapsed()),
        };
        for line in plain::lines(report, &names) {
            self.console.line(&line);
        }
    }

    /// Findings in the config, with its whole path: editors may run in another folder.
    fn problems(&self, file: &Path, mut found: Diagnostics) {
        file.clone_into(&mut found.file);
        for line in found.lines() {
            self.console.line(&line);
        }
    }

    fn note(&self, text: &str) {
        self.console.line(&format!("note: {text}"));
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.config.root)
            .unwrap_or(path)
            .to_owned()
    }
}

impl Writing {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a command takes is for people to see"
    )]
    fn new(rule: RuleId, stage: Stage) -> Writing {
        Writing {
            rule,
            stage,
            began_at: Instant::now(),
        }
    }
}

/// A larger tree is not searched for a file that a tool names without its folder: what is printed waits meanwhile.
const MOST_SOURCES: usize = 100_000;

//! 4 BUILD. Rules at work: what their commands are executed as, what they write and read, what need not be built, and what
//! changed files demand of them.
//!
//! For the performer, as [`servers`](crate::servers) is for the server. It decides no policy: which rule runs when is the
//! supervisor's.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use crate::config::{Config, Rule, file};
use crate::console::Console;
use crate::diagnostics::{Files, Problems, Reader, Standing};
use crate::event_loop::Input;
use crate::incremental::cache::{self, Cache};
use crate::incremental::ledger::{Basis, Ledger, Proven};
use crate::incremental::outputs::{self, Written};
use crate::incremental::recipe::recipe;
use crate::incremental::reuse::{Answer, Question};
use crate::plain;
use crate::process::Spec;
use crate::readers::{Misread, Readers, Turn};
use crate::restart::environment;
use crate::rules::{self, By, Changed};
use crate::state::{State, Success};
use crate::supervisor::event::{Event, Exit, Reuse};
use crate::supervisor::generation::JobId;
use crate::supervisor::plan::{Plan, RuleId};
use crate::watch::fingerprint::{self, Fingerprint};
use crate::watch::{Change, ChangeKind, ChangeSet, Stirred, Sum};

/// The rules and their commands.
pub struct Builds {
    config: Arc<Config>,
    /// What is kept between runs, of the rules and of the server.
    pub state: State,
    console: Console,
    sender: Sender<Input>,
    /// Whether commands are told that colour is welcome.
    color_hints: bool,
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

impl Builds {
    /// Nothing has run yet. Answers are sent to `sender`.
    pub fn new(
        config: Arc<Config>,
        state: State,
        console: Console,
        sender: Sender<Input>,
        color_hints: bool,
    ) -> Builds {
        let cache = Arc::new(Cache::new(&config.root, cache::LIMIT));
        Builds {
            config,
            state,
            console,
            sender,
            color_hints,
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
            standing: Standing::default(),
        }
    }

    /// Another config is in force: the numbers of the old one mean nothing any more, and nothing of it runs.
    pub fn configure(&mut self, config: Arc<Config>) {
        self.written.clear();
        self.good.clear();
        self.writing.clear();
        self.readers.forget();
        self.deferred.clear();
        self.catching_up.clear();
        self.ledger.forget();
        self.asked.clear();
        self.standing.clear();
        self.config = config;
    }

    // --- orders ---

    /// Finds out whether a rule can do without its command, on a thread of its own: an artefact of many megabytes
    /// takes its time.
    pub fn reuse(&mut self, job: JobId, rule: RuleId) {
        let success = self.state.success(&self.config.rules[rule.0].name);
        if success.is_none() && self.cache.is_empty() {
            // The loop holds the other end for as long as this lives.
            let _ = self.sender.send(Input::Reused(job, rule, None));
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

    /// The command of `rule` is about to begin: what is to be executed.
    pub fn run(&mut self, job: JobId, rule: RuleId) -> Spec {
        self.readers.begun(job, rule, now());
        self.begin_ledger(job, rule);
        let name = &self.config.rules[rule.0].name;
        self.console.rule(job, name, self.problem_reader(rule));
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
        Spec {
            argv: command.argv().into_iter().map(OsString::from).collect(),
            program: None,
            env: environment::rule(std::env::vars_os(), &rule.env, self.color_hints),
            cwd: rule.cwd.clone(),
            stdin: None,
            inherit: Vec::new(),
            ready_line: None,
        }
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

    /// A command is told to stop.
    pub fn cancelled(&mut self, job: JobId) {
        if let Some(writing) = self.writing.get_mut(&job) {
            writing.stage = Stage::Cancelled;
        }
    }

    /// A server that starts as `job` reads what the rules without a command name.
    pub fn read_by_server(&mut self, job: JobId) {
        let now = now();
        for (place, rule) in self.config.rules.iter().enumerate() {
            if rule.run.is_none() {
                self.readers.begun(job, RuleId(place), now);
            }
        }
    }

    /// Reads a rule's outputs on a thread of its own: an artefact of many megabytes takes its time.
    pub fn inspect(&mut self, job: JobId, rule: RuleId) {
        let ended = Writing::new(rule, Stage::Ended { well: false });
        self.writing.entry(job).or_insert(ended);
        let (config, sender) = (Arc::clone(&self.config), self.sender.clone());
        std::thread::spawn(move || {
            let written = outputs::look(&config, rule, None);
            let _ = sender.send(Input::Looked(job, rule, written));
        });
    }

    // --- what becomes of it ---

    /// What was kept for `rule` is about to be put back: what changes among its outputs is its own doing.
    pub fn restoring(&mut self, job: JobId, rule: RuleId) {
        self.writing
            .insert(job, Writing::new(rule, Stage::Restores));
    }

    /// What a command left has been kept, or why not: said once.
    pub fn stored(&mut self, failed: Option<String>) {
        self.storing -= 1;
        if let Some(failed) = failed.filter(|_| !std::mem::replace(&mut self.said_unkept, true)) {
            self.console.note(&failed);
        }
    }

    /// The answer to [`Builds::reuse`].
    pub fn reused(&mut self, job: JobId, rule: RuleId, answer: Option<Answer>) -> Event {
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

    /// The main process of a job has ended. Of a command, that is the end of its run: see [`Builds::has_read`]. How many
    /// errors and warnings it has printed.
    pub fn ended(&mut self, job: JobId, exit: Exit) -> (usize, usize) {
        let problems = self.console.found(job);
        let counts = (problems.errors, problems.warnings);
        self.over(job, exit, problems);
        counts
    }

    fn over(&mut self, job: JobId, exit: Exit, problems: Problems) {
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
    /// when everything has been reported that had happened by now: the number under which the watcher is to be asked for that.
    pub fn has_read(&mut self, job: JobId) -> Option<u64> {
        if !self.readers.over(job) {
            return None;
        }
        self.tokens += 1;
        self.catching_up.insert(self.tokens, job);
        Some(self.tokens)
    }

    /// Nothing of a command is left. What it has written stays its own until it was read or is written anew: the
    /// watcher tells of it only now.
    pub fn gone(&mut self, job: JobId) {
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

    /// The answer to [`Builds::inspect`].
    pub fn looked(&mut self, job: JobId, rule: RuleId, written: Written) -> Option<Event> {
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

    /// A rule that failed and was told to stop has taken too long: what it has found by now stands.
    pub fn timed_out(&mut self, rule: RuleId) {
        let stopped = |writing: &Writing| writing.rule == rule && writing.stage == Stage::Cancelled;
        let job = self.writing.iter().find(|(_, writing)| stopped(writing));
        if let Some((&job, _)) = job {
            let problems = self.console.found(job);
            self.standing.ended(rule, false, problems);
            // For as long as it takes to go, it is shown as before.
            if let Some(Rule { name, .. }) = self.config.rules.get(rule.0) {
                self.console.rule(job, name, self.problem_reader(rule));
            }
        }
    }

    /// Successes that are certain are kept for the next time and the next run.
    fn remember(&mut self) {
        for Proven { rule, key, made } in self.ledger.proven() {
            let rule = &self.config.rules[rule.0];
            let (name, outputs) = (&rule.name, made.digest());
            if outputs.is_none() && !rule.outputs.is_empty() {
                // Its globs miss what it writes: nobody would see if that goes.
                log::debug!(target: "incremental", "{name}: none of its outputs is there");
                continue;
            }
            log::debug!(target: "incremental", "{name}: {key} is remembered");
            self.state.remember_success(name, Success { key, outputs });
            if !rule.cache || outputs.is_none() {
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

    /// The rules whose commands run, and since when; the first first.
    pub fn running(&self) -> Vec<(RuleId, Instant)> {
        let writing = self.writing.values();
        let runs = writing.filter(|writing| writing.stage == Stage::Runs);
        runs.map(|writing| (writing.rule, writing.began_at))
            .collect()
    }

    /// Whether something that was built is still to be remembered.
    pub fn is_settling(&self) -> bool {
        self.storing > 0 || self.ledger.awaits()
    }

    /// What stands of the problems of all rules.
    pub fn problems(&self) -> Problems {
        self.standing.all()
    }

    /// Nothing is left to be done: what rules had found that are not there any more, or need not run, is settled.
    pub fn settled(&mut self) {
        self.standing.settled();
    }

    // --- what is seen ---

    /// The contents of the whole tree are known, or other files belong to rules without any change: what they add up to.
    pub fn read(&mut self, sums: Vec<Sum>) {
        self.ledger.read(sums);
        self.sums_known();
    }

    /// The kernel has told of everything that had happened when the watcher was asked under this number; what it tells
    /// after `at` came later.
    pub fn heard(&mut self, token: u64, at: Instant) {
        if let Some(job) = self.catching_up.get(&token) {
            self.readers.heard(*job, at);
            self.ledger.heard(*job, at);
        }
    }

    /// All of it has been reported.
    pub fn caught_up(&mut self, token: u64) {
        if let Some(job) = self.catching_up.remove(&token) {
            self.readers.ended(job);
            self.ledger.confirmed(job);
            self.remember();
        }
    }

    /// Whoever had to wait for them is asked.
    fn sums_known(&mut self) {
        for (job, rule) in std::mem::take(&mut self.asked) {
            self.reuse(job, rule);
        }
        self.remember();
    }

    /// What changes mean. Without sums, they are told by a watcher that watches something else by now.
    pub fn changed(&mut self, mut set: ChangeSet) -> Vec<Event> {
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
        } = self.demands(concerned, first_at, None);
        for stirred in &set.stirred {
            for rule in self.misread(stirred) {
                self.ledger.touched(rule, stirred.since);
                plan.rules.insert(rule);
                files.insert(stirred.path.clone());
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
        self.sums_known();
        facts
    }

    /// What changed files demand of the rules that they concern. A rule that changes its own files is not asked for it
    /// again and again. `ended`: the files changed during this run, which has come to its end.
    fn demands(
        &mut self,
        concerned: Vec<Concerned>,
        since: Instant,
        ended: Option<JobId>,
    ) -> Demands {
        let mut demands = Demands::default();
        let mut deferred = Vec::new();
        let mut own = BTreeMap::new();
        for it in concerned {
            let turn = match ended {
                Some(job) => self.readers.changed_in_run(it.rule, &it.path, job),
                None => self.readers.changed(it.rule, &it.path, it.since),
            };
            match turn {
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
        self.console.note(&format!(
            "{who}; it is not run again for that: add {}\"!{}\" to its files",
            or_output.unwrap_or_default(),
            path.display(),
        ));
    }

    /// What was held back while a rule ran is considered when it has ended.
    pub fn released(&mut self, job: JobId) -> Vec<Event> {
        let mut facts = Vec::new();
        let readers = &self.readers;
        let over = |it: &mut Concerned| readers.is_over(job, it.rule);
        for it in self.deferred.extract_if(.., over).collect::<Vec<_>>() {
            let since = it.since;
            let Demands {
                plan,
                files,
                withheld,
            } = self.demands(vec![it], since, Some(job));
            if !plan.is_empty() {
                facts.push(Event::Changed { plan, files, since });
            }
            facts.extend(withheld);
        }
        facts
    }

    /// The rules that may have read `path` while it was something else.
    fn misread(&mut self, stirred: &Stirred) -> Vec<RuleId> {
        if !self.readers.anybody() {
            return Vec::new();
        }
        let Stirred { path, since, until } = stirred;
        let changed = Changed {
            path,
            by: self.who_wrote(path, false),
        };
        let mut misread = Vec::new();
        for rule in rules::concerned(&self.config, &changed) {
            match self.readers.misread(rule, path, *since, *until) {
                Misread::No => {}
                Misread::Yes => misread.push(rule),
                Misread::ItsOwn => self.console.note(&format!(
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
            fingerprint::of_file(&self.config.root.join(path))
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
}

impl Writing {
    fn new(rule: RuleId, stage: Stage) -> Writing {
        Writing {
            rule,
            stage,
            began_at: now(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "compared with the times of the watcher's events, and shown to people"
)]
fn now() -> Instant {
    Instant::now()
}

/// A larger tree is not searched for a file that a tool names without its folder: what is printed waits meanwhile.
const MOST_SOURCES: usize = 100_000;

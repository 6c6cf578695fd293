//! Random worlds on virtual time: saves, crashes, hangs, stubborn children, late, doubled and lost reports,
//! config edits, pauses, the server stopped on request, a quit at any moment. After every step the promises are held against what the world knows
//! and the supervisor does not: which processes live, what they were started from, what is on disk.
//!
//! `DEVWATCH_SESSIONS=1000000 cargo test --release --lib simulation` runs more; `DEVWATCH_SEED=n` runs one
//! session and prints its timeline.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::event::{
    Cause, Digest, Effect, Event, Evidence, Exit, HotMode, HotPolicy, Outcome, Policy, Produced,
    ReadyPolicy, Report, Request, Retry, Reuse, RulePolicy, ServerPolicy, Target, Who,
};
use super::generation::{GenerationId, JobId};
use super::limits::{
    CANCEL_GRACE, CRASH_WINDOW, FIRST_DELAY, KILL_WAIT, LONGEST_DELAY, MOST_CRASHES, STABLE_AFTER,
    STOP_GRACE,
};
use super::plan::{Plan, RuleId, Then};
use super::status::{Activity, Freshness};
use super::{Supervisor, trace};

/// SplitMix64 (Steele, Lea, Flood 2014): a seed is a session, on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }
}

/// What happens in the world, by itself or because it was ordered.
#[derive(Clone, Debug)]
enum Happening {
    /// A report reaches the supervisor.
    Fact(Event),
    /// Somebody saves an input of a rule; the report follows.
    Save {
        rule: RuleId,
        broken: bool,
    },
    EnvFile,
    Configure,
    /// A process's main part ends by itself.
    Ends {
        job: JobId,
        exit: Exit,
    },
    /// The last of a process's tree ends.
    Vanishes(JobId),
    /// It was found out whether a rule can do without its command.
    Looked {
        job: JobId,
        rule: RuleId,
    },
    /// An old server goes because its successor, if that still lives, has taken over.
    Goes {
        old: JobId,
        new: JobId,
    },
}

/// A process of the world.
#[derive(Clone, Debug)]
struct Process {
    what: What,
    main_alive: bool,
    tree_alive: bool,
    stubborn: bool,
    unkillable: bool,
    stopped_at: Option<Instant>,
    killed_at: Option<Instant>,
    /// For a server: the versions of the sources it was started from, by rule.
    started_from: BTreeMap<RuleId, u64>,
    /// For a server that handed over unasked: what its successor found.
    successor_from: BTreeMap<RuleId, u64>,
    /// It was sent the signal to fork its successor.
    signalled: bool,
    /// It was told that its successor accepts.
    told_to_go: bool,
    /// For a rule: the version and whether it was broken when the command began.
    took: (u64, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Rule(RuleId),
    Server(GenerationId),
}

/// A rule's inputs and outputs on disk. Versions are counted; two of them may hold the same.
#[derive(Clone, Debug)]
struct Disk {
    source: u64,
    /// By version.
    contents: Vec<Content>,
    /// The source version of which the supervisor has been told.
    told: u64,
    /// The one up to which it does not wait until devwatch is resumed.
    taken: u64,
    /// What its output was made from; none: half-written.
    output: Option<u64>,
    /// What it last succeeded with, and is remembered for.
    success: Option<u64>,
    /// What was kept, by what it was made from: the version.
    kept: BTreeMap<u64, u64>,
}

/// What a version of a source holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    number: u64,
    broken: bool,
}

impl Disk {
    /// An up-to-date one, or one where nothing was ever built.
    fn new(up_to_date: bool) -> Disk {
        let number = 0;
        let broken = false;
        Disk {
            source: 0,
            contents: vec![Content { number, broken }],
            told: 0,
            taken: 0,
            output: up_to_date.then_some(0),
            success: up_to_date.then_some(0),
            kept: BTreeMap::new(),
        }
    }

    fn content(&self, version: u64) -> Content {
        self.contents[version as usize]
    }

    /// What comes out of a version. Contents in pairs come out the same: a comment was edited.
    fn result(&self, version: u64) -> u64 {
        self.content(version).number / 2
    }

    /// Whether all is as the last success with what was told left it.
    fn is_current(&self, outputs: bool) -> bool {
        let made = |success: u64| {
            self.output.map(|output| self.result(output)) == Some(self.result(success))
        };
        self.success.is_some_and(|success| {
            self.content(success) == self.content(self.told) && (!outputs || made(success))
        })
    }

    fn next_version(&mut self, content: Content) -> u64 {
        self.contents.push(content);
        self.source += 1;
        self.source
    }
}

/// What waits while devwatch is paused.
#[derive(Clone, Debug, Default)]
struct Waiting {
    files: BTreeSet<PathBuf>,
    /// What serves lacks something of it.
    concerns_server: bool,
    cold: bool,
    configured: bool,
}

struct World {
    dice: Dice,
    origin: Instant,
    now: Instant,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    sequence: u64,
    processes: BTreeMap<JobId, Process>,
    disk: Vec<Disk>,
    /// Rules of which is being found out whether they can do without their commands.
    looking: BTreeMap<JobId, RuleId>,
    policy: Policy,
    new_policy: Option<Policy>,
    /// After this, processes behave and nothing more comes from outside.
    calm: bool,
    cold_owed: bool,
    paused: bool,
    /// What has been told while devwatch was paused, and nobody has asked since.
    waiting: Waiting,
    /// A config was told of, does not wait, and is not in force.
    reconfiguring: bool,
    /// Somebody has had the server stopped, and nothing has happened since that may start it.
    stopped: bool,
    /// In this step.
    asked_to_stop: bool,
    open: Option<u64>,
    /// Rules that failed and have not been run again.
    failing: BTreeSet<RuleId>,
    /// In this step a server was told to stop.
    server_stopped: bool,
    last_build: u64,
    last_outcome: Option<Outcome>,
    crash_begins: Vec<Instant>,
    ready_at: BTreeMap<GenerationId, Instant>,
    quitting_since: Option<Instant>,
    escalated: bool,
    exited: bool,
    stuck: BTreeSet<JobId>,
    /// What the program was made from that was kept last.
    good: Option<BTreeMap<RuleId, u64>>,
    log: String,
}

const STEPS_WITHOUT_REST: usize = 5_000;

#[test]
fn simulated_sessions_keep_every_promise() {
    if let Some(seed) = number("DEVWATCH_SEED") {
        let log = session(seed).unwrap_or_else(|broken| broken);
        println!("{log}");
        return;
    }
    let sessions = number("DEVWATCH_SESSIONS").unwrap_or(5_000);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let worker = |first: u64| {
        for seed in (first..sessions).step_by(threads as usize) {
            if let Err(log) = session(seed) {
                panic!("seed {seed} broke a promise (DEVWATCH_SEED={seed} shows it)\n{log}");
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || worker(first)))
            .collect();
        for worker in workers {
            worker
                .join()
                .unwrap_or_else(|broken| std::panic::resume_unwind(broken));
        }
    });
    println!("{sessions} sessions");
}

#[test]
fn a_session_replays_to_the_letter() {
    for seed in 0..200 {
        assert_eq!(session(seed), session(seed), "seed {seed}");
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
}

/// Plays one session. The timeline; as an error where a promise was broken.
fn session(seed: u64) -> Result<String, String> {
    let mut world = World::new(seed);
    match world.play() {
        Ok(()) => Ok(world.log),
        Err(broken) => Err(format!("{}\nBROKEN: {broken}", world.log)),
    }
}

impl World {
    #[expect(
        clippy::disallowed_methods,
        reason = "an origin for virtual time; only differences count"
    )]
    fn new(seed: u64) -> World {
        let mut dice = Dice(seed);
        let origin = Instant::now();
        let policy = random_policy(&mut dice, 0);
        let disk = policy.rules.iter().map(|_| Disk::new(dice.chance(30)));
        let disk = disk.collect();
        World {
            dice,
            origin,
            now: origin,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            sequence: 0,
            processes: BTreeMap::new(),
            disk,
            looking: BTreeMap::new(),
            policy,
            new_policy: None,
            calm: false,
            cold_owed: false,
            paused: false,
            waiting: Waiting::default(),
            reconfiguring: false,
            stopped: false,
            asked_to_stop: false,
            open: None,
            failing: BTreeSet::new(),
            server_stopped: false,
            last_build: 0,
            last_outcome: None,
            crash_begins: Vec::new(),
            ready_at: BTreeMap::new(),
            quitting_since: None,
            escalated: false,
            exited: false,
            stuck: BTreeSet::new(),
            good: None,
            log: String::new(),
        }
    }

    fn play(&mut self) -> Result<(), String> {
        let mut supervisor = Supervisor::new(self.policy.clone());
        self.after(Duration::ZERO, Happening::Fact(Event::Began));
        self.plan_the_session();
        let mut steps = 0;
        loop {
            steps += 1;
            if steps > STEPS_WITHOUT_REST {
                return Err("it never comes to rest (invariant 7)".to_owned());
            }
            let due = supervisor.deadline();
            let happens = self.queue.peek().map(|Reverse((at, _))| *at);
            let event = match (happens, due) {
                (None, None) if self.calm || self.exited => break,
                (None, None) => {
                    self.at_rest_for_now(&supervisor)?;
                    if self.paused && self.dice.chance(50) {
                        self.after(
                            Duration::ZERO,
                            Happening::Fact(Event::Asked(Request::Resume)),
                        );
                        continue;
                    }
                    // The busy time is over. One more save, seen by everybody, and nothing else goes wrong.
                    self.calm = true;
                    self.after(
                        Duration::ZERO,
                        Happening::Fact(Event::Asked(Request::Resume)),
                    );
                    self.after(Duration::from_millis(1), Happening::EnvFile);
                    for rule in 0..self.disk.len() {
                        self.after(
                            Duration::from_millis(1),
                            Happening::Save {
                                rule: RuleId(rule),
                                broken: false,
                            },
                        );
                    }
                    continue;
                }
                (Some(at), due) if due.is_none_or(|due| at <= due) => {
                    let Some(Reverse((at, sequence))) = self.queue.pop() else {
                        unreachable!("peeked")
                    };
                    self.now = self.now.max(at);
                    let Some(happening) = self.happenings.remove(&sequence) else {
                        continue;
                    };
                    match self.happen(happening) {
                        Some(event) => event,
                        None => continue,
                    }
                }
                (_, Some(due)) => {
                    if due <= self.now && steps > STEPS_WITHOUT_REST / 2 {
                        return Err("a deadline that has passed stays (invariant 7)".to_owned());
                    }
                    self.now = self.now.max(due);
                    Event::Elapsed
                }
                (Some(_), None) => unreachable!("the guard above took it"),
            };
            let effects = supervisor.step(self.now, event.clone());
            self.note(&event, &effects);
            self.told(&event, &effects, &supervisor)?;
            for effect in &effects {
                self.perform(effect)?;
            }
            self.says_what_is_lacking(&effects, &supervisor)?;
            self.shows(&supervisor)?;
            self.always(&supervisor)?;
        }
        self.at_rest(&supervisor)
    }

    fn plan_the_session(&mut self) {
        let mut at = Duration::ZERO;
        for _ in 0..self.dice.below(25) {
            at += if self.dice.chance(60) {
                self.dice.millis(0, 300)
            } else {
                self.dice.millis(0, 6_000)
            };
            let rules = self.disk.len() as u64;
            let happening = match self.dice.below(26) {
                0 => Happening::Fact(Event::Asked(Request::Build)),
                1 => Happening::Fact(Event::Asked(Request::Restart)),
                2 => Happening::EnvFile,
                3 if self.dice.chance(50) => Happening::Configure,
                4 | 5 => Happening::Fact(Event::Asked(Request::Pause)),
                6 => Happening::Fact(Event::Asked(Request::Resume)),
                7 | 8 => Happening::Fact(Event::Asked(Request::Stop)),
                _ if rules > 0 => {
                    let rule = RuleId(self.dice.below(rules) as usize);
                    Happening::Save {
                        rule,
                        broken: self.dice.chance(20),
                    }
                }
                _ => Happening::EnvFile,
            };
            self.after(at, happening);
        }
        if self.dice.chance(40) {
            let at = self.dice.millis(0, at.as_millis() as u64 + 3_000);
            self.after(at, Happening::Fact(Event::Asked(Request::Quit { code: 0 })));
            if self.dice.chance(30) {
                let again = at + self.dice.millis(0, 3_000);
                self.after(
                    again,
                    Happening::Fact(Event::Asked(Request::Quit { code: 0 })),
                );
            }
        }
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse((self.now + delay, self.sequence)));
        self.happenings.insert(self.sequence, happening);
    }

    /// A report on its way: late, sometimes twice.
    fn report(&mut self, event: Event) {
        let delay = self.dice.millis(0, 5);
        if self.dice.chance(3) {
            let again = delay + self.dice.millis(0, 2_000);
            self.after(again, Happening::Fact(event.clone()));
        }
        self.after(delay, Happening::Fact(event));
    }

    fn happen(&mut self, happening: Happening) -> Option<Event> {
        match happening {
            Happening::Fact(event) => Some(event),
            Happening::Save { rule, broken } => {
                let since = self.now;
                let undone = !self.calm && self.dice.chance(25);
                let disk = self.disk.get_mut(rule.0)?;
                let number = disk.source + 1;
                let content = match undone {
                    true => disk.content(self.dice.below(number)),
                    false => Content { number, broken },
                };
                let version = disk.next_version(content);
                let files = BTreeSet::from([PathBuf::from(format!("{}.{version}", rule.0))]);
                let plan = Plan {
                    rules: BTreeSet::from([rule]),
                    ..Plan::default()
                };
                // Not doubled: the watcher reports a change once.
                let delay = self.dice.millis(0, 40);
                if !self.calm && self.dice.chance(5) {
                    // Taken for what the rule does itself.
                    self.after(delay, Happening::Fact(Event::Withheld { plan, since }));
                    return None;
                }
                self.after(
                    delay,
                    Happening::Fact(Event::Changed { plan, files, since }),
                );
                None
            }
            Happening::EnvFile => {
                let files = BTreeSet::from([PathBuf::from(".env")]);
                let plan = Plan {
                    then: Then::Cold,
                    ..Plan::default()
                };
                Some(Event::Changed {
                    plan,
                    files,
                    since: self.now,
                })
            }
            Happening::Configure => {
                // Rule names stay, their places do not: the watcher of the new order reports new places.
                let mut policy = self
                    .new_policy
                    .clone()
                    .unwrap_or_else(|| self.policy.clone());
                if let Some(server) = &mut policy.server {
                    server.holds = !server.holds;
                }
                self.new_policy = Some(policy.clone());
                let file = PathBuf::from("devwatch.toml");
                Some(Event::Configured {
                    policy,
                    server_changed: self.dice.chance(50),
                    file,
                    since: self.now,
                })
            }
            Happening::Ends { job, exit } => {
                self.main_ends(job, exit);
                None
            }
            Happening::Goes { old, new } => {
                if self
                    .processes
                    .get(&new)
                    .is_some_and(|process| process.main_alive)
                {
                    self.main_ends(old, Exit::Code(0));
                }
                None
            }
            Happening::Looked { job, rule } => Some(self.looked(job, rule)),
            Happening::Vanishes(job) => {
                let process = self.processes.get_mut(&job)?;
                if process.tree_alive {
                    process.tree_alive = false;
                    process.main_alive = false;
                    self.report(Event::TreeGone(job));
                }
                None
            }
        }
    }

    fn main_ends(&mut self, job: JobId, exit: Exit) {
        let Some(process) = self
            .processes
            .get_mut(&job)
            .filter(|process| process.main_alive)
        else {
            return;
        };
        process.main_alive = false;
        let what = process.what;
        let took = process.took;
        let cancelled = process.stopped_at.is_some();
        // That a main process ended may be lost, that its tree is gone never is.
        let is_lost = !self.calm && self.dice.chance(1);
        if let What::Rule(rule) = what {
            if exit.success() {
                let disk = &mut self.disk[rule.0];
                disk.output = Some(took.0);
                // Nobody knows what it read if anything was saved since.
                if !cancelled && !is_lost && disk.source == took.0 && disk.told == took.0 {
                    disk.success = Some(took.0);
                    disk.kept.insert(disk.content(took.0).number, took.0);
                }
            } else if self.dice.chance(70) {
                // Most tools leave the old output whole.
                self.disk[rule.0].output = self.disk[rule.0].output.or(Some(took.0 / 2));
            } else {
                self.disk[rule.0].output = None;
            }
        }
        if !is_lost {
            self.report(Event::Exited(job, exit));
        }
        let lingering = if !self.calm && self.dice.chance(20) {
            self.dice.millis(0, 20_000)
        } else {
            self.dice.millis(5, 8)
        };
        let lingering = if self.calm {
            lingering + Duration::from_millis(5)
        } else {
            lingering
        };
        self.after(lingering, Happening::Vanishes(job));
    }

    fn perform(&mut self, effect: &Effect) -> Result<(), String> {
        if self.exited {
            return Err(format!(
                "{} was ordered after the end (15)",
                trace::effect(effect)
            ));
        }
        match effect {
            Effect::Reuse { job, rule } => self.reuse(*job, *rule),
            Effect::Run { job, rule } => {
                self.failing.remove(rule);
                self.run(*job, *rule)
            }
            Effect::Start {
                job,
                generation,
                last_good,
            } => self.start(*job, *generation, *last_good),
            Effect::Keep { job } => self.keep(*job),
            Effect::Stop { job, target } => self.stop(*job, *target),
            Effect::HandOver {
                from,
                to,
                generation,
            } => self.hand_over(*from, *to, *generation),
            Effect::Recognise {
                from,
                to,
                generation,
                ..
            } => self.recognise(*from, *to, *generation),
            Effect::Retire { job } => self.retire(*job),
            Effect::Kill { job } => self.kill(*job),
            Effect::Inspect { job, rule } => {
                let produced = self.produced(*rule);
                self.report(Event::Produced(*job, produced));
                Ok(())
            }
            Effect::Configure => {
                if !std::mem::take(&mut self.reconfiguring) {
                    return Err("a config that waits was put in force".to_owned());
                }
                self.failing.clear();
                self.policy = self
                    .new_policy
                    .clone()
                    .ok_or("no config to put in force (14)")?;
                if let Some(job) = self.looking.keys().next() {
                    return Err(format!("the config changed under job {job} (14)"));
                }
                match self.rule_alive() {
                    Some(job) => Err(format!("the config changed under job {job} (14)")),
                    None => Ok(()),
                }
            }
            Effect::Remember { .. } => Ok(()),
            Effect::Report(report) => self.check_report(report),
            Effect::Exit(_) => {
                self.exited = true;
                match self
                    .processes
                    .iter()
                    .find(|(job, p)| p.tree_alive && self.matters(**job, p))
                {
                    Some((job, _)) => Err(format!("job {job} was left behind (15)")),
                    None if self.open.is_some() => Err("a cycle has no end line".to_owned()),
                    None => Ok(()),
                }
            }
        }
    }

    /// A finished rule may leave a build daemon behind until the guardian ends it; what is stuck cannot be ended.
    fn matters(&self, job: JobId, process: &Process) -> bool {
        let daemon = matches!(process.what, What::Rule(_)) && !process.main_alive;
        !daemon && !self.stuck.contains(&job)
    }

    fn rule_alive(&self) -> Option<JobId> {
        let alive = |(job, p): &(&JobId, &Process)| {
            matches!(p.what, What::Rule(_)) && p.main_alive && !self.stuck.contains(*job)
        };
        self.processes.iter().find(alive).map(|(job, _)| *job)
    }

    fn produced(&self, rule: RuleId) -> Produced {
        let disk = &self.disk[rule.0];
        let whole = disk.output.map(|version| disk.result(version));
        let digest = Some(Digest(whole.map_or(u128::MAX, u128::from)));
        let outputs = self.policy.rules[rule.0].outputs;
        Produced {
            finals: digest.filter(|_| outputs),
            all: digest.filter(|_| outputs),
            dirtied: BTreeSet::new(),
        }
    }

    /// What holds for everything that is begun for a rule.
    fn may_begin(&self, job: JobId, rule: RuleId) -> Result<(), String> {
        if self.quitting_since.is_some() {
            return Err(format!("job {job} was started while quitting (15)"));
        }
        let rules = &self.policy.rules;
        let policy = rules.get(rule.0).ok_or("an unknown rule was run")?;
        let mut busy: Vec<(JobId, RuleId)> = self
            .looking
            .iter()
            .map(|(job, rule)| (*job, *rule))
            .collect();
        for (other, process) in &self.processes {
            let What::Rule(its) = process.what else {
                continue;
            };
            if process.main_alive && !self.stuck.contains(other) {
                if process.stopped_at.is_some() {
                    return Err(format!(
                        "job {job} begins beside job {other}, which was cancelled"
                    ));
                }
                busy.push((*other, its));
            }
        }
        for (other, its) in &busy {
            let related = policy.needs.contains(its) || rules[its.0].needs.contains(&rule);
            if *its == rule || related {
                return Err(format!("job {job} begins beside job {other} (1)"));
            }
        }
        match busy.len() < self.policy.jobs {
            true => Ok(()),
            false => Err(format!("job {job} is one too many (1)")),
        }
    }

    fn reuse(&mut self, job: JobId, rule: RuleId) -> Result<(), String> {
        self.may_begin(job, rule)?;
        self.looking.insert(job, rule);
        let delay = self.dice.millis(0, 30);
        self.after(delay, Happening::Looked { job, rule });
        Ok(())
    }

    fn looked(&mut self, job: JobId, rule: RuleId) -> Event {
        self.looking.remove(&job);
        let outputs = self.policy.rules[rule.0].outputs;
        let disk = &mut self.disk[rule.0];
        if disk.is_current(outputs) {
            self.failing.remove(&rule);
            return Event::Reused(job, Reuse::Current(self.produced(rule)));
        }
        let content = disk.content(disk.told);
        let kept = disk.kept.get(&content.number).copied();
        if outputs && let Some(kept) = kept {
            disk.output = Some(kept);
            disk.success = Some(kept);
            self.failing.remove(&rule);
            return Event::Reused(job, Reuse::Restored(self.produced(rule)));
        }
        Event::Reused(job, Reuse::Nothing)
    }

    fn run(&mut self, job: JobId, rule: RuleId) -> Result<(), String> {
        self.may_begin(job, rule)?;
        let policy = self.policy.rules[rule.0].clone();
        if !policy.outputs {
            self.disk[rule.0].success = None;
        }
        if self.dice.chance(2) && !self.calm {
            self.never_ran(job, What::Rule(rule));
            return Ok(());
        }
        let disk = &mut self.disk[rule.0];
        let took = (disk.source, disk.content(disk.source).broken);
        if policy.outputs && self.dice.chance(50) {
            // Written in place: half there until the command is done.
            disk.output = None;
        }
        self.add(job, What::Rule(rule), took);
        self.report(Event::Spawned(job, 1));
        let hangs = !self.calm && self.dice.chance(3) && policy.timeout.is_some();
        if !hangs {
            let exit = match (took.1, !self.calm && self.dice.chance(3)) {
                (true, _) => Exit::Code(1),
                (false, true) => Exit::Signal(9),
                (false, false) => Exit::Code(0),
            };
            let after = self.dice.millis(1, if self.calm { 300 } else { 900 });
            self.after(after, Happening::Ends { job, exit });
        }
        Ok(())
    }

    fn start(
        &mut self,
        job: JobId,
        generation: GenerationId,
        last_good: bool,
    ) -> Result<(), String> {
        if std::mem::take(&mut self.stopped) && self.open.is_none() {
            return Err(format!("server {job} starts though it was to stay down"));
        }
        let alone = self.servers_alive().is_empty();
        if alone {
            self.cold_owed = false;
        }
        let hot = self.policy.server.as_ref().and_then(|server| server.hot);
        let beside = hot.is_some_and(|hot| hot.mode != HotMode::SelfFork);
        for (other, process) in self.servers_alive() {
            if !beside || process.stopped_at.is_some() || process.told_to_go {
                return Err(format!("server {job} starts beside job {other} (1, 2)"));
            }
        }
        self.launch(job, generation, last_good)
    }

    /// The program of a server is kept: of one that has served for a while, and never of one that was to go.
    fn keep(&mut self, job: JobId) -> Result<(), String> {
        let process = self
            .processes
            .get(&job)
            .ok_or(format!("job {job} was never started (8)"))?;
        if process.stopped_at.is_some() || process.told_to_go {
            return Err(format!(
                "job {job} is kept as the last good one and was told to go"
            ));
        }
        self.good = Some(process.started_from.clone());
        self.report(Event::Kept(job));
        Ok(())
    }

    /// What every new server has in common, whoever executes it.
    fn launch(
        &mut self,
        job: JobId,
        generation: GenerationId,
        last_good: bool,
    ) -> Result<(), String> {
        if self.servers_alive().len() > 1 {
            return Err(format!("server {job} would be the third (2)"));
        }
        if let Some(other) = self.rule_alive() {
            return Err(format!("server {job} starts while job {other} writes (4)"));
        }
        if self.quitting_since.is_some() {
            return Err(format!("server {job} was started while quitting (15)"));
        }
        let started_from = match (last_good, self.good.clone()) {
            (false, _) => self.on_disk(job)?,
            (true, Some(good)) => self.good_now(good),
            (true, None) => {
                return Err(format!(
                    "server {job} is to be the last good one, and none was kept"
                ));
            }
        };
        if self.dice.chance(2) && !self.calm {
            self.never_ran(job, What::Server(generation));
            return Ok(());
        }
        self.add(job, What::Server(generation), (0, false));
        self.processes
            .get_mut(&job)
            .expect("just added")
            .started_from = started_from;
        self.report(Event::Spawned(job, 1));
        self.fate(job);
        Ok(())
    }

    fn servers_alive(&self) -> Vec<(JobId, &Process)> {
        let server = |(job, p): &(&JobId, &Process)| {
            matches!(p.what, What::Server(_)) && p.tree_alive && !self.stuck.contains(*job)
        };
        self.processes
            .iter()
            .filter(server)
            .map(|(job, p)| (*job, p))
            .collect()
    }

    /// The program is the old one; what has no output is read from where it is.
    fn good_now(&self, mut good: BTreeMap<RuleId, u64>) -> BTreeMap<RuleId, u64> {
        for (place, rule) in self.policy.rules.iter().enumerate() {
            if !(rule.runs && rule.outputs) {
                good.insert(RuleId(place), self.disk[place].source);
            }
        }
        good
    }

    /// What a server finds that is executed now.
    fn on_disk(&self, job: JobId) -> Result<BTreeMap<RuleId, u64>, String> {
        let mut started_from = BTreeMap::new();
        for (place, rule) in self.policy.rules.iter().enumerate() {
            let disk = &self.disk[place];
            let version = match (rule.runs && rule.outputs, disk.output) {
                (true, Some(version)) => version,
                (true, None) => {
                    return Err(format!(
                        "server {job} starts from a half-written output (4)"
                    ));
                }
                (false, _) => disk.source,
            };
            started_from.insert(RuleId(place), version);
        }
        Ok(started_from)
    }

    /// What becomes of a server that was executed.
    fn fate(&mut self, job: JobId) {
        let fate = if self.calm { 100 } else { self.dice.below(100) };
        let ready = self.dice.millis(1, 400);
        match fate {
            0..8 => {
                let exit = if self.dice.chance(30) {
                    Exit::Code(0)
                } else {
                    Exit::Code(2)
                };
                self.after(ready, Happening::Ends { job, exit });
            }
            8..12 => {}
            12..30 => {
                self.ready(job, ready);
                let exit = if self.dice.chance(20) {
                    Exit::Code(0)
                } else {
                    Exit::Signal(11)
                };
                let lived = ready + self.dice.millis(0, 5_000);
                self.after(lived, Happening::Ends { job, exit });
            }
            _ => self.ready(job, ready),
        }
    }

    /// The serving server is signalled: it forks its successor, or it does not.
    fn hand_over(
        &mut self,
        from: JobId,
        to: JobId,
        generation: GenerationId,
    ) -> Result<(), String> {
        if self.stopped {
            return Err(format!("job {from} is to hand over and was stopped"));
        }
        let others = self.servers_alive();
        if let Some((other, _)) = others.iter().find(|(other, _)| *other != from) {
            return Err(format!(
                "job {from} is signalled while job {other} has not gone (2)"
            ));
        }
        let old = self
            .processes
            .get(&from)
            .ok_or(format!("job {from} was never started (8)"))?;
        if old.stopped_at.is_some() || old.told_to_go || old.signalled {
            return Err(format!("job {from} is signalled a second time (2, 8)"));
        }
        let alive = old.main_alive;
        self.processes
            .get_mut(&from)
            .expect("looked at above")
            .signalled = true;
        match if self.calm { 99 } else { self.dice.below(100) } {
            0..5 => {
                self.gone_at_once(to, generation);
                self.report(Event::Refused(to, "it does not handle SIGHUP".to_owned()));
                Ok(())
            }
            // It never forks, or was dead already.
            5..12 => {
                self.gone_at_once(to, generation);
                Ok(())
            }
            _ if !alive => {
                self.gone_at_once(to, generation);
                Ok(())
            }
            _ => {
                self.launch(to, generation, false)?;
                // The old one goes when its successor accepts, sometimes before devwatch has seen that.
                let goes = self.dice.millis(20, 900);
                if self.calm || self.dice.chance(90) {
                    self.after(goes, Happening::Goes { old: from, new: to });
                }
                Ok(())
            }
        }
    }

    /// A number under which nothing lives: told to end, it is gone.
    fn gone_at_once(&mut self, job: JobId, generation: GenerationId) {
        self.add(job, What::Server(generation), (0, false));
        let process = self.processes.get_mut(&job).expect("just added");
        process.main_alive = false;
        process.tree_alive = false;
    }

    fn recognise(
        &mut self,
        from: JobId,
        to: JobId,
        generation: GenerationId,
    ) -> Result<(), String> {
        let old = self
            .processes
            .get_mut(&from)
            .ok_or("nobody knows who handed over")?;
        let started_from = std::mem::take(&mut old.successor_from);
        self.add(to, What::Server(generation), (0, false));
        self.processes
            .get_mut(&to)
            .expect("just added")
            .started_from = started_from;
        self.ready_at.insert(generation, self.now);
        Ok(())
    }

    /// The old generation is told that its successor accepts.
    fn retire(&mut self, job: JobId) -> Result<(), String> {
        let process = self
            .processes
            .get_mut(&job)
            .ok_or(format!("job {job} was never started (8)"))?;
        process.told_to_go = true;
        let stubborn = process.stubborn;
        let forks = self.policy.server.as_ref().and_then(|server| server.hot);
        let forks = forks.is_some_and(|hot| hot.mode == HotMode::SelfFork);
        if !forks && !stubborn {
            let delay = self.dice.millis(0, 6_000);
            self.after(
                delay,
                Happening::Ends {
                    job,
                    exit: Exit::Code(0),
                },
            );
        }
        Ok(())
    }

    /// The program could not be executed: the number is taken, and nothing lives under it.
    fn never_ran(&mut self, job: JobId, what: What) {
        self.add(job, what, (0, false));
        let process = self.processes.get_mut(&job).expect("just added");
        process.main_alive = false;
        process.tree_alive = false;
        self.report(Event::SpawnFailed(
            job,
            "fork: resource temporarily unavailable".to_owned(),
        ));
    }

    fn ready(&mut self, job: JobId, after: Duration) {
        let delay = self
            .policy
            .server
            .as_ref()
            .is_some_and(|s| matches!(s.ready, ReadyPolicy::Delay(_)));
        if !delay {
            self.after(after, Happening::Fact(Event::Listening(job)));
            self.after(after, Happening::Fact(Event::Ready(job, Evidence::Proven)));
        }
    }

    fn add(&mut self, job: JobId, what: What, took: (u64, bool)) {
        let stubborn = !self.calm && self.dice.chance(10);
        let unkillable = !self.calm && self.dice.chance(1);
        let process = Process {
            what,
            main_alive: true,
            tree_alive: true,
            stubborn,
            unkillable,
            stopped_at: None,
            killed_at: None,
            started_from: BTreeMap::new(),
            successor_from: BTreeMap::new(),
            signalled: false,
            told_to_go: false,
            took,
        };
        self.processes.insert(job, process);
    }

    fn stop(&mut self, job: JobId, target: Target) -> Result<(), String> {
        let now = self.now;
        let process = self
            .processes
            .get_mut(&job)
            .ok_or(format!("job {job} was never started (8)"))?;
        process.stopped_at.get_or_insert(now);
        let stubborn = process.stubborn;
        let process = &self.processes[&job];
        let serves = !process.told_to_go && !process.signalled;
        self.server_stopped |=
            matches!(process.what, What::Server(_)) && target == Target::Main && serves;
        if !self.processes[&job].tree_alive {
            self.report(Event::TreeGone(job));
            return Ok(());
        }
        if !stubborn {
            let delay = self.dice.millis(0, 300);
            self.after(
                delay,
                Happening::Ends {
                    job,
                    exit: Exit::Signal(15),
                },
            );
            if target == Target::Tree {
                let delay = delay + self.dice.millis(0, 100);
                self.after(delay, Happening::Vanishes(job));
            }
        }
        Ok(())
    }

    fn kill(&mut self, job: JobId) -> Result<(), String> {
        let now = self.now;
        let stop_timeout = self
            .policy
            .server
            .as_ref()
            .map_or(STOP_GRACE, |server| server.stop_timeout);
        let escalated = self.escalated;
        let process = self
            .processes
            .get_mut(&job)
            .ok_or(format!("job {job} was never started (8)"))?;
        let grace = match process.what {
            What::Rule(_) => CANCEL_GRACE,
            What::Server(_) => stop_timeout,
        };
        if process.stopped_at.is_some_and(|at| now < at + grace) && process.main_alive && !escalated
        {
            return Err(format!(
                "job {job} was killed before its grace was over (9)"
            ));
        }
        process.killed_at = Some(now);
        if !process.tree_alive {
            self.report(Event::TreeGone(job));
            return Ok(());
        }
        let process = &self.processes[&job];
        if !process.unkillable {
            let delay = self.dice.millis(0, 30);
            self.after(
                delay,
                Happening::Ends {
                    job,
                    exit: Exit::Signal(9),
                },
            );
            self.after(delay + Duration::from_millis(1), Happening::Vanishes(job));
        }
        Ok(())
    }

    fn check_report(&mut self, report: &Report) -> Result<(), String> {
        match report {
            Report::Begin { build, cause } => {
                if self.open.is_some() || *build != self.last_build + 1 {
                    return Err(format!("cycle {build} begins out of turn"));
                }
                self.open = Some(*build);
                self.last_build = *build;
                if let Cause::Files(files) = cause
                    && !files.is_disjoint(&self.waiting.files)
                {
                    return Err("a change that waits was taken up".to_owned());
                }
                if *cause == Cause::Crash && self.stopped {
                    return Err("a server that was stopped is started by itself".to_owned());
                }
                self.stopped = false;
                if *cause == Cause::Crash {
                    self.crash_begins.push(self.now);
                    let window = self
                        .crash_begins
                        .iter()
                        .filter(|at| self.now - **at < CRASH_WINDOW);
                    if window.count() >= MOST_CRASHES {
                        return Err("too many restarts by itself within the window (11)".to_owned());
                    }
                } else {
                    self.crash_begins.clear();
                }
            }
            Report::End { build, outcome, .. } => {
                if self.open.take() != Some(*build) {
                    return Err(format!("cycle {build} ends without having begun"));
                }
                self.last_outcome = Some(outcome.clone());
                if let Outcome::Serving(serving) = outcome {
                    self.ready_at.insert(serving.generation, self.now);
                    self.fresh(serving.generation)?;
                }
                if let Outcome::Failed { rule, .. } = outcome {
                    self.failing.insert(*rule);
                }
                if let Outcome::Failed {
                    serving: Some(generation),
                    ..
                }
                | Outcome::Crashed {
                    serving: Some(generation),
                    ..
                } = outcome
                {
                    self.ready_at.entry(*generation).or_insert(self.now);
                }
                if let Outcome::Unchanged { serving } = outcome {
                    self.fresh(*serving)?;
                }
                if let Outcome::Crashed {
                    retry: Retry::In(delay),
                    ..
                } = outcome
                {
                    self.check_delay(*delay)?;
                }
            }
            Report::Down {
                generation, retry, ..
            } => {
                // A server that was ready for a while was not in a crash loop: the count starts anew.
                if self
                    .ready_at
                    .get(generation)
                    .is_some_and(|at| self.now - *at >= STABLE_AFTER)
                {
                    self.crash_begins.clear();
                }
                if let Retry::In(delay) = retry {
                    self.check_delay(*delay)?;
                }
            }
            Report::Interim(serving) => {
                self.ready_at.insert(serving.generation, self.now);
            }
            Report::Stuck { who } => {
                let job = self.job_of(*who).ok_or("something unknown is stuck")?;
                let killed_at = self.processes[&job]
                    .killed_at
                    .ok_or("given up without having been killed (9)")?;
                if self.now < killed_at + KILL_WAIT {
                    return Err(format!("job {job} was given up too early (9)"));
                }
                self.stuck.insert(job);
            }
            Report::Draining { generation, .. } => {
                self.ready_at.insert(*generation, self.now);
            }
            Report::TookOver { .. } | Report::Overdue { .. } => {}
            Report::Stale { .. } | Report::Killed { .. } => {}
            Report::Paused | Report::Resumed { .. } | Report::Stopped { .. } => {}
        }
        Ok(())
    }

    fn check_delay(&self, delay: Duration) -> Result<(), String> {
        if delay < FIRST_DELAY || delay > LONGEST_DELAY {
            return Err(format!("a delay of {delay:?} after a crash (11)"));
        }
        Ok(())
    }

    /// The process that a report means: the one that lives, or else one whose last report is on its way.
    fn job_of(&self, who: Who) -> Option<JobId> {
        let what = match who {
            Who::Server(generation) => What::Server(generation),
            Who::Rule(rule) => What::Rule(rule),
        };
        let meant = |(job, p): &(&JobId, &Process)| {
            p.what == what && p.killed_at.is_some() && !self.stuck.contains(*job)
        };
        let jobs = self.processes.iter().filter(meant);
        jobs.max_by_key(|(job, p)| (p.tree_alive, **job))
            .map(|(job, _)| *job)
    }

    /// FRESH was said: the process lives (as far as was told), and has all of which the supervisor was told.
    fn fresh(&self, generation: GenerationId) -> Result<(), String> {
        let server = self
            .processes
            .values()
            .find(|p| p.what == What::Server(generation));
        let server = server
            .ok_or_else(|| format!("generation {generation} serves and was never started"))?;
        let me = What::Server(generation);
        if let Some((other, _)) = self.servers_alive().iter().find(|(_, p)| p.what != me) {
            return Err(format!(
                "generation {generation} is called fresh beside job {other} (2)"
            ));
        }
        if !self.ready_at.contains_key(&generation) {
            return Err(format!(
                "generation {generation} is called fresh before it was ready"
            ));
        }
        if server.stopped_at.is_some() {
            return Err(format!(
                "generation {generation} serves and was told to stop"
            ));
        }
        for (rule, policy) in self.policy.rules.iter().enumerate() {
            if policy.then < Then::Restart {
                continue;
            }
            let disk = &self.disk[rule];
            // What was told while devwatch was paused may be lacking: that is said in the same breath.
            let (told, from) = (disk.taken, server.started_from[&RuleId(rule)]);
            // What came out the same is as good as a new one, and so is what was made of more than was told.
            let same = (told..=disk.source).any(|version| {
                if policy.runs && policy.outputs {
                    disk.result(from) == disk.result(version)
                } else {
                    disk.content(from) == disk.content(version)
                }
            });
            let same = same || from >= told;
            if !same {
                return Err(format!(
                    "gen {generation} is called fresh with {from} of rule {rule}; {told} was saved (4)"
                ));
            }
        }
        if self.cold_owed {
            return Err(format!(
                "gen {generation} is called fresh, and a cold start is owed (5)"
            ));
        }
        Ok(())
    }

    /// What the supervisor has just been told, and that a save is taken up in the same step.
    fn told(
        &mut self,
        event: &Event,
        effects: &[Effect],
        supervisor: &Supervisor,
    ) -> Result<(), String> {
        let held = self.reconfiguring || self.quitting_since.is_some();
        let waits = self.paused && !held;
        let mut begun = None;
        for effect in effects {
            if let Effect::Report(Report::Begin { cause, .. }) = effect {
                begun = Some(cause);
            }
        }
        self.asked_to_stop = matches!(event, Event::Asked(Request::Stop));
        match event {
            Event::Changed { plan, files, .. } => {
                for rule in &plan.rules {
                    let version = files
                        .iter()
                        .filter_map(|f| f.extension()?.to_str()?.parse::<u64>().ok())
                        .max();
                    let disk = &mut self.disk[rule.0];
                    disk.told = disk.told.max(version.unwrap_or(0));
                    if !waits {
                        disk.taken = disk.told;
                    }
                }
                let cold = plan.then == Then::Cold;
                if waits {
                    self.waiting.files.extend(files.clone());
                    self.waiting.concerns_server |= self.concerns_server(plan);
                    self.waiting.cold |= cold;
                    return untouched(effects);
                }
                self.cold_owed |= cold && supervisor.serving.is_some();
                if begun.is_none() && !held {
                    return Err("a save was not taken up at once (6, 11)".to_owned());
                }
            }
            Event::Configured { file, .. } => {
                if waits {
                    self.waiting.files.insert(file.clone());
                    self.waiting.concerns_server = true;
                    self.waiting.configured = true;
                    return untouched(effects);
                }
                self.reconfiguring = true;
                // Something has changed; its cycle begins when nothing of the old config runs.
                self.stopped = false;
            }
            Event::Withheld { .. } => {
                // A restart after a crash may be due in the same moment.
                let begun = begun.is_some_and(|cause| *cause != Cause::Crash);
                if supervisor.pending.is_none() && begun {
                    return Err("what was withheld began a cycle".to_owned());
                }
            }
            Event::Asked(Request::Quit { .. }) => {
                self.escalated |= self.quitting_since.is_some();
                self.quitting_since.get_or_insert(self.now);
            }
            Event::Asked(request @ (Request::Build | Request::Restart | Request::Resume)) => {
                let resumed = *request == Request::Resume;
                if waits {
                    let waited = std::mem::take(&mut self.waiting);
                    for disk in &mut self.disk {
                        disk.taken = disk.told;
                    }
                    self.cold_owed |= waited.cold && supervisor.serving.is_some();
                    self.reconfiguring |= waited.configured;
                    self.stopped &= !waited.configured;
                    let mut unnamed = waited.files;
                    if let Some(Cause::Files(files)) = begun {
                        unnamed.retain(|file| !files.contains(file));
                    }
                    if !unnamed.is_empty() && !waited.configured {
                        return Err("what waited was not taken up as one".to_owned());
                    }
                }
                self.paused &= !resumed || self.quitting_since.is_some();
                if !resumed && begun.is_none() && !held && !self.reconfiguring {
                    return Err("a request was not taken up at once".to_owned());
                }
            }
            Event::Asked(Request::Pause) => self.paused |= self.quitting_since.is_none(),
            Event::Asked(Request::Stop) => self.stopped |= self.quitting_since.is_none(),
            Event::Began
            | Event::Spawned(..)
            | Event::SpawnFailed(..)
            | Event::Exited(..)
            | Event::TreeGone(_)
            | Event::Reused(..)
            | Event::Produced(..)
            | Event::Listening(_)
            | Event::Ready(..)
            | Event::Refused(..)
            | Event::Kept(_)
            | Event::TookOver(..)
            | Event::Elapsed => {}
        }
        Ok(())
    }

    /// As the supervisor sees it: a rule with outputs may feed another one.
    fn concerns_server(&self, plan: &Plan) -> bool {
        let matters = |rule: &RulePolicy| rule.outputs || rule.then >= Then::Restart;
        let mut rules = plan.rules.iter();
        plan.then >= Then::Restart || rules.any(|rule| matters(&self.policy.rules[rule.0]))
    }

    /// While nothing is under way, a screen says FRESH only of what an end line may call so.
    fn shows(&self, supervisor: &Supervisor) -> Result<(), String> {
        let status = supervisor.status();
        let rests = status.activity == Activity::Resting;
        match (status.freshness, status.serving) {
            (Freshness::Fresh, Some(server)) if rests => self
                .fresh(server.generation)
                .map_err(|why| format!("on the screen: {why}")),
            (Freshness::Fresh, None) => Err("nothing serves, and is shown as fresh".to_owned()),
            (Freshness::Fresh | Freshness::Stale(_) | Freshness::NotServing, _) => Ok(()),
        }
    }

    /// Nothing is called FRESH that lacks a change that waits.
    fn says_what_is_lacking(
        &self,
        effects: &[Effect],
        supervisor: &Supervisor,
    ) -> Result<(), String> {
        if !self.waiting.concerns_server || supervisor.serving.is_none() {
            return Ok(());
        }
        for (place, effect) in effects.iter().enumerate() {
            let Effect::Report(Report::End { outcome, .. }) = effect else {
                continue;
            };
            let fresh = match outcome {
                Outcome::Serving(_) | Outcome::Unchanged { .. } | Outcome::Ok { .. } => true,
                Outcome::Failed { .. } | Outcome::Crashed { .. } | Outcome::Superseded => false,
            };
            let next = effects.get(place + 1);
            if fresh && !matches!(next, Some(Effect::Report(Report::Stale { .. }))) {
                return Err("what serves lacks a change that waits, and nobody says so".to_owned());
            }
        }
        match supervisor.stale_since {
            Some(_) => Ok(()),
            None => Err("what serves lacks a change that waits, and is taken as fresh".to_owned()),
        }
    }

    /// What holds between any two steps.
    fn always(&mut self, supervisor: &Supervisor) -> Result<(), String> {
        if supervisor.cycle.as_ref().map(|cycle| cycle.number) != self.open {
            return Err("begin and end lines are not in pairs".to_owned());
        }
        if std::mem::take(&mut self.server_stopped)
            && !self.failing.is_empty()
            && !self.asked_to_stop
            && self.quitting_since.is_none()
        {
            return Err("a server was stopped although a build has failed (5)".to_owned());
        }
        let longest = STOP_GRACE + CANCEL_GRACE + KILL_WAIT * 3;
        if self
            .quitting_since
            .is_some_and(|since| self.now > since + longest)
            && !self.exited
        {
            return Err("quitting takes too long (15)".to_owned());
        }
        if self.asked_to_stop && !self.reconfiguring {
            // To be told that its successor accepts is the same signal where devwatch has started that.
            let hot = self.policy.server.as_ref().and_then(|server| server.hot);
            let overlaps = hot.is_some_and(|hot| hot.mode == HotMode::Overlap);
            let told = |p: &Process| p.stopped_at.is_some() || overlaps && p.told_to_go;
            let goes_on = |p: &Process| !told(p) && p.killed_at.is_none();
            if let Some((job, _)) = self.servers_alive().iter().find(|(_, p)| goes_on(p)) {
                return Err(format!("job {job} was not stopped on request"));
            }
        }
        let waiting = supervisor.waiting_files().cloned().unwrap_or_default();
        let differs = supervisor.is_paused() != self.paused || waiting != self.waiting.files;
        if differs && self.quitting_since.is_none() {
            return Err("what waits is not what is said to wait".to_owned());
        }
        if supervisor.leaving.len() + supervisor.outputs.doubts.len() > 60 {
            return Err("what was told to stop piles up (13)".to_owned());
        }
        Ok(())
    }

    /// The busy time is over: nothing is left to do, except what is to wait.
    fn at_rest_for_now(&self, supervisor: &Supervisor) -> Result<(), String> {
        if supervisor.pending.is_some()
            || supervisor.cycle.is_some()
            || supervisor.next.is_some()
            || supervisor.reconfigure.is_some()
            || !supervisor.looking.is_empty()
        {
            return Err("at rest with something left to do (3)".to_owned());
        }
        match &supervisor.serving {
            Some(server) if self.stopped => {
                let generation = server.generation;
                Err(format!("gen {generation} serves and was to stay down"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Everything has come to rest: what is on disk is what serves, or the supervisor says why not.
    fn at_rest(&self, supervisor: &Supervisor) -> Result<(), String> {
        if self.quitting_since.is_some() {
            return if self.exited {
                Ok(())
            } else {
                Err("it never ended (15)".to_owned())
            };
        }
        if supervisor.pending.is_some()
            || supervisor.cycle.is_some()
            || supervisor.reconfigure.is_some()
            || !supervisor.looking.is_empty()
        {
            return Err("at rest with something left to do (3)".to_owned());
        }
        if self.policy.server.is_none() {
            return Ok(());
        }
        let Some(server) = &supervisor.serving else {
            return Err(format!(
                "at rest in a calm world and nothing serves: {:?}",
                self.last_outcome
            ));
        };
        if supervisor.stale_since.is_some() {
            return Err("at rest in a calm world and stale (3)".to_owned());
        }
        self.fresh(server.generation)
    }

    fn note(&mut self, event: &Event, effects: &[Effect]) {
        let at = (self.now - self.origin).as_secs_f64();
        let orders: Vec<String> = effects.iter().map(trace::effect).collect();
        let _ = writeln!(
            self.log,
            "{at:<8.3} {:<40} -> {}",
            trace::event(event),
            orders.join(", ")
        );
    }
}

/// A change that waits begins nothing, and nothing under way is cancelled or superseded by it.
fn untouched(effects: &[Effect]) -> Result<(), String> {
    for effect in effects {
        if let Effect::Report(Report::Begin { cause, .. }) = effect
            && *cause != Cause::Crash
        {
            return Err("a change began a cycle while devwatch was paused".to_owned());
        }
        if let Effect::Report(Report::End { outcome, .. }) = effect
            && *outcome == Outcome::Superseded
        {
            return Err("a change superseded a cycle while devwatch was paused".to_owned());
        }
    }
    Ok(())
}

fn random_policy(dice: &mut Dice, named_from: u64) -> Policy {
    let in_a_row = dice.chance(50);
    let rules = (0..dice.below(5))
        .map(|n| {
            let runs = dice.chance(80);
            RulePolicy {
                name: format!("rule-{}", named_from + n),
                then: [
                    Then::Nothing,
                    Then::Reload,
                    Then::Restart,
                    Then::Restart,
                    Then::Cold,
                ][dice.below(5) as usize],
                runs,
                outputs: runs && dice.chance(70),
                timeout: dice.chance(50).then(|| dice.millis(500, 4_000)),
                needs: (0..n as usize)
                    .filter(|_| in_a_row || dice.chance(40))
                    .map(RuleId)
                    .collect(),
            }
        })
        .collect();
    let rules = transitive(rules);
    let server = dice.chance(90).then(|| ServerPolicy {
        holds: dice.chance(50),
        stop_timeout: dice.millis(100, 5_000),
        ready_timeout: dice.millis(500, 10_000),
        ready: match dice.below(4) {
            0 => ReadyPolicy::Told,
            1 => ReadyPolicy::Delay(dice.millis(0, 800)),
            _ => ReadyPolicy::Accepting,
        },
        silent: dice.chance(10),
        hot: dice.chance(60).then(|| HotPolicy {
            mode: [HotMode::SelfFork, HotMode::Overlap, HotMode::Adopt][dice.below(3) as usize],
            drain: dice.millis(100, 5_000),
            fork_timeout: dice.millis(100, 2_000),
            cold_on_failure: dice.chance(30),
        }),
    });
    Policy {
        rules,
        jobs: 1 + dice.below(3) as usize,
        server,
    }
}

/// Whoever needs a rule needs what that one needs.
fn transitive(mut rules: Vec<RulePolicy>) -> Vec<RulePolicy> {
    for place in 0..rules.len() {
        let mut needs = rules[place].needs.clone();
        for other in &rules[place].needs {
            needs.extend(&rules[other.0].needs);
        }
        rules[place].needs = needs;
    }
    rules
}
